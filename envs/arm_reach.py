"""ArmReach: touch the post of the named colour among two others. A static control.

Everything the task needs is in the current frame, so seeing time must not help; a policy
that does better here on video than on frames has more capacity, not more insight.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from .arm import hand_rotation, joint_action
from .base import ArmTask
from .scene import COLOURS, CYLINDER, GHOST_BITS, SPHERE

NUM_POSTS = 3
POST_RADIUS, POST_HEIGHT, KNOB_RADIUS = 0.018, 0.07, 0.036  # m
TILT_RAD = 0.5  # the hand reaches forward, so that it does not hide what it touches
TOUCH_M, WRONG_M = 0.05, KNOB_RADIUS  # fingertip to the centre of the named knob, of another
MIN_DISTANCE_M = 0.17  # between posts
HAND = hand_rotation("x", TILT_RAD)
X_RANGE, Y_RANGE = (0.43, 0.67), (-0.29, 0.29)


class ArmReach(ArmTask):
    """Three posts with coloured knobs stand at random; touching a wrong one fails."""

    NAME = "arm_reach"
    EPISODE_STEPS = 125
    START: ClassVar[np.ndarray] = np.array([0.0, -0.367, 0.0, -2.835, 0.0, 2.968, -np.pi / 4])
    START_GRIPPER = -1.0
    MIN_START_HEIGHT_M = 0.17

    def build_scene(self, spec: Any) -> None:
        """Posts are parts of the world without contact: a touch is a distance."""
        for index in range(NUM_POSTS):
            body = spec.worldbody.add_body(name=f"post{index}", pos=[0.5, 0.2 * index - 0.2, 0.0])
            body.add_geom(
                name=f"stem{index}",
                type=CYLINDER,
                size=[POST_RADIUS, POST_HEIGHT / 2, 0],
                pos=[0, 0, POST_HEIGHT / 2],
                rgba=[0.35, 0.33, 0.32, 1],
                **GHOST_BITS,
            )
            body.add_geom(
                name=f"knob{index}",
                type=SPHERE,
                size=[KNOB_RADIUS, 0, 0],
                pos=[0, 0, POST_HEIGHT],
                **GHOST_BITS,
            )

    def sample_latent(self, rng: np.random.Generator) -> dict[str, Any]:
        """Three places at least 17 cm apart, three of four colours, the first one named."""
        places: list[list[float]] = []
        while len(places) < NUM_POSTS:
            place = [float(rng.uniform(*X_RANGE)), float(rng.uniform(*Y_RANGE))]
            if all(np.hypot(place[0] - p[0], place[1] - p[1]) > MIN_DISTANCE_M for p in places):
                places.append(place)
        order = rng.permutation(len(COLOURS))[:NUM_POSTS]
        return {"places": places, "colours": [list(COLOURS)[int(i)] for i in order]}

    def apply_latent(self, latent: dict[str, Any]) -> None:
        """Move and paint the posts."""
        self._touched_wrong = False
        self._distances_tick, self._distances_now = -1, np.zeros(NUM_POSTS)
        self._knobs = np.array([[x, y, POST_HEIGHT] for x, y in latent["places"]])
        for index, colour in enumerate(latent["colours"]):
            self.model.body(f"post{index}").pos[:2] = latent["places"][index]
            self.model.geom(f"knob{index}").rgba[:] = COLOURS[colour]

    @property
    def task_description(self) -> str:
        """Names the colour."""
        return f"touch the {self.latent['colours'][0]} post"

    def _distances(self) -> np.ndarray:
        """(3,) m from the fingertip to each knob; the named one first. Computed once a tick."""
        if self._distances_tick != self.tick or self.tick == 0:
            offset = self._knobs - self.tool_position()
            self._distances_now = np.sqrt((offset * offset).sum(axis=1))
            self._distances_tick = self.tick
        return self._distances_now

    def after_step(self) -> None:
        """Remember a touch of a wrong post."""
        self._touched_wrong |= bool(self._distances()[1:].min() < WRONG_M)

    def is_success(self) -> bool:
        """The fingertip is at the named knob and has been at no other."""
        return not self._touched_wrong and bool(self._distances()[0] < TOUCH_M)

    def failed(self) -> bool:
        """A wrong post was touched."""
        return self._touched_wrong

    def closeness(self) -> float:
        """1 at the named knob, 0 from 0.6 m on."""
        rest = max(float(self._distances()[0]) - TOUCH_M, 0.0)
        return max(0.0, 1.0 - rest / 0.6)

    def visible_state(self, qpos: np.ndarray) -> list[float]:
        """Per colour: whether it is there, x, y."""
        del qpos  # posts stand still
        state: list[float] = []
        by_colour = dict(zip(self.latent["colours"], self._knobs, strict=True))
        for colour in COLOURS:
            knob = by_colour.get(colour)
            state += [0.0, 0.0, 0.0] if knob is None else [1.0, float(knob[0]), float(knob[1])]
        return state

    def expert_action(self) -> np.ndarray:
        """Straight to a point at the near upper side of the named knob."""
        target = self._knobs[0] + np.array([-0.015, 0.0, 0.01])
        joints = self.kinematics.inverse(
            target, HAND, rotation_weight=0.1, posture=self.START, spin_free=True
        )
        return joint_action(joints, -1.0)
