"""The arm as an embodiment: its model, the scaling of actions, the 500 Hz ramp and the IK.

A policy speaks in eight numbers of [-1, 1]: seven absolute joint targets scaled by the
joint range and the gripper's opening. What the motors get is a ramp that respects the
arm's velocity and acceleration limits whatever the policy says (``Ramp``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib import resources
from typing import Any

import numpy as np

from neon_sim.clock import CONTROL_DT_S, PHYSICS_DT_S, TICKS_PER_CONTROL
from neon_sim.errors import unknown_name
from neon_sim.simulation.gl import mujoco

from ..menagerie import BODIES, copy_hull, menagerie_file

NUM_JOINTS = 7
ACTION_DIM = 8
JOINT_NAMES = tuple(f"joint{i}" for i in range(1, NUM_JOINTS + 1))
# Joint range, rad (Franka Emika Panda, menagerie model).
JOINT_LOW = np.array([-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973])
JOINT_HIGH = np.array([2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973])
# Data sheet limits, rad/s and rad/s^2 (Franka Control Interface, "limits for Panda").
MAX_VELOCITY = np.array([2.175, 2.175, 2.175, 2.175, 2.61, 2.61, 2.61])
MAX_ACCELERATION = np.array([15.0, 7.5, 10.0, 12.5, 15.0, 20.0, 20.0])
LIMIT_FRACTION = 0.7  # share of both limits the ramp uses
FINGER_TRAVEL = 0.04  # m a finger; the opening is twice that
FINGER_VELOCITY, FINGER_ACCELERATION = 0.1, 4.0  # m/s, m/s^2 a finger (the real hand: 0.05 m/s)
# kd / kp of each servo: adding this times the ramp's velocity cancels its damping lag.
FEED_FORWARD = np.array([0.1] * NUM_JOINTS + [0.04])
HOME = np.array([0.0, 0.0, 0.0, -np.pi / 2, 0.0, np.pi / 2, -np.pi / 4])
# Fingertips near the base, out of the camera's way to the table, to reach forward from.
READY = np.array([0.0, -0.367, 0.0, -2.835, 0.0, 2.968, -np.pi / 4])
GRIP_POINT = (0.0, 0.0, 0.1334)  # between the pads, in the frame of body "hand"

_LOW = np.append(JOINT_LOW, 0.0)
_HIGH = np.append(JOINT_HIGH, FINGER_TRAVEL)
_MIDDLE, _HALF = (_HIGH + _LOW) / 2, (_HIGH - _LOW) / 2


def to_action(targets: np.ndarray) -> np.ndarray:
    """Scale (..., 8) joint angles in rad and finger travel in m to [-1, 1]."""
    return (targets - _MIDDLE) / _HALF


def from_action(action: np.ndarray) -> np.ndarray:
    """Inverse of ``to_action``; values beyond [-1, 1] are clipped to the joint range."""
    return np.minimum(np.maximum(action, -1.0), 1.0) * _HALF + _MIDDLE


_SCALES = tuple(zip(_MIDDLE.tolist(), _HALF.tolist(), strict=True))


def scale_to_action(targets: Sequence[float]) -> list[float]:
    """``to_action`` of one row, clipped to [-1, 1]; scalars, because it runs every step."""
    rows = zip(targets, _SCALES, strict=True)
    return [min(max((value - middle) / half, -1.0), 1.0) for value, (middle, half) in rows]


def scale_from_action(action: Sequence[float]) -> list[float]:
    """``from_action`` of one row; scalars, because it runs every step."""
    rows = zip(action, _SCALES, strict=True)
    return [min(max(value, -1.0), 1.0) * half + middle for value, (middle, half) in rows]


def joint_action(joints: np.ndarray, gripper: float) -> np.ndarray:
    """Action that holds (7,) joint angles in rad with the gripper at -1 (shut) to 1 (open)."""
    action = np.empty(ACTION_DIM, dtype=np.float32)
    action[:NUM_JOINTS] = (joints - _MIDDLE[:NUM_JOINTS]) / _HALF[:NUM_JOINTS]
    action[NUM_JOINTS] = gripper
    return np.clip(action, -1.0, 1.0)


class Ramp:
    """Turns one target a control step into ten motor set points within the arm's limits.

    Acceleration is constant over a control step. The velocity at its end is the largest
    from which the joint can still stop at the target with the same deceleration: of
    ``v1^2 / 2a + (v0 + v1) dt / 2 = e``, clipped to the velocity and acceleration limits.
    Joints 2, 4 and 6, which move the hand in the vertical plane, arrive together: the quicker
    ones are slowed in time, so that the hand does not swing out on its way.
    """

    _T = np.arange(1, TICKS_PER_CONTROL + 1)[:, None] * PHYSICS_DT_S
    _HALF_T2 = _T**2 / 2
    _A = np.append(MAX_ACCELERATION * LIMIT_FRACTION, FINGER_ACCELERATION)
    _V = np.append(MAX_VELOCITY * LIMIT_FRACTION, FINGER_VELOCITY)
    _LIMITS = _A.tolist(), _V.tolist(), (_A * CONTROL_DT_S).tolist()  # a, v, dv a control step
    _PLANE = (1, 3, 5)  # joints 2, 4, 6; ways shorter than v^2 / a never reach full speed
    # set point = q0 + v0 (t + ff) + a (t^2 / 2 + ff t), ff the damping feed-forward
    _OF_V = _T + FEED_FORWARD
    _OF_A = _HALF_T2 + FEED_FORWARD * _T

    def __init__(self) -> None:
        self.reset(np.append(HOME, FINGER_TRAVEL))

    def reset(self, position: np.ndarray) -> None:
        """Stand still at (8,) ``position``."""
        self._q = [float(value) for value in position]
        self._v = [0.0] * ACTION_DIM

    @property
    def position(self) -> np.ndarray:
        """(8,) float64 where the ramp is: rad, and m for the fingers."""
        return np.array(self._q)

    @property
    def velocity(self) -> np.ndarray:
        """(8,) float64 how fast it goes: rad/s and m/s."""
        return np.array(self._v)

    def step(self, target: Sequence[float]) -> np.ndarray:
        """Advance one control step (20 ms) towards ``target``.

        Args:
            target: eight numbers, rad and m.

        Returns:
            (10, 8) float64 motor set points, one a physics tick, with feed-forward.
        """
        # One loop over scalars on purpose: between two drawn frames many small calls are cold,
        # and cost four times what they cost in a tight loop (measured: 67 against 27 us).
        half, here, before = CONTROL_DT_S / 2, self._q, self._v
        rest = [wanted - q - v0 * half for wanted, q, v0 in zip(target, here, before, strict=True)]
        acceleration, after, there = [], [], []
        limits = zip(here, before, rest, self._pace(rest), *self._LIMITS, strict=True)
        for q, v0, way, pace, a, v, dv in limits:
            half_dv = a * pace * pace * half
            v1 = math.sqrt(half_dv * (half_dv + abs(way) * (4.0 / CONTROL_DT_S))) - half_dv
            v1 = v1 if v1 < v * pace else v * pace
            change = (v1 if way > 0.0 else -v1) - v0
            change = change if change < dv else dv
            change = change if change > -dv else -dv
            acceleration.append(change / CONTROL_DT_S)
            after.append(v0 + change)
            there.append(q + (v0 + v0 + change) * half)
        self._q, self._v = there, after
        q0, v, a = np.array((here, before, acceleration))
        points = np.multiply(v, self._OF_V)
        np.add(points, q0, out=points)
        return np.add(points, np.multiply(a, self._OF_A), out=points)

    def _pace(self, rest: list[float]) -> list[float]:
        """Eight factors of time, at most 1, by which each joint goes slower than it could."""
        times = []
        for joint in self._PLANE:
            a, v, way = self._LIMITS[0][joint], self._LIMITS[1][joint], abs(rest[joint])
            times.append(2.0 * math.sqrt(way / a) if way < v * v / a else way / v + v / a)
        longest = max(*times, 1e-9)
        pace = [1.0] * ACTION_DIM
        for joint, time in zip(self._PLANE, times, strict=True):
            pace[joint] = time / longest
        return pace


def _published_arm(primitive: Any) -> Any:
    """The menagerie's Panda with our gripper servo, contact geoms and options."""
    spec = mujoco.MjSpec.from_file(str(menagerie_file("franka_emika_panda", "panda.xml")))
    for geom in [g for g in spec.geoms if g.contype or g.group == 3]:
        spec.delete(geom)
    for unwanted in [*spec.keys, *spec.lights]:
        spec.delete(unwanted)
    copy_hull(primitive, spec)
    spec.body("hand").add_site(name="grip", pos=GRIP_POINT, size=[0.005] * 3, group=4)
    servo, ours = spec.actuator("actuator8"), primitive.actuator("actuator8")
    servo.gainprm, servo.biasprm = ours.gainprm, ours.biasprm
    servo.ctrlrange = ours.ctrlrange
    for body in spec.bodies:
        body.gravcomp = 0.0 if body.name in ("world", "link0") else 1.0
    spec.option.integrator = primitive.option.integrator
    spec.option.iterations = primitive.option.iterations
    spec.option.ls_iterations = primitive.option.ls_iterations
    return spec


