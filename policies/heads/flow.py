"""Flow matching over whole chunks (Lipman et al. 2022; as pi0 uses it, Black et al. 2024).

``x_t = (1 - t) n + t a`` with noise n and chunk a; the velocity is ``a - n``. The network
predicts the end point a, and the velocity follows as ``(a^ - x_t) / (1 - t)``: the same
flow, with an error that does not grow near t = 1. Nothing is capped in training or in
sampling, so the joint limits are reachable; the policy clips to [-1, 1] at the end.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from neon_sim.clock import CHUNK_STEPS

from .base import Head, ResidualBlock, weighted_mean

TIME_WAVES = 16


class FlowHead(Head):
    """Euler integration of a learned flow from noise to a chunk.

    Args:
        context_dim, action_dim, steps: as in ``Head``. width: of the trunk.
        inner: hidden width of a block. blocks: number of them.
        euler_steps: of the sampler, >= 1.
    """

    waves: Tensor

    def __init__(
        self,
        context_dim: int,
        action_dim: int,
        steps: int = CHUNK_STEPS,
        width: float = 256,
        inner: float = 256,
        blocks: float = 3,
        euler_steps: float = 8,
    ) -> None:
        super().__init__(context_dim, action_dim, steps)
        w, flat = int(width), steps * action_dim
        self.euler_steps = int(euler_steps)
        self.enter = nn.Linear(flat + 2 * TIME_WAVES + context_dim, w)
        self.blocks = nn.ModuleList(ResidualBlock(w, int(inner)) for _ in range(int(blocks)))
        self.norm = nn.RMSNorm(w)
        self.leave = nn.Linear(w, flat)
        self.skip = nn.Linear(context_dim, flat, bias=False)
        nn.init.zeros_(self.skip.weight)
        waves = torch.exp(torch.linspace(0.0, math.log(100.0), TIME_WAVES))
        self.register_buffer("waves", waves, persistent=False)

    def end_point(self, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        """Predicted chunk: x (B, H * A) at time t (B,) under context (B, C) -> (B, H * A)."""
        phase = t.unsqueeze(1) * self.waves
        inputs = torch.cat([x, torch.sin(phase), torch.cos(phase), context], dim=1)
        y = self.enter(inputs)
        for block in self.blocks:
            y = block(y)
        return (self.leave(self.norm(y)) + self.skip(context)).float()

    def loss(self, context: Tensor, actions: Tensor, weight: Tensor) -> Tensor:
        """Mean squared error of the end point over real steps, t uniform in [0, 1)."""
        target = actions.flatten(1)
        noise = torch.randn_like(target)
        t = torch.rand(len(target), device=target.device)
        x = (1 - t).unsqueeze(1) * noise + t.unsqueeze(1) * target
        errors = (self.end_point(x, t, context) - target).square()
        return weighted_mean(errors.reshape(actions.shape), weight)

    def sample(self, context: Tensor, seed: int = 0) -> Tensor:
        """Integrate from the noise of ``seed``, the same for every row: batches change nothing."""
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(self.steps * self.action_dim, generator=generator)
        x = noise.to(context.device).expand(len(context), -1)
        for step in range(self.euler_steps):
            t = step / self.euler_steps
            times = torch.full((len(context),), t, device=context.device)
            velocity = (self.end_point(x, times, context) - x) / (1 - t)
            x = x + velocity / self.euler_steps
        return x.reshape(-1, self.steps, self.action_dim)
