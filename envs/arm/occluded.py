"""ArmOccluded: a ball rolls under a screen; wait where it will come out.

The screen is a roof over the whole width of the lanes, seen from above. Under it the ball is
invisible, and when it comes out it is already at the hand. Its path is oblique, and start and
exit are independent. So the place where it vanished does not tell where it will appear; only its
motion does.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from neon_sim.contracts import Twins
from neon_sim.seeding import keyed_rng
from neon_sim.simulation.gl import mujoco

from ..scene import BOX, GHOST_BITS, View
from .cup import BALL_RADIUS, BOARD_TOP, CUP_X, CupTask
from .intercept import TWIN_TARGETS_APART_M, Motion
from .robot import hide_fingers

START_X = 1.47  # m
SCREEN_X, SCREEN_Z, SCREEN_HALF_Y = (0.66, 1.10), (0.125, 0.140), 0.68  # m
TRAVEL_S = (0.78, 0.86)  # s from the start to the cup
FRONT_VIEW = View((1.75, 0.0, 1.75), (0.95, 0.0, 0.0), 40.0)
TWIN_STEPS = 26  # control steps until twins look the same


def _sight_normal(x: float, z: float) -> np.ndarray:
    """(2,) unit normal, in x and z, of the plane through the front camera and an edge along y.

    Args:
        x, z: of the edge, m.
    """
    along = np.array([x - FRONT_VIEW.position[0], z - FRONT_VIEW.position[2]])
    along /= np.sqrt(along @ along)
    return np.array([-along[1], along[0]])


_ENTRY = (SCREEN_X[1], SCREEN_Z[0])  # lower front edge
_EXIT = (SCREEN_X[0], SCREEN_Z[1])  # upper rear edge
_ENTRY_NORMAL, _EXIT_NORMAL = _sight_normal(*_ENTRY), _sight_normal(*_EXIT)


def ball_visible(place: np.ndarray) -> bool:
    """Whether any part of a ball at (3,) m is visible to the front camera.

    The screen is wider than the lanes. So the hidden region lies between two planes, each through
    the camera and one of the screen's edges along y.
    """
    before = (place[[0, 2]] - _ENTRY) @ _ENTRY_NORMAL
    after = (place[[0, 2]] - _EXIT) @ _EXIT_NORMAL
    return bool(before > -BALL_RADIUS or after < BALL_RADIUS)


class ArmOccluded(CupTask):
    """Success: the ball has rested in the cup. Failure: it has passed the hand."""

    NAME = "arm_occluded"
    EPISODE_STEPS = 70
    INSTRUCTION = "stop the ball when it comes out from behind the screen"
    START_SPREAD_M, TARGET_SPREAD_M = 0.54, 0.47
    VIEWS: ClassVar[dict[str, View]] = {
        "front": FRONT_VIEW,
        "view": View((1.9, -1.2, 1.2), (0.68, 0.0, 0.1), 42.0),
    }

    def build_scene(self, spec: mujoco.MjSpec) -> None:
        """Add board, screen, a ball on two slides and a cup on the hand."""
        hide_fingers(spec)
        self.add_cup(spec.body("hand"))
        self._add_board(spec.worldbody)
        self.add_ball(spec.worldbody)

    @staticmethod
    def _add_board(world: mujoco.MjsBody) -> None:
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

    def draw(self, rng: np.random.Generator, start_y: float, target_y: float) -> Motion:
        """Draw the speed of a straight line from the far end to the cup."""
        travel_s = float(rng.uniform(*TRAVEL_S))
        distance = START_X - CUP_X - BALL_RADIUS
        return {
            "position": [START_X, start_y, self.HEIGHT_M],
            "velocity": [-distance / travel_s, (target_y - start_y) / travel_s, 0.0],
        }

    def arrival(self, position: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        """Middle of the cup's inner face, m, when the ball touches it."""
        time_s = (position[0] - CUP_X - BALL_RADIUS) / -velocity[0]
        return np.array([CUP_X, position[1] + velocity[1] * time_s, 0.06])

    def visible_state(self, qpos: np.ndarray) -> list[float]:
        """Place of the ball, m, and 1 if it is visible; otherwise zeros."""
        place = self.thing_position(qpos)
        return [*place.tolist(), 1.0] if ball_visible(place) else [0.0] * 4

    def twins(self, seed: int, index: int) -> Twins:
        """Two hidden balls that will come out at different places."""
        rng = keyed_rng(self.NAME, self.VERSION, seed, index, "twins")
        while True:
            first, second = self.sample_latent(rng), self.sample_latent(rng)
            exits = [
                self.arrival(np.array(x["position"]), np.array(x["velocity"]))[1]
                for x in (first, second)
            ]
            if abs(exits[0] - exits[1]) >= TWIN_TARGETS_APART_M:
                return Twins(first, second, TWIN_STEPS)
