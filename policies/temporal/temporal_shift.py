"""Temporal shift: an image network sees time because its input channels come from other frames.

Lin et al. 2019, "TSM: temporal shift module for efficient video understanding". Moving
channels costs no parameter and no arithmetic; the 2-D convolutions behind it do the rest.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from neon_sim.rules import Depth

from .base import BUDGET, Budget, BudgetedMechanism, Clip, conv, kept, to_maps, to_tokens

FOLD = 8  # one in eight channels from the frame before, one in eight from the one behind


class TemporalShift(BudgetedMechanism):
    """Residual 2-D blocks with shifted inputs; frames agree by their mean, as in the paper.

    Args:
        blocks: each lets a frame see one further on either side.
    """

    def __init__(
        self,
        feature_dim: int,
        num_frames: int,
        tokens_per_frame: int,
        budget: Budget = BUDGET,
        blocks: Depth = 2,
    ) -> None:
        self.num_blocks = int(blocks)
        super().__init__(feature_dim, num_frames, tokens_per_frame, budget)

    def build(self, width: int) -> nn.ModuleDict:
        """A 3x3 and a 1x1 convolution a block."""
        parts: dict[str, nn.Module] = {}
        for block in range(self.num_blocks):
            parts[f"spread{block}"] = conv(self.feature_dim, width)
            parts[f"mix{block}"] = conv(width, self.feature_dim, 1)
        return nn.ModuleDict(parts)

    def forward(self, hidden: Tensor, mask: Tensor, time_s: Tensor) -> Clip:
        """Shift, convolve, add; then the mean over real frames of what was added."""
        first = x = kept(hidden, mask)
        for block in range(self.num_blocks):
            maps = to_maps(shift(x, mask)).flatten(0, 1)
            y = self.parts[f"mix{block}"](functional.gelu(self.parts[f"spread{block}"](maps)))
            x = kept(x + to_tokens(y).unflatten(0, mask.shape[:2]), mask)
        count = mask.sum(dim=1).clamp(min=1).unsqueeze(2)
        return self.onto_now((x - first).sum(dim=1) / count, hidden, mask, time_s)


def shift(hidden: Tensor, mask: Tensor) -> Tensor:
    """Take an eighth of the channels from the frame before and an eighth from the one behind.

    Where that frame is not there or padding, a token keeps its own (the paper puts zeros):
    so a clip that stands still passes as through the image network.

    Args:
        hidden: (B, F, S, D). mask: (B, F, S) bool.
    """
    fold = max(hidden.shape[3] // FOLD, 1)
    past, future = hidden[..., :fold], hidden[..., fold : 2 * fold]
    before = torch.where(mask[:, :-1].unsqueeze(-1), past[:, :-1], past[:, 1:])
    behind = torch.where(mask[:, 1:].unsqueeze(-1), future[:, 1:], future[:, :-1])
    past = torch.cat([past[:, :1], before], dim=1)
    future = torch.cat([behind, future[:, -1:]], dim=1)
    return torch.cat([past, future, hidden[..., 2 * fold :]], dim=3)
