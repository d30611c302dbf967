"""Action queries that attend to tokens: the main fusion.

Tokens are only read (keys and values), never updated, which keeps it cheap. A query's
projection is folded onto the raw token width (``(W q) . t = q~ . t``, the absorbed form of
multi-head latent attention, DeepSeek-V2 2024, eq. 10), so no per-token projection is
computed in a layer. Beside what it reads, every attention head reports where it looks:
the expected place and age of its attention (soft-argmax; Levine et al. 2016, "End-to-end
training of deep visuomotor policies", eq. 3), so positions come out in image coordinates.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .base import Fusion, FusionInput, FusionLayout

COORDINATES = 3  # x, y in [-1, 1] (cell centres, right and down), age in clip spans
AGE_SCALE_S = 0.5
MASKED = -1e9


def token_coordinates(tokens: int) -> Tensor:
    """Places of a frame's tokens: (S, 2) of x, y in [-1, 1]; zeros if they form no grid."""
    side = round(tokens**0.5)
    if side * side != tokens:
        return torch.zeros(tokens, 2)
    centres = (torch.arange(side) + 0.5) / side * 2 - 1
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], dim=1)


class AttentionLayer(nn.Module):
    """One round of looking: queries (B, N, W) read tokens (B, S, K) and update themselves."""

    def __init__(self, width: int, key_dim: int, heads: int) -> None:
        super().__init__()
        self.heads, self.key_dim = heads, key_dim
        self.norm = nn.LayerNorm(width)
        self.look = nn.Linear(width, heads * key_dim)
        self.read = nn.Linear(heads * (key_dim + COORDINATES), width)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(
        self, queries: Tensor, keys: Tensor, mask: Tensor, places: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Look once.

        Args:
            queries: (B, N, W). keys: (B, S, K). mask: (B, S) bool. places: (B, S, 3).

        Returns:
            New queries (B, N, W), and where each head looked (B, N * heads * 3) float32.
        """
        b, n, _ = queries.shape
        looks = self.look(self.norm(queries)).reshape(b, n * self.heads, self.key_dim)
        logits = torch.bmm(looks, keys.transpose(1, 2)).float() * self.key_dim**-0.5
        weights = logits.masked_fill(~mask.unsqueeze(1), MASKED).softmax(dim=-1)
        seen = torch.bmm(weights.to(keys.dtype), keys).reshape(b, n, -1)
        with torch.autocast(weights.device.type, enabled=False):  # places need full precision
            where = torch.bmm(weights, places).reshape(b, n, -1)
        queries = queries + self.read(torch.cat([seen, where.to(seen.dtype)], dim=2))
        return queries + self.mlp(self.mlp_norm(queries)), where.flatten(1)


class CrossAttentionFusion(Fusion):
    """Learned queries, modulated by text and proprioception, look at the tokens.

    Args:
        layout: widths. queries: N. heads: per query. layers: rounds of looking, at most 2.
        width: of a query. key_dim: of an adapted token. context: C. dropout: on the context.
    """

    coordinates: Tensor

    def __init__(
        self,
        layout: FusionLayout,
        queries: float = 6,
        heads: float = 4,
        layers: float = 2,
        width: float = 96,
        key_dim: float = 64,
        context: float = 256,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        n, w, k = int(queries), int(width), int(key_dim)
        self.context_dim, self.flat_dim = int(context), layout.flat_dim
        self.adapt = nn.Linear(layout.token_dim, k)
        self.bend = nn.Sequential(nn.Linear(k, k), nn.GELU(), nn.Linear(k, k))
        self.place = nn.Parameter(torch.randn(layout.tokens_per_frame, k) * 0.3)
        self.age = nn.Sequential(nn.Linear(3, k), nn.GELU(), nn.Linear(k, k))
        self.nothing = nn.Parameter(torch.zeros(k))
        self.query = nn.Parameter(torch.randn(n, w))
        conditions = layout.text_dim + layout.proprio_dim
        self.modulate = nn.Linear(conditions, 2 * w)
        self.ask = nn.Linear(w, layout.text_dim)
        self.word = nn.Linear(layout.text_dim, w)
        self.layers = nn.ModuleList(AttentionLayer(w, k, int(heads)) for _ in range(int(layers)))
        joined = n * (w + int(heads) * int(layers) * COORDINATES) + conditions + self.flat_dim
        self.join = nn.Linear(joined, self.context_dim)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer(
            "coordinates", token_coordinates(layout.tokens_per_frame), persistent=False
        )

    def forward(self, batch: FusionInput) -> Tensor:
        """Return the context (B, C)."""
        keys, mask, places = self._keys(batch)
        queries = self._queries(batch)
        looked = []
        for layer in self.layers:
            queries, where = layer(queries, keys, mask, places)
            looked.append(where)
        parts = [queries.flatten(1), *looked, batch.proprio, batch.text_pooled]
        if self.flat_dim:
            parts.append(batch.flat())
        joined = torch.cat([part.float() for part in parts], dim=1)
        return self.dropout(functional.gelu(self.join(joined)))

    def _queries(self, batch: FusionInput) -> Tensor:
        """Queries (B, N, W) that know the instruction and the arm."""
        known = torch.cat([batch.text_pooled, batch.proprio], dim=1)
        scale, shift = self.modulate(known).unsqueeze(1).chunk(2, dim=2)
        queries = self.query * (1 + scale) + shift
        logits = self.ask(queries) @ batch.text_tokens.transpose(1, 2)
        logits = logits.float().masked_fill(~batch.text_mask.unsqueeze(1), MASKED)
        words = logits.softmax(dim=-1).to(queries.dtype) @ batch.text_tokens
        return queries + self.word(words)

    def _keys(self, batch: FusionInput) -> tuple[Tensor, Tensor, Tensor]:
        """Adapted tokens with place and age, and one that stands for "nothing there"."""
        b, frames, tokens, _ = batch.hidden.shape
        keys = self.adapt(batch.hidden) + self.place
        keys = keys + self.bend(keys)
        age = (batch.time_s / AGE_SCALE_S).unsqueeze(-1)
        keys = keys + self.age(torch.cat([age, torch.sin(4 * age), torch.cos(4 * age)], -1))[
            :, :, None
        ].to(keys.dtype)
        places = torch.cat(
            [
                self.coordinates.expand(b, frames, tokens, 2),
                age.unsqueeze(2).expand(b, frames, tokens, 1),
            ],
            dim=3,
        )
        keys = torch.cat([self.nothing.to(keys.dtype).expand(b, 1, -1), keys.flatten(1, 2)], 1)
        real = torch.ones(b, 1, dtype=torch.bool, device=keys.device)
        mask = torch.cat([real, batch.mask.flatten(1)], dim=1)
        return keys, mask, functional.pad(places.flatten(1, 2).float(), (0, 0, 1, 0))
