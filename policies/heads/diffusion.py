"""Denoising diffusion over whole chunks, sampled in a few DDIM steps.

As in Diffusion Policy (Chi et al. 2023) and Octo (Team et al. 2024): ``x_k = alpha_k a +
sigma_k n`` with the cosine schedule (Nichol and Dhariwal 2021, eq. 17). The network predicts the
chunk a (Salimans and Ho 2022, section 4, "predicting x"), and the noise follows as ``n = (x -
alpha a) / sigma``, whose sigma is never nothing where it is asked. So the schedule may end in pure
noise, where the sampler starts (Lin et al. 2024, "Common diffusion noise schedules and sample steps
are flawed"): predicting n there would divide by an alpha of nothing. Nor does it predict v, their
mixture: where the context says what to do, v is x times up to ``alpha / sigma`` = 60 less a
chunk, and a network of normalised layers does not amplify like that. Nothing is capped, so the
joint limits are reachable. The network is the transformer of ``dit``: noise has the width of the
whole chunk, which an MLP over it would have to carry through its trunk.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated

import torch
from annotated_types import Interval
from torch import Tensor

from neon_sim.clock import CHUNK_STEPS
from neon_sim.rules import Count, Depth, Flag, Width

from .base import hold_last, seeded_noise, weighted_mean
from .dit import DiTDenoiser

TRAIN_STEPS = 100  # Diffusion Policy's
OFFSET = 0.008  # s of Nichol and Dhariwal 2021, eq. 17


def cosine_schedule(steps: int) -> tuple[Tensor, Tensor]:
    """alpha and sigma (steps + 1,) with alpha^2 + sigma^2 = 1, from (1, 0) to exactly (0, 1)."""
    share = torch.arange(steps + 1, dtype=torch.float64) / steps
    angle = (share + OFFSET) / (1 + OFFSET) * math.pi / 2
    alpha = torch.cos(angle) / math.cos(OFFSET / (1 + OFFSET) * math.pi / 2)
    alpha[-1] = 0.0
    alpha = alpha.clamp(0.0, 1.0)
    return alpha.float(), (1 - alpha.square()).sqrt().float()


class DiffusionHead(DiTDenoiser):
    """DDIM sampling (Song et al. 2020, eq. 12 with eta = 0) of a network that predicts the chunk.

    Args:
        context_dim, action_dim, steps: as in ``Head``. width: of a token, a multiple of heads.
        inner: hidden width of a feed-forward layer. layers: blocks. heads: of attention.
        ddim_steps: of the sampler, 1 to the 100 of training. groups: as in ``DiTDenoiser``.

    Raises:
        ConfigError: as ``DiTDenoiser``.
    """

    alpha: Tensor
    sigma: Tensor

    def __init__(
        self,
        context_dim: int,
        action_dim: int,
        steps: int = CHUNK_STEPS,
        width: Width = 128,
        inner: Width = 256,
        layers: Depth = 3,
        heads: Count = 4,
        ddim_steps: Annotated[int, Interval(ge=1, le=TRAIN_STEPS)] = 10,
        groups: Flag = 0,
    ) -> None:
        super().__init__(context_dim, action_dim, steps, width, inner, layers, heads, groups)
        self.ddim_steps = ddim_steps
        alpha, sigma = cosine_schedule(TRAIN_STEPS)
        self.register_buffer("alpha", alpha, persistent=False)
        self.register_buffer("sigma", sigma, persistent=False)

    def loss(self, context: Tensor, actions: Tensor, weight: Tensor) -> Tensor:
        """Mean squared error of the chunk over real steps, k uniform in 1 to 100."""
        target = hold_last(actions, weight)
        noise = torch.randn_like(target)
        k = torch.randint(1, TRAIN_STEPS + 1, (len(target),), device=target.device)
        alpha, sigma = self.alpha[k][:, None, None], self.sigma[k][:, None, None]
        chunk = self.predict(alpha * target + sigma * noise, k / TRAIN_STEPS, context)
        return weighted_mean((chunk - target).square(), weight)

    def sample(self, context: Tensor, seed: int = 0) -> Tensor:
        """Denoise the noise of ``seed``, the same for every row: batches change nothing."""
        x = seeded_noise(seed, len(context), self.steps, self.action_dim, context.device)
        levels = [
            round(TRAIN_STEPS * (1 - i / self.ddim_steps)) for i in range(self.ddim_steps + 1)
        ]
        for k, following in pairwise(levels):
            times = torch.full((len(context),), k / TRAIN_STEPS, device=context.device)
            chunk = self.predict(x, times, context)
            noise = (x - self.alpha[k] * chunk) / self.sigma[k]
            x = self.alpha[following] * chunk + self.sigma[following] * noise
        return x
