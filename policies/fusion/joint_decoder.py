"""Joint decoder: one small transformer over all modalities, the same weights for each.

The plainest of the residual-stream fusions (KempnerForge's ``joint_decoder``; the visual
tokens come before the text). With ``causal=1`` a token sees itself and what stands before
it, so the action queries, which are last, still see everything.
"""

from __future__ import annotations

import torch
from torch import Tensor

from neon_sim.rules import Count, Depth, Dropout, Flag, Width

from .base import FusionLayout
from .stream import Block, Sizes, StreamFusion


class JointDecoderFusion(StreamFusion):
    """Visual tokens, words, proprioception and action queries in one residual stream.

    Args:
        layout: widths. queries: action queries. width: of the stream. heads: of attention.
        layers: blocks. causal: 1 for a causal mask, 0 for full attention.
        context: C. dropout: on the context.

    Raises:
        ConfigError: heads that do not divide width.
    """

    def __init__(
        self,
        layout: FusionLayout,
        queries: Count = 6,
        width: Width = 96,
        heads: Count = 4,
        layers: Depth = 2,
        causal: Flag = 0,
        context: Width = 256,
        dropout: Dropout = 0.1,
    ) -> None:
        sizes = Sizes.checked(layout, width, heads, layers, queries)
        blocks = [Block(sizes, last=i + 1 == sizes.layers) for i in range(sizes.layers)]
        super().__init__(layout, sizes, blocks, context, dropout)
        self.causal = bool(causal)

    def visible(self, real: Tensor) -> Tensor:
        """All at everything real, or only backwards; padding that sees nothing sees itself."""
        mask = super().visible(real)
        if not self.causal:
            return mask
        square = torch.ones(real.shape[1], real.shape[1], dtype=torch.bool, device=real.device)
        itself = torch.eye(real.shape[1], dtype=torch.bool, device=real.device)
        return (mask & square.tril()) | itself