def load_arm(robot: str = "primitive") -> Any:
    """Load the arm as an ``mujoco.MjSpec`` to which a task adds its scene.

    Args:
        robot: ``"primitive"`` (our geoms) or ``"menagerie"`` (the published meshes for the
            eye, our geoms for contact), with the same joints, actuators and frames.

    Raises:
        UnknownNameError: no such robot. ConfigError: the meshes are not there.
    """
    if robot not in BODIES:
        raise unknown_name("robot", robot, BODIES)
    text = resources.files("neon_sim.assets").joinpath("arm.xml").read_text()
    primitive = mujoco.MjSpec.from_string(text)
    return primitive if robot == "primitive" else _published_arm(primitive)


def hide_fingers(spec: Any) -> None:
    """Make the fingers invisible and intangible, for tasks that carry a tool instead."""
    for name in ("left_finger", "right_finger"):
        for geom in spec.body(name).geoms:
            geom.contype, geom.conaffinity, geom.group = 0, 0, 3


def hand_rotation(opening_axis: str = "x", tilt: float = 0.0) -> np.ndarray:
    """(3, 3) rotation of a hand that points down.

    Args:
        opening_axis: world axis along which the fingers open, ``"x"`` or ``"y"``.
        tilt: rad by which it points forward (+x) instead of straight down.
    """
    c, s = np.cos(tilt), np.sin(tilt)
    forward, ahead, side = [s, 0.0, -c], [c, 0.0, s], [0.0, 1.0, 0.0]
    if opening_axis == "x":
        return np.column_stack([side, ahead, forward])
    return np.column_stack([ahead, [0.0, -1.0, 0.0], forward])


