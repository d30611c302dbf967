"""Text of a command line as text: paths with blanks, brackets, ``=``, ``$`` or quotes pass.

Numbers and truths go through Hydra's grammar (``neon_sim.config.loading``). Strings do not: there
``demos (Kopie)`` would be a call and ``lr=0.1`` an error.
"""

from __future__ import annotations

import re
from typing import Any

QUOTES = "'\""


def unquoted(text: str) -> str:
    """Text without one pair of quotes around it, which hide commas and blanks at the ends."""
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in QUOTES
    return text[1:-1] if quoted else text


def split_texts(text: str) -> list[str]:
    """``a,b`` or ``[a,b]`` as texts; a part in quotes keeps its commas.

    Args:
        text: of the command line; ``[]`` is the empty list.

    Returns:
        The parts without blanks around them. Empty parts stay, so that ``a,,b`` can be refused.
    """
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1].strip()
        if not text:
            return []
    parts, rest = [], text
    while True:
        rest = rest.lstrip()
        end = _end_of_part(rest)
        parts.append(unquoted(rest[:end].strip()))
        if end == len(rest):
            return parts
        rest = rest[end + 1 :]


def _end_of_part(text: str) -> int:
    """Where the comma is that ends the first part; the length where none does."""
    if text[:1] in tuple(QUOTES):
        closed = re.match(rf"{text[0]}[^{text[0]}]*{text[0]}\s*(?=,|$)", text)
        if closed:
            return closed.end()
    comma = text.find(",")
    return len(text) if comma < 0 else comma


def literal(value: Any) -> Any:
    """Texts as OmegaConf must be given them, so that it reads no ``${...}`` into them."""
    if isinstance(value, str):
        return re.sub(r"(\\*)\$\{", lambda found: 2 * found[1] + r"\${", value)
    return [literal(part) for part in value] if isinstance(value, list) else value
