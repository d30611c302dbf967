"""ArmConveyorPick: lift a cup that stands still on a belt or slides along it, either way.

The belt has no friction. The fingers open across it, so the cup can slide between them. A policy
that knows the velocity moves along with the cup while the fingers close. A policy that sees one
frame closes them where the cup was.
"""

from __future__ import annotations

from typing import ClassVar, TypedDict

import numpy as np

from neon_sim.clock import CONTROL_DT_S
from neon_sim.contracts import Twins
from neon_sim.seeding import episode_rng
from neon_sim.simulation.gl import mujoco

from ..scene import BOX, COLOURS, CYLINDER, GHOST_BITS, OBJECT_BITS, PLANE, VIEW, View
from .robot import hand_rotation, joint_action
from .task import ArmTask

BELT_X, BELT_HALF_WIDTH, BELT_TOP = 0.50, 0.075, 0.012  # m
CUP_HALF, CUP_HALF_HEIGHT = 0.025, 0.04  # m
CUP_MASS = 0.12  # kg
CUP_Z = BELT_TOP + CUP_HALF_HEIGHT
LIFT_M = 0.10
GRIP_Z = CUP_Z + 0.015  # height of the tool point at the grip, m
SPEED_RANGE = (0.10, 0.60)  # m/s, of a moving cup
STILL_SHARE = 0.2  # of the episodes, in which the cup stands still
# The cup's place after MIDDLE_S is drawn independently of its velocity.
MIDDLE_S = 0.6
MIDDLE_RANGE = 0.20  # m to either side
START_RANGE = 0.40  # m, all of it visible
END_M = 0.62  # m; beyond it the cup is out of reach
HAND = hand_rotation("x")
HOVER = np.array([0.0, 0.027, 0.0, -2.369, 0.0, 2.396, -np.pi / 4])  # tool at (0.5, 0, 0.18) m
# The expert. The hand trails a moving target by the servo's lag and its stopping distance.
LAG_S = 0.035
STOP_ACCELERATION = 5.6  # m/s^2, at the hand
HOVER_Z, LIFT_Z = GRIP_Z + 0.075, 0.25  # m
ABOVE_X, ABOVE_Y = 0.012, 0.035  # m from the cup within which the hand goes down
DRIFT_M_S = 0.25  # largest velocity relative to the cup at which the hand goes down
HAND_SPEED = 0.6  # m/s, along the belt
CLOSE_M = 0.016  # m along the belt within which the fingers begin to close
KEEP_M = 0.030  # m along the belt within which they go on closing
CLOSING_S = 0.10  # s that closing takes
EMPTY_TRAVEL, HELD_TRAVEL = 0.020, 0.0262  # m of finger travel between which the cup is held
CLOSING_TRAVEL = 0.038  # m of finger travel below which the fingers are closing


class SlidingCup(TypedDict):
    """The cup: ``y`` at the start, m, and its ``velocity`` along y, m/s."""

    y: float
    velocity: float


