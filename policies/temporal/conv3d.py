"""3-D convolution over frames and places, from scratch and inflated from an image network.

Slow fusion: filters slide in time (Tran et al. 2015, C3D), and a layer halves the number
of frames until one is left, the current one. ``inflated`` is the same network with the
weights of a 2-D parent repeated over time and divided by their number (Carreira &
Zisserman 2017, I3D): on a clip that stands still it answers as its parent does.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from .base import (
    BudgetedMechanism,
    Clip,
    conv,
    to_maps,
    to_tokens,
    with_mask,
)

KERNEL = 3  # frames and places a side


class Conv3d(BudgetedMechanism):
    """3 x 3 x 3 convolutions with a stride of two in time, none of which sees the future."""

    FRONT = "constant"  # what stands before the first frame: zeros

    @property
    def num_layers(self) -> int:
        """As many as it takes to halve the frames down to one."""
        return max(1, (self.num_frames - 1).bit_length())

    def build(self, width: int) -> nn.ModuleDict:
        """Into the width, the layers, and back."""
        layers = [conv3d(width) for _ in range(self.num_layers)]
        return nn.ModuleDict(
            {
                "enter": conv(self.feature_dim + 1, width, 1),
                "layers": nn.ModuleList(layers),
                "leave": conv(width, self.feature_dim, 1),
            }
        )

    def forward(self, hidden: Tensor, mask: Tensor, time_s: Tensor) -> Clip:
        """Halve the frames until the current one is left."""
        found = self.slow_fusion(with_mask(hidden, mask))
        return self.onto_now(found, hidden, mask, time_s)

    def slow_fusion(self, tokens: Tensor) -> Tensor:
        """(B, F, S, D + 1) -> (B, S, D)."""
        maps = to_maps(tokens)
        x = functional.gelu(self.parts["enter"](maps.flatten(0, 1))).unflatten(0, maps.shape[:2])
        x = x.transpose(1, 2)
        for layer in self.layers():
            front = 1 + x.shape[2] % 2  # so that the last window ends at the last frame
            x = functional.gelu(layer(functional.pad(x, (0, 0, 0, 0, front, 0), self.FRONT)))
        return to_tokens(self.parts["leave"](x[:, :, -1]))


class Inflated(Conv3d):
    """``Conv3d`` that starts as an image network and takes padding for a scene at rest."""

    FRONT = "replicate"

    def build(self, width: int) -> nn.ModuleDict:
        """The image network, its 3 x 3 kernels inflated."""
        parts = image_network(self.feature_dim, self.num_layers, width)
        flat = cast(nn.ModuleList, parts["layers"])
        parts["layers"] = nn.ModuleList(inflate(layer, KERNEL) for layer in flat)
        return parts

    def forward(self, hidden: Tensor, mask: Tensor, time_s: Tensor) -> Clip:
        """As ``Conv3d``; a place before its first real token holds that token."""
        found = self.slow_fusion(hold_first(with_mask(hidden, mask), mask))
        return self.onto_now(found, hidden, mask, time_s)


def conv3d(width: int) -> nn.Conv3d:
    """3 x 3 x 3, stride two in time, no padding there: the caller says what was before."""
    return nn.Conv3d(width, width, KERNEL, stride=(2, 1, 1), padding=(0, 1, 1))


def image_network(feature_dim: int, layers: int, width: int) -> nn.ModuleDict:
    """The 2-D parent of ``Inflated``, for the tokens of one frame and their mask."""
    return nn.ModuleDict(
        {
            "enter": conv(feature_dim + 1, width, 1),
            "layers": nn.ModuleList(conv(width, width) for _ in range(layers)),
            "leave": conv(width, feature_dim, 1),
        }
    )


def inflate(layer: nn.Module, frames: int) -> nn.Conv3d:
    """A 3-D convolution that answers to ``frames`` equal frames as the 2-D one to one.

    Each of the ``frames`` slices of the kernel is the 2-D kernel divided by their number
    (I3D, section 2.4).
    """
    assert isinstance(layer, nn.Conv2d)
    grown = conv3d(layer.out_channels)
    with torch.no_grad():
        slices = layer.weight.unsqueeze(2).expand(-1, -1, frames, -1, -1)
        grown.weight.copy_(slices / frames)
        assert grown.bias is not None
        assert layer.bias is not None
        grown.bias.copy_(layer.bias)
    return grown


def hold_first(tokens: Tensor, mask: Tensor) -> Tensor:
    """Fill padding (B, F, S) with the next real token of its place, where there is one."""
    filled = list(tokens.unbind(1))
    for place in range(len(filled) - 2, -1, -1):
        real = mask[:, place].unsqueeze(-1)
        filled[place] = torch.where(real, filled[place], filled[place + 1])
    return torch.stack(filled, dim=1)
