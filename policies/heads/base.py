"""What every head is given and what it promises, all in standardised action space."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from neon_sim.clock import CHUNK_STEPS
from neon_sim.robots import action_groups

MARGIN = 1.5  # a soft cap lies this far beyond the farthest joint limit


class Head(nn.Module):
    """Turns a context into an action chunk.

    Actions here are standardised per dimension (``(a - mean) / std``). ``limit`` holds the
    farthest joint limit in those units, so that a head can bound its output and still reach
    +-1 in every dimension.

    Args:
        context_dim: C. action_dim: A. steps: H of the chunk.

    Attributes:
        READS_TOKENS: whether the constructor also takes ``context_tokens`` (as in ``Fusion``) and
            ``state_dim``, the numbers of proprioception that stand at the end of a context.
    """

    READS_TOKENS = False
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


class Grouped(nn.ModuleDict):
    """Layers of its own for each group of an action's numbers (legs, waist, arms, base).

    They stand under the group's name, and are shaped as one layer is that gives ``steps`` actions:
    (..., W) -> (..., H * A). What a group learns reaches no weight of another group's layers.

    Args:
        layers: makes those of a group, from how many numbers it gives in all its steps.
        action_dim: A, which tells the robot and its action mode. steps: H.

    Raises:
        ConfigError: no robot takes an action of that length.
    """

    def __init__(self, layers: Callable[[int], nn.Module], action_dim: int, steps: int = 1) -> None:
        parts = action_groups(action_dim).items()
        super().__init__({name: layers(steps * (p.stop - p.start)) for name, p in parts})
        self.steps = steps

    def forward(self, x: Tensor) -> Tensor:
        """(..., W) -> (..., H * A), the groups of each step side by side."""
        parts = [layers(x).unflatten(-1, (self.steps, -1)) for layers in self.values()]
        return torch.cat(parts, dim=-1).flatten(-2)


def start_at_zero(layer: nn.Module) -> None:
    """Zero the weights of a layer, so that training starts as if it were not there."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


def weighted_mean(errors: Tensor, weight: Tensor) -> Tensor:
    """Mean of (B, H, A) over steps with weight; zero, not NaN, where there is none."""
    return (errors.mean(dim=2) * weight).sum() / weight.sum().clamp(min=1.0)


def hold_last(actions: Tensor, weight: Tensor) -> Tensor:
    """Labels (B, H, A) whose steps of weight 0 repeat the last step before them that has weight.

    A head whose network or loss reads whole chunks calls it first, so that what stands on padded
    steps changes nothing. Zeros where no step before has weight.
    """
    steps = torch.arange(weight.shape[1], device=weight.device)
    last = torch.where(weight > 0, steps, -1).cummax(dim=1).values.unsqueeze(2)
    held = actions.gather(1, last.clamp(min=0).expand_as(actions))
    return torch.where(last >= 0, held, torch.zeros_like(held))


def seeded_noise(seed: int, rows: int, steps: int, action_dim: int, device: Any) -> Tensor:
    """Normal noise (B, H, A), the same for every row, so that a batch's size changes nothing."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(steps * action_dim, generator=generator)
    return noise.reshape(1, steps, action_dim).to(device).expand(rows, -1, -1)


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
        out: Tensor = x + self.scale * self.down(inner)
        return out
