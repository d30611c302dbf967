"""ArmRebound: catch a ball after it has bounced off a wall, which the arm must predict.

A ball slides down an alley between two walls, bounces once and loses part of its speed across
the alley. About half of its path, half a second, lies after the bounce. That is less time than
the arm needs to the far ends: an expert that waits for the bounce scores 65 %, and one that
extrapolates the path as a straight line scores 15 %.

A single frame shows the ball's place in the alley. It shows neither its speed nor the wall that
it approaches or leaves, and start, wall and target are drawn independently. A cup covers about
0.2 of 0.94 m, so the best constant place scores about 21 %. The arm has to leave half a second
before the ball arrives. Then the ball is 0.4 m to either side of its target, and the best guess
from its place alone is right in 36 % (computed in the test).
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from neon_sim.contracts import Twins
from neon_sim.simulation.gl import mujoco

from ..scene import BOX, GHOST_BITS, View
from .cup import BALL_BIT, BALL_RADIUS, BOARD_TOP, CUP_X, CupTask
from .intercept import Motion
from .robot import hide_fingers

START_X = 1.65  # m
WALL_Y = 0.52  # m, of the ball's centre at the bounce
TRAVEL_S = (0.90, 0.98)  # s from the start to the cup
WALL_X = (0.68, 1.72)  # m, the ends of the walls
WALL_HALF = (0.02, 0.045)  # m, half thickness and half height of a wall
# A spring and a damper in units of acceleration (MuJoCo's direct solref). A ball that hits the
# wall leaves it after BOUNCE_S with RESTITUTION times its speed. Measured: 0.80 to 0.825,
# depending on the moment of contact within a tick, which makes 2 cm at the cup.
WALL_SOLREF = (-20000.0, -20.0)
WALL_SOLIMP = (0.9999, 0.9999, 0.001, 0.5, 2.0)
RESTITUTION = 0.803
BOUNCE_S = 0.022
TWIN_STEPS = 10  # control steps until twins look the same


class ArmRebound(CupTask):
    """Success: the ball has rested in the cup. Failure: it has passed the hand."""

    NAME = "arm_rebound"
    EPISODE_STEPS = 76
    INSTRUCTION = "stop the moving ball"
    START_SPREAD_M, TARGET_SPREAD_M = 0.30, 0.47
    FREE_AXES = 1  # the bounce changes the velocity along y
    VIEWS: ClassVar[dict[str, View]] = {
        "front": View((2.0, 0.0, 2.0), (1.05, 0.0, 0.0), 40.0),
        "view": View((2.1, -1.2, 1.35), (0.78, 0.0, 0.05), 42.0),
    }

    def build_scene(self, spec: mujoco.MjSpec) -> None:
        """Add board, two walls, a ball on two slides and a cup on the hand."""
        hide_fingers(spec)
        self.add_cup(spec.body("hand"))
        self._add_alley(spec.worldbody)
        self.add_ball(spec.worldbody)

    @staticmethod
    def _add_alley(world: mujoco.MjsBody) -> None:
        world.add_geom(
            name="board",
            type=BOX,
            size=[0.70, 0.74, 0.022],
            pos=[1.06, 0, BOARD_TOP - 0.022],
            rgba=[0.24, 0.36, 0.52, 1],
            **GHOST_BITS,
        )
        middle, half = sum(WALL_X) / 2, (WALL_X[1] - WALL_X[0]) / 2
        for side in (-1, 1):
            world.add_geom(
                name=f"wall{side}",
                type=BOX,
                size=[half, *WALL_HALF],
                pos=[middle, side * (WALL_Y + BALL_RADIUS + WALL_HALF[0]), WALL_HALF[1]],
                rgba=[0.88, 0.86, 0.82, 1],
                contype=BALL_BIT,
                conaffinity=0,
                condim=1,
                priority=2,
                solref=WALL_SOLREF,
                solimp=WALL_SOLIMP,
            )

    def draw(self, rng: np.random.Generator, start_y: float, target_y: float) -> Motion:
        """Draw wall and speed of a path from the far end, off that wall, to the cup."""
        travel_s = float(rng.uniform(*TRAVEL_S))
        side = float(rng.choice([-1.0, 1.0]))
        distance = START_X - CUP_X - BALL_RADIUS
        return {
            "position": [START_X, start_y, self.HEIGHT_M],
            "velocity": [-distance / travel_s, bank_shot(side, start_y, target_y, travel_s), 0.0],
        }

    def arrival(self, position: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        """Middle of the cup's inner face, m, when the ball touches it after its bounce, if any."""
        time_s = (position[0] - CUP_X - BALL_RADIUS) / -velocity[0]
        side = np.sign(velocity[1])
        hit_s = (side * WALL_Y - position[1]) / velocity[1] if side else np.inf
        if hit_s >= time_s:
            return np.array([CUP_X, position[1] + velocity[1] * time_s, 0.06])
        rest_s = max(time_s - hit_s - BOUNCE_S, 0.0)
        return np.array([CUP_X, side * WALL_Y - RESTITUTION * velocity[1] * rest_s, 0.06])

    def visible_state(self, qpos: np.ndarray) -> list[float]:
        """Place of the ball, m; then 1."""
        return [*self.thing_position(qpos).tolist(), 1.0]

    def twins(self, seed: int, index: int) -> Twins:
        """Two balls at the same place that go to different walls and targets."""
        return self.meeting_twins(seed, index, TWIN_STEPS)

    def speed_towards(
        self, target_y: float, place: np.ndarray, velocity: np.ndarray, first_y: float
    ) -> float:
        """The velocity along y, m/s, that leads off the other wall to ``target_y``."""
        del first_y
        time_s = (place[0] - CUP_X - BALL_RADIUS) / -velocity[0]
        return bank_shot(-float(np.sign(velocity[1])), float(place[1]), target_y, float(time_s))


def bank_shot(side: float, start_y: float, target_y: float, time_s: float) -> float:
    """The velocity along y, m/s, that leads from one y to another off a wall.

    Before the bounce the ball takes ``(W - y) / v``, after it ``(W - t) / (e v)``.

    Args:
        side: 1 or -1, of the wall. start_y, target_y: m. time_s: from start to target.
    """
    way = (WALL_Y - side * start_y) + (WALL_Y - side * target_y) / RESTITUTION
    return side * way / (time_s - BOUNCE_S)
