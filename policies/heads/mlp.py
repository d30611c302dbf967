"""The residual MLP that `chunk_mlp` and `flow` share: one for the whole action, or one a group."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from .base import Grouped, Head, ResidualBlock, start_at_zero


def residual_mlp(inputs: int, width: int, inner: int, blocks: int, outputs: int) -> nn.Sequential:
    """(B, inputs) -> (B, outputs) through ``blocks`` residual blocks of ``width``."""
    hidden = (ResidualBlock(width, inner) for _ in range(blocks))
    enter, leave = nn.Linear(inputs, width), nn.Linear(width, outputs)
    return nn.Sequential(enter, *hidden, nn.RMSNorm(width), leave)


class MLPHead(Head):
    """A head whose network is a residual MLP and, beside it, a linear skip from the context.

    With groups they share no layer: each group reads the whole input through an MLP of its own,
    so that a loss on the arms moves no weight of the legs.

    Args:
        inputs: I. context_dim, action_dim, steps: as in ``Head``. width: of the trunk.
        inner: hidden width of a block. blocks: number of them.
        groups: 1 for an MLP a group, 0 for one.

    Raises:
        ConfigError: groups is 1 and no robot takes an action of that length.
    """

    enter: nn.Module
    norm: nn.Module
    leave: nn.Module
    skip: nn.Module

    def __init__(
        self,
        inputs: int,
        context_dim: int,
        action_dim: int,
        steps: int,
        width: int,
        inner: int,
        blocks: int,
        groups: int,
    ) -> None:
        super().__init__(context_dim, action_dim, steps)
        w, i, n = width, inner, blocks
        if groups:
            self.enter, self.blocks, self.norm = nn.Identity(), nn.ModuleList(), nn.Identity()
            self.leave = Grouped(partial(residual_mlp, inputs, w, i, n), action_dim, steps)
            self.skip = Grouped(partial(nn.Linear, context_dim, bias=False), action_dim, steps)
        else:
            self.enter = nn.Linear(inputs, w)
            self.blocks = nn.ModuleList(ResidualBlock(w, i) for _ in range(n))
            self.norm = nn.RMSNorm(w)
            self.leave = nn.Linear(w, steps * action_dim)
            self.skip = nn.Linear(context_dim, steps * action_dim, bias=False)
        start_at_zero(self.skip)

    def chunk(self, x: Tensor, context: Tensor) -> Tensor:
        """(B, I) under context (B, C) -> (B, H, A) float32."""
        y = self.enter(x)
        for block in self.blocks:
            y = block(y)
        flat = self.leave(self.norm(y)) + self.skip(context)
        out: Tensor = flat.float().reshape(-1, self.steps, self.action_dim)
        return out
