"""What every head is given and what it promises, all in standardised action space."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from neon_sim.clock import CHUNK_STEPS

MARGIN = 1.5  # a soft cap lies this far beyond the farthest joint limit


class Head(nn.Module):
    """Turns a context into an action chunk.

    Actions here are standardised per dimension (``(a - mean) / std``). ``limit`` holds the
    farthest joint limit in those units, so that a head can bound its output and still reach
    +-1 in every dimension.

    Args:
        context_dim: C. action_dim: A. steps: H of the chunk.
    """

    limit: Tensor

    def __init__(self, context_dim: int, action_dim: int, steps: int = CHUNK_STEPS) -> None:
        super().__init__()
        self.context_dim, self.action_dim, self.steps = context_dim, action_dim, steps
        self.register_buffer("limit", torch.ones(action_dim))

    def set_limits(self, mean: Tensor, std: Tensor) -> None:
        """Record where +-1 lies: (A,) mean and std of the training labels."""
        self.limit.copy_(torch.maximum((1 - mean).abs(), (1 + mean).abs()) / std)

    def loss(self, context: Tensor, actions: Tensor, weight: Tensor) -> Tensor:
        """Training loss.

        Args:
            context: (B, C). actions: (B, H, A) standardised labels.
            weight: (B, H), 0 where the label is padding beyond the episode's end.
        """
        raise NotImplementedError

    def sample(self, context: Tensor, seed: int = 0) -> Tensor:
        """Chunk (B, H, A), standardised; the same for the same context and seed."""
        raise NotImplementedError


def weighted_mean(errors: Tensor, weight: Tensor) -> Tensor:
    """Mean of (B, H, A) over steps with weight; zero, not NaN, where there is none."""
    return (errors.mean(dim=2) * weight).sum() / weight.sum().clamp(min=1.0)


class ResidualBlock(nn.Module):
    """``x + scale * W2 relu(W1 norm(x))^2``, RMSNorm and squared ReLU (So et al. 2021, "Primer").

    ``scale`` is learnable, one a channel, and starts at 1; W2 starts small.
    """

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(width)
        self.up = nn.Linear(width, inner)
        self.down = nn.Linear(inner, width)
        self.scale = nn.Parameter(torch.ones(width))
        with torch.no_grad():
            self.down.weight.mul_(0.5)

    def forward(self, x: Tensor) -> Tensor:
        """(B, W) -> (B, W)."""
        inner = torch.relu(self.up(self.norm(x))).square()
        return x + self.scale * self.down(inner)
