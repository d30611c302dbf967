"""Attentional pooling: learned queries gather a frame's tokens into fewer."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Interval
from torch import Tensor, nn

from neon_sim.errors import ConfigError

from .base import Connector, Rows, Window, Windows

DEFAULT_TOKENS = 16


class AttentionalPool(Connector):
    """One layer of attention from learned queries to tokens and their places.

    Args:
        feature_dim, num_tokens: as in ``Connector``.
        tokens: so many queries look at the whole frame; 16 unless ``pool_window`` is given.
        pool_window: one query looks at each ``pool_window`` x ``pool_window`` square of the
            grid (12 x 12 -> 6 x 6 with 2), so that what comes out is a grid again; where it does
            not divide the grid, the last ones are narrower (7 x 7 -> 4 x 4).
        rows: of a grid that is no square; told by the backbone.

    Raises:
        ConfigError: both are given, ``pool_window`` is 1, or there is no such grid.
    """

    def __init__(
        self,
        feature_dim: int,
        num_tokens: int,
        tokens: Annotated[int, Interval(ge=0, le=4096)] = 0,
        pool_window: Window = 0,
        rows: Rows = 0,
    ) -> None:
        super().__init__(feature_dim, num_tokens)
        if tokens and pool_window:
            raise ConfigError(
                f"connector_args must give tokens or pool_window, not both (got tokens={tokens} "
                f"and pool_window={pool_window}); leave one out"
            )
        self.windows: Windows | None = None
        if pool_window:
            self.windows = Windows.over(num_tokens, rows, pool_window, "pool_window", least=2)
        queries = 1 if self.windows else tokens or DEFAULT_TOKENS
        seen = self.windows.window**2 if self.windows else num_tokens  # that a query looks at
        self.out_tokens = self.windows.count if self.windows else queries
        self.query = nn.Parameter(torch.randn(queries, feature_dim) * 0.5)
        self.place = nn.Parameter(torch.randn(seen, feature_dim) * 0.5)
        self.value = nn.Linear(feature_dim, feature_dim)

    def forward(self, hidden: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Padding gets no attention; a frame, or window, of padding gives masked zeros."""
        if self.windows is None:
            return self._pool(hidden, mask)
        rows = len(hidden)
        pooled, real = self._pool(self._windows(hidden), self._windows(mask.unsqueeze(2))[..., 0])
        return pooled.reshape(rows, self.out_tokens, -1), real.reshape(rows, self.out_tokens)

    def _windows(self, x: Tensor) -> Tensor:
        """(N, S, D) -> (N * S', window ** 2, D), windows row by row."""
        assert self.windows is not None
        cut = self.windows.cut(x)
        return cut.transpose(2, 3).reshape(-1, self.windows.window**2, x.shape[2])

    def _pool(self, hidden: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        keys = torch.where(mask.unsqueeze(-1), hidden, torch.zeros(())) + self.place
        logits = self.query @ keys.transpose(1, 2) * self.feature_dim**-0.5
        logits = logits.float().masked_fill(~mask.unsqueeze(1), -1e9)
        pooled = logits.softmax(dim=-1).to(keys.dtype) @ self.value(keys)
        real = mask.any(dim=1, keepdim=True)
        pooled = torch.where(real.unsqueeze(-1), pooled, torch.zeros((), dtype=pooled.dtype))
        return pooled, real.expand(-1, len(self.query))
