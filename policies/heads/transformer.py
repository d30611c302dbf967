"""Self-attention and feed-forward of the transformer heads, with a cache of keys and values."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from neon_sim.errors import ConfigError


class KVCache:
    """Keys and values of the places that were read so far, in memory laid out once.

    Args:
        rows: B. heads: of attention. places: most there will be. width: of one head.
        device: where.

    Attributes:
        filled: places read so far.
    """

    def __init__(self, rows: int, heads: int, places: int, width: int, device: Any) -> None:
        self._store = torch.zeros(2, rows, heads, places, width, device=device)
        self.filled = 0

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add (B, heads, N, d) and return all so far, (B, heads, filled, d)."""
        start, self.filled = self.filled, self.filled + keys.shape[2]
        self._store[0, :, :, start : self.filled] = keys
        self._store[1, :, :, start : self.filled] = values
        return self._store[0, :, :, : self.filled], self._store[1, :, :, : self.filled]


class SelfAttention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017).

    Args:
        width: W. heads: of attention; W is a multiple of it.
        causal: a place reads itself and what stands before it.

    Raises:
        ConfigError: the width is no multiple of the heads.
    """

    def __init__(self, width: int, heads: int, causal: bool = False) -> None:
        super().__init__()
        if width % heads:
            raise ConfigError(
                f"head_args.width must be a multiple of head_args.heads = {heads} (got {width})"
            )
        self.heads, self.causal = heads, causal
        self.project = nn.Linear(width, 3 * width)
        self.leave = nn.Linear(width, width)

    def forward(self, x: Tensor, cache: KVCache | None = None) -> Tensor:
        """(B, N, W) -> (B, N, W); with a cache N is 1, and x stands after what it holds."""
        b, n, _ = x.shape
        queries, keys, values = (
            self.project(x).reshape(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        )
        if cache is not None:
            keys, values = cache.append(keys, values)
        seen = functional.scaled_dot_product_attention(
            queries, keys, values, is_causal=self.causal and cache is None
        )
        out: Tensor = self.leave(seen.transpose(1, 2).reshape(b, n, -1))
        return out


class CrossAttention(nn.Module):
    """Multi-head attention to a sequence of others.

    Args:
        width: W of both. heads: of attention; W is a multiple of it.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.leave = nn.Linear(width, width)

    def forward(self, x: Tensor, seen: Tensor, real: Tensor) -> Tensor:
        """(B, N, W), looking at (B, M, W) where (B, M) is True, somewhere -> (B, N, W)."""
        parts = (self.query(x), *self.key_value(seen).chunk(2, dim=2))
        queries, keys, values = (p.unflatten(2, (self.heads, -1)).transpose(1, 2) for p in parts)
        found = functional.scaled_dot_product_attention(
            queries, keys, values, attn_mask=real[:, None, None]
        )
        out: Tensor = self.leave(found.transpose(1, 2).flatten(2))
        return out


def feed_forward(width: int, inner: int) -> nn.Sequential:
    """Two layers and a GELU: (..., W) -> (..., W)."""
    return nn.Sequential(
        nn.Linear(width, inner), nn.GELU(approximate="tanh"), nn.Linear(inner, width)
    )
