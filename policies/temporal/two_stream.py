"""Two streams: what the current frame shows, and what moved over the clip.

Simonyan & Zisserman 2014, "Two-stream convolutional networks": the motion stream sees no
picture, only displacements of all pairs of frames stacked as channels. Displacements are
estimated here by matching each token with its nine forerunners (soft-argmax of their
correlation, as in a PWC-Net cost volume, Sun et al. 2018), and joined by what a matching
on a coarse grid cannot see, the difference of tokens. Behind the backbone ``exact_flow`` the
stream reads the simulator's own displacements of each place instead, behind ``exact_motion`` the
change of its state: privileged ceilings.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
from annotated_types import Interval
from torch import Tensor, nn
from torch.nn import functional

from neon_sim.errors import ConfigError
from neon_sim.rules import Flag

from .base import (
    BUDGET,
    Budget,
    BudgetedMechanism,
    Clip,
    conv,
    hold_frames,
    kept,
    to_maps,
    to_tokens,
    with_mask,
)

REACH = 1  # cells a frame
SHARPNESS = 10.0  # of the softmax over cosines
FLOW = 2  # numbers of a displacement


class TwoStream(BudgetedMechanism):
    """An appearance and a motion stream, fused by one layer.

    Args:
        appearance, motion: 1 or 0, whether a stream is there; with one of them, the other
            half of the table in the paper.
        exact: last numbers of a token that are its exact motion, in the place of an estimate;
            they go no further than to the motion stream.

    Raises:
        ConfigError: neither stream is there, or ``exact`` leaves nothing of a token.
    """

    def __init__(
        self,
        feature_dim: int,
        num_frames: int,
        tokens_per_frame: int,
        budget: Budget = BUDGET,
        appearance: Flag = 1,
        motion: Flag = 1,
        exact: Annotated[int, Interval(ge=0, le=4096)] = 0,
    ) -> None:
        self.appearance, self.motion, self.exact = bool(appearance), bool(motion), int(exact)
        if not (self.appearance or self.motion):
            raise ConfigError("temporal_args.appearance and .motion are both 0; keep one of them")
        if not 0 <= self.exact < feature_dim:
            raise ConfigError(
                f"temporal_args.exact must be 0 to {feature_dim - 1}, less than a token has "
                f"(got {exact}); 2 goes with backbone exact_flow, 16 with exact_motion, 0 with "
                "any other"
            )
        self.num_pairs, self.seen_dim = max(num_frames - 1, 1), feature_dim - self.exact
        super().__init__(feature_dim, num_frames, tokens_per_frame, budget)
        self.out_dim = self.seen_dim

    def build(self, width: int) -> nn.ModuleDict:
        """The streams that are there; differences are narrowed before they are stacked."""
        parts: dict[str, nn.Module] = {}
        narrow = max(width // 4, 1)
        if self.appearance:
            parts["look"] = conv(self.seen_dim + 1, width, 1)
            parts["look_again"] = conv(width, width)
        if self.motion:
            channels = self.exact or narrow + FLOW
            if not self.exact:
                parts["narrow"] = nn.Linear(self.feature_dim, narrow)
            parts["move"] = conv(self.num_pairs * (channels + 1), width)
            parts["move_again"] = conv(width, width)
        streams = int(self.appearance) + int(self.motion)
        parts["leave"] = conv(streams * width, self.seen_dim, 1)
        return nn.ModuleDict(parts)

    def forward(self, hidden: Tensor, mask: Tensor, time_s: Tensor) -> Clip:
        """Run the streams and fuse them."""
        streams, seen = [], hidden[..., : self.seen_dim]
        if self.appearance:
            now = to_maps(with_mask(seen[:, -1], mask[:, -1]))
            streams.append(self._stream("look", now))
        if self.motion:
            streams.append(self._stream("move", self._motion(kept(hidden, mask), mask)))
        found = to_tokens(self.parts["leave"](torch.cat(streams, dim=1)))
        return self.onto_now(found, seen, mask, time_s)

    def _stream(self, name: str, maps: Tensor) -> Tensor:
        x = functional.gelu(self.parts[name](maps))
        return functional.gelu(self.parts[f"{name}_again"](x))

    def _motion(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Motion of all pairs as channels: (B, pairs * M, side, side)."""
        hold_frames(self.num_frames, hidden.shape[1])
        if hidden.shape[1] == 1:
            hidden, mask = hidden.expand(-1, 2, -1, -1), mask.expand(-1, 2, -1)
        both = mask[:, 1:] & mask[:, :-1]
        if self.exact:
            return to_maps(with_mask(hidden[:, 1:, :, self.seen_dim :], both)).flatten(1, 2)
        change = self.parts["narrow"](hidden[:, 1:] - hidden[:, :-1])
        flow = estimated_flow(hidden[:, :-1], hidden[:, 1:], mask[:, :-1])
        return to_maps(with_mask(torch.cat([change, flow], dim=3), both)).flatten(1, 2)


def estimated_flow(before: Tensor, after: Tensor, real: Tensor) -> Tensor:
    """Displacement of each token since the frame before.

    Args:
        before, after: (B, P, S, D) tokens of P pairs of frames. real: (B, P, S) of ``before``.

    Returns:
        (B, P, S, 2): x to the right and y downwards, in cells a frame, each in [-1, 1]: the
        expectation over the nine cells a token may have come from, weighted by the softmax
        of ten times the cosine; zero where none of them is real.
    """
    side = math.isqrt(before.shape[2])
    step = torch.arange(side, dtype=before.dtype, device=before.device)
    y, x = torch.meshgrid(step, step, indexing="ij")
    cells = torch.stack([x.flatten(), y.flatten()], dim=1)
    near = (cells.unsqueeze(1) - cells).abs().amax(dim=2) <= REACH
    source = near & real.unsqueeze(2)
    normal = functional.normalize(before, dim=3), functional.normalize(after, dim=3)
    cosine = normal[1] @ normal[0].transpose(2, 3)
    weight = (SHARPNESS * cosine).masked_fill(~source, -1e9).softmax(dim=3)
    return (cells - weight @ cells) * source.any(dim=3, keepdim=True)
