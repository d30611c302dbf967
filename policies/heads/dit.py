"""The diffusion transformer that `dit_flow` and `diffusion` share: one token an action step.

DiT (Peebles and Xie 2022) over the steps of a noisy chunk, as in GR00T N1 (Bjorck et al. 2025).
Context and time reach it through adaLN-zero: they scale, shift and gate every block, and all gates
start at zero, so that every block starts as the identity. ``enter`` and ``leave`` belong to the
robot, and so does what ``context`` reads of its proprioception; ``dit_cross_flow`` keys them.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from neon_sim.clock import CHUNK_STEPS
from neon_sim.rules import Count, Depth, Flag, Width

from .base import Grouped, Head
from .mlp import residual_mlp
from .transformer import SelfAttention, feed_forward

TIME_WAVES = 16


def time_waves(t: Tensor) -> Tensor:
    """Sines and cosines (B, 2 * 16) of times t (B,) in [0, 1], angular frequencies 1 to 100."""
    waves = torch.exp(torch.linspace(0.0, math.log(100.0), TIME_WAVES, device=t.device))
    phase = t.unsqueeze(1) * waves
    return torch.cat([torch.sin(phase), torch.cos(phase)], dim=1)


class AdaLNZero(nn.Module):
    """Scales, shifts and gates from a condition, all zero at first: (B, W) -> N of (B, 1, W)."""

    def __init__(self, width: int, parts: int) -> None:
        super().__init__()
        self.parts = parts
        self.linear = nn.Linear(width, parts * width)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, condition: Tensor) -> tuple[Tensor, ...]:
        """(B, W) -> ``parts`` tensors (B, 1, W)."""
        out = self.linear(functional.silu(condition))
        parts: tuple[Tensor, ...] = out.unsqueeze(1).chunk(self.parts, dim=2)
        return parts


def modulated(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """LayerNorm without parameters, then scaled and shifted: (B, N, W)."""
    return functional.layer_norm(x, x.shape[-1:]) * (1 + scale) + shift


class DiTBlock(nn.Module):
    """Attention among the steps and a feed-forward layer, both modulated by the condition."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.modulation = AdaLNZero(width, 6)
        self.attention = SelfAttention(width, heads)
        self.mlp = feed_forward(width, inner)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Tokens (B, N, W) under condition (B, W) -> (B, N, W)."""
        scale, shift, gate, mlp_scale, mlp_shift, mlp_gate = self.modulation(condition)
        x = x + gate * self.attention(modulated(x, scale, shift))
        out: Tensor = x + mlp_gate * self.mlp(modulated(x, mlp_scale, mlp_shift))
        return out


class DiTTrunk(nn.Module):
    """Blocks over the steps of a chunk; the same for every embodiment.

    Args:
        context_dim: C. steps: H. width: W. inner: hidden width of a feed-forward layer.
        layers: blocks. heads: of attention.
    """

    def __init__(
        self, context_dim: int, steps: int, width: int, inner: int, layers: int, heads: int
    ) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.randn(steps, width) * 0.5)
        self.context = nn.Linear(context_dim, width)
        self.time = nn.Sequential(
            nn.Linear(2 * TIME_WAVES, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.blocks = nn.ModuleList(DiTBlock(width, heads, inner) for _ in range(layers))
        self.modulation = AdaLNZero(width, 2)

    def forward(self, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        """Tokens (B, H, W) at times (B,) under context (B, C) -> (B, H, W)."""
        condition = self.context(context) + self.time(time_waves(t))
        x = x + self.place
        for block in self.blocks:
            x = block(x, condition)
        return modulated(x, *self.modulation(condition))


class DiTDenoiser(Head):
    """A head that looks at a noisy chunk, the time and the context through a ``DiTTrunk``.

    Args:
        context_dim, action_dim, steps: as in ``Head``. width: of a token, a multiple of heads.
        inner: hidden width of a feed-forward layer. layers: blocks. heads: of attention.
        groups: 1 for an output MLP a group (``mlp.residual_mlp`` of one block) behind the trunk,
            whose attention among the steps stays in common; 0 for one output layer.

    Raises:
        ConfigError: the width is no multiple of the heads, or groups is 1 and no robot
            takes an action of that length.
    """

    leave: nn.Module

    def __init__(
        self,
        context_dim: int,
        action_dim: int,
        steps: int = CHUNK_STEPS,
        width: Width = 128,
        inner: Width = 256,
        layers: Depth = 3,
        heads: Count = 4,
        groups: Flag = 0,
    ) -> None:
        super().__init__(context_dim, action_dim, steps)
        w = int(width)
        self.enter = nn.Linear(action_dim, w)
        self.trunk = DiTTrunk(context_dim, steps, w, int(inner), int(layers), int(heads))
        if groups:
            self.leave = Grouped(partial(residual_mlp, w, w, int(inner), 1), action_dim)
        else:
            self.leave = nn.Linear(w, action_dim)

    def predict(self, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        """Noisy chunk x (B, H, A) at time t (B,) under context (B, C) -> (B, H, A) float32."""
        out: Tensor = self.leave(self.trunk(self.enter(x), t, context)).float()
        return out
