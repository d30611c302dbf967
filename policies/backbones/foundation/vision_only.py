"""Models that only look: pixels in, one transformer over all frames, tokens by place out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from neon_sim.errors import CheckpointError, ConfigError
from neon_sim.schema import checked, read_json

from ..weights.catalogue import Shape
from ..weights.libraries import import_transformers
from ..weights.opening import AGAIN
from .family import Built, EncodedRow, Family, Folders, equal_blocks
from .inputs import Sight, resize_frames
from .settings import BackboneConfig

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

PROCESSOR_FILES = ("video_preprocessor_config.json", "preprocessor_config.json")


class VisionOnly(Family):
    """A video encoder without words.

    The whole picture is scaled to the square of the model. The published processors scale a little
    larger and cut the border off, which would hide what happens there.

    Attributes:
        CONFIG, NETWORK: names of its classes in transformers.
        frame_size: pixels a side. patch: pixels of a token a side.
    """

    CONFIG: ClassVar[str]
    NETWORK: ClassVar[str]
    PACKS = False
    has_language_model = False
    reads = False
    frame_size: int
    patch: int

    def __init__(self, config: BackboneConfig, folders: Folders) -> None:
        super().__init__(config, folders)
        self.shape = self.read_config()
        self.feature_dim = int(self.shape.hidden_size)
        self.mean, self.std = pixel_statistics(self.folder)

    @classmethod
    def new_config(cls, shape: Shape) -> PretrainedConfig:
        """The config of some shape."""
        return getattr(import_transformers(), cls.CONFIG)(**shape)

    @classmethod
    def draw(cls, shape: Shape) -> PreTrainedModel:
        """A network of some shape, its weights drawn from torch's generator."""
        return getattr(import_transformers(), cls.NETWORK)(cls.new_config(shape))

    @classmethod
    def build(cls, shape: Shape) -> Built:
        """The network; see ``Family.build``."""
        network = cls.draw(shape)
        return [network], network.config.hidden_size

    def load(self) -> None:
        """Read the weights."""
        self.network = self.from_pretrained(getattr(import_transformers(), self.NETWORK))

    def check_size(self) -> None:
        """Check that ``image_size`` is the size of the model's position table.

        Raises:
            ConfigError: another size.
        """
        if self.config.image_size != self.frame_size:
            raise ConfigError(
                f"image_size must be {self.frame_size}, for which this checkpoint was trained (got "
                f"{self.config.image_size})"
            )

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
        """(B, T', 3, H, W) -> (B, F * P, D): the last layer of the network."""
        assert self.network is not None
        hidden: Tensor = self.network(clips).last_hidden_state
        return hidden

    def gather(self, hidden: Tensor, row: Sight) -> Tensor:
        """(F * P, D) of one row by place: (F, P, D)."""
        return torch.unflatten(hidden, 0, (self.places(len(row.frames)), -1))

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
    """The part of a processor's file that is read: mean and std of red, green and blue."""

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