class ArmConveyorPick(ArmTask[SlidingCup]):
    """Success: the cup is lifted by 10 cm. Failure: it slid out of reach or fell over."""

    NAME = "arm_conveyor_pick"
    EPISODE_STEPS = 125
    INSTRUCTION = "lift the cup from the belt"
    START: ClassVar[np.ndarray] = HOVER
    MIN_START_HEIGHT_M = 0.13
    VIEWS: ClassVar[dict[str, View]] = {
        "front": View((1.50, 0.0, 0.58), (0.48, 0.0, 0.11), 36.0),
        "view": VIEW,
    }

    def build_scene(self, spec: mujoco.MjSpec) -> None:
        """Add a frictionless belt along y and one cup."""
        world = spec.worldbody
        world.add_geom(
            name="belt",
            type=BOX,
            size=[BELT_HALF_WIDTH, 0.70, BELT_TOP / 2],
            pos=[BELT_X, 0, BELT_TOP / 2],
            rgba=[0.30, 0.31, 0.34, 1],
            contype=0,
            conaffinity=4,
        )
        world.add_geom(
            name="slide",  # carries the cup; contact with a plane is exact, so twins stay equal
            type=PLANE,
            size=[1, 1, 0.1],
            pos=[0, 0, BELT_TOP],
            contype=0,
            conaffinity=2,
            priority=1,
            condim=1,
            group=3,
        )
        for side in (-1, 1):
            world.add_geom(
                name=f"rail{side}",
                type=BOX,
                size=[0.008, 0.70, 0.009],
                pos=[BELT_X + side * (BELT_HALF_WIDTH + 0.008), 0, 0.009],
                rgba=[0.88, 0.88, 0.86, 1],
                **GHOST_BITS,
            )
        cup = world.add_body(name="cup", pos=[BELT_X, 0, CUP_Z])
        cup.add_freejoint()
        cup.add_geom(
            name="cup_contact",
            type=CYLINDER,
            size=[CUP_HALF, CUP_HALF_HEIGHT, 0],
            mass=CUP_MASS,
            friction=[1.0, 0.01, 0.0001],
            group=3,
            **OBJECT_BITS,
        )
        shapes = (
            ("cup", 0.029, 0.0, CUP_HALF_HEIGHT, COLOURS["red"]),
            ("cup_rim", 0.022, CUP_HALF_HEIGHT, 0.001, (1.0, 0.86, 0.78, 1.0)),
        )
        for name, radius, z, half_height, rgba in shapes:
            cup.add_geom(
                name=name,
                type=CYLINDER,
                size=[radius, half_height, 0],
                pos=[0, 0, z],
                rgba=rgba,
                mass=0,
                **GHOST_BITS,
            )

    def sample_latent(self, rng: np.random.Generator) -> SlidingCup:
        """Draw the velocity and, independently of it, the place after 0.6 s."""
        velocity = 0.0
        if rng.random() >= STILL_SHARE:
            velocity = float(rng.uniform(*SPEED_RANGE) * rng.choice([-1.0, 1.0]))
        while True:
            start = float(rng.uniform(-MIDDLE_RANGE, MIDDLE_RANGE)) - MIDDLE_S * velocity
            if abs(start) <= START_RANGE:
                return {"y": start, "velocity": velocity}

    def apply_latent(self, latent: SlidingCup) -> None:
        """Start the cup on the belt."""
        self.place_body("cup", (BELT_X, latent["y"], CUP_Z), (0.0, latent["velocity"], 0.0))

    def is_success(self) -> bool:
        """The cup is 10 cm higher and at the fingers."""
        cup = self.body_position("cup")
        near = np.abs(cup - self.tool_position()).max() < 0.06
        return bool(cup[2] > CUP_Z + LIFT_M and near)

    def failed(self) -> bool:
        """The cup is out of reach or has fallen over."""
        cup = self.body_position("cup")
        return bool(abs(cup[1]) > END_M or cup[2] < CUP_Z - 0.01)

    def closeness(self) -> float:
        """Half for being at the cup, half for lifting it."""
        cup = self.body_position("cup")
        near = max(0.0, 1.0 - float(np.linalg.norm(cup - self.tool_position())) / 0.5)
        lift = min(max(float(cup[2]) - CUP_Z, 0.0) / LIFT_M, 1.0)
        return 0.5 * near + 0.5 * lift

    def visible_state(self, qpos: np.ndarray) -> list[float]:
        """Place of the cup, m."""
        return [float(value) for value in self.body_position("cup", qpos)]

    def expert_action(self) -> np.ndarray:
        """Move along above the cup, go down, close while it is between the fingers, lift."""
        cup, hand, travel = self.body_position("cup"), self.tool_position(), self.finger_travel()
        offset = np.abs(cup - hand)
        if offset[1] < KEEP_M and EMPTY_TRAVEL < travel < HELD_TRAVEL:
            return self._go(float(np.clip(cup[1], -0.4, 0.4)), LIFT_Z, -1.0)
        speed = float(np.clip(self.body_velocity("cup")[1], -SPEED_RANGE[1], SPEED_RANGE[1]))
        drift = speed - float(self.tool_velocity()[1])
        seconds = LAG_S + (abs(speed) + abs(drift)) / (2 * STOP_ACCELERATION)
        seconds += self._seconds_to_meet(float(cup[1] - hand[1]), speed)
        ahead = float(np.clip(cup[1] + speed * seconds, -0.55, 0.55))
        low = hand[2] < GRIP_Z + 0.025
        soon = abs(float(cup[1] - hand[1]) + drift * CLOSING_S)
        reach = KEEP_M if travel < CLOSING_TRAVEL else CLOSE_M
        if low and max(offset[1], soon) < reach:
            return self._go(ahead, GRIP_Z, -1.0)
        down = low or (offset[0] < ABOVE_X and offset[1] < ABOVE_Y and abs(drift) < DRIFT_M_S)
        return self._go(ahead, GRIP_Z if down else HOVER_Z, 1.0)

    @staticmethod
    def _seconds_to_meet(offset: float, speed: float) -> float:
        """Seconds until a hand at ``HAND_SPEED`` catches up with the cup."""
        seconds = 0.0
        for _ in range(4):
            distance = max(abs(offset + speed * seconds) - ABOVE_Y, 0.0)
            seconds = min(distance / HAND_SPEED, 0.6)
        return seconds

    def _go(self, y: float, z: float, gripper: float) -> np.ndarray:
        """Bring the tool point over the belt to (y, z), m."""
        target = np.array([BELT_X, y, z])
        return joint_action(self.kinematics.inverse(target, HAND, posture=HOVER), gripper)

    def twins(self, seed: int, index: int) -> Twins:
        """Two cups that are at the same place after 0.24 s, one going left, one going right."""
        rng = episode_rng(self.NAME, self.VERSION, seed, index, "twins")
        steps = 12
        place, speed = float(rng.uniform(-0.15, 0.15)), float(rng.uniform(0.2, 0.6))
        moved = speed * steps * CONTROL_DT_S
        pair = [SlidingCup(y=place - sign * moved, velocity=sign * speed) for sign in (1.0, -1.0)]
        return Twins(pair[0], pair[1], steps)
