"""ArmReach: touch the post of the named colour among two others. A static control.

Everything the task needs is in the current frame, so seeing time must not help; a policy
that does better here on video than on frames has more capacity, not more insight.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ..posts import ASIDE, NUM_POSTS, NamedPost, add_post
from .robot import READY
from .task import ArmTask

POST_RADIUS, POST_HEIGHT, KNOB_RADIUS = 0.018, 0.07, 0.036  # m
MIN_DISTANCE_M = 0.17  # between posts
X_RANGE, Y_RANGE = (0.43, 0.67), (-0.29, 0.29)


def add_posts(spec: Any) -> None:
    """Three posts on the table."""
    for index in range(NUM_POSTS):
        stem = (POST_RADIUS, POST_HEIGHT / 2, POST_HEIGHT / 2)
        add_post(spec, index, stem, (KNOB_RADIUS, POST_HEIGHT))


def draw_places(rng: np.random.Generator) -> list[list[float]]:
    """Three places on the table, m, at least 17 cm apart."""
    places: list[list[float]] = []
    while len(places) < NUM_POSTS:
        place = [float(rng.uniform(*X_RANGE)), float(rng.uniform(*Y_RANGE))]
        if all(np.hypot(place[0] - p[0], place[1] - p[1]) > MIN_DISTANCE_M for p in places):
            places.append(place)
    return places


class ArmReach(NamedPost, ArmTask):
    """Three posts with coloured knobs stand at random; touching a wrong one fails."""

    NAME = "arm_reach"
    EPISODE_STEPS = 125
    START: ClassVar[np.ndarray] = READY
    START_GRIPPER = -1.0
    MIN_START_HEIGHT_M = 0.17
    TOUCH_M, WRONG_M = 0.05, KNOB_RADIUS
    PLACE_AXES, KNOB_M = 2, POST_HEIGHT

    def build_scene(self, spec: Any) -> None:
        """The posts."""
        add_posts(spec)

    def draw_places(self, rng: np.random.Generator) -> list[list[float]]:
        """Three places on the table, m."""
        return draw_places(rng)

    def touching(self) -> np.ndarray:
        """(1, 3) m of the fingertip."""
        return self.tool_position()[None]

    def expert_action(self) -> np.ndarray:
        """Straight to a point at the near upper side of the named knob."""
        return self.touch_action(self._knobs[0] + ASIDE)
