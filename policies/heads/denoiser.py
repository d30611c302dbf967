"""The network that `flow` and `diffusion` share: an MLP over the whole noisy chunk.

Octo (Team et al. 2024) denoises its chunks with such a network of residual blocks.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from neon_sim.clock import CHUNK_STEPS

from .base import Head, ResidualBlock

TIME_WAVES = 16


def wave_frequencies() -> Tensor:
    """Angular frequencies (16,) from 1 to 100 of a time in [0, 1]."""
    return torch.exp(torch.linspace(0.0, math.log(100.0), TIME_WAVES))


def time_waves(t: Tensor, waves: Tensor) -> Tensor:
    """Sines and cosines (B, 2 * 16) of times t (B,) in [0, 1]."""
    phase = t.unsqueeze(1) * waves
    return torch.cat([torch.sin(phase), torch.cos(phase)], dim=1)


class MLPDenoiser(Head):
    """A head that looks at a noisy chunk, the time and the context through one MLP.

    Args:
        context_dim, action_dim, steps: as in ``Head``. width: of the trunk.
        inner: hidden width of a block. blocks: number of them.
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
    ) -> None:
        super().__init__(context_dim, action_dim, steps)
        w, flat = int(width), steps * action_dim
        self.enter = nn.Linear(flat + 2 * TIME_WAVES + context_dim, w)
        self.blocks = nn.ModuleList(ResidualBlock(w, int(inner)) for _ in range(int(blocks)))
        self.norm = nn.RMSNorm(w)
        self.leave = nn.Linear(w, flat)
        self.skip = nn.Linear(context_dim, flat, bias=False)
        nn.init.zeros_(self.skip.weight)
        self.register_buffer("waves", wave_frequencies(), persistent=False)

    def predict(self, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        """Noisy chunk x (B, H, A) at time t (B,) under context (B, C) -> (B, H, A) float32."""
        y = self.enter(torch.cat([x.flatten(1), time_waves(t, self.waves), context], dim=1))
        for block in self.blocks:
            y = block(y)
        return (self.leave(self.norm(y)) + self.skip(context)).float().reshape(x.shape)
