"""Action queries that attend to tokens: the main fusion.

Tokens are only read (keys and values), never projected or updated: a query's projection
is folded onto them (``(W q) . t = q~ . t``, the absorbed form of multi-head latent
attention, DeepSeek-V2 2024, section 2.1.2), which makes a training step cheap. Place and
age are scored apart and added. Beside what it reads, every attention head reports where it
looks: the expected place and age of its attention (soft-argmax; Levine et al. 2016,
"End-to-end training of deep visuomotor policies", eq. 3), so that positions come out in
image coordinates, finer than a token. A policy that listens hears before every look, in the
same way, so that what is heard can say where and when to look.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from neon_sim.rules import Count, Depth, Dropout, Width

from .base import (
    AGE_WAVES,
    Fusion,
    FusionInput,
    FusionLayout,
    SoundTokens,
    age_waves,
    token_coordinates,
)

COORDINATES = 3  # x, y in [-1, 1] (cell centres, right and down), age in half seconds
MASKED = -1e9  # a weight of exactly zero after the softmax


@dataclass(frozen=True)
class Scene:
    """What the queries look at.

    Attributes:
        keys: (B, F * S, K) tokens. frames, tokens: F, S.
        bias: (B, 1, F * S), 0 where real and -1e9 where masked; None where all are real.
        seeing: (B, 1, 1) 1 where anything is real, else 0.
        age: (B, F, P + 1) embedded ages of the frames, and the age itself in half seconds.
    """

    keys: Tensor
    frames: int
    tokens: int
    bias: Tensor | None
    seeing: Tensor
    age: Tensor


class AttentionLayer(nn.Module):
    """One round of looking: queries (B, N, W) read tokens and update themselves.

    Args:
        width: W. key_dim: K. place_dim: P. heads: per query. tokens: S of a frame.
    """

    coordinates: Tensor

    def __init__(self, width: int, key_dim: int, place_dim: int, heads: int, tokens: int) -> None:
        super().__init__()
        self.heads, self.key_dim, self.place_dim = heads, key_dim, place_dim
        self.norm = nn.LayerNorm(width)
        self.look = nn.Linear(width, heads * (key_dim + place_dim))
        self.place = nn.Parameter(torch.randn(tokens, place_dim) * 0.5)
        self.read = nn.Linear(heads * (key_dim + 2 * place_dim + COORDINATES), width)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.register_buffer("coordinates", token_coordinates(tokens), persistent=False)

    def forward(self, queries: Tensor, scene: Scene) -> tuple[Tensor, Tensor]:
        """Look once: (B, N, W) -> (B, N, W), and where each head looked (B, N * heads * 3)."""
        b, n, _ = queries.shape
        looks = self.look(self.norm(queries)).reshape(b, n * self.heads, -1)
        weights = self._attend(looks, scene)
        content = torch.bmm(weights, scene.keys)
        by_place, age = self._places(weights, scene)
        places = by_place @ torch.cat([self.place, self.coordinates], dim=1)
        seen = torch.cat([content, places, age], dim=2) * scene.seeing
        where = seen[:, :, [-age.shape[2] - 2, -age.shape[2] - 1, -1]]
        queries = queries + self.read(seen.reshape(b, n, -1))
        return queries + self.mlp(self.mlp_norm(queries)), where.flatten(1)

    def _attend(self, looks: Tensor, scene: Scene) -> Tensor:
        """Weights (B, H, F * S) of content, place and age together."""
        content, place = looks.split([self.key_dim, self.place_dim], dim=2)
        logits = torch.bmm(content, scene.keys.transpose(1, 2)) * self.key_dim**-0.5
        by_place = place @ self.place.T
        if scene.frames > 1:
            by_age = torch.bmm(place, scene.age[:, :, :-1].transpose(1, 2))
            by_place = (by_place.unsqueeze(2) + by_age.unsqueeze(3)).flatten(2)
        logits = logits + by_place
        out: Tensor = (logits if scene.bias is None else logits + scene.bias).softmax(dim=2)
        return out

    def _places(self, weights: Tensor, scene: Scene) -> tuple[Tensor, Tensor]:
        """Weights over a frame's places (B, H, S), and the expected age (B, H, P + 1)."""
        if scene.frames == 1:
            return weights, scene.age.expand(-1, weights.shape[1], -1)
        grid = weights.unflatten(2, (scene.frames, scene.tokens))
        return grid.sum(dim=2), torch.bmm(grid.sum(dim=3), scene.age)


