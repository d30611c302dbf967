"""The default head: one forward pass gives the whole chunk."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Interval
from torch import Tensor
from torch.nn import functional

from neon_sim.clock import CHUNK_STEPS
from neon_sim.rules import Depth, Flag, Width

from .base import MARGIN, weighted_mean
from .mlp import MLPHead


def soft_cap(x: Tensor, cap: Tensor) -> Tensor:
    """``cap * tanh(x / cap)``: identity near 0, never beyond ``cap``."""
    return cap * torch.tanh(x / cap)


class ChunkMLP(MLPHead):
    """RMSNorm, squared ReLU, learnable residual scale, a linear skip, and a soft cap.

    The cap lies 1.5 times beyond the farthest joint limit, so that a label of exactly +-1 is
    reached at a finite input.

    Args:
        context_dim, action_dim, steps: as in ``Head``. width: of the trunk.
        inner: hidden width of a block. blocks: number of them.
        huber: errors above this many standard deviations count linearly.
        groups: as in ``MLPHead``.

    Raises:
        ConfigError: as ``MLPHead``.
    """

    def __init__(
        self,
        context_dim: int,
        action_dim: int,
        steps: int = CHUNK_STEPS,
        width: Width = 192,
        inner: Width = 192,
        blocks: Depth = 2,
        huber: Annotated[float, Interval(gt=0, le=1000)] = 0.1,
        groups: Flag = 0,
    ) -> None:
        shape = (context_dim, action_dim, steps, width, inner, blocks, groups)
        super().__init__(context_dim, *shape)
        self.huber = float(huber)

    def forward(self, context: Tensor) -> Tensor:
        """(B, C) -> (B, H, A) standardised."""
        return soft_cap(self.chunk(context, context), MARGIN * self.limit)

    def loss(self, context: Tensor, actions: Tensor, weight: Tensor) -> Tensor:
        """Huber loss over real steps, divided by its threshold (so it is L1 far out)."""
        errors = functional.huber_loss(self(context), actions, reduction="none", delta=self.huber)
        return weighted_mean(errors / self.huber, weight)

    def sample(self, context: Tensor, seed: int = 0) -> Tensor:
        """The chunk; ``seed`` changes nothing, there is no chance in it."""
        del seed
        out: Tensor = self(context)
        return out
