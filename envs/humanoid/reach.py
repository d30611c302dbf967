"""HumanoidReach: touch the post of the named colour with the nearer hand. A static control.

As in ``arm_reach``, the current frame shows everything the task needs, so history must not help.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from neon_sim.simulation.gl import mujoco

from ..posts import NUM_POSTS, NamedPost, PostsLatent, add_post
from .robot import ARM_OF, HEAD_PITCH_RAD
from .task import HumanoidTask

STEM_RADIUS, KNOB_RADIUS = 0.014, 0.042  # m
MIN_DISTANCE_M = 0.19  # between knobs, seen from above
X_RANGE, Y_RANGE, Z_RANGE = (0.26, 0.38), (-0.27, 0.27), (0.84, 1.04)  # m
SHOULDER = np.array([0.004, 0.14, 1.07])  # m, the left shoulder of a standing robot
MAX_REACH_M = 0.41  # from shoulder to knob
CLEAR_OF_THIGH_M = 0.80  # height of a hand above which bent fingers clear the thigh
EYE = (0.054, 0.0175, 1.264)  # m, the head camera
VIEW_SLOPE = 0.62  # half the width of its image at a distance of 1 m, m


def nearer_hand(position: np.ndarray) -> str:
    """The hand nearer to (3,) ``position``, m, of a robot at the origin."""
    return "left" if position[1] > 0.0 else "right"


def within_reach(place: list[float]) -> bool:
    """Whether the nearer arm reaches a knob at (x, y, z), m, and the head camera sees it."""
    x, y, z = place
    depth = (x - EYE[0]) * np.cos(HEAD_PITCH_RAD) + (EYE[2] - z) * np.sin(HEAD_PITCH_RAD)
    seen = abs(y - EYE[1]) < VIEW_SLOPE * depth
    return bool(seen and np.linalg.norm(np.array([x, abs(y), z]) - SHOULDER) < MAX_REACH_M)


def _draw_places(rng: np.random.Generator) -> list[list[float]]:
    """Draw three places in reach and in sight, m."""
    places: list[list[float]] = []
    while len(places) < NUM_POSTS:
        place = [float(rng.uniform(*span)) for span in (X_RANGE, Y_RANGE, Z_RANGE)]
        if within_reach(place):
            places.append(place)
    return places


def _far_apart(places: list[list[float]]) -> bool:
    """Whether all are ``MIN_DISTANCE_M`` apart, seen from above."""
    pairs = combinations(places, 2)
    return all(np.hypot(a[0] - b[0], a[1] - b[1]) > MIN_DISTANCE_M for a, b in pairs)


class HumanoidReach(NamedPost, HumanoidTask[PostsLatent]):
    """Success: a hand touches the named post. Failure: a hand touched another."""

    NAME = "humanoid_reach"
    EPISODE_STEPS = 125
    TOUCH_M, WRONG_M = 0.06, 0.05
    PLACE_AXES, KNOB_M = 3, 0.0

    def build_scene(self, spec: mujoco.MjSpec) -> None:
        """Add posts; the origin of each is its knob."""
        for index in range(NUM_POSTS):
            add_post(spec, index, (STEM_RADIUS, 0.6, -0.6), (KNOB_RADIUS, 0.0))

    def draw_places(self, rng: np.random.Generator) -> list[list[float]]:
        """Draw three places in reach and in sight, m, at least 19 cm apart."""
        places = _draw_places(rng)
        while not _far_apart(places):
            places = _draw_places(rng)
        return places

    def touching(self) -> np.ndarray:
        """(2, 3) m: the hands."""
        return np.asarray(self.data.site_xpos[list(self._hands.values())])

    def expert_action(self) -> np.ndarray:
        """Bring the nearer hand to the near side of the named knob; the other arm hangs.

        The wrist stays straight until the hand is clear of the thigh, where a bent hand would jam.
        """
        knob = self._knobs[0]
        side = nearer_hand(knob)
        action = self.reach_action(knob + np.array([-0.02, 0.0, 0.0]), side)
        if self.data.site_xpos[self._hands[side]][2] < CLEAR_OF_THIGH_M:
            wrist = ARM_OF[side].stop - self.mode.joints.start
            action[wrist - 3 : wrist] = 0.0  # the standing pose
        return action
