"""ArmSwing: grasp the bob of a pendulum at its turning point. A task of timing.

The fingers open across the swing, so that the bob passes between them. Only at the turning point
does it stay long enough to be grasped. Shutting takes a fifth of a second, so the fingers begin
while the bob still moves. There is one chance: afterwards the bob has swung back.

A single frame shows the bob's place but not how far it will swing. Amplitude, side and phase are
drawn independently, over two arcs of 0.35 m, of which the fingers cover 0.06 m. The best constant
place is right in 9 % of the episodes. The best guess from the bob's place in one frame, at an
unknown time, is right in about 20 % (computed in the test). The last frames tell more, but the
arm needs a second to move. And one frame does not tell when to shut.
"""

from __future__ import annotations

import math
from typing import ClassVar, TypedDict, Unpack

import numpy as np

from neon_sim.clock import CONTROL_DT_S, PHYSICS_DT_S, TICKS_PER_CONTROL
from neon_sim.contracts import Twins
from neon_sim.seeding import keyed_rng
from neon_sim.simulation.gl import mujoco

from ..scene import CAPSULE, COLOURS, GHOST_BITS, OBJECT_BITS, SPHERE, View
from ..settings import TaskSettings
from .robot import hand_rotation, joint_action
from .task import ArmTask

PIVOT = np.array([0.62, 0.0, 2.68])  # m
LENGTH_M = 2.20
BOB_RADIUS = 0.020  # m
BOB_KG = 0.10
INERTIA = BOB_KG * (LENGTH_M**2 + 0.4 * BOB_RADIUS**2)  # kg m^2, about the pivot
STIFFNESS = 9.81 * BOB_KG * LENGTH_M / INERTIA  # 1/s^2: angular acceleration over -sin(angle)
AMPLITUDE_RAD = (0.068, 0.229)  # 0.15 to 0.50 m to either side
TURN_S = (0.95, 1.30)  # s from the start until the bob turns for the first time
LOST_RAD = 0.04  # beyond this angle from the turning point the bob has swung back
LEAD_S = 0.24  # before the turn, the fingers begin to shut
AT_GATE_M = 0.03  # m from the turning point within which the hand may shut
HELD_TRAVEL_M = (0.010, 0.022)  # m of finger travel between which the bob is held
HELD_M = 0.035  # largest distance of a held bob from the tool point
HELD_RAD_S = 0.10  # largest angular velocity of a held bob
HELD_STEPS = 5  # control steps that the bob must be held
HAND = hand_rotation("x", 0.8)  # points forward and down; opens across the swing
TWIN_STEPS = 16  # control steps until twins look the same


class Swing(TypedDict):
    """The pendulum at the start: ``angle``, rad, positive towards +y, and ``speed``, rad/s."""

    angle: float
    speed: float