class ArmKinematics:
    """Forward and inverse kinematics on an arm of its own, away from the simulation.

    The inverse is a deterministic function of the target alone: damped Gauss-Newton from a
    fixed posture turned towards the target, never from where the arm happens to be, so an
    expert's label depends on the state it labels and on nothing before.

    Args:
        tool_point: point of body ``hand`` that shall reach the target, m in its frame.
    """

    _MARGIN = 0.02  # rad kept from the joint limits
    _CACHE_SIZE = 4096

    def __init__(self, tool_point: tuple[float, float, float] = GRIP_POINT) -> None:
        self._model = load_arm().compile()
        self._data = mujoco.MjData(self._model)
        self._hand = self._model.body("hand").id
        self._tool = np.array(tool_point)
        self._jacobian = np.zeros((6, self._model.nv))
        self._cache: dict[tuple[Any, ...], np.ndarray] = {}

    def forward(self, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Tool point (3,) in m and hand rotation (3, 3) at (7,) joint angles."""
        data = self._data
        data.qpos[:NUM_JOINTS] = joints
        mujoco.mj_kinematics(self._model, data)
        rotation = data.xmat[self._hand].reshape(3, 3).copy()
        return data.xpos[self._hand] + rotation @ self._tool, rotation

    def inverse(
        self,
        position: np.ndarray,
        rotation: np.ndarray,
        *,
        rotation_weight: float = 0.3,
        posture: np.ndarray = HOME,
        posture_weight: float = 0.02,
        iterations: int = 12,
        spin_free: bool = False,
    ) -> np.ndarray:
        """Joint angles that bring the tool point to ``position`` with the hand at ``rotation``.

        Minimises ``|p - p*|^2 + w_r^2 |r|^2 + w_q^2 |q - posture|^2`` by Gauss-Newton, the
        posture term fading out towards the end.

        Args:
            position: (3,) m, world frame (the arm's base is at the origin).
            rotation: (3, 3) of body ``hand``: z is the way it points, y the way it opens.
            rotation_weight: m per rad; 0.03 for "roughly", 0.3 for "exactly".
            posture: (7,) the posture to stay near and to start from; joint 1 is replaced by
                the target's azimuth.
            posture_weight: m per rad.
            iterations: Gauss-Newton steps, about 25 us each.
            spin_free: leave the turn about the hand's own z to the posture term.

        Returns:
            (7,) float64 rad, inside the joint limits. Out of reach: as near as it gets.
        """
        key = (
            position.tobytes(),
            rotation.tobytes(),
            posture.tobytes(),
            (rotation_weight, posture_weight, iterations, spin_free),
        )
        if key not in self._cache:
            if len(self._cache) >= self._CACHE_SIZE:
                self._cache.clear()
            weights = (rotation_weight, posture_weight)
            self._cache[key] = self._solve(
                position, rotation, weights, posture, iterations, spin_free
            )
        return self._cache[key].copy()

    def _solve(
        self,
        position: np.ndarray,
        rotation: np.ndarray,
        weights: tuple[float, float],
        posture: np.ndarray,
        iterations: int,
        spin_free: bool,
    ) -> np.ndarray:
        rest = posture.copy()
        rest[0] = np.arctan2(position[1], position[0])
        low, high = JOINT_LOW + self._MARGIN, JOINT_HIGH - self._MARGIN
        joints = rest.copy()
        error = np.empty(6)
        for index in range(iterations):
            point, current = self.forward(joints)
            error[:3] = position - point
            error[3:] = weights[0] * _turn(current, rotation, spin_free)
            jacobian = self._tool_jacobian(point)
            jacobian[3:] *= weights[0]
            if spin_free:  # forget turns about the hand's own axis
                axis = current[:, 2]
                jacobian[3:] -= np.outer(axis, axis @ jacobian[3:])
            pull = weights[1] ** 2 * 0.5**index
            normal = jacobian.T @ jacobian
            normal[np.diag_indices(NUM_JOINTS)] += pull + 1e-6
            step = np.linalg.solve(normal, jacobian.T @ error + pull * (rest - joints))
            joints = np.minimum(np.maximum(joints + np.clip(step, -0.6, 0.6), low), high)
            if index > 4 and np.abs(step).max() < 1e-4:
                break
        return joints

    def _tool_jacobian(self, point: np.ndarray) -> np.ndarray:
        model, data = self._model, self._data
        mujoco.mj_comPos(model, data)
        full = self._jacobian
        mujoco.mj_jac(model, data, full[:3], full[3:], point, self._hand)
        return full[:, :NUM_JOINTS].copy()

    def __getstate__(self) -> dict[str, Any]:
        return {"tool": self._tool}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(tuple(state["tool"]))  # type: ignore[misc]


def _turn(current: np.ndarray, wanted: np.ndarray, spin_free: bool) -> np.ndarray:
    """Rotation vector (3,) in rad, world frame, from ``current`` to ``wanted`` (first order)."""
    if spin_free:
        return _cross(current[:, 2], wanted[:, 2])
    c, w = current, wanted
    return 0.5 * (_cross(c[:, 0], w[:, 0]) + _cross(c[:, 1], w[:, 1]) + _cross(c[:, 2], w[:, 2]))


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cross product of two (3,) vectors (``np.cross`` costs ten times as much)."""
    return np.array(
        [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
    )
