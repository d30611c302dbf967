"""HumanoidFollow: walk so as to meet a moving post, not to trail it.

The post comes on and crosses; the robot, in ``base`` mode, is to touch it before it is past. It
can walk aside at 0.5 m/s at most, with a lag of 0.25 s: who heads for where the post is now comes
too late for where it will be. One frame (``humanoid_meeting``, A = 2.0 m, B = 0.76 m): at 72 % of
the way 0.48 s are left, in which the robot moves aside by d = 0.12 m; with c = 0.16 m that is good
for 37 %, and for a little more where the robot stands at the edge and turns.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ..scene import COLOURS, CYLINDER, GHOST_BITS, SPHERE, View
from .lower_body import BASE_LAG_S, yaw_of
from .meeting import MeetingTask, add_slider
from .robot import COMMAND_LIMIT, joint_table

START_X, MEET_X, PAST_X = 3.3, 0.95, 0.55  # m
TIME_S = (1.72, 1.80)
MEET_M = 0.16  # from the pelvis to the post, on the floor
STAND_X = 0.78  # where the expert waits
GAIN = 4.0  # 1/s, of the expert's way to its place


class HumanoidFollow(MeetingTask):
    """Be where the post passes."""

    NAME = "humanoid_follow"
    EPISODE_STEPS = 125
    LOWER = "base"
    WALKS = True
    THING = "post"
    START_SPREAD_M, TARGET_SPREAD_M = 2.0, 0.76
    HEAD_PITCH_RAD: ClassVar[float] = 0.62
    VIEWS: ClassVar[dict[str, View]] = {"view": View((3.0, 4.5, 2.8), (1.8, 0.6, 0.2), 42.0)}

    def build_scene(self, spec: Any) -> None:
        """A post on a round foot."""
        post = add_slider(spec, "post", weightless=True)
        parts = (
            ("foot", CYLINDER, (0.13, 0.03, 0), 0.03, (0.25, 0.26, 0.30, 1)),
            ("stem", CYLINDER, (0.04, 0.3, 0), 0.33, COLOURS["yellow"]),
            ("knob", SPHERE, (0.09, 0, 0), 0.68, COLOURS["red"]),
        )
        for name, kind, size, z, rgba in parts:
            post.add_geom(
                name=name, type=kind, size=size, pos=[0, 0, z], rgba=rgba, mass=1.0, **GHOST_BITS
            )

    def draw(self, rng: np.random.Generator, start_y: float, target_y: float) -> dict[str, Any]:
        """A straight line over the floor."""
        time_s = float(rng.uniform(*TIME_S))
        return {
            "position": [START_X, start_y, 0.0],
            "velocity": [(MEET_X - START_X) / time_s, (target_y - start_y) / time_s, 0.0],
            "time_s": time_s,
        }

    def arrival(self, latent: dict[str, Any]) -> np.ndarray:
        """Where the post crosses ``x = MEET_X``."""
        return np.array(latent["position"]) + np.array(latent["velocity"]) * latent["time_s"]

    def _gap(self) -> float:
        """m between the pelvis and the post, on the floor."""
        x, y, _ = self.thing_position()
        qpos = self.data.qpos
        return float(np.hypot(qpos[0] - x, qpos[1] - y))

    def apply_latent(self, latent: dict[str, Any]) -> None:
        """Let the post go; nobody has met it."""
        super().apply_latent(latent)
        self._met = False

    def after_step(self) -> None:
        """Remember that the post was met."""
        self._met |= self._gap() < MEET_M

    def is_success(self) -> bool:
        """The post was met."""
        return self._met

    def failed(self) -> bool:
        """The post is past."""
        return not self._met and bool(self.thing_position()[0] < PAST_X)

    def closeness(self) -> float:
        """How near the robot is to where the post will cross; at most a half."""
        gap = float(np.hypot(*(self.data.qpos[:2] - [STAND_X, self._aim[1]])))
        return 0.5 * max(0.0, 1.0 - gap / 1.5)

    def visible_state(self, qpos: np.ndarray) -> list[float]:
        """Where the post is, in the world and ahead and left of the pelvis, m; the pelvis' x, y
        and heading, which the rug shows."""
        x, y, _ = self.thing_position(qpos).tolist()
        yaw = yaw_of(qpos[3:7])
        dx, dy = x - float(qpos[0]), y - float(qpos[1])
        c, s = float(np.cos(yaw)), float(np.sin(yaw))
        return [x, y, c * dx + s * dy, c * dy - s * dx, float(qpos[0]), float(qpos[1]), yaw]

    def expert_action(self) -> np.ndarray:
        """Walk to where the post will cross, looking ahead, arms at rest."""
        return self.walk_action(float(self._aim[1]))

    def walk_action(self, y: float) -> np.ndarray:
        """Action that walks to (``STAND_X``, y) m, facing +x; it brakes for the base's lag."""
        qpos, qvel = self.data.qpos, self.data.qvel
        yaw = yaw_of(qpos[3:7])
        ahead = np.array([STAND_X, y]) - qpos[:2] - BASE_LAG_S * qvel[:2]
        c, s = np.cos(yaw), np.sin(yaw)
        way = np.array([c * ahead[0] + s * ahead[1], c * ahead[1] - s * ahead[0], -yaw])
        command = np.clip(GAIN * way, -COMMAND_LIMIT, COMMAND_LIMIT)
        return self.make_action(joint_table().stand, command.tolist())

    @property
    def task_description(self) -> str:
        """The same in every episode."""
        return "reach the moving post"
