"""ArmBlock: keep a sliding puck out of a goal that is wider than the arm can cover in time.

The puck slides without friction, as on an air table, along a straight line. The goal is about
five times as wide as the paddle. Start and target are independent, so the puck's place tells
little about where it will cross the line.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from neon_sim.contracts import Twins
from neon_sim.simulation.gl import mujoco

from ..scene import BOX, COLOURS, CYLINDER, GHOST_BITS, SPHERE, View
from .intercept import Motion, SlideTask
from .robot import hand_rotation, hide_fingers

PUCK_RADIUS, PUCK_HEIGHT = 0.058, 0.05  # m
RINK_TOP = 0.004  # height of the rink's surface, m
START_X, GOAL_X, PADDLE_X = 1.36, 0.45, 0.56  # m; PADDLE_X is the paddle's front face
PADDLE_HALF = (0.012, 0.07, 0.045)  # m: thickness, width, height
TOOL = (0.0, 0.0, 0.13)  # m in the frame of the hand: the middle of the paddle
TRAVEL_S = (0.74, 0.78)  # s from the start to the paddle
TWIN_STEPS = 12  # control steps until twins look the same
PUCK_KG = 0.2
PADDLE_BIT = 8  # collision bit of paddle and puck alone
SOLREF = [0.012, 1.0]  # s and damping ratio of the puck's contact
STOPPED_M_S = -0.02  # above this velocity along x the puck no longer approaches the goal


class ArmBlock(SlideTask):
    """Success: the paddle has touched the puck, which no longer approaches the goal.

    Failure: the puck has crossed the goal line.
    """

    NAME = "arm_block"
    EPISODE_STEPS = 60
    INSTRUCTION = "stop the moving puck in front of the goal"
    THING = "puck"
    HEIGHT_M = RINK_TOP + 0.003 + PUCK_HEIGHT / 2
    START_SPREAD_M, TARGET_SPREAD_M = 0.68, 0.43
    START: ClassVar[np.ndarray] = np.array([0.0, 0.4282, 0.0, -2.1819, 0.0, 2.61, np.pi / 4])
    START_GRIPPER = -1.0
    MIN_START_HEIGHT_M = 0.05
    TOOL_POINT = TOOL
    HAND = hand_rotation("y")
    VIEWS: ClassVar[dict[str, View]] = {
        "front": View((1.75, 0.0, 1.9), (0.92, 0.0, 0.0), 44.0),
        "view": View((1.9, -1.15, 1.25), (0.65, 0.0, 0.1), 42.0),
    }

    def build_scene(self, spec: mujoco.MjSpec) -> None:
        """Add rink, goal line, a puck on two slides and a paddle on the hand."""
        hide_fingers(spec)
        paddle = spec.body("hand").add_geom(
            name="paddle",
            type=BOX,
            size=PADDLE_HALF,
            pos=TOOL,
            rgba=[0.16, 0.18, 0.22, 1],
            contype=PADDLE_BIT,
            conaffinity=0,
        )
        paddle.density = 0.0
        ghost = dict(GHOST_BITS)
        world = spec.worldbody
        world.add_geom(
            name="rink",
            type=BOX,
            size=[0.63, 0.80, 0.022],
            pos=[0.99, 0, RINK_TOP - 0.022],
            rgba=[0.86, 0.93, 0.97, 1],
            **ghost,
        )
        for name, x, half, colour in (
            ("goal_line", GOAL_X, 0.012, [0.90, 0.25, 0.22, 1]),
            ("blue_line", 1.0, 0.008, [0.45, 0.62, 0.85, 1]),
        ):
            world.add_geom(
                name=name,
                type=BOX,
                size=[half, 0.62 if name == "goal_line" else 0.80, 0.001],
                pos=[x, 0, RINK_TOP],
                rgba=colour,
                **ghost,
            )
        puck = world.add_body(name="puck", pos=[0, 0, self.HEIGHT_M])
        for axis in range(2):
            puck.add_joint(
                name=f"puck_{'xy'[axis]}",
                type=mujoco.mjtJoint.mjJNT_SLIDE,
                axis=np.eye(3)[axis],
            )
        puck.add_geom(
            name="puck",
            type=CYLINDER,
            size=[PUCK_RADIUS, PUCK_HEIGHT / 2, 0],
            mass=0.0,
            rgba=COLOURS["red"],
            **ghost,
        )
        # Contact is that of a sphere, since MuJoCo computes sphere against box exactly.
        puck.add_geom(
            name="puck_hull",
            type=SPHERE,
            size=[PUCK_RADIUS, 0, 0],
            mass=PUCK_KG,
            group=3,
            rgba=[0, 0, 0, 0],
            contype=0,
            conaffinity=PADDLE_BIT,
            condim=1,
            priority=1,
            solref=SOLREF,
        )

    def draw(self, rng: np.random.Generator, start_y: float, target_y: float) -> Motion:
        """Draw the speed of a straight line from the far end to the paddle's face."""
        travel_s = float(rng.uniform(*TRAVEL_S))
        distance = START_X - PADDLE_X - PUCK_RADIUS
        return {
            "position": [START_X, start_y, self.HEIGHT_M],
            "velocity": [-distance / travel_s, (target_y - start_y) / travel_s, 0.0],
        }

    def arrival(self, position: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        """Centre of the paddle, m, when the puck touches its face."""
        time_s = (position[0] - PADDLE_X - PUCK_RADIUS) / -velocity[0]
        return np.array([PADDLE_X - PADDLE_HALF[0], position[1] + velocity[1] * time_s, 0.06])

    def is_success(self) -> bool:
        """The paddle has touched the puck, which is before the line and does not approach it."""
        if not self._struck:
            return False
        return bool(self.thing_position()[0] > GOAL_X and self.thing_velocity()[0] > STOPPED_M_S)

    def failed(self) -> bool:
        """The puck has crossed the goal line."""
        return bool(self.data.qpos[self._q] < GOAL_X)

    def visible_state(self, qpos: np.ndarray) -> list[float]:
        """Place of the puck, m; then 1."""
        return [*self.thing_position(qpos).tolist(), 1.0]

    def twins(self, seed: int, index: int) -> Twins:
        """Two pucks at the same place that slide to different targets."""
        return self.meeting_twins(seed, index, TWIN_STEPS)
