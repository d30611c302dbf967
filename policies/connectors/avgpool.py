"""Average pooling over windows of the token grid: 12 x 12 -> 6 x 6 with ``window=2``."""

from __future__ import annotations

import torch
from torch import Tensor

from neon_sim.errors import ConfigError

from .base import Connector, grid_side


class AvgPool(Connector):
    """Mean of the real tokens of each ``window`` x ``window`` square.

    Raises:
        ConfigError: no square grid, or a window that does not divide its side.
    """

    def __init__(self, feature_dim: int, num_tokens: int, window: float = 2) -> None:
        super().__init__(feature_dim, num_tokens)
        self.side, self.window = grid_side(num_tokens), int(window)
        if self.window < 1 or self.side % self.window:
            raise ConfigError(
                f"connector_args.window must divide the grid side {self.side} (got {window})"
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
