"""Flow matching with a diffusion transformer: one token an action step.

The objective and the sampler are those of ``flow``, the network is that of ``dit``. Nothing is
capped, so the joint limits are reachable.
"""

from __future__ import annotations

from torch import Tensor

from neon_sim.clock import CHUNK_STEPS
from neon_sim.rules import Count, Depth, Flag, Width

from .base import seeded_noise
from .dit import DiTDenoiser
from .flow import flow_loss, integrate


class DiTFlow(DiTDenoiser):
    """Euler integration of a flow that a transformer over the action steps has learned.

    Args:
        context_dim, action_dim, steps: as in ``Head``. width: of a token, a multiple of heads.
        inner: hidden width of a feed-forward layer. layers: blocks. heads: of attention.
        euler_steps: of the sampler, >= 1. groups: as in ``DiTDenoiser``.

    Raises:
        ConfigError: as ``DiTDenoiser``.
    """

    def __init__(
        self,
        context_dim: int,
        action_dim: int,
        steps: int = CHUNK_STEPS,
        width: Width = 128,
        inner: Width = 256,
        layers: Depth = 3,
        heads: Count = 4,
        euler_steps: Count = 8,
        groups: Flag = 0,
    ) -> None:
        super().__init__(context_dim, action_dim, steps, width, inner, layers, heads, groups)
        self.euler_steps = int(euler_steps)

    def loss(self, context: Tensor, actions: Tensor, weight: Tensor) -> Tensor:
        """Mean squared error of the end point over real steps, t uniform in [0, 1)."""
        return flow_loss(self.predict, context, actions, weight)

    def sample(self, context: Tensor, seed: int = 0) -> Tensor:
        """Integrate from the noise of ``seed``, the same for every row: batches change nothing."""
        noise = seeded_noise(seed, len(context), self.steps, self.action_dim, context.device)
        return integrate(self.predict, context, noise, self.euler_steps)