class ArmSwing(ArmTask[Swing]):
    """Success: the bob rests between the fingers. Failure: it has swung back."""

    NAME = "arm_swing"
    EPISODE_STEPS = 85
    INSTRUCTION = "hold the moving ball"
    START: ClassVar[np.ndarray] = np.array([0.0, -0.6337, 0.0, -2.2424, 0.0, 2.4088, -np.pi / 4])
    MIN_START_HEIGHT_M = 0.30
    VIEWS: ClassVar[dict[str, View]] = {
        "front": View((1.80, 0.0, 0.80), (0.62, 0.0, 0.58), 48.0),
        "view": View((1.75, -0.95, 0.95), (0.52, 0.02, 0.55), 46.0),
    }

    def __init__(self, **settings: Unpack[TaskSettings]) -> None:
        super().__init__(**settings)
        joint = self.model.joint("swing")
        self._q, self._v = int(joint.qposadr[0]), int(joint.dofadr[0])

    def build_scene(self, spec: mujoco.MjSpec) -> None:
        """Add a bob on a thin rod that hangs from high up."""
        arm = spec.worldbody.add_body(name="pendulum", pos=PIVOT)
        arm.add_joint(name="swing", type=mujoco.mjtJoint.mjJNT_HINGE, axis=[1, 0, 0])
        arm.add_geom(
            name="rod",
            type=CAPSULE,
            fromto=[0, 0, 0, 0, 0, -LENGTH_M],
            size=[0.005, 0, 0],
            mass=0.0,
            rgba=[0.30, 0.33, 0.38, 1],
            **GHOST_BITS,
        )
        arm.add_geom(
            name="bob",
            type=SPHERE,
            size=[BOB_RADIUS, 0, 0],
            pos=[0, 0, -LENGTH_M],
            mass=BOB_KG,
            rgba=COLOURS["red"],
            friction=[1.2, 0.01, 0.0001],
            **OBJECT_BITS,
        )

    def sample_latent(self, rng: np.random.Generator) -> Swing:
        """Draw amplitude, side and phase; simulate back to the start."""
        amplitude = float(rng.uniform(*AMPLITUDE_RAD) * rng.choice([-1.0, 1.0]))
        before_s = float(rng.uniform(*TURN_S))
        angle, speed = rewind(amplitude, 0.0, round(before_s / PHYSICS_DT_S))
        return {"angle": angle, "speed": speed}

    def apply_latent(self, latent: Swing) -> None:
        """Start the swing, and compute where and when it turns."""
        self.start.qpos[self._q] = latent["angle"]
        self.start.qvel[self._v] = latent["speed"]
        self._turn_rad, ticks = turning_point(latent["angle"], latent["speed"])
        self._turn_s = ticks * PHYSICS_DT_S
        self._held_steps = 0
        self._gate = bob_place(self._turn_rad)
        c, s = math.cos(self._turn_rad), math.sin(self._turn_rad)
        tilt = np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])
        self._rotation = tilt @ HAND

    def angle(self) -> float:
        """Angle of the pendulum now, rad, positive towards +y."""
        return float(self.data.qpos[self._q])

    def after_step(self) -> None:
        """Count the control steps that the bob has been held."""
        self._held_steps = self._held_steps + 1 if self._holds() else 0

    def _holds(self) -> bool:
        """Whether the bob is at rest between the fingers now."""
        if abs(float(self.data.qvel[self._v])) > HELD_RAD_S:
            return False
        low, high = HELD_TRAVEL_M
        offset = bob_place(self.angle()) - self.tool_position()
        near = bool(np.sqrt(offset @ offset) < HELD_M)
        return near and low < self.finger_travel() < high

    def is_success(self) -> bool:
        """The bob has rested between the fingers for ``HELD_STEPS``."""
        return self._held_steps >= HELD_STEPS

    def failed(self) -> bool:
        """The bob has turned and swung back."""
        late = self.control_step * CONTROL_DT_S > self._turn_s
        back = abs(self._turn_rad - self.angle()) > LOST_RAD
        return late and back

    def closeness(self) -> float:
        """How near the hand is to the turning point, in [0, 0.5]."""
        offset = self._gate - self.tool_position()
        return 0.5 * max(0.0, 1.0 - float(np.sqrt(offset @ offset)) / 0.6)

    def visible_state(self, qpos: np.ndarray) -> list[float]:
        """y and z of the bob, m; then 1."""
        _, y, z = bob_place(float(qpos[self._q]))
        return [float(y), float(z), 1.0]

    def expert_action(self) -> np.ndarray:
        """Go to the turning point, and shut in time; the bob swings between the open fingers."""
        offset = self._gate - self.tool_position()
        left_s = self._turn_s - self.control_step * CONTROL_DT_S
        shut = left_s < LEAD_S and bool(np.sqrt(offset @ offset) < AT_GATE_M)
        joints = self.kinematics.inverse(self._gate, self._rotation, posture=self.START)
        return joint_action(joints, -1.0 if shut else 1.0)

    def twins(self, seed: int, index: int) -> Twins:
        """Two pendulums at the lowest point at the same time, one going left, one right."""
        rng = keyed_rng(self.NAME, self.VERSION, seed, index, "twins")
        amplitude = float(rng.uniform(*AMPLITUDE_RAD))
        speed = 2.0 * math.sqrt(STIFFNESS) * math.sin(amplitude / 2)  # energy
        angle, rate = rewind(0.0, speed, TWIN_STEPS * TICKS_PER_CONTROL)
        pair = [Swing(angle=sign * angle, speed=sign * rate) for sign in (1.0, -1.0)]
        return Twins(pair[0], pair[1], TWIN_STEPS)


def bob_place(angle: float) -> np.ndarray:
    """(3,) m: centre of the bob at an angle of the pendulum, rad."""
    return PIVOT + LENGTH_M * np.array([0.0, math.sin(angle), -math.cos(angle)])


def rewind(angle: float, speed: float, ticks: int) -> tuple[float, float]:
    """Angle, rad, and speed, rad/s, ``ticks`` earlier (semi-implicit Euler backwards)."""
    for _ in range(ticks):
        angle -= speed * PHYSICS_DT_S
        speed += STIFFNESS * math.sin(angle) * PHYSICS_DT_S
    return angle, speed


def turning_point(angle: float, speed: float) -> tuple[float, int]:
    """Angle, rad, and tick of the next turn."""
    tick = 0
    while True:
        before = speed
        speed -= STIFFNESS * math.sin(angle) * PHYSICS_DT_S
        angle += speed * PHYSICS_DT_S
        tick += 1
        if before * speed <= 0.0:
            return angle, tick
