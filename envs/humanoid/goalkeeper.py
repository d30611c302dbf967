"""HumanoidGoalkeeper: stop an incoming ball with a hand or forearm.

The ball is kicked from the floor and must not cross the line in front of the robot's chest. It
collides with hands and forearms only. Its place tells where it will arrive only when it is too
late. By the analysis of ``meeting.py`` (A = 1.1 m, B = 0.5 m): when 69 % of the path is over,
0.23 s are left, in which an arm of 0.4 m that accelerates at 14 rad/s^2 moves its hand by
d = 0.07 m. A hand stops a ball within about c = 0.12 m, so one frame suffices for 38 % at most.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from neon_sim.clock import PHYSICS_DT_S
from neon_sim.simulation.gl import mujoco

from ..scene import BOX, GHOST_BITS, SPHERE, View
from .meeting import Meeting, MeetingTask, add_slider, straight_line

BALL_RADIUS = 0.085  # m
BALL_KG = 0.12
START_X, START_Z = 2.2, 0.1  # m
STOP_X, STOP_Z = 0.27, (0.88, 1.14)  # m: where the hand meets the ball
GOAL_X = 0.12  # m: the line in front of the chest
FLIGHT_S = (0.70, 0.76)  # s
GRAVITY_M_S2 = 9.81
STRUCK_M_S = 0.03  # a velocity that differs more than this from free motion means a contact
STOPPED_M_S = -0.05  # above this velocity along x the ball no longer approaches the goal
LIMB_BIT = 4  # collision bit of forearms and hands


class HumanoidGoalkeeper(MeetingTask):
    """Success: a hand or forearm has stopped the ball. Failure: it has crossed the line."""

    NAME = "humanoid_goalkeeper"
    EPISODE_STEPS = 65
    INSTRUCTION = "stop the moving ball in front of the goal"
    THING = "ball"
    START_SPREAD_M, TARGET_SPREAD_M = 1.1, 0.5
    RAMP_RAD_S2: ClassVar[float] = 14.0
    HEAD_PITCH_RAD: ClassVar[float] = 0.25
    VIEWS: ClassVar[dict[str, View]] = {"view": View((3.3, -2.9, 2.0), (0.95, 0.1, 0.7), 45.0)}

    def build_scene(self, spec: mujoco.MjSpec) -> None:
        """Add ball and line, and the goal's frame behind the robot."""
        ball = add_slider(spec, "ball")
        ball.add_geom(
            name="ball",
            type=SPHERE,
            size=[BALL_RADIUS, 0, 0],
            mass=BALL_KG,
            rgba=[1.0, 0.45, 0.05, 1],
            contype=0,
            conaffinity=LIMB_BIT,
            condim=1,
            priority=1,
            solref=[0.02, 0.15],  # it bounces
        )
        parts = (
            ("line", (0.02, 0.75, 0.002), (GOAL_X, 0, 0.002)),
            ("left_post", (0.03, 0.03, 0.8), (-0.35, 0.75, 0.8)),
            ("right_post", (0.03, 0.03, 0.8), (-0.35, -0.75, 0.8)),
            ("bar", (0.03, 0.78, 0.03), (-0.35, 0, 1.6)),
        )
        for name, size, pos in parts:
            spec.worldbody.add_geom(
                name=name, type=BOX, size=size, pos=pos, rgba=[0.95, 0.95, 0.97, 1], **GHOST_BITS
            )

    def draw(self, rng: np.random.Generator, start_y: float, target_y: float) -> Meeting:
        """Draw a parabola from the floor to where a hand can be."""
        time_s, target_z = float(rng.uniform(*FLIGHT_S)), float(rng.uniform(*STOP_Z))
        distance_x = STOP_X + BALL_RADIUS - START_X
        vz = (target_z - START_Z) / time_s + GRAVITY_M_S2 * (time_s + PHYSICS_DT_S) / 2
        return {
            "position": [START_X, start_y, START_Z],
            "velocity": [distance_x / time_s, (target_y - start_y) / time_s, vz],
            "time_s": time_s,
        }

    def arrival(self, latent: Meeting) -> np.ndarray:
        """(3,) m: where the parabola meets the hand, under semi-implicit Euler."""
        time_s, point = latent["time_s"], straight_line(latent)
        point[2] -= GRAVITY_M_S2 * time_s * (time_s + PHYSICS_DT_S) / 2
        point[0] -= BALL_RADIUS
        return point

    def apply_latent(self, latent: Meeting) -> None:
        """Kick the ball, and forget the touch of the episode before."""
        super().apply_latent(latent)
        self._struck, self._free_vx = False, latent["velocity"][0]

    def after_step(self) -> None:
        """Record the first touch, which shows as a change of velocity."""
        vx = float(self.data.qvel[self._thing[1]])
        self._struck |= abs(vx - self._free_vx) > STRUCK_M_S

    def is_success(self) -> bool:
        """A hand or forearm has touched the ball, which is before the line and retreats."""
        if not self._struck:
            return False
        q, v = self._thing
        return bool(self.data.qpos[q] > GOAL_X and self.data.qvel[v] > STOPPED_M_S)

    def failed(self) -> bool:
        """The ball has crossed the line."""
        return bool(self.data.qpos[self._thing[0]] < GOAL_X)

    def visible_state(self, qpos: np.ndarray) -> list[float]:
        """Place of the ball, m."""
        return [float(value) for value in self.thing_position(qpos)]
