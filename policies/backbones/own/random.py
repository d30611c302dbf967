"""A deterministic backbone that needs no weights: fixed random projections of patches.

It is the smoke path of every test and a baseline that a pretrained encoder has to beat.
The video form mixes the frames of a place, so it does see time; the image form does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from annotated_types import Interval
from torch import Tensor

from neon_sim.errors import ConfigError
from neon_sim.observation.batch import ClipBatch
from neon_sim.seeding import keyed_rng

from ..base import Argument, Tokens, masked_mean, read_settings

GRID = 12  # tokens a side


@dataclass(frozen=True)
class RandomSettings:
    """Settings of the random backbones.

    Attributes:
        dim: D. seed: of the projections.
    """

    dim: Annotated[int, Interval(ge=1, le=4096)] = 64
    seed: Annotated[int, Interval(ge=0, le=2**31 - 1)] = 0


class RandomImageBackbone:
    """Every frame on its own: 12 x 12 patches, each projected to D numbers.

    Args:
        arguments: fields of ``RandomSettings``.

    Raises:
        ConfigError: in ``encode``, no video or an image that 12 does not divide.
    """

    SETTINGS = RandomSettings
    tokens_per_frame = GRID * GRID

    def __init__(self, **arguments: Argument) -> None:
        settings = read_settings(RandomSettings, arguments)
        self.feature_dim, self.seed = settings.dim, settings.seed
        self.identity = torch.tensor([self.feature_dim, self.seed])

    def num_tokens(self, num_frames: int) -> int:
        """144 tokens a frame."""
        return num_frames * self.tokens_per_frame

    def encode(self, clip: ClipBatch) -> Tokens:
        """(B, T, H, W, 3) -> hidden (B, T * 144, D) float32 and its mask."""
        patches, mask = self._patches(clip)
        hidden = torch.tanh(patches @ self._projection("frame", patches.shape[-1])).flatten(1, 2)
        places = mask.repeat_interleave(self.tokens_per_frame, dim=1)
        return Tokens(hidden, places, masked_mean(hidden, places))

    def _projection(self, name: str, size: int) -> Tensor:
        rng = keyed_rng("random-backbone", self.seed, name)
        weight = rng.standard_normal((size, self.feature_dim)) / np.sqrt(size) * 3.0
        return torch.from_numpy(weight.astype(np.float32))

    def _patches(self, clip: ClipBatch) -> tuple[Tensor, Tensor]:
        """(B, T, 144, P) float32 in [-1, 1] and the frame mask (B, T)."""
        if clip.video is None:
            raise ConfigError(f"{type(self).__name__} needs video, but the clip holds none")
        b, t, height, width, _ = clip.video.shape
        if height % GRID or width % GRID:
            raise ConfigError(f"clip.image_size must be a multiple of {GRID} (got {height})")
        x = torch.from_numpy(np.ascontiguousarray(clip.video)).float().div(127.5).sub(1.0)
        x = x.reshape(b, t, GRID, height // GRID, GRID, width // GRID, 3).permute(
            0, 1, 2, 4, 3, 5, 6
        )
        return x.reshape(b, t, GRID * GRID, -1), torch.from_numpy(clip.mask.copy())


class RandomBackbone(RandomImageBackbone):
    """The whole clip: every place in time has its own projection; 144 tokens in all."""

    def num_tokens(self, num_frames: int) -> int:
        """144 tokens, however many frames."""
        del num_frames
        return self.tokens_per_frame

    def encode(self, clip: ClipBatch) -> Tokens:
        """(B, T, H, W, 3) -> hidden (B, 144, D) float32; padded frames count as nothing."""
        patches, mask = self._patches(clip)
        patches = torch.where(mask[:, :, None, None], patches, torch.zeros(()))
        frames = patches.shape[1]
        total = torch.zeros(len(patches), self.tokens_per_frame, self.feature_dim)
        for age in range(frames):  # the newest frame has the same projection in every clip
            projection = self._projection(f"age{age}", patches.shape[-1])
            total = total + patches[:, frames - 1 - age] @ projection
        hidden = torch.tanh(total)
        everything = torch.ones(hidden.shape[:2], dtype=torch.bool)
        return Tokens(hidden, everything, hidden.mean(dim=1))
