"""Attentional pooling: learned queries gather a frame's tokens into fewer."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Interval
from torch import Tensor, nn

from neon_sim.errors import ConfigError

from .base import Connector, Window, grid_side

DEFAULT_TOKENS = 16


class AttentionalPool(Connector):
    """One layer of attention from learned queries to tokens and their places.

    Args:
        feature_dim, num_tokens: as in ``Connector``.
        tokens: so many queries look at the whole frame; 16 unless ``pool_window`` is given.
        pool_window: one query looks at each ``pool_window`` x ``pool_window`` square of the
            grid (12 x 12 -> 6 x 6 with 2), so that what comes out is a grid again.

    Raises:
        ConfigError: both are given, ``pool_window`` is 1 or does not divide the side of the grid,
            or there is no square grid.
    """

    def __init__(
        self,
        feature_dim: int,
        num_tokens: int,
        tokens: Annotated[int, Interval(ge=0, le=4096)] = 0,
        pool_window: Window = 0,
    ) -> None:
        super().__init__(feature_dim, num_tokens)
        if tokens and pool_window:
            raise ConfigError(
                f"connector_args must give tokens or pool_window, not both (got tokens={tokens} "
                f"and pool_window={pool_window}); leave one out"
            )
        self.window = window_of(num_tokens, pool_window) if pool_window else 0
        queries = 1 if self.window else tokens or DEFAULT_TOKENS
        seen = self.window**2 or num_tokens  # tokens that a query looks at
        self.out_tokens = num_tokens // seen if self.window else queries
        self.query = nn.Parameter(torch.randn(queries, feature_dim) * 0.5)
        self.place = nn.Parameter(torch.randn(seen, feature_dim) * 0.5)
        self.value = nn.Linear(feature_dim, feature_dim)

    def forward(self, hidden: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Padding gets no attention; a frame, or window, of padding gives masked zeros."""
        if not self.window:
            return self._pool(hidden, mask)
        rows = len(hidden)
        pooled, real = self._pool(self._windows(hidden), self._windows(mask.unsqueeze(2))[..., 0])
        return pooled.reshape(rows, self.out_tokens, -1), real.reshape(rows, self.out_tokens)

    def _windows(self, x: Tensor) -> Tensor:
        """(N, S, D) -> (N * S', window ** 2, D), windows row by row."""
        side, window = grid_side(self.num_tokens), self.window
        grid = x.reshape(len(x), side // window, window, side // window, window, -1)
        return grid.transpose(2, 3).reshape(-1, window**2, x.shape[2])

    def _pool(self, hidden: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        keys = torch.where(mask.unsqueeze(-1), hidden, torch.zeros(())) + self.place
        logits = self.query @ keys.transpose(1, 2) * self.feature_dim**-0.5
        logits = logits.float().masked_fill(~mask.unsqueeze(1), -1e9)
        pooled = logits.softmax(dim=-1).to(keys.dtype) @ self.value(keys)
        real = mask.any(dim=1, keepdim=True)
        pooled = torch.where(real.unsqueeze(-1), pooled, torch.zeros((), dtype=pooled.dtype))
        return pooled, real.expand(-1, len(self.query))


def window_of(num_tokens: int, pool_window: int) -> int:
    """``pool_window``, which divides the grid's side; a ``ConfigError`` otherwise."""
    side = grid_side(num_tokens)
    if pool_window < 2 or side % pool_window:
        fits = [n for n in range(2, side + 1) if side % n == 0]
        raise ConfigError(
            f"connector_args.pool_window must divide the grid side {side}: one of {fits} "
            f"(got {pool_window})"
        )
    return pool_window
