"""The arm: its model, the scaling of actions, the 500 Hz ramp and the inverse kinematics.

An action is eight numbers in [-1, 1]: seven absolute joint targets, scaled by the joint range,
and the gripper's opening. Whatever the action, a ramp (``Ramp``) keeps the motors' set points
within the arm's limits of velocity and acceleration.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib import resources

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
LIMIT_FRACTION = 0.7  # share of both limits that the ramp uses
FINGER_TRAVEL = 0.04  # m, of each finger; the opening is twice that
FINGER_VELOCITY = 0.1  # m/s, of each finger (the real hand: 0.05 m/s)
FINGER_ACCELERATION = 4.0  # m/s^2, of each finger
# kd / kp of each servo, s: adding this times the ramp's velocity cancels the lag of damping.
FEED_FORWARD = np.array([0.1] * NUM_JOINTS + [0.04])
HOME = np.array([0.0, 0.0, 0.0, -np.pi / 2, 0.0, np.pi / 2, -np.pi / 4])
# Start pose for reaching forward: the fingertips are near the base and hide little of the table.
READY = np.array([0.0, -0.367, 0.0, -2.835, 0.0, 2.968, -np.pi / 4])
GRIP_POINT = (0.0, 0.0, 0.1334)  # between the pads, in the frame of body "hand"

_LOW = np.append(JOINT_LOW, 0.0)
_HIGH = np.append(JOINT_HIGH, FINGER_TRAVEL)
_MIDDLE, _HALF = (_HIGH + _LOW) / 2, (_HIGH - _LOW) / 2


def to_action(targets: np.ndarray) -> np.ndarray:
    """Scale (..., 8) targets, joint angles in rad and finger travel in m, to [-1, 1]."""
    action: np.ndarray = (targets - _MIDDLE) / _HALF
    return action


def from_action(action: np.ndarray) -> np.ndarray:
    """Inverse of ``to_action``; values beyond [-1, 1] are clipped to the joint range."""
    targets: np.ndarray = np.minimum(np.maximum(action, -1.0), 1.0) * _HALF + _MIDDLE
    return targets


_SCALES = tuple(zip(_MIDDLE.tolist(), _HALF.tolist(), strict=True))


def scale_to_action(targets: Sequence[float]) -> list[float]:
    """``to_action`` of one row, clipped to [-1, 1]. Scalar code, since it runs every step."""
    rows = zip(targets, _SCALES, strict=True)
    return [min(max((value - middle) / half, -1.0), 1.0) for value, (middle, half) in rows]


def scale_from_action(action: Sequence[float]) -> list[float]:
    """``from_action`` of one row. Scalar code, since it runs every step."""
    rows = zip(action, _SCALES, strict=True)
    return [min(max(value, -1.0), 1.0) * half + middle for value, (middle, half) in rows]


def joint_action(joints: np.ndarray, gripper: float) -> np.ndarray:
    """(8,) float32: the action for joint angles and a gripper opening.

    Args:
        joints: (7,) rad. gripper: -1 shut to 1 open.
    """
    action = np.empty(ACTION_DIM, dtype=np.float32)
    action[:NUM_JOINTS] = (joints - _MIDDLE[:NUM_JOINTS]) / _HALF[:NUM_JOINTS]
    action[NUM_JOINTS] = gripper
    return np.clip(action, -1.0, 1.0)


class Ramp:
    """Turns one target a control step into ten motor set points within the arm's limits.

    Acceleration is constant over a control step. The velocity at its end is the largest from
    which the joint can still stop at the target with the same deceleration: the solution v1 of
    ``v1^2 / 2a + (v0 + v1) dt / 2 = e``, clipped to the velocity and acceleration limits.
    Joints 2, 4 and 6 move the hand in the vertical plane and arrive together: the faster ones
    are slowed down, so that the hand does not swing out on its way.
    """

    _T = np.arange(1, TICKS_PER_CONTROL + 1)[:, None] * PHYSICS_DT_S
    _HALF_T2 = _T**2 / 2
    _A = np.append(MAX_ACCELERATION * LIMIT_FRACTION, FINGER_ACCELERATION)
    _V = np.append(MAX_VELOCITY * LIMIT_FRACTION, FINGER_VELOCITY)
    _LIMITS = _A.tolist(), _V.tolist(), (_A * CONTROL_DT_S).tolist()  # a, v, dv per control step
    _PLANE = (1, 3, 5)  # joints 2, 4 and 6
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
        """(8,) float64: the present set point, rad, and m for the fingers."""
        return np.array(self._q)

    @property
    def velocity(self) -> np.ndarray:
        """(8,) float64: its velocity, rad/s and m/s."""
        return np.array(self._v)

    def step(self, target: Sequence[float]) -> np.ndarray:
        """Advance one control step (20 ms) towards ``target``.

        Args:
            target: eight numbers, rad and m.

        Returns:
            (10, 8) float64 motor set points, one per physics tick, with feed-forward.
        """
        # A loop over scalars, because array code is slower here (67 against 27 us): between two
        # rendered frames its many small calls run with cold caches.
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
        points: np.ndarray = np.multiply(v, self._OF_V)
        np.add(points, q0, out=points)
        np.add(points, np.multiply(a, self._OF_A), out=points)
        return points

    def _pace(self, rest: list[float]) -> list[float]:
        """Eight factors in (0, 1] by which each joint is slower than it could be."""
        times = []
        for joint in self._PLANE:
            a, v, way = self._LIMITS[0][joint], self._LIMITS[1][joint], abs(rest[joint])
            # a way shorter than v^2 / a never reaches full speed
            times.append(2.0 * math.sqrt(way / a) if way < v * v / a else way / v + v / a)
        longest = max(*times, 1e-9)
        pace = [1.0] * ACTION_DIM
        for joint, time in zip(self._PLANE, times, strict=True):
            pace[joint] = time / longest
        return pace


def _published_arm(primitive: mujoco.MjSpec) -> mujoco.MjSpec:
    """The menagerie's Panda with the gripper servo, contact geoms and options of ``primitive``."""
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


