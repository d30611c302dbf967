"""Mechanisms without parameters: nothing, the current frame alone, and the mean over time.

The last two are the negative controls of the table. One sees no time; the other sees all
of it without its order, and is the "late fusion with global average pooling" of Karpathy
et al. 2014 ("Large-scale video classification"), over time only, since a policy needs places.
"""

from __future__ import annotations

from torch import Tensor

from .base import Clip, TemporalMechanism, kept


class NoMechanism(TemporalMechanism):
    """Every frame goes on to the fusion, which tells them apart by their ages."""

    def __init__(self, feature_dim: int, num_frames: int, tokens_per_frame: int) -> None:
        super().__init__(feature_dim, num_frames, tokens_per_frame)
        self.out_frames = num_frames

    def forward(self, hidden: Tensor, mask: Tensor, time_s: Tensor) -> Clip:
        """Return all three as they are."""
        return hidden, mask, time_s


class SingleFrame(TemporalMechanism):
    """The current frame and nothing else."""

    def forward(self, hidden: Tensor, mask: Tensor, time_s: Tensor) -> Clip:
        """Drop every frame but the last."""
        return kept(hidden[:, -1:], mask[:, -1:]), mask[:, -1:], time_s[:, -1:]


class LateMean(TemporalMechanism):
    """The mean of the real tokens of each place: it knows what was where, not when."""

    def forward(self, hidden: Tensor, mask: Tensor, time_s: Tensor) -> Clip:
        """Average over frames."""
        total = kept(hidden, mask).sum(dim=1, keepdim=True)
        count = mask.sum(dim=1, keepdim=True).clamp(min=1)
        return total / count.unsqueeze(-1), mask.any(dim=1, keepdim=True), time_s[:, -1:]
