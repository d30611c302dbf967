"""Posts with coloured knobs, as parts of the world without contact: a touch is a distance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .scene import CYLINDER, GHOST_BITS, SPHERE

STEM_RGBA = (0.35, 0.33, 0.32, 1.0)


def add_post(
    spec: Any,
    index: int,
    stem: tuple[float, float],
    knob: tuple[float, float],
    rgba: Sequence[float] = (0.5, 0.5, 0.5, 1.0),
) -> None:
    """Add body ``post{index}`` with geoms ``stem{index}`` and ``knob{index}``.

    Args:
        stem: radius and height, m; it stands on the body's origin.
        knob: radius and height of its middle, m. rgba: of the knob.
    """
    radius, height = stem
    body = spec.worldbody.add_body(name=f"post{index}")
    body.add_geom(
        name=f"stem{index}",
        type=CYLINDER,
        size=[radius, height / 2, 0],
        pos=[0, 0, height / 2],
        rgba=STEM_RGBA,
        **GHOST_BITS,
    )
    body.add_geom(
        name=f"knob{index}",
        type=SPHERE,
        size=[knob[0], 0, 0],
        pos=[0, 0, knob[1]],
        rgba=rgba,
        **GHOST_BITS,
    )
