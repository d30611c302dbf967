"""What the tasks share in which a rolling ball has to come to rest in a cup on the hand.

The ball slides along two axes, as on a smooth table. It counts as caught once it has rested in the
cup for a moment. It stays caught afterwards, even if a moving hand loses it again.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from neon_sim.simulation.gl import mujoco

from ..scene import BOX, COLOURS, SPHERE
from .intercept import Motion, SlideTask
from .robot import hand_rotation

BALL_RADIUS = 0.05  # m
BALL_KG = 0.1
BOARD_TOP = 0.004  # height of the board's surface, m
CUP_X = 0.56  # m, the inner face of the cup
LOST_X = 0.46  # m, behind the hand
TOOL = (0.0, 0.0, 0.13)  # m in the frame of the hand: the middle of the cup's inner face
CUP_HALF = 0.080  # half width of the back, m
CUP_SIDE = 0.04  # half length of a side, m
CUP_FLARE_RAD = 0.6  # angle of the sides, outwards from +x
BALL_BIT = 8  # collision bit of the ball, the cup, and walls that the ball bounces off
RESTING_M_S = 0.5  # below this speed relative to the cup the ball rests
RESTING_STEPS = 3  # control steps of rest in the cup after which the ball counts as caught


class CupTask(SlideTask):
    """Success: the ball has rested in the cup. Failure: it has passed the hand."""

    THING = "ball"
    HEIGHT_M = BOARD_TOP + BALL_RADIUS
    START: ClassVar[np.ndarray] = np.array([0.0, 0.4282, 0.0, -2.1819, 0.0, 2.61, np.pi / 4])
    START_GRIPPER = -1.0
    MIN_START_HEIGHT_M = 0.05
    TOOL_POINT = TOOL
    HAND = hand_rotation("y")

    @staticmethod
    def add_cup(hand: mujoco.MjsBody) -> None:
        """Add the cup to the hand: a back and two flared sides, open towards +x."""
        style = {
            "rgba": [0.86, 0.25, 0.20, 1],
            "contype": BALL_BIT,
            "conaffinity": 0,
            "density": 0.0,
        }
        thin, high = 0.008, 0.04
        hand.add_geom(
            name="cup_back",
            type=BOX,
            size=[thin, CUP_HALF + thin, high],
            pos=[-thin, 0, TOOL[2]],
            **style,
        )
        for side in (-1, 1):
            angle = side * CUP_FLARE_RAD
            along = np.array([np.cos(angle), np.sin(angle), 0.0])
            root = np.array([-thin, side * CUP_HALF, TOOL[2]])
            hand.add_geom(
                name=f"cup_side{side}",
                type=BOX,
                size=[CUP_SIDE, thin, high],
                pos=root + along * CUP_SIDE,
                quat=[np.cos(angle / 2), 0, 0, np.sin(angle / 2)],
                **style,
            )

    def add_ball(self, world: mujoco.MjsBody) -> None:
        """Add the ball, which slides along x and y."""
        ball = world.add_body(name="ball", pos=[0, 0, self.HEIGHT_M])
        for axis in range(2):
            ball.add_joint(
                name=f"ball_{'xy'[axis]}",
                type=mujoco.mjtJoint.mjJNT_SLIDE,
                axis=np.eye(3)[axis],
            )
        ball.add_geom(
            name="ball",
            type=SPHERE,
            size=[BALL_RADIUS, 0, 0],
            mass=BALL_KG,
            rgba=COLOURS["yellow"],
            contype=0,
            conaffinity=BALL_BIT,
            condim=3,
            friction=[1.0, 0.005, 0.0001],
            priority=1,
            solref=[0.012, 1.0],
        )

    def apply_latent(self, latent: Motion) -> None:
        """Place the ball and reset the count of its rest in the cup."""
        super().apply_latent(latent)
        self._rest_steps = 0

    def after_step(self) -> None:
        """Count how long the ball has rested in the cup, up to ``RESTING_STEPS``."""
        super().after_step()
        if self._rest_steps < RESTING_STEPS:
            self._rest_steps = self._rest_steps + 1 if self._rests() else 0

    def is_success(self) -> bool:
        """The ball has rested in the cup for ``RESTING_STEPS`` and has not passed the hand."""
        return self._rest_steps >= RESTING_STEPS and not self.failed()

    def _rests(self) -> bool:
        """Whether the ball has been touched, is in the cup and moves with it."""
        if not self._struck:
            return False
        x, y, _ = self.in_hand(self.thing_position().tolist())
        inside = 0.0 < x < BALL_RADIUS + 0.05 and abs(y) < CUP_HALF + 0.02
        return bool(inside and self._speed_in_cup() < RESTING_M_S)

    def _speed_in_cup(self) -> float:
        """Speed of the ball relative to the hand, m/s."""
        twist = np.zeros(6)
        mujoco.mj_objectVelocity(
            self.model, self.data, mujoco.mjtObj.mjOBJ_BODY, self._hand, twist, 0
        )
        off = (self.thing_velocity() - twist[3:])[:2]
        return float(np.sqrt(off @ off))

    def failed(self) -> bool:
        """The ball has passed the hand."""
        return bool(self.data.qpos[self._q] < LOST_X)