def load_arm(robot: str = "primitive") -> mujoco.MjSpec:
    """Load the arm. A task adds its scene to the spec.

    Args:
        robot: ``"primitive"`` (our geoms) or ``"menagerie"`` (the published meshes in images,
            our geoms for contact). Joints, actuators and frames are the same.

    Raises:
        UnknownNameError: no such robot. ConfigError: the meshes are missing.
    """
    if robot not in BODIES:
        raise unknown_name("robot", robot, BODIES)
    text = resources.files("neon_sim.assets").joinpath("arm.xml").read_text()
    primitive = mujoco.MjSpec.from_string(text)
    return primitive if robot == "primitive" else _published_arm(primitive)


def hide_fingers(spec: mujoco.MjSpec) -> None:
    """Make the fingers invisible and without contact, for tasks with a tool in their place."""
    for name in ("left_finger", "right_finger"):
        for geom in spec.body(name).geoms:
            geom.contype, geom.conaffinity, geom.group = 0, 0, 3


def hand_rotation(opening_axis: str = "x", tilt: float = 0.0) -> np.ndarray:
    """(3, 3) rotation of body ``hand`` when it points down.

    Args:
        opening_axis: world axis along which the fingers open, ``"x"`` or ``"y"``.
        tilt: rad from straight down towards forward (+x).
    """
    c, s = np.cos(tilt), np.sin(tilt)
    forward, ahead, side = [s, 0.0, -c], [c, 0.0, s], [0.0, 1.0, 0.0]
    if opening_axis == "x":
        return np.column_stack([side, ahead, forward])
    return np.column_stack([ahead, [0.0, -1.0, 0.0], forward])


class ArmKinematics:
    """Forward and inverse kinematics on a separate copy of the arm.

    The inverse is a deterministic function of the target alone: damped Gauss-Newton that starts
    from a fixed posture turned towards the target, not from the arm's present pose. An expert's
    label therefore depends only on the state that it labels.

    Args:
        tool_point: the point that reaches the target, m in the frame of body ``hand``.
    """

    _MARGIN = 0.02  # rad kept from the joint limits
    _CACHE_SIZE = 4096

    def __init__(self, tool_point: tuple[float, float, float] = GRIP_POINT) -> None:
        self._model = load_arm().compile()
        self._data = mujoco.MjData(self._model)
        self._hand = self._model.body("hand").id
        self._tool = np.array(tool_point)
        self._jacobian = np.zeros((6, self._model.nv))
        self._cache: dict[tuple[bytes, bytes, bytes, float, float, int, bool], np.ndarray] = {}

    def forward(self, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Tool point (3,), m, and hand rotation (3, 3) at (7,) joint angles, rad."""
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
            rotation: (3, 3) of body ``hand``: the hand points along z and opens along y.
            rotation_weight: m per rad; 0.03 for "roughly", 0.3 for "exactly".
            posture: (7,) rad, to start from and to stay near; joint 1 is replaced by the
                target's azimuth.
            posture_weight: m per rad.
            iterations: largest number of Gauss-Newton steps, about 25 us each.
            spin_free: ignore rotation about the hand's own z; the posture term decides it.

        Returns:
            (7,) float64 rad, inside the joint limits. The nearest pose if out of reach.
        """
        key = (
            position.tobytes(),
            rotation.tobytes(),
            posture.tobytes(),
            rotation_weight,
            posture_weight,
            iterations,
            spin_free,
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
            if spin_free:  # ignore rotation about the hand's own axis
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

    def __reduce__(self) -> tuple[type[ArmKinematics], tuple[tuple[float, ...]]]:
        return type(self), (tuple(self._tool.tolist()),)  # MuJoCo's own data is made again


def _turn(current: np.ndarray, wanted: np.ndarray, spin_free: bool) -> np.ndarray:
    """Rotation vector (3,) in rad, world frame, from ``current`` to ``wanted`` (first order)."""
    if spin_free:
        return _cross(current[:, 2], wanted[:, 2])
    c, w = current, wanted
    turn: np.ndarray = 0.5 * (
        _cross(c[:, 0], w[:, 0]) + _cross(c[:, 1], w[:, 1]) + _cross(c[:, 2], w[:, 2])
    )
    return turn


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cross product of two (3,) vectors, at a tenth of the cost of ``np.cross``."""
    return np.array(
        [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
    )