class ListeningLayer(nn.Module):
    """One round of listening: queries (B, N, W) read the moments of the sound.

    Args:
        width: W. key_dim: K. heads: per query.
    """

    def __init__(self, width: int, key_dim: int, heads: int) -> None:
        super().__init__()
        self.key_dim = key_dim
        self.norm = nn.LayerNorm(width)
        self.listen = nn.Linear(width, heads * key_dim)
        self.read = nn.Linear(heads * key_dim, width)

    def forward(self, queries: Tensor, sound: Tensor) -> Tensor:
        """(B, N, W) and (B, S', K) -> (B, N, W)."""
        b, n, _ = queries.shape
        asked = self.listen(self.norm(queries)).reshape(b, -1, self.key_dim)
        logits = torch.bmm(asked, sound.transpose(1, 2)) * self.key_dim**-0.5
        out: Tensor = queries + self.read(torch.bmm(logits.softmax(dim=2), sound).reshape(b, n, -1))
        return out


class CrossAttentionFusion(Fusion):
    """Learned queries, modulated by text and proprioception, look at the tokens.

    Args:
        layout: widths. queries: N. heads: per query. layers: rounds of looking.
        width: of a query. key_dim: tokens of another width are projected to it.
        place_dim: of the embeddings of place and age. context: C. dropout: on the context.
    """

    READS_ASIDE = True

    def __init__(
        self,
        layout: FusionLayout,
        queries: Count = 4,
        heads: Count = 4,
        layers: Depth = 2,
        width: Width = 64,
        key_dim: Width = 64,
        place_dim: Width = 16,
        context: Width = 256,
        dropout: Dropout = 0.1,
    ) -> None:
        super().__init__()
        n, w, k, p = int(queries), int(width), int(key_dim), int(place_dim)
        h, rounds, s = int(heads), int(layers), layout.tokens_per_frame
        self.layout, self.context_dim, self.flat_dim = layout, int(context), layout.flat_dim
        same = layout.token_dim == k
        self.adapt = nn.Identity() if same else nn.Linear(layout.token_dim, k)
        self.age = nn.Sequential(nn.Linear(AGE_WAVES, p), nn.GELU(), nn.Linear(p, p))
        self.query = nn.Parameter(torch.randn(n, w))
        conditions = layout.text_dim + layout.proprio_dim
        self.modulate = nn.Linear(conditions, 2 * w)
        self.ask = nn.Linear(w, layout.text_dim)
        self.word = nn.Linear(layout.text_dim, w)
        self.layers = nn.ModuleList(AttentionLayer(w, k, p, h, s) for _ in range(rounds))
        if layout.audio_tokens:
            self.sound = SoundTokens(layout, k)
            self.ears = nn.ModuleList(ListeningLayer(w, k, h) for _ in range(rounds))
        joined = n * (w + h * rounds * COORDINATES) + conditions + self.flat_dim
        self.join = nn.Linear(joined, self.context_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, batch: FusionInput) -> Tensor:
        """Return the context (B, C)."""
        self.layout.hold(batch)
        scene, queries = self._scene(batch), self._queries(batch)
        looked = []
        sound = None if batch.audio is None else self.sound(batch.audio)
        for number, layer in enumerate(self.layers):
            if sound is not None:
                queries = self.ears[number](queries, sound)
            queries, where = layer(queries, scene)
            looked.append(where)
        parts = [queries.flatten(1), *looked, batch.proprio, batch.text_pooled]
        if self.flat_dim:
            parts.append(batch.flat())
        joined = torch.cat([part.float() for part in parts], dim=1)
        out: Tensor = self.dropout(functional.gelu(self.join(joined)))
        return out

    def _queries(self, batch: FusionInput) -> Tensor:
        """Queries (B, N, W) that know the instruction and the arm."""
        known = torch.cat([batch.text_pooled, batch.proprio], dim=1)
        scale, shift = self.modulate(known).unsqueeze(1).chunk(2, dim=2)
        queries = self.query * (1 + scale) + shift
        logits = self.ask(queries) @ batch.text_tokens.transpose(1, 2)
        logits = logits.float().masked_fill(~batch.text_mask.unsqueeze(1), MASKED)
        words = logits.softmax(dim=-1).to(queries.dtype) @ batch.text_tokens
        out: Tensor = queries + self.word(words)
        return out

    def _scene(self, batch: FusionInput) -> Scene:
        """Tokens with their masks, places and ages."""
        waves = age_waves(batch.time_s)
        real = batch.mask.flatten(1)
        bias = None if real.all() else torch.where(real, 0.0, MASKED).unsqueeze(1)
        return Scene(
            keys=self.adapt(batch.hidden).flatten(1, 2),
            frames=batch.mask.shape[1],
            tokens=batch.mask.shape[2],
            bias=bias,
            seeing=real.any(dim=1).float()[:, None, None],
            age=torch.cat([self.age(waves), waves[:, :, :1]], dim=2),
        )
