"""Flow matching over whole chunks (Lipman et al. 2022; as pi0 uses it, Black et al. 2024).

``x_t = (1 - t) n + t a`` with noise n and chunk a; the velocity is ``a - n``. The network
predicts the end point a, and the velocity follows as ``(a^ - x_t) / (1 - t)``: the same
flow, with an error that does not grow near t = 1. Nothing is capped in training or in
sampling, so the joint limits are reachable; the policy clips to [-1, 1] at the end.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from neon_sim.clock import CHUNK_STEPS
from neon_sim.rules import Count, Depth, Flag, Width

from .base import hold_last, seeded_noise, weighted_mean
from .dit import TIME_WAVES, time_waves
from .mlp import MLPHead

# Noisy chunk (B, H, A), time (B,) and context (B, C) -> end point (B, H, A).
EndPoint = Callable[[Tensor, Tensor, Tensor], Tensor]


def flow_loss(end_point: EndPoint, context: Tensor, actions: Tensor, weight: Tensor) -> Tensor:
    """Mean squared error of the end point over real steps, t uniform in [0, 1)."""
    target = hold_last(actions, weight)
    noise = torch.randn_like(target)
    t = torch.rand(len(target), device=target.device)
    share = t[:, None, None]
    x = (1 - share) * noise + share * target
    return weighted_mean((end_point(x, t, context) - target).square(), weight)


def integrate(end_point: EndPoint, context: Tensor, noise: Tensor, euler_steps: int) -> Tensor:
    """Euler steps from noise (B, H, A) at t = 0 to a chunk (B, H, A) at t = 1."""
    x = noise
    for step in range(euler_steps):
        t = step / euler_steps
        times = torch.full((len(context),), t, device=context.device)
        velocity = (end_point(x, times, context) - x) / (1 - t)
        x = x + velocity / euler_steps
    return x


class FlowHead(MLPHead):
    """Euler integration of a learned flow from noise to a chunk.

    Args:
        context_dim, action_dim, steps: as in ``Head``. width: of the trunk.
        inner: hidden width of a block. blocks: number of them.
        euler_steps: of the sampler, >= 1.
        groups: as in ``MLPHead``.

    Raises:
        ConfigError: as ``MLPHead``.
    """

    def __init__(
        self,
        context_dim: int,
        action_dim: int,
        steps: int = CHUNK_STEPS,
        width: Width = 256,
        inner: Width = 256,
        blocks: Depth = 3,
        euler_steps: Count = 8,
        groups: Flag = 0,
    ) -> None:
        inputs = steps * action_dim + 2 * TIME_WAVES + context_dim
        shape = (context_dim, action_dim, steps, width, inner, blocks, groups)
        super().__init__(inputs, *shape)
        self.euler_steps = int(euler_steps)

    def end_point(self, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        """Predicted chunk: x (B, H, A) at time t (B,) under context (B, C) -> (B, H, A)."""
        return self.chunk(torch.cat([x.flatten(1), time_waves(t), context], dim=1), context)

    def loss(self, context: Tensor, actions: Tensor, weight: Tensor) -> Tensor:
        """Mean squared error of the end point over real steps, t uniform in [0, 1)."""
        return flow_loss(self.end_point, context, actions, weight)

    def sample(self, context: Tensor, seed: int = 0) -> Tensor:
        """Integrate from the noise of ``seed``, the same for every row: batches change nothing."""
        noise = seeded_noise(seed, len(context), self.steps, self.action_dim, context.device)
        return integrate(self.end_point, context, noise, self.euler_steps)
