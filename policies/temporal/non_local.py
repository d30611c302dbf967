"""Non-local block: the current frame's tokens look at every place of every frame.

Wang et al. 2018, "Non-local neural networks" (embedded Gaussian, several heads), between
two small 2-D convolutions, since the block is made to stand inside a network of them. All
branches end in zeros: at initialisation the mechanism hands on the current frame.
"""

from __future__ import annotations

from torch import Tensor, nn

from .attention import HEADS, MaskedAttention, Places
from .base import BudgetedMechanism, Clip, conv, kept, to_maps, to_tokens, zero_start


class NonLocal(BudgetedMechanism):
    """Convolution, non-local block, convolution, each a residual that starts at nothing."""

    def build(self, width: int) -> nn.ModuleDict:
        """The block's heads and the convolutions' bottlenecks are of one width."""
        return nn.ModuleDict(
            {
                "before": Bottleneck(self.feature_dim, width),
                "places": Places(self.num_frames, self.tokens_per_frame, self.feature_dim),
                "norm": nn.LayerNorm(self.feature_dim),
                "block": MaskedAttention(self.feature_dim, width, identity=True),
                "behind": Bottleneck(self.feature_dim, width),
            }
        )

    def forward(self, hidden: Tensor, mask: Tensor, time_s: Tensor) -> Clip:
        """All frames are looked at, the current one looks."""
        first = kept(hidden, mask)
        x = kept(first + self.parts["before"](first), mask)
        seen = self.parts["norm"](self.parts["places"](x))
        looks = self.parts["block"](seen[:, -1], seen.flatten(1, 2), mask.flatten(1))
        now = (x[:, -1] + looks).unsqueeze(1)
        now = now + self.parts["behind"](now)
        return self.onto_now(now[:, 0] - first[:, -1], hidden, mask, time_s)


class Bottleneck(nn.Module):
    """3x3 convolution to ``HEADS * width // 4`` channels and back; the way back starts at zero."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        inner = max(HEADS * width // 4, 1)
        self.net = nn.Sequential(conv(dim, inner), nn.GELU(), zero_start(conv(inner, dim, 1)))

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, F, S, D) -> the same, frame by frame."""
        y = self.net(to_maps(hidden).flatten(0, 1))
        out: Tensor = to_tokens(y).unflatten(0, hidden.shape[:2])
        return out
