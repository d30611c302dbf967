"""The lower bodies: five ways to keep the humanoid up, from realistic to convenient.

``standing``: position control, with the centre of mass fed back to the ankles. It can fall.
``reflex``: ``standing`` with a further feedback to legs and waist (``learned_balance.py``).
``learned``: ``reflex`` with a trained residual.
``harness``: ``standing`` with a soft righting torque on the pelvis, like the straps of a gantry.
``base``: the pelvis rides on a carrier that follows velocity commands with a first-order lag, as
the robot's own locomotion controller would make it. An abstraction: the soles have no contact, no
push moves it, it cannot fall, and its steps are only drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import numpy as np

from neon_sim.clock import PHYSICS_DT_S
from neon_sim.simulation.gl import mujoco
from neon_sim.simulation.world import World

from ..episode import Start
from .robot import (
    COMMAND_LIMIT,
    LEFT_ANKLE_PITCH,
    LEFT_ANKLE_ROLL,
    RIGHT_ANKLE_PITCH,
    RIGHT_ANKLE_ROLL,
)

COM_OFFSET_M = 0.035  # from the ankles ahead to the middle of the soles
# With these gains 40 of 40 robots survive a push of 5 N s, 30 one of 10 N s, 7 one of 15 N s.
COM_GAIN = 1.5  # rad/m
COM_RATE_GAIN = 0.3  # rad s/m
# Measured on 72 robots, a third of them pushed, whose arms, waist or both went to random ends of
# their ranges three times a second: 27 fell at 100 Nm/rad and 10 Nm s/rad, 6 at 200 and 20, none
# at these values. With twice the damping they shook at 50 Hz and all fell.
HARNESS_NM_RAD = 300.0
HARNESS_NMS_RAD = 30.0
BASE_LAG_S = 0.25  # assumed, since the robot's own controller is not published
_LEG = RIGHT_ANKLE_PITCH - LEFT_ANKLE_PITCH
PITCH = slice(LEFT_ANKLE_PITCH, RIGHT_ANKLE_PITCH + 1, _LEG)  # of both legs
ROLL = slice(LEFT_ANKLE_ROLL, RIGHT_ANKLE_ROLL + 1, _LEG)
# The drawn steps.
STRIDE_M = 0.35
STEP_HZ_AT_REST = 1.2
HIP_SWING, KNEE_LIFT = 0.35, 0.7  # rad, at full speed


def yaw_of(quat: np.ndarray) -> float:
    """Heading, rad, of a quaternion (4,), w first."""
    w, x, y, z = quat.tolist()
    return math.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))


def up_in_body(quat: np.ndarray) -> list[float]:
    """The world's up direction in the frame of a body with quaternion (4,), w first."""
    w, x, y, z = quat.tolist()
    return [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]


class Standing:
    """Feet on the floor; the ankles hold the centre of mass above the middle of the soles.

    Args:
        world: of the task. step: advances it by (n, 29) motor set points.

    Class attributes:
        SPEED: largest velocity of commanded joint motion, rad/s; with larger ones it fell.
        FOLLOWS: whether base commands move the robot.
        HELD: whether it has external support and cannot fall.
    """

    SPEED: ClassVar[float] = 4.0
    FOLLOWS: ClassVar[bool] = False
    HELD: ClassVar[bool] = False

    def __init__(self, world: World, step: Callable[[np.ndarray], None]) -> None:
        self.world, self.step, model = world, step, world.model
        self._pelvis = model.body("pelvis").id
        self._feet = [model.site(name).id for name in ("left_foot", "right_foot")]

    @staticmethod
    def prepare(spec: mujoco.MjSpec) -> None:
        """Add what this lower body needs to the spec."""
        del spec

    def begin(self, start: Start) -> None:
        """Start an episode from ``start``, which this may change."""
        del start

    def drive(self, points: np.ndarray, command: np.ndarray) -> None:
        """One control step.

        Args:
            points: (10, 29) motor set points, changed in place.
            command: (3,) m/s, m/s, rad/s, for the base. Ignored, since the feet stay in place.
        """
        del command
        pitch, roll = self._feedback()
        points[:, PITCH] += pitch
        points[:, ROLL] -= roll
        self.step(points)

    def _feedback(self) -> tuple[float, float]:
        """Shift of the ankles' set points, rad: pitch and roll."""
        ahead, left, ahead_rate, left_rate = self.com_state()
        return (
            COM_GAIN * ahead + COM_RATE_GAIN * ahead_rate,
            COM_GAIN * left + COM_RATE_GAIN * left_rate,
        )

    def com_state(self) -> tuple[float, float, float, float]:
        """The centre of mass ahead and left of its target, m, and its velocity, m/s.

        The target is the middle of the soles.
        """
        model, data = self.world.model, self.world.data
        mujoco.mj_subtreeVel(model, data)
        feet = data.site_xpos[self._feet].tolist()
        com = data.subtree_com[self._pelvis].tolist()
        vx, vy, _ = data.subtree_linvel[self._pelvis].tolist()
        ex, ey = (com[i] - (feet[0][i] + feet[1][i]) / 2 for i in (0, 1))
        yaw = yaw_of(data.qpos[3:7])
        c, s = math.cos(yaw), math.sin(yaw)
        ahead, left = c * ex + s * ey - COM_OFFSET_M, c * ey - s * ex
        return ahead, left, c * vx + s * vy, c * vy - s * vx


