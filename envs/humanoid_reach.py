"""HumanoidReach: touch the post of the named colour with the hand that is nearer. Static.

Everything the task needs is in the current frame, as in ``arm_reach``: seeing time must not help.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np

from .humanoid import HEAD_PITCH_RAD
from .humanoid_base import HumanoidTask
from .scene import COLOURS, CYLINDER, GHOST_BITS, SPHERE

NUM_POSTS = 3
STEM_RADIUS, KNOB_RADIUS = 0.014, 0.042  # m
TOUCH_M, WRONG_M = 0.06, 0.05  # hand to the centre of the named knob, of another
MIN_DISTANCE_M = 0.19  # between knobs, seen from above
X_RANGE, Y_RANGE, Z_RANGE = (0.26, 0.38), (-0.27, 0.27), (0.84, 1.04)
SHOULDER = np.array([0.004, 0.14, 1.07])  # the left one of a standing robot; the right mirrors it
MAX_REACH_M = 0.41
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


class HumanoidReach(HumanoidTask):
    """Three posts with coloured knobs stand before the robot; touching a wrong one fails."""

    NAME = "humanoid_reach"
    EPISODE_STEPS = 125

    def build_scene(self, spec: Any) -> None:
        """Posts are parts of the world without contact: a touch is a distance."""
        for index in range(NUM_POSTS):
            body = spec.worldbody.add_body(name=f"post{index}", pos=[0.35, 0.2 * index - 0.2, 0.9])
            body.add_geom(
                name=f"stem{index}",
                type=CYLINDER,
                size=[STEM_RADIUS, 0.6, 0],
                pos=[0, 0, -0.6],
                rgba=[0.35, 0.33, 0.32, 1],
                **GHOST_BITS,
            )
            body.add_geom(name=f"knob{index}", type=SPHERE, size=[KNOB_RADIUS, 0, 0], **GHOST_BITS)

    def sample_latent(self, rng: np.random.Generator) -> dict[str, Any]:
        """Three places at least 19 cm apart, three of four colours, the first one named."""
        places = _draw_places(rng)
        while not _far_apart(places):
            places = _draw_places(rng)
        order = rng.permutation(len(COLOURS))[:NUM_POSTS]
        return {"places": places, "colours": [list(COLOURS)[int(i)] for i in order]}

    def apply_latent(self, latent: dict[str, Any]) -> None:
        """Move and paint the posts."""
        self._touched_wrong = False
        self._distances_tick, self._distances_now = -1, np.zeros(NUM_POSTS)
        self._knobs = np.array(latent["places"])
        for index, colour in enumerate(latent["colours"]):
            self.model.body(f"post{index}").pos[:] = latent["places"][index]
            self.model.geom(f"knob{index}").rgba[:] = COLOURS[colour]

    @property
    def task_description(self) -> str:
        """Names the colour."""
        return f"touch the {self.latent['colours'][0]} post"

    def _distances(self) -> np.ndarray:
        """(3,) m from each knob, the named one first, to the nearer of the hands; once a tick."""
        if self._distances_tick != self.tick or self.tick == 0:
            hands = self.data.site_xpos[list(self._hands.values())]
            offsets = self._knobs[None] - hands[:, None]
            self._distances_now = np.sqrt((offsets * offsets).sum(axis=2).min(axis=0))
            self._distances_tick = self.tick
        return self._distances_now

    def after_step(self) -> None:
        """Remember a touch of a wrong post."""
        self._touched_wrong |= bool(self._distances()[1:].min() < WRONG_M)

    def is_success(self) -> bool:
        """A hand is at the named knob, and none has been at another."""
        return not self._touched_wrong and bool(self._distances()[0] < TOUCH_M)

    def failed(self) -> bool:
        """A wrong post was touched, or the robot fell."""
        return self._touched_wrong or self.has_fallen()

    def closeness(self) -> float:
        """1 at the named knob, 0 from 0.6 m on."""
        rest = max(float(self._distances()[0]) - TOUCH_M, 0.0)
        return max(0.0, 1.0 - rest / 0.6)

    def visible_state(self, qpos: np.ndarray) -> list[float]:
        """Per colour: whether it is there, x, y, z."""
        del qpos  # posts stand still
        state: list[float] = []
        by_colour = dict(zip(self.latent["colours"], self._knobs, strict=True))
        for colour in COLOURS:
            knob = by_colour.get(colour)
            state += [0.0] * 4 if knob is None else [1.0, *(float(value) for value in knob)]
        return state

    def expert_action(self) -> np.ndarray:
        """The nearer hand to the near side of the named knob; the other arm hangs."""
        knob = self._knobs[0]
        return self.reach_action(knob + np.array([-0.02, 0.0, 0.0]), nearer_hand(knob))
