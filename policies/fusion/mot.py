"""Mixture of transformers: every modality has its own weights, all look at all.

Liang et al. 2024, "Mixture-of-Transformers: a sparse and scalable architecture for
multi-modal foundation models", section 2: norms, projections (query, key, value, output)
and MLP are separate for each modality, attention runs over the whole sequence.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from neon_sim.rules import Count, Depth, Dropout, Width

from .base import FusionLayout
from .stream import Block, Make, Share, Sizes, StreamFusion


class PerModality(nn.Module):
    """A layer a modality, each on its own stretch of the sequence.

    Args:
        make: a fresh layer. lengths: tokens of each modality, in their order.
    """

    def __init__(self, make: Make, lengths: dict[str, int]) -> None:
        super().__init__()
        self.lengths = list(lengths.values())
        self.layers = nn.ModuleDict({name: make() for name in lengths})

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, W) -> (B, N, W')."""
        parts = zip(self.layers.values(), x.split(self.lengths, dim=1), strict=True)
        return torch.cat([layer(part) for layer, part in parts], dim=1)


def by_modality(sizes: Sizes) -> Share:
    """Make layers that share nothing between modalities."""

    def share(make: Make, modalities: Sequence[str]) -> nn.Module:
        return PerModality(make, {name: sizes.lengths[name] for name in modalities})

    return share


class MixtureOfTransformersFusion(StreamFusion):
    """Weights by modality (vision, text, proprioception, action queries), global attention.

    Args:
        layout: widths. queries: action queries. width: of the stream. heads: of attention.
        layers: blocks. context: C. dropout: on the context.

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
        context: Width = 256,
        dropout: Dropout = 0.1,
    ) -> None:
        sizes = Sizes.checked(layout, width, heads, layers, queries)
        share = by_modality(sizes)
        blocks = [Block(sizes, i + 1 == sizes.layers, share) for i in range(sizes.layers)]
        super().__init__(layout, sizes, blocks, context, dropout)
