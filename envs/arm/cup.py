"""The cup on the hand: what the tasks share in which a rolling ball has to come to rest in it.

The ball slides on two axes, as if on a smooth table. It is met once it has rested in the cup
for a moment; a moving hand may lose it again, so that stays met.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from neon_sim.simulation.gl import mujoco

from ..scene import BOX, COLOURS, SPHERE
from .intercept import SlideTask
from .robot import hand_rotation

BALL_RADIUS, BALL_KG = 0.05, 0.1
BOARD_TOP = 0.004
CUP_X, LOST_X = 0.56, 0.46  # m: the inner face of the cup; behind the hand
TOOL = (0.0, 0.0, 0.13)
CUP_HALF, CUP_SIDE, CUP_FLARE_RAD = 0.080, 0.04, 0.6  # m, m, rad
BALL_BIT = 8  # the ball meets the cup, and walls that say so
RESTING_M_S = 0.5  # relative to the cup
RESTING_STEPS = 3  # control steps of rest in the cup after which the ball counts as met


class CupTask(SlideTask):
    """The ball has to rest in the cup."""

    THING = "ball"
    HEIGHT_M = BOARD_TOP + BALL_RADIUS
    START: ClassVar[np.ndarray] = np.array([0.0, 0.4282, 0.0, -2.1819, 0.0, 2.61, np.pi / 4])
    START_GRIPPER = -1.0
    MIN_START_HEIGHT_M = 0.05
    TOOL_POINT = TOOL
    HAND = hand_rotation("y")

    @staticmethod
    def add_cup(hand: Any) -> None:
        """A back and two flared sides on the hand, open towards +x."""
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

    def add_ball(self, world: Any) -> None:
        """The ball, which slides along x and y."""
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

    def apply_latent(self, latent: dict[str, Any]) -> None:
        """Place the ball; it has not rested in the cup yet."""
        super().apply_latent(latent)
        self._rest_steps = 0

    def after_step(self) -> None:
        """Count how long the ball has rested in the cup; once long enough, it stays met."""
        super().after_step()
        if self._rest_steps < RESTING_STEPS:
            self._rest_steps = self._rest_steps + 1 if self._rests() else 0

    def is_success(self) -> bool:
        """The ball has been met: it rested in the cup for a moment, and has not run past."""
        return self._rest_steps >= RESTING_STEPS and not self.failed()

    def _rests(self) -> bool:
        """Whether the ball, once touched, is in the cup and moves with it."""
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
        """The ball has run past the hand."""
        return bool(self.data.qpos[self._q] < LOST_X)

    def closeness(self) -> float:
        """How near the cup is to where the ball will arrive; at most a half."""
        distance = abs(float(self.data.site_xpos[self._tool, 1]) - self._aim[1])
        return 0.5 * max(0.0, 1.0 - distance / 0.5)
