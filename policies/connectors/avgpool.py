"""Average pooling over windows of the token grid: 12 x 12 -> 6 x 6 with ``pool_window=2``."""

from __future__ import annotations

import torch
from torch import Tensor

from neon_sim.errors import ConfigError

from .base import Connector, Window, grid_side

WINDOW = 2


class AvgPool(Connector):
    """Mean of the real tokens of each ``pool_window`` x ``pool_window`` square.

    Args:
        feature_dim, num_tokens: as in ``Connector``.
        window: 2 by default. pool_window: the same, as ``attentional_pool`` calls it.

    Raises:
        ConfigError: both are given, no square grid, or a window that does not divide its side.
    """

    def __init__(
        self,
        feature_dim: int,
        num_tokens: int,
        window: Window | None = None,
        pool_window: Window | None = None,
    ) -> None:
        super().__init__(feature_dim, num_tokens)
        if window is not None and pool_window is not None:
            raise ConfigError(
                f"connector_args.window and connector_args.pool_window mean the same (got {window} "
                f"and {pool_window}); give the one that the policy has already"
            )
        named, asked = ("window", window) if pool_window is None else ("pool_window", pool_window)
        asked = WINDOW if asked is None else asked
        self.side, self.window = grid_side(num_tokens), int(asked)
        if self.window < 1 or self.side % self.window:
            raise ConfigError(
                f"connector_args.{named} must divide the grid side {self.side} (got {asked})"
            )
        self.out_tokens = (self.side // self.window) ** 2

    def forward(self, hidden: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """A window is real where any of its tokens is."""
        coarse, window = self.side // self.window, self.window
        weight = mask.to(hidden.dtype).unsqueeze(-1)
        kept = torch.where(mask.unsqueeze(-1), hidden, torch.zeros((), dtype=hidden.dtype))
        shape = (len(hidden), coarse, window, coarse, window)
        total = kept.reshape(*shape, self.feature_dim).sum(dim=(2, 4))
        count = weight.reshape(*shape, 1).sum(dim=(2, 4))
        pooled = (total / count.clamp(min=1.0)).flatten(1, 2)
        return pooled, (count > 0).flatten(1, 3)
