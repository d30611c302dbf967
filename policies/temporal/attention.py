"""What the mechanisms that attend have in common: masked attention, places, a small MLP."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .base import hold_frames, zero_start

HEADS = 4
MASKED = -1e9  # a weight of exactly zero after the softmax where anything is real
PLACE_STD = 1.0  # of the features' standard deviation: where is as loud as what
LOGIT_STD = 4.0  # of an untrained head over tokens of unit scale


class MaskedAttention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017) of ``HEADS`` heads of ``width``.

    Untrained heads choose: with logits of unit scale they would average the clip, and a mean
    knows neither places nor order, so that no gradient leads out of it. What they chose goes on
    at unit scale.

    Args:
        dim: of tokens. width: of a head. identity: whether the output starts at zero.
    """

    def __init__(self, dim: int, width: int, identity: bool = False) -> None:
        super().__init__()
        inner = HEADS * width
        self.query, self.key = nn.Linear(dim, inner), nn.Linear(dim, inner, bias=False)
        self.value, self.out = nn.Linear(dim, inner), nn.Linear(inner, dim)
        for layer, gain in (
            (self.query, LOGIT_STD**0.5),
            (self.key, LOGIT_STD**0.5),
            (self.value, 1.0),
            (self.out, 1.0),
        ):
            nn.init.normal_(layer.weight, std=gain * layer.in_features**-0.5)
        if identity:
            zero_start(self.out)

    def forward(self, queries: Tensor, keys: Tensor, real: Tensor) -> Tensor:
        """(N, Q, D), (N, K, D) and (N, K) bool -> (N, Q, D)."""
        q, k, v = (
            projected.unflatten(2, (HEADS, -1)).transpose(1, 2)
            for projected in (self.query(queries), self.key(keys), self.value(keys))
        )
        bias = torch.where(real, 0.0, MASKED)[:, None, None]
        weights = (q @ k.transpose(2, 3) * q.shape[3] ** -0.5 + bias).softmax(dim=3)
        out: Tensor = self.out((weights @ v).transpose(1, 2).flatten(2))
        return out


class Places(nn.Module):
    """Learned embeddings of frames and of places in a frame, added to tokens."""

    def __init__(self, frames: int, tokens: int, dim: int) -> None:
        super().__init__()
        self.frame = nn.Parameter(torch.randn(frames, 1, dim) * PLACE_STD)
        self.place = nn.Parameter(torch.randn(tokens, dim) * PLACE_STD)

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, F, S, D) -> the same.

        Raises:
            ConfigError: another number of frames than F.
        """
        hold_frames(len(self.frame), hidden.shape[1])
        return hidden + self.frame + self.place


class Mlp(nn.Sequential):
    """LayerNorm, up, GELU, down: the branch of a transformer block."""

    def __init__(self, dim: int, inner: int) -> None:
        super().__init__(nn.LayerNorm(dim), nn.Linear(dim, inner), nn.GELU(), nn.Linear(inner, dim))
