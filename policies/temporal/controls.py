"""The controls: no mechanism at all, the current frame alone, and the mean over time.

The last two have the budget of the others, spent on space: each frame goes through a small image
network of its own, the 2-D parent of ``inflated``. One sees no time; the other sees all of it
without its order, and is the "late fusion with global average pooling" of Karpathy et al. 2014
("Large-scale video classification"), over time only, since a policy needs places.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from .base import BudgetedMechanism, Clip, TemporalMechanism, kept, to_maps, to_tokens, with_mask
from .conv3d import image_network

NUM_LAYERS = 3  # as ``inflated`` has over eight frames


class NoMechanism(TemporalMechanism):
    """Every frame goes on to the fusion, which tells them apart by their ages."""

    def __init__(self, feature_dim: int, num_frames: int, tokens_per_frame: int) -> None:
        super().__init__(feature_dim, num_frames, tokens_per_frame)
        self.out_frames = num_frames

    def forward(self, hidden: Tensor, mask: Tensor, time_s: Tensor) -> Clip:
        """Return all three as they are."""
        return hidden, mask, time_s


class SingleFrame(BudgetedMechanism):
    """The current frame through the image network, and nothing else."""

    def build(self, width: int) -> nn.ModuleDict:
        """The image network."""
        return image_network(self.feature_dim, NUM_LAYERS, width)

    def forward(self, hidden: Tensor, mask: Tensor, time_s: Tensor) -> Clip:
        """Drop every frame but the last."""
        now, real = hidden[:, -1:], mask[:, -1:]
        return kept(now + self.looked_at(now, real), real), real, time_s[:, -1:]

    def looked_at(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """(B, F, S, D) of any number of frames, each on its own, and mask -> the same shape."""
        maps = to_maps(with_mask(hidden, mask))
        x = functional.gelu(self.parts["enter"](maps.flatten(0, 1)))
        for layer in self.layers():
            x = functional.gelu(layer(x))
        out: Tensor = to_tokens(self.parts["leave"](x)).unflatten(0, maps.shape[:2])
        return out


class LateMean(SingleFrame):
    """The image network on every frame, and the mean of the real tokens of each place.

    It knows what was where, not when.
    """

    def forward(self, hidden: Tensor, mask: Tensor, time_s: Tensor) -> Clip:
        """Average over frames."""
        seen = kept(hidden + self.looked_at(hidden, mask), mask).sum(dim=1, keepdim=True)
        count = mask.sum(dim=1, keepdim=True).clamp(min=1)
        return seen / count.unsqueeze(-1), mask.any(dim=1, keepdim=True), time_s[:, -1:]