class Harness(Standing):
    """``Standing`` with a soft torque that rights the pelvis: 300 Nm/rad, 30 Nm s/rad."""

    SPEED = 8.0
    HELD = True

    def drive(self, points: np.ndarray, command: np.ndarray) -> None:
        """One control step under the righting torque."""
        data = self.world.data
        w, x, y, z = data.qpos[3:7].tolist()
        p, q, r = data.qvel[3:6].tolist()
        a = data.xmat[self._pelvis].tolist()
        lean_x, lean_y = 2 * (x * z + w * y), 2 * (y * z - w * x)  # of the pelvis' z axis
        rate_x = a[0] * p + a[1] * q + a[2] * r
        rate_y = a[3] * p + a[4] * q + a[5] * r
        data.xfrc_applied[self._pelvis, 3:5] = (
            HARNESS_NM_RAD * lean_y - HARNESS_NMS_RAD * rate_x,
            -HARNESS_NM_RAD * lean_x - HARNESS_NMS_RAD * rate_y,
        )
        super().drive(points, command)


class Base(Standing):
    """The pelvis rides on a carrier that moves as commanded; the legs only draw steps."""

    SPEED = 8.0
    FOLLOWS = HELD = True

    def __init__(self, world: World, step: Callable[[np.ndarray], None]) -> None:
        super().__init__(world, step)
        self._carrier = int(world.model.body("carrier").mocapid[0])
        self.velocity, self._phase = np.zeros(3), 0.0

    @staticmethod
    def prepare(spec: mujoco.MjSpec) -> None:
        """Weld the pelvis to a mocap body, and remove the contact of the soles."""
        pelvis = spec.body("pelvis")
        spec.worldbody.add_body(name="carrier", mocap=True, pos=pelvis.pos)
        spec.add_equality(
            name="ride",
            type=mujoco.mjtEq.mjEQ_WELD,
            objtype=mujoco.mjtObj.mjOBJ_BODY,
            name1="carrier",
            name2="pelvis",
            solref=[0.01, 1.0],
            solimp=[0.99, 0.999, 0.001, 0.5, 2.0],
        )
        for geom in spec.geoms:
            if "_sole" in geom.name:
                geom.contype = geom.conaffinity = 0

    def begin(self, start: Start) -> None:
        """Place the carrier at the pelvis, level and at rest."""
        self.velocity, self._phase = np.zeros(3), 0.0
        self._pose = np.array([*start.qpos[:2], yaw_of(start.qpos[3:7])])
        self._height = float(start.qpos[2])
        start.mocap_pos[self._carrier], start.mocap_quat[self._carrier] = self._place()

    def _place(self) -> tuple[list[float], list[float]]:
        """Position (3), m, and quaternion (4) of the carrier."""
        x, y, yaw = self._pose.tolist()
        return [x, y, self._height], [float(np.cos(yaw / 2)), 0.0, 0.0, float(np.sin(yaw / 2))]

    def drive(self, points: np.ndarray, command: np.ndarray) -> None:
        """One control step: the carrier's velocity follows the command with a lag."""
        command = np.clip(command, -COMMAND_LIMIT, COMMAND_LIMIT)
        data = self.world.data
        self._draw_steps(points)
        for row in points:
            self.velocity += (command - self.velocity) * (PHYSICS_DT_S / BASE_LAG_S)
            vx, vy, turn = self.velocity.tolist()
            c, s = np.cos(self._pose[2]), np.sin(self._pose[2])
            self._pose += np.array([c * vx - s * vy, s * vx + c * vy, turn]) * PHYSICS_DT_S
            data.mocap_pos[self._carrier], data.mocap_quat[self._carrier] = self._place()
            self.step(row[None])

    def _draw_steps(self, points: np.ndarray) -> None:
        """Swing the legs alternately, by an amount that grows with speed; the soles stay level."""
        forward, aside, turn = self.velocity / COMMAND_LIMIT
        size = min(1.0, 2.5 * float(np.sqrt(forward**2 + aside**2 + turn**2)))
        if size < 1e-3:
            return
        pace = STEP_HZ_AT_REST + float(np.hypot(*self.velocity[:2])) / STRIDE_M / 2
        phase = self._phase + 2 * np.pi * pace * PHYSICS_DT_S * np.arange(1, len(points) + 1)
        self._phase = float(phase[-1])
        for leg, shift in ((0, 0.0), (6, np.pi)):
            swing = HIP_SWING * np.sin(phase + shift) * forward
            lift = KNEE_LIFT * size * np.maximum(np.cos(phase + shift), 0.0)
            points[:, leg] -= swing + lift / 2
            points[:, leg + 3] += lift
            points[:, leg + 4] += swing - lift / 2
