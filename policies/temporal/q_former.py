"""Q-Former: a few learned queries gather what the whole clip says.

Li et al. 2023, "BLIP-2": queries attend to each other and to the frozen tokens, layer by
layer. Everything has to pass through them, also what stands still.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from neon_sim.rules import Count, Depth

from .attention import HEADS, PLACE_STD, MaskedAttention, Mlp, Places
from .base import BUDGET, Budget, BudgetedMechanism, Clip, kept


class QFormer(BudgetedMechanism):
    """``queries`` tokens for the clip, 32 as in the paper (no square: they have no place).

    Args:
        queries: S'. layers: of self-attention, cross-attention and MLP.
    """

    GRID = False

    def __init__(
        self,
        feature_dim: int,
        num_frames: int,
        tokens_per_frame: int,
        budget: Budget = BUDGET,
        queries: Count = 32,
        layers: Depth = 2,
    ) -> None:
        self.num_queries, self.num_layers = int(queries), int(layers)
        super().__init__(feature_dim, num_frames, tokens_per_frame, budget)
        self.out_tokens = self.num_queries

    def build(self, width: int) -> nn.ModuleDict:
        """Queries, embeddings and the layers."""
        d = self.feature_dim
        return nn.ModuleDict(
            {
                "queries": Queries(self.num_queries, d),
                "places": Places(self.num_frames, self.tokens_per_frame, d),
                "norm": nn.LayerNorm(d),
                "layers": nn.ModuleList(QFormerLayer(d, width) for _ in range(self.num_layers)),
            }
        )

    def forward(self, hidden: Tensor, mask: Tensor, time_s: Tensor) -> Clip:
        """Gather; a clip of padding gives masked zeros."""
        clip = self.parts["norm"](self.parts["places"](kept(hidden, mask))).flatten(1, 2)
        queries, real = self.parts["queries"](len(hidden)), mask.flatten(1)
        for layer in self.layers():
            queries = layer(queries, clip, real)
        seen = real.any(dim=1)[:, None, None].expand(-1, 1, self.num_queries)
        return kept(queries.unsqueeze(1), seen), seen, time_s[:, -1:]


class Queries(nn.Module):
    """Learned queries, the same for every row."""

    def __init__(self, count: int, dim: int) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.randn(count, dim) * PLACE_STD)

    def forward(self, rows: int) -> Tensor:
        """(B, N, D)."""
        return self.start.expand(rows, -1, -1)


class QFormerLayer(nn.Module):
    """Queries look at each other, then at the clip, then think."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.self_norm, self.cross_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.among, self.cross = MaskedAttention(dim, width), MaskedAttention(dim, width)
        self.mlp = Mlp(dim, HEADS * width)

    def forward(self, queries: Tensor, clip: Tensor, real: Tensor) -> Tensor:
        """(B, N, D), (B, F * S, D) and (B, F * S) bool -> (B, N, D)."""
        own = self.self_norm(queries)
        all_real = real.new_ones(own.shape[:2])
        queries = queries + self.among(own, own, all_real)
        queries = queries + self.cross(self.cross_norm(queries), clip, real)
        out: Tensor = queries + self.mlp(queries)
        return out
