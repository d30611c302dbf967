"""What every fusion is given and what it returns."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

FLAT_LIMIT = 1024  # numbers; few enough tokens are also read directly, in order


@dataclass(frozen=True)
class FusionLayout:
    """Widths that a fusion is built for.

    Attributes:
        token_dim: D. num_frames: F. tokens_per_frame: S. text_dim: of word embeddings.
        proprio_dim: of proprioception.
    """

    token_dim: int
    num_frames: int
    tokens_per_frame: int
    text_dim: int
    proprio_dim: int

    @property
    def flat_dim(self) -> int:
        """Numbers of the whole clip and its mask when they are few (states), else 0."""
        tokens = self.num_frames * self.tokens_per_frame
        size = tokens * (self.token_dim + 1)
        return size if size <= FLAT_LIMIT else 0


@dataclass(frozen=True)
class FusionInput:
    """One batch for a fusion, all float32.

    Attributes:
        hidden: (B, F, S, D) normalised tokens, anything finite where masked.
        mask: (B, F, S) bool.
        time_s: (B, F) ages, <= 0. proprio: (B, P) normalised.
        text_tokens: (B, L, E). text_mask: (B, L) bool. text_pooled: (B, E).
    """

    hidden: Tensor
    mask: Tensor
    time_s: Tensor
    proprio: Tensor
    text_tokens: Tensor
    text_mask: Tensor
    text_pooled: Tensor

    def flat(self) -> Tensor:
        """All tokens and their mask in order: (B, F * S * (D + 1))."""
        return torch.cat([self.kept().flatten(1), self.mask.flatten(1).float()], dim=1)

    def kept(self) -> Tensor:
        """Tokens with zeros where masked."""
        zero = torch.zeros((), dtype=self.hidden.dtype, device=self.hidden.device)
        return torch.where(self.mask.unsqueeze(-1), self.hidden, zero)


class Fusion(nn.Module):
    """Joins vision, proprioception and text.

    Attributes:
        context_dim: C.
    """

    context_dim: int

    def forward(self, batch: FusionInput) -> Tensor:
        """Return the context (B, C)."""
        raise NotImplementedError
