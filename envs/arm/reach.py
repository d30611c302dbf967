"""ArmReach: touch the post of the named colour among three. A static control.

The current frame shows everything the task needs, so history must not help. A policy that scores
better here on video than on single frames has more capacity, and that is not a gain from history.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from neon_sim.simulation.gl import mujoco

from ..posts import ASIDE, NUM_POSTS, NamedPost, PostsLatent, add_post
from .robot import READY
from .task import ArmTask

POST_RADIUS, POST_HEIGHT, KNOB_RADIUS = 0.018, 0.07, 0.036  # m
MIN_DISTANCE_M = 0.17  # between posts
X_RANGE, Y_RANGE = (0.43, 0.67), (-0.29, 0.29)  # m


def add_posts(spec: mujoco.MjSpec) -> None:
    """Add three posts."""
    for index in range(NUM_POSTS):
        stem = (POST_RADIUS, POST_HEIGHT / 2, POST_HEIGHT / 2)
        add_post(spec, index, stem, (KNOB_RADIUS, POST_HEIGHT))


def draw_places(rng: np.random.Generator) -> list[list[float]]:
    """Draw three places on the table, x and y in m, at least 17 cm apart."""
    places: list[list[float]] = []
    while len(places) < NUM_POSTS:
        place = [float(rng.uniform(*X_RANGE)), float(rng.uniform(*Y_RANGE))]
        if all(np.hypot(place[0] - p[0], place[1] - p[1]) > MIN_DISTANCE_M for p in places):
            places.append(place)
    return places


class ArmReach(NamedPost, ArmTask[PostsLatent]):
    """Success: the fingertip touches the named post. Failure: it touched another."""

    NAME = "arm_reach"
    EPISODE_STEPS = 125
    START: ClassVar[np.ndarray] = READY
    START_GRIPPER = -1.0
    MIN_START_HEIGHT_M = 0.17
    TOUCH_M, WRONG_M = 0.05, KNOB_RADIUS
    PLACE_AXES, KNOB_M = 2, POST_HEIGHT

    def build_scene(self, spec: mujoco.MjSpec) -> None:
        """Add the posts."""
        add_posts(spec)

    def draw_places(self, rng: np.random.Generator) -> list[list[float]]:
        """Draw the three places, m."""
        return draw_places(rng)

    def touching(self) -> np.ndarray:
        """(1, 3) m: the fingertip."""
        return self.tool_position()[None]

    def expert_action(self) -> np.ndarray:
        """Go straight to the near upper side of the named knob."""
        return self.touch_action(self._knobs[0] + ASIDE)
