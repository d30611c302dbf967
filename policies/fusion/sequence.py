"""No fusion at all: every token is handed on, and the head looks for itself.

So GR00T N1 joins its two systems (Bjorck et al. 2025): the action transformer attends to the
vision-language model's tokens. A context stays one row of numbers, the tokens side by side; a head
that reads tokens (``dit_cross_flow``) is told how many there are, any other reads the row.
"""

from __future__ import annotations

import torch
from torch import Tensor

from neon_sim.rules import Width

from .base import Fusion, FusionInput, FusionLayout
from .stream import Sizes, StreamEmbedding


class SequenceFusion(Fusion):
    """Visual tokens, sound, words, proprioception and one learned token, each with its place.

    The last number of a token is 1 where it is real; elsewhere all of them are 0.

    Args:
        layout: widths. width: W of a token.
    """

    def __init__(self, layout: FusionLayout, width: Width = 96) -> None:
        super().__init__()
        sizes = Sizes.checked(layout, width, heads=1, layers=1, queries=1)
        self.embed = StreamEmbedding(layout, sizes)
        self.context_tokens = sum(sizes.lengths.values())
        self.context_dim = self.context_tokens * (sizes.width + 1)

    def forward(self, batch: FusionInput) -> Tensor:
        """Return the context (B, N * (W + 1))."""
        x, real = self.embed(batch)
        return torch.cat([x, real.unsqueeze(2).to(x.dtype)], dim=2).flatten(1)
