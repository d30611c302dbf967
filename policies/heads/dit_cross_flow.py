"""Flow matching by a transformer that attends to the context's tokens, as GR00T N1's fast system.

Bjorck et al. 2025, section 2: a diffusion transformer over a state token and one token an action
step reads vision-language tokens by cross-attention, the norms before attention are modulated by
the time of the flow alone, and every embodiment has projections of its own for states, noisy
actions and velocities around one trunk. Here each block has both attentions (there they
alternate), the projections are single layers, and the end point is predicted as in ``flow``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from neon_sim.clock import CHUNK_STEPS
from neon_sim.errors import ConfigError
from neon_sim.rules import Count, Depth, Width

from .base import Head, seeded_noise
from .dit import TIME_WAVES, AdaLNZero, modulated, time_waves
from .flow import flow_loss, integrate
from .transformer import CrossAttention, SelfAttention, feed_forward


class CrossBlock(nn.Module):
    """Attention among the steps, attention to the context, and a feed-forward layer."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.modulation = AdaLNZero(width, 4)
        self.attention = SelfAttention(width, heads)
        self.look = CrossAttention(width, heads)
        self.mlp = nn.Sequential(nn.LayerNorm(width), feed_forward(width, inner))

    def forward(self, x: Tensor, time: Tensor, seen: Tensor, real: Tensor) -> Tensor:
        """(B, N, W) at a time (B, W), looking at (B, M, W) where (B, M) is True -> (B, N, W)."""
        scale, shift, look_scale, look_shift = self.modulation(time)
        x = x + self.attention(modulated(x, scale, shift))
        x = x + self.look(modulated(x, look_scale, look_shift), seen, real)
        out: Tensor = x + self.mlp(x)
        return out


class CrossTrunk(nn.Module):
    """What all embodiments share: places, time, the way in for context tokens, and the blocks.

    Args:
        token_dim: of a context token. steps: H. width: W. inner: hidden width of a feed-forward
            layer. layers: blocks. heads: of attention.
    """

    def __init__(
        self, token_dim: int, steps: int, width: int, inner: int, layers: int, heads: int
    ) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.randn(steps, width) * 0.5)
        self.context = nn.Sequential(nn.Linear(token_dim, width), nn.LayerNorm(width))
        self.time = nn.Sequential(
            nn.Linear(2 * TIME_WAVES, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.blocks = nn.ModuleList(CrossBlock(width, heads, inner) for _ in range(layers))
        self.modulation = AdaLNZero(width, 2)

    def forward(self, x: Tensor, state: Tensor, t: Tensor, tokens: Tensor, real: Tensor) -> Tensor:
        """Steps (B, H, W) and state tokens (B, 0 or 1, W) at times (B,) -> steps (B, H, W)."""
        time, seen = self.time(time_waves(t)), self.context(tokens)
        x = torch.cat([state, x + self.place], dim=1)
        for block in self.blocks:
            x = block(x, time, seen, real)
        return modulated(x[:, state.shape[1] :], *self.modulation(time))


class Embodiment(nn.Module):
    """One robot's projections: its state and its actions into the trunk, and out of it."""

    def __init__(self, action_dim: int, state_dim: int, width: int) -> None:
        super().__init__()
        self.state = nn.Linear(state_dim, width) if state_dim else None
        self.enter = nn.Linear(action_dim, width)
        self.leave = nn.Linear(width, action_dim)

    def state_tokens(self, state: Tensor) -> Tensor:
        """(B, P) -> (B, 1, W); (B, 0, W) for a robot without a state."""
        if self.state is None:
            return state.new_zeros(len(state), 0, self.enter.out_features)
        out: Tensor = self.state(state).unsqueeze(1)
        return out


class DiTCrossFlow(Head):
    """Euler integration of a flow whose network looks at the context token by token.

    A context is ``context_tokens`` tokens side by side and the state (B, P) after them. One token
    alone is always real; of several the last number says whether each is.

    Args:
        context_dim, action_dim, steps: as in ``Head``. width: of a token, a multiple of heads.
        inner: hidden width of a feed-forward layer. layers: blocks. heads: of attention.
        euler_steps: of the sampler, >= 1. context_tokens: N. state_dim: P.

    Attributes:
        embodiments: the projections, by the number of action dimensions.

    Raises:
        ConfigError: the width is no multiple of the heads.
    """

    READS_TOKENS = True

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
        context_tokens: int = 1,
        state_dim: int = 0,
    ) -> None:
        super().__init__(context_dim, action_dim, steps)
        self.width, self.euler_steps = int(width), int(euler_steps)
        self.context_tokens = context_tokens
        self.token_dim = (context_dim - state_dim) // context_tokens
        self.trunk = CrossTrunk(
            self.token_dim, steps, self.width, int(inner), int(layers), int(heads)
        )
        self.embodiments = nn.ModuleDict()
        self.add_embodiment(action_dim, state_dim)

    def add_embodiment(self, action_dim: int, state_dim: int) -> None:
        """Give another robot projections around the same trunk.

        Raises:
            ConfigError: a robot of so many action dimensions has them already.
        """
        if str(action_dim) in self.embodiments:
            raise ConfigError(
                f"action_dim must be new to the head, which has {', '.join(self.embodiments)} "
                f"(got {action_dim})"
            )
        self.embodiments[str(action_dim)] = Embodiment(action_dim, state_dim, self.width)

    def predict(self, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        """Noisy chunk x (B, H, A) at time t (B,) under context (B, C) -> (B, H, A) float32.

        A chooses the embodiment.
        """
        own: Embodiment = self.embodiments[str(x.shape[2])]  # type: ignore[assignment]
        size = self.context_tokens * self.token_dim
        tokens = context[:, :size].reshape(len(context), self.context_tokens, -1).contiguous()
        real = torch.ones_like(tokens[..., -1]) if self.context_tokens == 1 else tokens[..., -1]
        state = own.state_tokens(context[:, size:])
        out: Tensor = own.leave(self.trunk(own.enter(x), state, t, tokens, real > 0)).float()
        return out

    def loss(self, context: Tensor, actions: Tensor, weight: Tensor) -> Tensor:
        """Mean squared error of the end point over real steps, t uniform in [0, 1)."""
        return flow_loss(self.predict, context, actions, weight)

    def sample(self, context: Tensor, seed: int = 0, action_dim: int = 0) -> Tensor:
        """Integrate from the noise of ``seed``, the same for every row: batches change nothing.

        ``action_dim`` names another embodiment than the head was made for.
        """
        dim = action_dim or self.action_dim
        noise = seeded_noise(seed, len(context), self.steps, dim, context.device)
        return integrate(self.predict, context, noise, self.euler_steps)
