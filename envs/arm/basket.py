"""A basket on the hand to catch a ball in. It opens along the hand's x."""

from __future__ import annotations

import numpy as np

from neon_sim.simulation.gl import mujoco

from ..scene import BOX

# Lengths in m, places in the frame of the hand.
BASKET_Z = 0.20  # of the basket's middle
BASKET_DEPTH = 0.11
FLARE_RAD = 0.15  # angle of the walls, outwards
FLOOR_X = -0.035  # of the basket's floor
TOOL = (0.03, 0.0, BASKET_Z)  # inside the basket
WALL_RGBA = (0.16, 0.42, 0.72, 1.0)


def add_basket(hand: mujoco.MjsBody, half: float) -> None:
    """Add the basket to the hand: a floor and four walls.

    Args:
        hand: its body in the spec. half: half width of the floor, m.
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
    """Whether a point is in the basket.

    Args:
        point: m in the frame of the hand. half: half width of the floor, m.
    """
    x, y, z = point
    width = half + 0.01
    deep = FLOOR_X < x < FLOOR_X + BASKET_DEPTH
    return deep and abs(y) < width and abs(z - BASKET_Z) < width
