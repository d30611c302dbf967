"""Static-patch dropping: tokens that did not change since the frame before are not handed on.

The Differential Frame Pruner of Video-LLaMA 3 (Zhang et al. 2025, section 2.2), with
distances between tokens where the paper takes pixels. It has no parameters.
"""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Interval
from torch import Tensor

from .base import Clip, TemporalMechanism, kept

Threshold = Annotated[float, Interval(ge=0, le=1e6)]


class StaticDrop(TemporalMechanism):
    """All frames, less the places where nothing happened.

    The oldest and the current frame stay whole: what stands still is still seen. A frame
    that changed everywhere is a key frame and stays whole too.

    Args:
        patch: a token stays when it changed by this much, the mean over its numbers of the
            absolute difference, in standard deviations of the features (0.1 in the paper, of
            pixels).
        frame: a frame whose tokens changed by this much on average stays whole.
    """

    def __init__(
        self,
        feature_dim: int,
        num_frames: int,
        tokens_per_frame: int,
        patch: Threshold = 0.1,
        frame: Threshold = 1.0,
    ) -> None:
        super().__init__(feature_dim, num_frames, tokens_per_frame)
        self.out_frames, self.patch, self.frame = num_frames, patch, frame

    def forward(self, hidden: Tensor, mask: Tensor, time_s: Tensor) -> Clip:
        """Mask what did not change."""
        stays = mask & self.changed(kept(hidden, mask), mask)
        return kept(hidden, stays), stays, time_s

    def changed(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Which tokens (B, F, S) are worth keeping.

        A token whose forerunner is padding is the first of its place, and new.
        """
        distance = (hidden[:, 1:] - hidden[:, :-1]).abs().mean(dim=3)
        both = mask[:, 1:] & mask[:, :-1]
        mean = (distance * both).sum(dim=2, keepdim=True) / both.sum(dim=2, keepdim=True).clamp(1)
        news = ~both | (distance >= self.patch) | (mean >= self.frame)
        news[:, -1:] = True
        return torch.cat([torch.ones_like(mask[:, :1]), news], dim=1)
