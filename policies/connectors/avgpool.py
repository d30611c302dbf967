"""Average pooling over windows of the token grid: 12 x 12 -> 6 x 6 with ``pool_window=2``."""

from __future__ import annotations

import torch
from torch import Tensor

from neon_sim.errors import ConfigError

from .base import Connector, Rows, Window, Windows

WINDOW = 2


class AvgPool(Connector):
    """Mean of the real tokens of each ``pool_window`` x ``pool_window`` square.

    Where the window does not divide the grid, the last ones of a row or column are narrower and
    the mean of the tokens that lie in them: 7 x 7 -> 4 x 4 with 2.

    Args:
        feature_dim, num_tokens: as in ``Connector``.
        window: 2 by default. pool_window: the same, as ``attentional_pool`` calls it.
        rows: of a grid that is no square; told by the backbone.

    Raises:
        ConfigError: both are given, a window that is no whole number from 1, or no such grid.
    """

    def __init__(
        self,
        feature_dim: int,
        num_tokens: int,
        window: Window | None = None,
        pool_window: Window | None = None,
        rows: Rows = 0,
    ) -> None:
        super().__init__(feature_dim, num_tokens)
        if window is not None and pool_window is not None:
            raise ConfigError(
                f"connector_args.window and connector_args.pool_window mean the same (got {window} "
                f"and {pool_window}); give the one that the policy has already"
            )
        named, asked = ("window", window) if pool_window is None else ("pool_window", pool_window)
        asked = WINDOW if asked is None else asked
        self.windows = Windows.over(num_tokens, rows, asked, named, least=1)
        self.out_tokens = self.windows.count

    def forward(self, hidden: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """A window is real where any of its tokens is."""
        weight = mask.to(hidden.dtype).unsqueeze(-1)
        kept = torch.where(mask.unsqueeze(-1), hidden, torch.zeros((), dtype=hidden.dtype))
        total = self.windows.cut(kept).sum(dim=(2, 4))
        count = self.windows.cut(weight).sum(dim=(2, 4))
        pooled = (total / count.clamp(min=1.0)).flatten(1, 2)
        return pooled, (count > 0).flatten(1, 3)
