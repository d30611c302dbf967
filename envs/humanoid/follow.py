"""HumanoidFollow: walk to where a moving post will be, and meet it there.

The post approaches and crosses. The robot, on the ``base`` lower body, has to meet it before it
has passed. It can walk sideways at 0.5 m/s at most, with a lag of 0.25 s, so heading for where the
post is now comes too late. By the analysis of ``meeting.py`` (A = 2.0 m, B = 0.76 m): when 72 % of
the path is over, 0.48 s are left, in which the robot moves sideways by d = 0.12 m. With
c = 0.16 m one frame then suffices for 37 %, and for a little more if the robot turns at the edge.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from neon_sim.simulation.gl import mujoco

from ..scene import COLOURS, CYLINDER, GHOST_BITS, SPHERE, View
from .lower_body import BASE_LAG_S, yaw_of
from .meeting import Meeting, MeetingTask, add_slider, straight_line
from .robot import COMMAND_LIMIT, joint_table

START_X = 3.3  # m, of the post at the start
MEET_X = 0.95  # m, where the post is met
PAST_X = 0.55  # m, below which the post has passed
TIME_S = (1.72, 1.80)  # s from the start to ``MEET_X``
MEET_M = 0.16  # horizontal distance of pelvis and post that counts as meeting
STAND_X = 0.78  # m, where the expert waits
GAIN = 4.0  # 1/s, of the expert's velocity over its distance


class HumanoidFollow(MeetingTask):
    """Success: the robot has met the post. Failure: the post has passed."""

    NAME = "humanoid_follow"
    EPISODE_STEPS = 125
    INSTRUCTION = "reach the moving post"
    LOWER = "base"
    WALKS = True
    THING = "post"
    START_SPREAD_M, TARGET_SPREAD_M = 2.0, 0.76
    HEAD_PITCH_RAD: ClassVar[float] = 0.62
    VIEWS: ClassVar[dict[str, View]] = {"view": View((3.0, 4.5, 2.8), (1.8, 0.6, 0.2), 42.0)}

    def build_scene(self, spec: mujoco.MjSpec) -> None:
        """Add a post on a round foot."""
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

    def draw(self, rng: np.random.Generator, start_y: float, target_y: float) -> Meeting:
        """Draw the speed of a straight line over the floor."""
        time_s = float(rng.uniform(*TIME_S))
        return {
            "position": [START_X, start_y, 0.0],
            "velocity": [(MEET_X - START_X) / time_s, (target_y - start_y) / time_s, 0.0],
            "time_s": time_s,
        }

    def arrival(self, latent: Meeting) -> np.ndarray:
        """(3,) m: where the post crosses ``x = MEET_X``."""
        return straight_line(latent)

    def _gap(self) -> float:
        """Horizontal distance of pelvis and post, m."""
        x, y, _ = self.thing_position()
        qpos = self.data.qpos
        return float(np.hypot(qpos[0] - x, qpos[1] - y))

    def apply_latent(self, latent: Meeting) -> None:
        """Start the post, and forget the meeting of the episode before."""
        super().apply_latent(latent)
        self._met = False

    def after_step(self) -> None:
        """Record that the post was met."""
        self._met |= self._gap() < MEET_M

    def is_success(self) -> bool:
        """The robot has met the post."""
        return self._met

    def failed(self) -> bool:
        """The post has passed, and was not met."""
        return not self._met and bool(self.thing_position()[0] < PAST_X)

    def closeness(self) -> float:
        """How near the robot is to where the post will cross, in [0, 0.5]."""
        gap = float(np.hypot(*(self.data.qpos[:2] - [STAND_X, self._aim[1]])))
        return 0.5 * max(0.0, 1.0 - gap / 1.5)

    def visible_state(self, qpos: np.ndarray) -> list[float]:
        """Place of the post in the world, and ahead and left of the pelvis; pose of the pelvis.

        In m and rad. The rug shows where the pelvis is.
        """
        x, y, _ = self.thing_position(qpos).tolist()
        yaw = yaw_of(qpos[3:7])
        dx, dy = x - float(qpos[0]), y - float(qpos[1])
        c, s = float(np.cos(yaw)), float(np.sin(yaw))
        return [x, y, c * dx + s * dy, c * dy - s * dx, float(qpos[0]), float(qpos[1]), yaw]

    def expert_action(self) -> np.ndarray:
        """Walk to where the post will cross, facing ahead, with the arms at rest."""
        return self.walk_action(float(self._aim[1]))

    def walk_action(self, y: float) -> np.ndarray:
        """Walk to (``STAND_X``, y), m, facing +x; brakes early to make up for the base's lag."""
        qpos, qvel = self.data.qpos, self.data.qvel
        yaw = yaw_of(qpos[3:7])
        ahead = np.array([STAND_X, y]) - qpos[:2] - BASE_LAG_S * qvel[:2]
        c, s = np.cos(yaw), np.sin(yaw)
        error = np.array([c * ahead[0] + s * ahead[1], c * ahead[1] - s * ahead[0], -yaw])
        command = np.clip(GAIN * error, -COMMAND_LIMIT, COMMAND_LIMIT)
        return self.make_action(joint_table().stand, command.tolist())
