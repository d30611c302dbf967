"""The seed's fusion: concatenate pooled tokens, proprioception and text -> linear -> GELU."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from neon_sim.rules import Dropout, Width

from .base import Fusion, FusionInput, FusionLayout


class PooledFusion(Fusion):
    """Mean of each frame's real tokens; where a thing is in the image is lost on purpose.

    Sound is read in order, moment by moment, as frames are.

    Args:
        layout: widths. context: C. dropout: on the context.
    """

    READS_ASIDE = True

    def __init__(self, layout: FusionLayout, context: Width = 256, dropout: Dropout = 0.1) -> None:
        super().__init__()
        self.layout, self.context_dim = layout, int(context)
        inputs = layout.num_frames * (layout.token_dim + 1)
        inputs += layout.proprio_dim + layout.text_dim
        inputs += layout.audio_tokens * layout.audio_dim
        self.join = nn.Linear(inputs, self.context_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, batch: FusionInput) -> Tensor:
        """Return the context (B, C); a frame of padding counts as zeros and says so."""
        self.layout.hold(batch)
        count = batch.mask.sum(dim=2, keepdim=True)
        pooled = batch.kept().sum(dim=2) / count.clamp(min=1)
        real = (count > 0).to(pooled.dtype)
        vision = torch.cat([pooled, real], dim=2).flatten(1)
        parts = [vision, batch.proprio, batch.text_pooled]
        if batch.audio is not None:
            parts.append(batch.audio.flatten(1))
        joined = torch.cat(parts, dim=1)
        out: Tensor = self.dropout(nn.functional.gelu(self.join(joined)))
        return out
