"""All frames joined in one step: before any look at space (early), or after it (late).

Karpathy et al. 2014, "Large-scale video classification with convolutional neural
networks": both tie their filters to absolute places in the clip.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from .base import (
    BudgetedMechanism,
    Clip,
    conv,
    hold_frames,
    to_maps,
    to_tokens,
    with_mask,
)


class LateConcat(BudgetedMechanism):
    """Each frame through the same small image network; their features joined at the end."""

    def build(self, width: int) -> nn.ModuleDict:
        """A 1x1 and a 3x3 convolution a frame; two layers over what all frames say of a place."""
        return nn.ModuleDict(
            {
                "enter": conv(self.feature_dim + 1, width, 1),
                "spread": conv(width, width),
                "join": conv(self.num_frames * width, width, 1),
                "leave": conv(width, self.feature_dim, 1),
            }
        )

    def forward(self, hidden: Tensor, mask: Tensor, time_s: Tensor) -> Clip:
        """Space first, frame by frame; then time, all at once."""
        hold_frames(self.num_frames, hidden.shape[1])
        maps = to_maps(with_mask(hidden, mask))
        x = functional.gelu(self.parts["enter"](maps.flatten(0, 1)))
        x = functional.gelu(self.parts["spread"](x)).unflatten(0, maps.shape[:2])
        x = functional.gelu(self.parts["join"](x.flatten(1, 2)))
        return self.onto_now(to_tokens(self.parts["leave"](x)), hidden, mask, time_s)


class Early(BudgetedMechanism):
    """Frames stacked as channels; the first layer compares them, 2-D convolutions follow."""

    def build(self, width: int) -> nn.ModuleDict:
        """A 1x1 convolution over all channels of all frames, then two of 3x3."""
        return nn.ModuleDict(
            {
                "join": conv(self.num_frames * (self.feature_dim + 1), width, 1),
                "spread": conv(width, width),
                "again": conv(width, width),
                "leave": conv(width, self.feature_dim, 1),
            }
        )

    def forward(self, hidden: Tensor, mask: Tensor, time_s: Tensor) -> Clip:
        """Time first, all at once; then space."""
        hold_frames(self.num_frames, hidden.shape[1])
        x = functional.gelu(self.parts["join"](to_maps(with_mask(hidden, mask)).flatten(1, 2)))
        x = functional.gelu(self.parts["spread"](x))
        x = functional.gelu(self.parts["again"](x))
        return self.onto_now(to_tokens(self.parts["leave"](x)), hidden, mask, time_s)
