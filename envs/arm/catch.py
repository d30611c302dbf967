"""ArmCatch: catch a flying ball in a basket on the hand.

The ball is thrown from a rail across the table. Its flight lasts about as long as the arm needs
from the middle to the ends of the region where the ball may land. So the arm has to leave before
the ball's place tells where it will land; only the ball's motion tells in time.
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from neon_sim.clock import PHYSICS_DT_S
from neon_sim.contracts import Twins
from neon_sim.simulation.gl import mujoco

from ..scene import BOX, GHOST_BITS, SPHERE, View
from .basket import TOOL, add_basket, inside
from .intercept import GRAVITY_M_S2, InterceptTask, Motion
from .robot import hand_rotation, hide_fingers

BALL_RADIUS = 0.055  # m
BALL_KG = 0.05
START_X, START_Z = 1.55, 0.28  # m, where the ball leaves the rail
CATCH_X, CATCH_Z, CATCH_Z_SPREAD = 0.60, 0.45, 0.04  # m, where the centre meets the tool point
FLIGHT_S = (0.66, 0.70)  # s
TILT_RAD = 1.05  # tilt of the basket towards the falling ball
BASKET_HALF = 0.085  # half width of the basket's floor, m
LOST_Z = 0.16  # m; a falling ball below this cannot be caught
MU = 1.2  # friction of ball and basket, so that the ball does not slip at first touch
TWIN_STEPS = 12  # control steps until twins look the same


class ArmCatch(InterceptTask[Motion]):
    """Success: the ball's centre is inside the basket. Failure: it has fallen past."""

    NAME = "arm_catch"
    EPISODE_STEPS = 68
    INSTRUCTION = "catch the moving ball"
    THING = "ball"
    START_SPREAD_M, TARGET_SPREAD_M = 0.68, 0.46
    START: ClassVar[np.ndarray] = np.array([0.0, -0.5324, 0.0, -2.6977, 0.0, 3.2152, np.pi / 4])
    START_GRIPPER = -1.0
    MIN_START_HEIGHT_M = 0.25
    TOOL_POINT = TOOL
    HAND = hand_rotation("y", TILT_RAD)
    TURN = 1.0
    VIEWS: ClassVar[dict[str, View]] = {
        "front": View((2.7, 0.0, 2.7), (0.97, 0.0, 0.46), 32.0),
        "view": View((1.9, -1.75, 1.15), (0.72, 0.05, 0.42), 42.0),
    }

    def build_scene(self, spec: mujoco.MjSpec) -> None:
        """Add rail and ball, and a basket on the hand."""
        hide_fingers(spec)
        add_basket(spec.body("hand"), BASKET_HALF)
        self._add_rail(spec.worldbody)
        ball = spec.worldbody.add_body(name="ball", pos=[START_X, 0, START_Z])
        ball.add_freejoint(name="ball")
        ball.add_geom(
            name="ball",
            type=SPHERE,
            size=[BALL_RADIUS, 0, 0],
            mass=BALL_KG,
            rgba=[0.72, 0.95, 0.12, 1],
            contype=2,
            conaffinity=2,
            condim=3,
            friction=[MU, 0.005, 0.0001],
            priority=1,
            solref=[0.012, 1.0],
        )

    @staticmethod
    def _add_rail(world: mujoco.MjsBody) -> None:
        width = ArmCatch.START_SPREAD_M + 0.1
        dark = {"rgba": [0.30, 0.33, 0.38, 1], **GHOST_BITS}
        top = START_Z - BALL_RADIUS - 0.02
        world.add_geom(
            name="rail", type=BOX, size=[0.05, width, 0.02], pos=[START_X, 0, top], **dark
        )
        for side in (-1, 1):
            world.add_geom(
                name=f"rail_leg{side}",
                type=BOX,
                size=[0.025, 0.025, (top + 0.7) / 2],
                pos=[START_X, side * (width - 0.08), (top - 0.7) / 2],
                **dark,
            )

    def draw(self, rng: np.random.Generator, start_y: float, target_y: float) -> Motion:
        """Draw a parabola from the rail to a point near the middle of the hand's reach."""
        time_s = float(rng.uniform(*FLIGHT_S))
        target_z = CATCH_Z + float(rng.uniform(-CATCH_Z_SPREAD, CATCH_Z_SPREAD))
        vz = (target_z - START_Z) / time_s + GRAVITY_M_S2 * (time_s + PHYSICS_DT_S) / 2
        return {
            "position": [START_X, start_y, START_Z],
            "velocity": [(CATCH_X - START_X) / time_s, (target_y - start_y) / time_s, vz],
        }

    def arrival(self, position: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        """Where the parabola crosses the plane ``x = CATCH_X``, m, under semi-implicit Euler."""
        time_s = (position[0] - CATCH_X) / -velocity[0]
        point: np.ndarray = position + velocity * time_s
        point[2] -= GRAVITY_M_S2 * time_s * (time_s + PHYSICS_DT_S) / 2
        return point

    def is_success(self) -> bool:
        """The ball's centre is inside the basket."""
        return inside(self.in_hand(self.thing_position().tolist()), BASKET_HALF)

    def failed(self) -> bool:
        """The ball falls and is too low to be caught."""
        data = self.data
        return bool(data.qpos[self._q + 2] < LOST_Z and data.qvel[self._v + 2] < 0.0)

    def closeness(self) -> float:
        """How near the basket is to where the ball will arrive, in [0, 0.5]."""
        return 0.5 * max(0.0, 1.0 - math.dist(self.data.site_xpos[self._tool], self._aim) / 0.5)

    def visible_state(self, qpos: np.ndarray) -> list[float]:
        """Place of the ball, m; then 1."""
        return [*self.thing_position(qpos).tolist(), 1.0]

    def twins(self, seed: int, index: int) -> Twins:
        """Two balls at the same place that fly to different targets."""
        return self.meeting_twins(seed, index, TWIN_STEPS)
