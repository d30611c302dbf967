"""ArmRebound: meet a ball after it has bounced off a wall. Physics, known before it happens.

A ball slides down an alley between two walls, bounces once and loses part of its speed across
the alley. About half of its way lies behind the bounce, half a second, less than the arm needs
to the far ends: who waits for the bounce is late there (an expert that does scores 65 %), who
takes the path to be straight is wrong (15 %).

What a single frame shows is a place in the alley. It does not show which wall the ball is going
to or coming from, nor how fast, and start, wall and target are drawn independently. A cup
covers about 0.2 of 0.94 m, so the best constant place scores about 21 %; half a second before
the ball arrives, when the arm has to be on its way, the ball is 0.4 m to either side of where it
will be, and the best guess from its place alone is right in 36 % (computed in the test).
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ..scene import BOX, GHOST_BITS, View
from .cup import BALL_BIT, BALL_RADIUS, BOARD_TOP, CUP_X, CupTask
from .robot import hide_fingers
from .task import Twins

START_X = 1.65  # m
WALL_Y = 0.52  # m: where the ball's centre turns round
TRAVEL_S = (0.90, 0.98)  # from the start to the cup
WALL_X, WALL_HALF = (0.68, 1.72), (0.02, 0.045)  # m: along the alley; thickness and height
# A spring and a damper in units of acceleration (MuJoCo's direct solref). A ball that hits it
# leaves after BOUNCE_S with RESTITUTION times its speed (measured: 0.80 to 0.825, by the moment
# within a tick at which it touches; 2 cm at the cup).
WALL_SOLREF, WALL_SOLIMP = (-20000.0, -20.0), (0.9999, 0.9999, 0.001, 0.5, 2.0)
RESTITUTION, BOUNCE_S = 0.803, 0.022
TWIN_STEPS = 10


class ArmRebound(CupTask):
    """The cup on the hand has to meet the ball after its bounce."""

    NAME = "arm_rebound"
    EPISODE_STEPS = 76
    START_SPREAD_M, TARGET_SPREAD_M = 0.30, 0.47
    FREE_AXES = 1  # the walls change how it moves along y
    VIEWS: ClassVar[dict[str, View]] = {
        "front": View((2.0, 0.0, 2.0), (1.05, 0.0, 0.0), 40.0),
        "view": View((2.1, -1.2, 1.35), (0.78, 0.0, 0.05), 42.0),
    }

    def build_scene(self, spec: Any) -> None:
        """Board, two walls, ball on two slides, cup on the hand."""
        hide_fingers(spec)
        self.add_cup(spec.body("hand"))
        self._add_alley(spec.worldbody)
        self.add_ball(spec.worldbody)

    @staticmethod
    def _add_alley(world: Any) -> None:
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

    def draw(self, rng: np.random.Generator, start_y: float, target_y: float) -> dict[str, Any]:
        """From the far end by way of one of the walls to the cup."""
        travel_s = float(rng.uniform(*TRAVEL_S))
        side = float(rng.choice([-1.0, 1.0]))
        distance = START_X - CUP_X - BALL_RADIUS
        return {
            "position": [START_X, start_y, self.HEIGHT_M],
            "velocity": [-distance / travel_s, bank_shot(side, start_y, target_y, travel_s), 0.0],
        }

    def arrival(self, position: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        """Middle of the cup's inner face when the ball touches it; after the bounce, if any."""
        time_s = (position[0] - CUP_X - BALL_RADIUS) / -velocity[0]
        side = np.sign(velocity[1])
        hit_s = (side * WALL_Y - position[1]) / velocity[1] if side else np.inf
        if hit_s >= time_s:
            return np.array([CUP_X, position[1] + velocity[1] * time_s, 0.06])
        rest_s = max(time_s - hit_s - BOUNCE_S, 0.0)
        return np.array([CUP_X, side * WALL_Y - RESTITUTION * velocity[1] * rest_s, 0.06])

    @property
    def task_description(self) -> str:
        """The same in every episode."""
        return "stop the moving ball"

    def visible_state(self, qpos: np.ndarray) -> list[float]:
        """Where the ball is."""
        return [*self.thing_position(qpos).tolist(), 1.0]

    def twins(self, seed: int, index: int) -> Twins:
        """Two balls at the same place that go to different walls and targets."""
        return self.meeting_twins(seed, index, TWIN_STEPS)

    def speed_towards(
        self, target_y: float, place: np.ndarray, velocity: np.ndarray, first_y: float
    ) -> float:
        """The vy, m/s, that leads by way of the other wall to ``target_y``."""
        del first_y
        time_s = (place[0] - CUP_X - BALL_RADIUS) / -velocity[0]
        return bank_shot(-float(np.sign(velocity[1])), float(place[1]), target_y, float(time_s))


def bank_shot(side: float, start_y: float, target_y: float, time_s: float) -> float:
    """The vy, m/s, that leads from one y to another in ``time_s``, by way of the wall at ``side``.

    Before the bounce the ball needs ``(W - y) / v``, after it ``(W - t) / (e v)``.
    """
    way = (WALL_Y - side * start_y) + (WALL_Y - side * target_y) / RESTITUTION
    return side * way / (time_s - BOUNCE_S)
