"""What every temporal mechanism is given, what it returns, and the budget they share.

A mechanism stands between connector and fusion and reads the tokens of a clip's frames,
each encoded on its own. Those with parameters write what they found about time onto the
tokens of the current frame, so that the fusion behind them is the one of a single frame
and time can come in through the mechanism alone; they all have one budget of parameters.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, cast

import torch
from annotated_types import Interval
from torch import Tensor, nn

from neon_sim.errors import ConfigError

BUDGET = 60_000  # trainable numbers of a mechanism
Budget = Annotated[int, Interval(ge=1, le=10**8)]  # parameters
TOLERANCE = 0.1  # of the budget, by which a mechanism may miss it

Clip = tuple[Tensor, Tensor, Tensor]


class TemporalMechanism(nn.Module):
    """Turns the tokens of F frames into what the fusion reads.

    Args:
        feature_dim: D. num_frames: F. tokens_per_frame: S.

    Attributes:
        out_frames, out_tokens, out_dim: F', S', D' of what comes out; by default the tokens
            of one frame.
    """

    out_frames: int
    out_tokens: int
    out_dim: int

    def __init__(self, feature_dim: int, num_frames: int, tokens_per_frame: int) -> None:
        super().__init__()
        self.feature_dim, self.num_frames = feature_dim, num_frames
        self.tokens_per_frame = tokens_per_frame
        self.out_frames, self.out_tokens, self.out_dim = 1, tokens_per_frame, feature_dim

    def forward(self, hidden: Tensor, mask: Tensor, time_s: Tensor) -> Clip:
        """Mix a clip; what stands where ``mask`` is False changes no real output.

        Args:
            hidden: (B, F, S, D) float32, oldest frame first, anything where masked.
            mask: (B, F, S) bool. time_s: (B, F) ages, <= 0.

        Returns:
            The same three as (B, F', S', D'), (B, F', S') and (B, F'); tokens that are
            masked are zero.

        Raises:
            ConfigError: another number of frames than F, where there are weights for each.
        """
        raise NotImplementedError


class BudgetedMechanism(TemporalMechanism):
    """A mechanism with parameters: ``build`` says what they are, the budget how wide.

    What ``build`` reads beside the sizes of the clip is set before this constructor runs.

    Args:
        budget: trainable numbers to have, within a tenth.

    Attributes:
        width: found for the budget. parts: the trained modules.

    Raises:
        ConfigError: no width fits the budget, or tokens form no square grid where ``GRID``.
    """

    GRID = True  # whether the tokens of a frame have to form a square

    def __init__(
        self,
        feature_dim: int,
        num_frames: int,
        tokens_per_frame: int,
        budget: Budget = BUDGET,
    ) -> None:
        super().__init__(feature_dim, num_frames, tokens_per_frame)
        if self.GRID and math.isqrt(tokens_per_frame) ** 2 != tokens_per_frame:
            raise ConfigError(
                f"temporal mechanism {type(self).__name__} needs a square grid of tokens a frame "
                f"(got {tokens_per_frame}); take one that attends or remembers vectors "
                "(divided_attention, q_former, cnn_gru), or a connector that keeps the grid"
            )
        self.width = width_for(int(budget), self._count)
        self.parts = self.build(self.width)

    def build(self, width: int) -> nn.ModuleDict:
        """All trained modules at a width."""
        raise NotImplementedError

    def layers(self) -> list[nn.Module]:
        """The modules of the list ``build`` calls "layers"."""
        return list(cast(nn.ModuleList, self.parts["layers"]))

    def _count(self, width: int) -> int:
        with torch.random.fork_rng(devices=[]):  # trying widths draws from no one's numbers
            return sum(p.numel() for p in self.build(width).parameters())

    def onto_now(self, found: Tensor, hidden: Tensor, mask: Tensor, time_s: Tensor) -> Clip:
        """Add what was found (B, S, D) to the current frame's tokens.

        A place is real where any frame of it is.
        """
        real = mask.any(dim=1, keepdim=True)
        tokens = kept(hidden[:, -1:], mask[:, -1:]) + found.unsqueeze(1)
        return kept(tokens, real), real, time_s[:, -1:]


def width_for(budget: int, count: Callable[[int], int]) -> int:
    """The width whose number of parameters lies nearest to a budget.

    Args:
        budget: wanted number of parameters. count: parameters at a width; grows with it.

    Raises:
        ConfigError: no width comes within a tenth of the budget.
    """
    low, high = 1, 2
    while count(high) <= budget:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) <= budget else (low, middle)
    width = min(low, high, key=lambda w: abs(count(w) - budget))
    if abs(count(width) - budget) > TOLERANCE * budget:
        raise ConfigError(
            f"temporal_args.budget must be a number of parameters that the mechanism can have "
            f"(got {budget}; the nearest is {count(width)}); raise it"
        )
    return width


def hold_frames(built: int, got: int) -> None:
    """Hold a clip to the frames that a mechanism is built for, where it has weights for each.

    Raises:
        ConfigError: more or fewer of them.
    """
    if got != built:
        raise ConfigError(
            f"the temporal mechanism was built for {built} frames (got {got}); nothing is cut off: "
            "build it for this clip (clip.num_frames), or show it the other"
        )


def kept(hidden: Tensor, mask: Tensor) -> Tensor:
    """Tokens with zeros where masked."""
    zero = torch.zeros((), dtype=hidden.dtype, device=hidden.device)
    return torch.where(mask.unsqueeze(-1), hidden, zero)


def with_mask(hidden: Tensor, mask: Tensor) -> Tensor:
    """Tokens and one more channel that says which are real: (..., S, D) -> (..., S, D + 1)."""
    return torch.cat([kept(hidden, mask), mask.unsqueeze(-1).to(hidden.dtype)], dim=-1)


def to_maps(tokens: Tensor) -> Tensor:
    """(..., S, C) on a square grid -> (..., C, side, side)."""
    side = math.isqrt(tokens.shape[-2])
    out: Tensor = tokens.transpose(-1, -2).unflatten(-1, (side, side))
    return out


def to_tokens(maps: Tensor) -> Tensor:
    """Inverse of ``to_maps``."""
    return maps.flatten(-2).transpose(-1, -2)


def conv(inputs: int, outputs: int, kernel: int = 3) -> nn.Conv2d:
    """A 2-D convolution that keeps the size."""
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)


def zero_start(layer: nn.Linear | nn.Conv2d) -> nn.Module:
    """The layer with zeros for weights: a residual branch that ends in it starts as nothing."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
