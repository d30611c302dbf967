"""The table of ``neon-bench list backbones``: size, memory, licence, weights here or not."""

from __future__ import annotations

from neon_sim.registry import BACKBONES

from .base import known_shape
from .counting import OWN, size_of
from .published import published
from .weights.catalogue import CATALOGUE
from .weights.find import is_here
from .weights.sizes import BF16_BYTES, Size

HEADER = (
    *("backbone", "parameters", "hidden", "tokens", "memory", "NF4", "here", "gated", "licence"),
    "weights",
)
NOTES = """\
Every network of clips has a twin, NAME_image: the same weights on single frames (of neon_tiny: its
own), which frame and stack look through. Parameters are those that are loaded, without language
heads; memory is that of the weights, in NF4 with the language model packed. Tokens are those of a
clip of 8 frames before the connector. What is on the hub and not here is fetched when it is used,
once its licence is accepted where it is gated; * is never fetched: the error prints the commands
that get it. A folder or file of your own: backbone.model_id=PATH."""

FP32_BYTES = 4
SHOWN = 8  # frames of the clip whose tokens are listed


def backbone_rows() -> list[tuple[str, ...]]:
    """A header, the foundation backbones, encoders of others, and what comes with neon_sim.

    Image twins share the weights of the network they stand under and are not repeated.
    """
    names = [name for name in BACKBONES if not _is_twin(name) and name not in CATALOGUE]
    others = sorted(names, key=lambda name: (name in OWN, name))
    return [HEADER, *map(_row, (*CATALOGUE, *others))]


def _is_twin(name: str) -> bool:
    base = name.removesuffix("_image")
    return base != name and base in BACKBONES and name not in OWN


def _row(name: str) -> tuple[str, ...]:
    """One backbone; foundation models run in bf16, everything else in float32."""
    models = published(name)
    try:
        size = size_of(name)
    except KeyError:  # a backbone of another package
        return (name, "-", "-", tokens_text(name), *("-",) * 6)
    kind, width = ("bf16", BF16_BYTES) if name in CATALOGUE else ("fp32", FP32_BYTES)
    numbers = _numbers(name, size, f"{_bytes(size.parameters * width)} {kind}")
    packed = _bytes(size.nf4_gb * 1e9) if size.linear else "-"
    if not models:
        return (*numbers, packed, "yes", "no", "Apache-2.0", "come with neon_sim")
    never_fetched = " *" if any(model.kind == "file" for model in models) else ""
    repositories = [repository for model in models for repository in model.repositories]
    return (
        *numbers,
        packed,
        "yes" if all(map(is_here, models)) else "no",
        "yes" if any(model.gated for model in models) else "no",
        ", ".join(dict.fromkeys(model.licence for model in models)),
        " + ".join(repositories) + never_fetched,
    )


def _numbers(name: str, size: Size, memory: str) -> tuple[str, ...]:
    if not size.parameters:
        return name, "none", str(size.hidden), tokens_text(name), "-"
    millions = size.parameters / 1e6
    count = f"{millions:.0f} M" if millions >= 10 else f"{millions:.1f} M"
    return name, count, str(size.hidden), tokens_text(name), memory


def _bytes(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.0f} MB"


def tokens_text(name: str) -> str:
    """Visual tokens before the connector: ``64 / 2 frames``, ``144 / clip``.

    ``-`` where only the weights could tell.
    """
    backbone = BACKBONES.resolve(name)
    shape = known_shape(backbone, SHOWN, {})
    if shape is None:
        return "-"
    places, tokens = shape
    if places == 1 and known_shape(backbone, 2 * SHOWN, {}) == shape:
        return f"{tokens} / clip"
    step = SHOWN // places
    return f"{tokens} / {'frame' if step == 1 else f'{step} frames'}"
