"""Attentional pooling: learned queries gather a frame's tokens into a few."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .base import Connector


class AttentionalPool(Connector):
    """``tokens`` learned queries attend to the frame's tokens and their places (one layer)."""

    def __init__(self, feature_dim: int, num_tokens: int, tokens: float = 16) -> None:
        super().__init__(feature_dim, num_tokens)
        self.out_tokens = int(tokens)
        self.query = nn.Parameter(torch.randn(self.out_tokens, feature_dim) * 0.5)
        self.place = nn.Parameter(torch.randn(num_tokens, feature_dim) * 0.5)
        self.value = nn.Linear(feature_dim, feature_dim)

    def forward(self, hidden: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Padding gets no attention; a frame of padding gives masked zeros."""
        keys = torch.where(mask.unsqueeze(-1), hidden, torch.zeros(())) + self.place
        logits = self.query @ keys.transpose(1, 2) * self.feature_dim**-0.5
        logits = logits.float().masked_fill(~mask.unsqueeze(1), -1e9)
        pooled = logits.softmax(dim=-1).to(keys.dtype) @ self.value(keys)
        real = mask.any(dim=1, keepdim=True)
        pooled = torch.where(real.unsqueeze(-1), pooled, torch.zeros((), dtype=pooled.dtype))
        return pooled, real.expand(-1, self.out_tokens)
