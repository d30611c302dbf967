"""The default head: one forward pass gives the whole chunk."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from neon_sim.clock import CHUNK_STEPS

from .base import MARGIN, Head, ResidualBlock, output_layer, start_at_zero, weighted_mean


def soft_cap(x: Tensor, cap: Tensor) -> Tensor:
    """``cap * tanh(x / cap)``: identity near 0, never beyond ``cap``."""
    return cap * torch.tanh(x / cap)


class ChunkMLP(Head):
    """RMSNorm, squared ReLU, learnable residual scale, a linear skip, and a soft cap.

    The cap lies 1.5 times beyond the farthest joint limit, so that a label of exactly +-1 is
    reached at a finite input.

    Args:
        context_dim, action_dim, steps: as in ``Head``. width: of the trunk.
        inner: hidden width of a block. blocks: number of them.
        huber: errors above this many standard deviations count linearly.
        groups: 1 for an output layer a group (``base.GroupedLinear``), 0 for one.

    Raises:
        ConfigError: groups, and no robot takes an action of that length.
    """

    def __init__(
        self,
        context_dim: int,
        action_dim: int,
        steps: int = CHUNK_STEPS,
        width: float = 192,
        inner: float = 192,
        blocks: float = 2,
        huber: float = 0.1,
        groups: float = 0,
    ) -> None:
        super().__init__(context_dim, action_dim, steps)
        w = int(width)
        self.huber = float(huber)
        self.enter = nn.Linear(context_dim, w)
        self.blocks = nn.ModuleList(ResidualBlock(w, int(inner)) for _ in range(int(blocks)))
        self.norm = nn.RMSNorm(w)
        self.leave = output_layer(groups, w, action_dim, steps)
        self.skip = output_layer(groups, context_dim, action_dim, steps, bias=False)
        start_at_zero(self.skip)

    def forward(self, context: Tensor) -> Tensor:
        """(B, C) -> (B, H, A) standardised."""
        x = self.enter(context)
        for block in self.blocks:
            x = block(x)
        raw = self.leave(self.norm(x)) + self.skip(context)
        raw = raw.float().reshape(-1, self.steps, self.action_dim)
        return soft_cap(raw, MARGIN * self.limit)

    def loss(self, context: Tensor, actions: Tensor, weight: Tensor) -> Tensor:
        """Huber loss over real steps, divided by its threshold (so it is L1 far out)."""
        errors = functional.huber_loss(self(context), actions, reduction="none", delta=self.huber)
        return weighted_mean(errors / self.huber, weight)

    def sample(self, context: Tensor, seed: int = 0) -> Tensor:
        """The chunk; ``seed`` changes nothing, there is no chance in it."""
        del seed
        return self(context)
