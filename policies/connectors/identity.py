"""The connector that changes nothing."""

from __future__ import annotations

from torch import Tensor

from .base import Connector


class Identity(Connector):
    """Every token passes."""

    def __init__(self, feature_dim: int, num_tokens: int) -> None:
        super().__init__(feature_dim, num_tokens)
        self.out_tokens = num_tokens

    def forward(self, hidden: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return both as they are."""
        return hidden, mask
