"""Models that only look: pixels in, one transformer over all frames, tokens by place out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neon_sim.errors import CheckpointError, ConfigError
from neon_sim.schema import checked, read_json

from ..weights.opening import AGAIN
from .family import EncodedRow, Family, equal_blocks
from .inputs import Sight, resize_frames
from .settings import BackboneConfig

PROCESSOR_FILES = ("video_preprocessor_config.json", "preprocessor_config.json")


class VideoEncoder(Family):
    """A video encoder without words.

    The whole picture is scaled to the model's square; the published processors scale a little
    larger and cut the border off, which would hide what happens there.

    Attributes:
        frame_size: pixels per side. patch: pixels of a token per side.
    """

    has_language_model = False
    reads = False
    frame_size: int
    patch: int

    def __init__(self, config: BackboneConfig, folder: Path) -> None:
        super().__init__(config, folder)
        self.shape = self.read_config()
        self.feature_dim = int(self.shape.hidden_size)
        self.mean, self.std = pixel_statistics(folder)

    def check_size(self) -> None:
        """Hold ``image_size`` to the size the positions of the model are for.

        Raises:
            ConfigError: another size.
        """
        if self.config.image_size != self.frame_size:
            raise ConfigError(
                f"image_size must be {self.frame_size}, for which this checkpoint was trained (got "
                f"{self.config.image_size})"
            )

    @property
    def tokens_per_place(self) -> int:
        """P, patches of a frame."""
        return (self.frame_size // self.patch) ** 2

    def pixels(self, row: Sight) -> Tensor:
        """(T, 3, H, W) float32, normalised as the model was trained."""
        frames = resize_frames(row.frames, self.frame_size, self.frame_size)
        x = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / 255.0
        return (x - self.mean[:, None, None]) / self.std[:, None, None]

    def clip(self, row: Sight) -> Tensor:
        """The frames (T', 3, H, W) that the network gets."""
        return self.pixels(row)

    def run(self, clips: Tensor) -> Tensor:
        """(B, T', 3, H, W) -> (B, F * P, D)."""
        raise NotImplementedError

    def gather(self, hidden: Tensor, row: Sight) -> Tensor:
        """(F * P, D) of one row by place: (F, P, D)."""
        return hidden.unflatten(0, (self.places(len(row.frames)), -1))

    def encode_rows(self, rows: Sequence[Sight], block_rows: int | None = None) -> list[EncodedRow]:
        """Encode rows in groups of equal length."""
        assert self.network is not None
        dtype = next(self.network.parameters()).dtype
        clips = [self.clip(row) for row in rows]
        done: dict[int, EncodedRow] = {}
        for block in equal_blocks([len(clip) for clip in clips], block_rows):
            batch = torch.stack([clips[number] for number in block])
            states = self.run(batch.to(self.device, dtype))
            for number, hidden in zip(block, states, strict=True):
                done[number] = EncodedRow(hidden, self.gather(hidden, rows[number]))
        return [done[number] for number in range(len(rows))]


@dataclass(frozen=True)
class PixelStatistics:
    """What is read of a processor's file: mean and standard deviation of red, green and blue."""

    image_mean: tuple[float, float, float]
    image_std: tuple[float, float, float]


def pixel_statistics(folder: Path) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (3,) of pixels, as the checkpoint's processor says.

    Raises:
        CheckpointError: the folder does not say, or says it in another shape.
    """
    for name in PROCESSOR_FILES:
        if (folder / name).is_file():
            values = read_json(folder / name, dict[str, Any], CheckpointError, AGAIN)
            if "image_mean" in values and "image_std" in values:
                said = checked(values, PixelStatistics, str(folder / name), CheckpointError, AGAIN)
                if min(said.image_std) <= 0:
                    raise CheckpointError(
                        f"{folder / name} says image_std={said.image_std}, which must be above 0; "
                        f"{AGAIN}"
                    )
                return torch.tensor(said.image_mean), torch.tensor(said.image_std)
    raise CheckpointError(
        f"{folder} does not say how pixels are normalised (image_mean, image_std in "
        f"{' or '.join(PROCESSOR_FILES)}); copy that file from the published model"
    )
