"""Divided space-time attention: each place looks over time, then each frame over its places.

Bertasius et al. 2021, "Is space-time attention all you need for video understanding?"
(TimeSformer): temporal attention first, its output starting at zero.
"""

from __future__ import annotations

from torch import Tensor, nn

from neon_sim.rules import Depth

from .attention import HEADS, MaskedAttention, Mlp, Places
from .base import BUDGET, Budget, BudgetedMechanism, Clip, kept


class DividedAttention(BudgetedMechanism):
    """TimeSformer blocks; of the last one only the current frame is computed.

    Args:
        blocks: of temporal attention, spatial attention and MLP.
    """

    GRID = False

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
        """Embeddings and the blocks."""
        blocks = [DividedBlock(self.feature_dim, width) for _ in range(self.num_blocks)]
        places = Places(self.num_frames, self.tokens_per_frame, self.feature_dim)
        return nn.ModuleDict({"places": places, "layers": nn.ModuleList(blocks)})

    def forward(self, hidden: Tensor, mask: Tensor, time_s: Tensor) -> Clip:
        """What the blocks made of the current frame, and the frame itself."""
        x = kept(self.parts["places"](hidden), mask)
        *blocks, last = self.layers()
        for block in blocks:
            x = block(x, x, mask, mask)
        x = last(x[:, -1:], x, mask[:, -1:], mask)
        return self.onto_now(x[:, 0], hidden, mask, time_s)


class DividedBlock(nn.Module):
    """Temporal attention, spatial attention, MLP."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.time_norm, self.space_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.time = MaskedAttention(dim, width, identity=True)
        self.space = MaskedAttention(dim, width)
        self.mlp = Mlp(dim, HEADS * width)

    def forward(self, x: Tensor, clip: Tensor, mask: Tensor, clip_mask: Tensor) -> Tensor:
        """Update frames ``x`` (B, F', S, D), which look at ``clip`` (B, F, S, D)."""
        b, _, s, _ = clip.shape
        query = self.time_norm(x).transpose(1, 2).flatten(0, 1)
        keys = self.time_norm(clip).transpose(1, 2).flatten(0, 1)
        over_time = self.time(query, keys, clip_mask.transpose(1, 2).flatten(0, 1))
        x = x + over_time.unflatten(0, (b, s)).transpose(1, 2)
        frame = self.space_norm(x).flatten(0, 1)
        x = x + self.space(frame, frame, mask.flatten(0, 1)).unflatten(0, x.shape[:2])
        return kept(x + self.mlp(x), mask)
