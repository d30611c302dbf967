"""ArmOccluded: a ball rolls behind a screen; be where it comes out, before it does.

The screen is a roof over the whole width of the lanes, seen from above: under it nothing
of the ball can be seen, and when it comes out it is already at the hand. Its path is
oblique, and start and exit are independent, so the place where it vanished does not tell
where it will appear: only how it moved does.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from neon_sim.gl import mujoco
from neon_sim.seeding import keyed_rng

from .arm import hand_rotation, hide_fingers
from .base import Twins
from .intercept import TWIN_TARGETS_APART_M, SlideTask
from .scene import BOX, COLOURS, GHOST_BITS, SPHERE, View

BALL_RADIUS, BALL_KG = 0.05, 0.1
BOARD_TOP = 0.004
START_X, CUP_X = 1.47, 0.56  # m; CUP_X is the inner face of the cup
LOST_X = 0.46
SCREEN_X, SCREEN_Z, SCREEN_HALF_Y = (0.66, 1.10), (0.125, 0.140), 0.68  # m
TRAVEL_S = (0.78, 0.86)  # from the start to the cup
TOOL = (0.0, 0.0, 0.13)
CUP_HALF, CUP_SIDE, CUP_FLARE_RAD = 0.080, 0.04, 0.6  # m, m, rad
BALL_BIT = 8  # the ball meets the cup only: it slides on two axes, as if on a smooth table
FRONT_VIEW = View((1.75, 0.0, 1.75), (0.95, 0.0, 0.0), 40.0)
TWIN_STEPS = 26
RESTING_M_S = 0.5  # relative to the cup
RESTING_STEPS = 3  # control steps of rest in the cup after which the ball counts as met


def _sight_normal(x: float, z: float) -> np.ndarray:
    """(2,) unit normal, towards +x, of the camera's plane of sight through an edge along y."""
    along = np.array([x - FRONT_VIEW.position[0], z - FRONT_VIEW.position[2]])
    along /= np.sqrt(along @ along)
    return np.array([-along[1], along[0]])


_ENTRY = (SCREEN_X[1], SCREEN_Z[0])  # lower front edge
_EXIT = (SCREEN_X[0], SCREEN_Z[1])  # upper rear edge
_ENTRY_NORMAL, _EXIT_NORMAL = _sight_normal(*_ENTRY), _sight_normal(*_EXIT)


def ball_visible(place: np.ndarray) -> bool:
    """Whether anything of a ball at (3,) m shows beside the screen in the front camera.

    The screen is wider than the lanes, so what it hides lies between two planes through
    the camera and its edges along y; the ball is hidden when all of it is.
    """
    before = (place[[0, 2]] - _ENTRY) @ _ENTRY_NORMAL
    after = (place[[0, 2]] - _EXIT) @ _EXIT_NORMAL
    return bool(before > -BALL_RADIUS or after < BALL_RADIUS)


class ArmOccluded(SlideTask):
    """The cup on the hand has to meet the ball as it comes out from behind the screen."""

    NAME = "arm_occluded"
    EPISODE_STEPS = 70
    THING = "ball"
    HEIGHT_M = BOARD_TOP + BALL_RADIUS
    START_SPREAD_M, TARGET_SPREAD_M = 0.54, 0.47
    START: ClassVar[np.ndarray] = np.array([0.0, 0.4282, 0.0, -2.1819, 0.0, 2.61, np.pi / 4])
    START_GRIPPER = -1.0
    MIN_START_HEIGHT_M = 0.05
    TOOL_POINT = TOOL
    HAND = hand_rotation("y")
    VIEWS: ClassVar[dict[str, View]] = {
        "front": FRONT_VIEW,
        "view": View((1.9, -1.2, 1.2), (0.68, 0.0, 0.1), 42.0),
    }

    def build_scene(self, spec: Any) -> None:
        """Board, screen, ball on two slides, cup on the hand."""
        hide_fingers(spec)
        self._add_cup(spec.body("hand"))
        self._add_board(spec.worldbody)
        ball = spec.worldbody.add_body(name="ball", pos=[0, 0, self.HEIGHT_M])
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

    @staticmethod
    def _add_cup(hand: Any) -> None:
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

    @staticmethod
    def _add_board(world: Any) -> None:
        ghost = dict(GHOST_BITS)
        world.add_geom(
            name="board",
            type=BOX,
            size=[0.63, 0.74, 0.022],
            pos=[0.99, 0, BOARD_TOP - 0.022],
            rgba=[0.20, 0.46, 0.38, 1],
            **ghost,
        )
        middle = (sum(SCREEN_X) / 2, 0.0, sum(SCREEN_Z) / 2)
        half = ((SCREEN_X[1] - SCREEN_X[0]) / 2, SCREEN_HALF_Y, (SCREEN_Z[1] - SCREEN_Z[0]) / 2)
        world.add_geom(
            name="screen", type=BOX, size=half, pos=middle, rgba=[0.88, 0.86, 0.82, 1], **ghost
        )
        for index, (x, side) in enumerate((x, s) for x in SCREEN_X for s in (-1, 1)):
            inward = 0.02 if x == SCREEN_X[0] else -0.02
            world.add_geom(
                name=f"screen_leg{index}",
                type=BOX,
                size=[0.012, 0.012, SCREEN_Z[0] / 2],
                pos=[x + inward, side * (SCREEN_HALF_Y - 0.03), SCREEN_Z[0] / 2],
                rgba=[0.45, 0.44, 0.42, 1],
                **ghost,
            )

    def draw(self, rng: np.random.Generator, start_y: float, target_y: float) -> dict[str, Any]:
        """A straight line from the far end to the cup, at one of several speeds."""
        travel_s = float(rng.uniform(*TRAVEL_S))
        distance = START_X - CUP_X - BALL_RADIUS
        return {
            "position": [START_X, start_y, self.HEIGHT_M],
            "velocity": [-distance / travel_s, (target_y - start_y) / travel_s, 0.0],
        }

    def arrival(self, position: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        """Middle of the cup's inner face when the ball touches it."""
        time_s = (position[0] - CUP_X - BALL_RADIUS) / -velocity[0]
        return np.array([CUP_X, position[1] + velocity[1] * time_s, 0.06])

    @property
    def task_description(self) -> str:
        """The same in every episode."""
        return "stop the ball when it comes out from behind the screen"

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

    def visible_state(self, qpos: np.ndarray) -> list[float]:
        """Where the ball is and 1 when it can be seen, else zeros."""
        place = self.thing_position(qpos)
        return [*place.tolist(), 1.0] if ball_visible(place) else [0.0] * 4

    def twins(self, seed: int, index: int) -> Twins:
        """Two balls, both hidden, that will come out at different places."""
        rng = keyed_rng(self.NAME, self.VERSION, seed, index, "twins")
        while True:
            first, second = self.sample_latent(rng), self.sample_latent(rng)
            exits = [
                self.arrival(np.array(x["position"]), np.array(x["velocity"]))[1]
                for x in (first, second)
            ]
            if abs(exits[0] - exits[1]) >= TWIN_TARGETS_APART_M:
                return Twins(first, second, TWIN_STEPS)
