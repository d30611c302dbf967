"""Connectors: how many tokens a frame may cost before they reach the fusion."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval
from torch import Tensor, nn
from torch.nn import functional

from neon_sim.errors import ConfigError

Window = Annotated[int, Interval(ge=0, le=1024)]  # tokens a side of the grid
Rows = Annotated[int, Interval(ge=0, le=1024)]  # of a grid that is no square; 0: it is one


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


@dataclass(frozen=True)
class Windows:
    """Windows that tile a frame's grid of tokens from the top left.

    A grid that they do not divide ends in narrower ones: ``ceil(rows / window)`` of them down and
    ``ceil(columns / window)`` across, as KempnerForge has it (``P' = ceil(grid / window)²``, "Train
    on video").

    Attributes:
        rows, columns: of the grid. window: tokens a side, at most the longer side of the grid.
    """

    rows: int
    columns: int
    window: int

    @classmethod
    def over(cls, num_tokens: int, rows: float, window: float, named: str, least: int) -> Windows:
        """Windows over the grid of a frame.

        Args:
            num_tokens: S. rows: of the grid, 0 for a square one. window: tokens a side.
            named: what an error calls ``window``. least: smallest one.

        Raises:
            ConfigError: ``window`` is no whole number from ``least``, or S is no grid of such rows.
        """
        high, wide = grid_of(num_tokens, rows)
        if not window >= least or window != window // 1:
            raise ConfigError(
                f"connector_args.{named} must be a whole number from {least} (got {window:g}), "
                f"tokens of a side; the grid is {high} x {wide}"
            )
        return cls(high, wide, int(min(window, max(high, wide))))

    @property
    def count(self) -> int:
        """How many there are."""
        return -(-self.rows // self.window) * -(-self.columns // self.window)

    def cut(self, x: Tensor) -> Tensor:
        """(N, S, D) -> (N, down, window, across, window, D), zeros where the grid has ended."""
        grid = x.reshape(len(x), self.rows, self.columns, -1)
        spare_rows, spare_columns = -self.rows % self.window, -self.columns % self.window
        if spare_rows or spare_columns:
            grid = functional.pad(grid, (0, 0, 0, spare_columns, 0, spare_rows))
        down, across = grid.shape[1] // self.window, grid.shape[2] // self.window
        return grid.reshape(len(x), down, self.window, across, self.window, -1)


def grid_of(num_tokens: int, rows: float = 0) -> tuple[int, int]:
    """Rows and columns of a frame's grid of tokens.

    Args:
        num_tokens: S. rows: of the grid; 0 for a square one.

    Raises:
        ConfigError: S is no square, or no multiple of ``rows``.
    """
    if not rows:
        side = math.isqrt(num_tokens)
        if side * side != num_tokens:
            raise ConfigError(
                f"tokens a frame must form a square grid (got {num_tokens}), or the rows of theirs "
                "must be told: connector_args.rows="
            )
        return side, side
    if not rows > 0 or rows != rows // 1 or num_tokens % int(rows):
        raise ConfigError(
            f"connector_args.rows must be a whole number that divides the {num_tokens} tokens a "
            f"frame (got {rows:g}); leave it out where the backbone tells it"
        )
    return int(rows), num_tokens // int(rows)
