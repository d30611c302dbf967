"""The basket on the hand, in which a ball is caught; it opens along the hand's x."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..scene import BOX

BASKET_Z, BASKET_DEPTH = 0.20, 0.11  # m in the frame of the hand
FLARE_RAD = 0.15
FLOOR_X = -0.035
TOOL = (0.03, 0.0, BASKET_Z)
WALL_RGBA = (0.16, 0.42, 0.72, 1.0)


def add_basket(hand: Any, half: float) -> None:
    """Five thin boxes on the hand.

    Args:
        hand: body of the spec. half: half the width of the floor, m.
    """
    wall = {"rgba": list(WALL_RGBA), "contype": 0, "conaffinity": 2, "density": 0.0}
    high, thin = BASKET_DEPTH / 2, 0.004
    hand.add_geom(
        name="basket_floor",
        type=BOX,
        size=[thin, half, half],
        pos=[FLOOR_X, 0, BASKET_Z],
        **wall,
    )
    out = half + high * np.sin(FLARE_RAD)
    middle = FLOOR_X + high * np.cos(FLARE_RAD)
    wide = half + BASKET_DEPTH * np.sin(FLARE_RAD)
    for index, (side, axis) in enumerate(((1, 1), (-1, 1), (1, 2), (-1, 2))):
        position = [middle, 0.0, BASKET_Z]
        position[axis] += side * out
        turn = np.zeros(4)
        turn[0] = np.cos(FLARE_RAD / 2)
        # about z for the walls at +-y, about y for those at +-z
        turn[3 if axis == 1 else 2] = np.sin(FLARE_RAD / 2) * side * (1 if axis == 1 else -1)
        size = [high, thin, wide] if axis == 1 else [high, wide, thin]
        hand.add_geom(
            name=f"basket_wall{index}", type=BOX, size=size, pos=position, quat=turn, **wall
        )


def inside(point: tuple[float, float, float], half: float) -> bool:
    """Whether a point, m in the frame of the hand, is in a basket of half width ``half``."""
    x, y, z = point
    width = half + 0.01
    deep = FLOOR_X < x < FLOOR_X + BASKET_DEPTH
    return deep and abs(y) < width and abs(z - BASKET_Z) < width
