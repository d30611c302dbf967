"""Connectors: how many tokens a frame may cost before they reach the fusion."""

from __future__ import annotations

import math
from typing import Annotated

from annotated_types import Interval
from torch import Tensor, nn

from neon_sim.errors import ConfigError

Window = Annotated[int, Interval(ge=0, le=1024)]  # tokens a side of the grid


class Connector(nn.Module):
    """Turns S tokens of each frame into ``out_tokens``.

    A connector without parameters runs before the feature cache, so that the cache holds
    its smaller output; one with parameters is trained with the head.

    Args:
        feature_dim: D. num_tokens: S.

    Attributes:
        out_tokens: tokens a frame after it.
    """

    out_tokens: int

    def __init__(self, feature_dim: int, num_tokens: int) -> None:
        super().__init__()
        self.feature_dim, self.num_tokens = feature_dim, num_tokens

    def forward(self, hidden: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(N, S, D) and (N, S) bool -> (N, S', D) and (N, S') bool."""
        raise NotImplementedError


def grid_side(num_tokens: int) -> int:
    """Side of a square grid of tokens.

    Raises:
        ConfigError: the number is no square.
    """
    side = math.isqrt(num_tokens)
    if side * side != num_tokens:
        raise ConfigError(f"tokens a frame must form a square grid (got {num_tokens})")
    return side
