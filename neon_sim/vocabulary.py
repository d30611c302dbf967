"""The closed list of words in which every task is described.

Backbones without language read instructions through a small embedding of these words; a
description with any other word is a mistake, and a test says so.
"""

from __future__ import annotations

WORDS: tuple[str, ...] = (
    "a",
    "and",
    "at",
    "ball",
    "basket",
    "behind",
    "belt",
    "block",
    "blue",
    "bowl",
    "catch",
    "comes",
    "cup",
    "from",
    "front",
    "goal",
    "green",
    "hold",
    "in",
    "into",
    "it",
    "lift",
    "moving",
    "of",
    "out",
    "post",
    "puck",
    "put",
    "reach",
    "red",
    "screen",
    "stand",
    "stop",
    "the",
    "touch",
    "when",
    "where",
    "with",
    "yellow",
)
MAX_WORDS = 16  # of a description
INDEX: dict[str, int] = {word: index for index, word in enumerate(WORDS)}


def encode(text: str) -> list[int]:
    """Indices of the words of a description; case and full stops do not matter.

    Raises:
        ValueError: a word that is not in the list.
    """
    words = text.lower().replace(".", " ").replace(",", " ").split()
    unknown = [word for word in words if word not in INDEX]
    if unknown:
        raise ValueError(f"description words must be in neon_sim.vocabulary.WORDS (got {unknown})")
    return [INDEX[word] for word in words]
