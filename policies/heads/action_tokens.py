"""Actions as words: 256 bins a dimension, decoded one after the other (RT-2, OpenVLA).

As RT-2 (Brohan et al. 2023) and OpenVLA (Kim et al. 2024) do, every dimension of every step is
one of 256 bins, and a causal transformer says one after the other, always the likeliest (greedy).
The bins are uniform in the actions themselves, not in the standardised ones a head is handed, and
stand for 256 even values from -1 to 1, both included: a joint limit is said exactly, anything
else to 1 / 255. A cache of keys and values makes each word cost one place, not all before it.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
from annotated_types import Interval
from torch import Tensor, nn
from torch.nn import functional

from neon_sim.clock import CHUNK_STEPS
from neon_sim.rules import Count, Depth, Width

from .base import Head, hold_last, weighted_mean
from .transformer import KVCache, SelfAttention, feed_forward

BINS = 256
WORD_DIM = 32  # of a bin's embedding; a group's are read side by side


class CausalBlock(nn.Module):
    """Attention to what was said before, and a feed-forward layer, each behind its norm."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads, causal=True)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = feed_forward(width, inner)

    def forward(self, x: Tensor, cache: KVCache | None = None) -> Tensor:
        """(B, N, W) -> (B, N, W); N is 1 with a cache."""
        x = x + self.attention(self.norm(x), cache)
        out: Tensor = x + self.mlp(self.mlp_norm(x))
        return out


class ActionTokens(Head):
    """A causal transformer over the bins of a chunk, step by step and dimension by dimension.

    Args:
        context_dim, action_dim, steps: as in ``Head``. width: W of a place, a multiple of heads.
        inner: hidden width of a feed-forward layer. layers: blocks. heads: of attention.
        tokens_per_pass: dimensions of a step that are said at once, without knowing each other:
            1 is RT-2's one after the other, 0 a whole step at once.

    Attributes:
        group: tokens of a pass, at most ``action_dim``. places: passes a chunk takes.

    Raises:
        ConfigError: the width is no multiple of the heads.
    """

    label_mean: Tensor
    label_std: Tensor

    def __init__(
        self,
        context_dim: int,
        action_dim: int,
        steps: int = CHUNK_STEPS,
        width: Width = 128,
        inner: Width = 256,
        layers: Depth = 2,
        heads: Count = 4,
        tokens_per_pass: Annotated[int, Interval(ge=0, le=1024)] = 1,
    ) -> None:
        super().__init__(context_dim, action_dim, steps)
        w, self.heads = int(width), int(heads)
        self.group = min(int(tokens_per_pass) or action_dim, action_dim)
        self._passes = math.ceil(action_dim / self.group)  # a step
        self.places = steps * self._passes
        self.words = nn.Embedding(BINS, WORD_DIM)
        self.enter = nn.Linear(self.group * WORD_DIM, w)
        self.context = nn.Linear(context_dim, w)
        self.place = nn.Parameter(torch.randn(self.places, w) * 0.5)
        self.blocks = nn.ModuleList(
            CausalBlock(w, self.heads, int(inner)) for _ in range(int(layers))
        )
        self.norm = nn.LayerNorm(w)
        self.leave = nn.Linear(w, self.group * BINS)
        self.register_buffer("label_mean", torch.zeros(action_dim))
        self.register_buffer("label_std", torch.ones(action_dim))

    def set_limits(self, mean: Tensor, std: Tensor) -> None:
        """Record where +-1 lies: (A,) mean and std of the training labels."""
        super().set_limits(mean, std)
        self.label_mean.copy_(mean)
        self.label_std.copy_(std)

    def bins(self, actions: Tensor) -> Tensor:
        """Nearest bins int64 in 0 to 255 of standardised actions (..., A)."""
        real = (actions * self.label_std + self.label_mean).clamp(-1.0, 1.0)
        return ((real + 1) / 2 * (BINS - 1)).round().long()

    def values(self, bins: Tensor) -> Tensor:
        """Standardised actions (..., A) float32 that bins stand for."""
        real = bins.to(self.label_mean.dtype) / (BINS - 1) * 2 - 1
        return (real - self.label_mean) / self.label_std

    def logits(self, context: Tensor, bins: Tensor) -> Tensor:
        """Scores of every bin, each given the bins before it.

        Args:
            context: (B, C). bins: (B, H, A) int64 of the whole chunk.

        Returns:
            (B, H, A, 256) float32.
        """
        said = self._said(self._grouped(bins)[:, :-1])
        x = functional.pad(said, (0, 0, 1, 0)) + self.place + self.context(context).unsqueeze(1)
        for block in self.blocks:
            x = block(x)
        return self._of_steps(self.leave(self.norm(x)).float().unflatten(2, (self.group, BINS)))

    def loss(self, context: Tensor, actions: Tensor, weight: Tensor) -> Tensor:
        """Mean cross-entropy in nats a token over real steps."""
        bins = self.bins(hold_last(actions, weight))
        logits = self.logits(context, bins)
        errors = functional.cross_entropy(logits.flatten(0, 2), bins.flatten(), reduction="none")
        return weighted_mean(errors.reshape(bins.shape), weight)

    @torch.no_grad()
    def sample(self, context: Tensor, seed: int = 0) -> Tensor:
        """The likeliest chunk, word by word; ``seed`` changes nothing, greedy has no chance."""
        del seed
        rows, place = len(context), self.place + self.context(context).unsqueeze(1)
        size = place.shape[2] // self.heads
        caches = [KVCache(rows, self.heads, self.places, size, context.device) for _ in self.blocks]
        x = place[:, :1]
        chosen: list[Tensor] = []
        for number in range(self.places):
            if number:
                x = place[:, number : number + 1] + self._said(chosen[-1])
            for block, cache in zip(self.blocks, caches, strict=True):
                x = block(x, cache)
            scores = self.leave(self.norm(x)).unflatten(2, (self.group, BINS))
            chosen.append(self._unspoken(scores.argmax(dim=3), number))
        return self.values(self._of_steps(torch.cat(chosen, dim=1)))

    def _said(self, groups: Tensor) -> Tensor:
        """Embedded bins: (B, N, group) -> (B, N, W)."""
        out: Tensor = self.enter(self.words(groups).flatten(2))
        return out

    def _unspoken(self, groups: Tensor, number: int) -> Tensor:
        """Zeros for what the last pass (B, 1, group) of a step says beyond the dimensions."""
        real = self.action_dim - number % self._passes * self.group
        return functional.pad(groups[:, :, :real], (0, max(self.group - real, 0)))

    def _grouped(self, bins: Tensor) -> Tensor:
        """(B, H, A) -> (B, places, group), zeros beyond the dimensions of a step."""
        missing = self._passes * self.group - self.action_dim
        return functional.pad(bins, (0, missing)).reshape(len(bins), self.places, self.group)

    def _of_steps(self, groups: Tensor) -> Tensor:
        """(B, places, group, ...) -> (B, H, A, ...)."""
        by_step = groups.unflatten(1, (self.steps, self._passes)).flatten(2, 3)
        out: Tensor = by_step[:, :, : self.action_dim]
        return out
