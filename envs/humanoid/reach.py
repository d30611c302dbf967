"""HumanoidReach: touch the post of the named colour with the hand that is nearer. Static.

Everything the task needs is in the current frame, as in ``arm_reach``: seeing time must not help.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np

from ..posts import NUM_POSTS, NamedPost, add_post
from .robot import ARM_OF, HEAD_PITCH_RAD
from .task import HumanoidTask

STEM_RADIUS, KNOB_RADIUS = 0.014, 0.042  # m
MIN_DISTANCE_M = 0.19  # between knobs, seen from above
X_RANGE, Y_RANGE, Z_RANGE = (0.26, 0.38), (-0.27, 0.27), (0.84, 1.04)
SHOULDER = np.array([0.004, 0.14, 1.07])  # the left one of a standing robot; the right mirrors it
MAX_REACH_M = 0.41
CLEAR_OF_THIGH_M = 0.80  # height of a hand
EYE, VIEW_SLOPE = (0.054, 0.0175, 1.264), 0.62  # the head camera; half its width at 1 m


def nearer_hand(position: np.ndarray) -> str:
    """Which hand a point (3,) of the world is nearer to, for a robot at the origin."""
    return "left" if position[1] > 0.0 else "right"


def within_reach(place: list[float]) -> bool:
    """Whether the nearer arm is long enough for a knob at (x, y, z), and the camera sees it."""
    x, y, z = place
    depth = (x - EYE[0]) * np.cos(HEAD_PITCH_RAD) + (EYE[2] - z) * np.sin(HEAD_PITCH_RAD)
    seen = abs(y - EYE[1]) < VIEW_SLOPE * depth
    return bool(seen and np.linalg.norm(np.array([x, abs(y), z]) - SHOULDER) < MAX_REACH_M)


def _draw_places(rng: np.random.Generator) -> list[list[float]]:
    places: list[list[float]] = []
    while len(places) < NUM_POSTS:
        place = [float(rng.uniform(*span)) for span in (X_RANGE, Y_RANGE, Z_RANGE)]
        if within_reach(place):
            places.append(place)
    return places


def _far_apart(places: list[list[float]]) -> bool:
    pairs = combinations(places, 2)
    return all(np.hypot(a[0] - b[0], a[1] - b[1]) > MIN_DISTANCE_M for a, b in pairs)


class HumanoidReach(NamedPost, HumanoidTask):
    """Three posts with coloured knobs stand before the robot; touching a wrong one fails."""

    NAME = "humanoid_reach"
    EPISODE_STEPS = 125
    TOUCH_M, WRONG_M = 0.06, 0.05
    PLACE_AXES, KNOB_M = 3, 0.0

    def build_scene(self, spec: Any) -> None:
        """Posts as high as their knobs."""
        for index in range(NUM_POSTS):
            add_post(spec, index, (STEM_RADIUS, 0.6, -0.6), (KNOB_RADIUS, 0.0))

    def draw_places(self, rng: np.random.Generator) -> list[list[float]]:
        """Three places in reach and sight, m, at least 19 cm apart."""
        places = _draw_places(rng)
        while not _far_apart(places):
            places = _draw_places(rng)
        return places

    def touching(self) -> np.ndarray:
        """(2, 3) m of the hands."""
        return np.asarray(self.data.site_xpos[list(self._hands.values())])

    def expert_action(self) -> np.ndarray:
        """The nearer hand to the near side of the named knob; the other arm hangs.

        The wrist stays straight until the hand is clear of the thigh, where bent fingers would jam.
        """
        knob = self._knobs[0]
        side = nearer_hand(knob)
        action = self.reach_action(knob + np.array([-0.02, 0.0, 0.0]), side)
        if self.data.site_xpos[self._hands[side]][2] < CLEAR_OF_THIGH_M:
            wrist = ARM_OF[side].stop - self.mode.joints.start
            action[wrist - 3 : wrist] = 0.0  # the standing pose
        return action
