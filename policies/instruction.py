"""Instructions for backbones without language: an embedding of the tasks' closed vocabulary."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from neon_sim.errors import UnknownNameError, unknown_name
from neon_sim.vocabulary import MAX_WORDS

PADDING = 0


def encode_texts(texts: Sequence[str], words: Sequence[str]) -> Tensor:
    """Turn instructions into word numbers.

    Args:
        texts: B instructions; case, commas and full stops do not matter.
        words: the vocabulary; word i gets the number i + 1, 0 is padding.

    Returns:
        (B, 16) int64.

    Raises:
        UnknownNameError: a word outside the vocabulary, or an instruction of over 16 words.
    """
    numbers = {word: index + 1 for index, word in enumerate(words)}
    ids = torch.zeros(len(texts), MAX_WORDS, dtype=torch.int64)
    for row, text in enumerate(texts):
        parts = text.lower().replace(".", " ").replace(",", " ").split()
        if len(parts) > MAX_WORDS:
            raise UnknownNameError(f"instruction must be at most {MAX_WORDS} words (got {text!r})")
        for place, word in enumerate(parts):
            if word not in numbers:
                raise unknown_name("word of an instruction", word, words)
            ids[row, place] = numbers[word]
    return ids


class InstructionEncoder(nn.Module):
    """Word embeddings, and their mean as a summary that does not depend on word order.

    Args:
        num_words: size of the vocabulary. dim: of an embedding.
    """

    def __init__(self, num_words: int, dim: int = 32) -> None:
        super().__init__()
        self.dim = dim
        self.embedding = nn.Embedding(num_words + 1, dim, padding_idx=PADDING)
        nn.init.normal_(self.embedding.weight, std=1.0)
        with torch.no_grad():
            self.embedding.weight[PADDING].zero_()

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, L) int64 -> tokens (B, L, dim), mask (B, L) bool, pooled (B, dim)."""
        tokens, mask = self.embedding(ids), ids != PADDING
        count = mask.sum(dim=1, keepdim=True).clamp(min=1)
        return tokens, mask, tokens.sum(dim=1) / count.sqrt()
