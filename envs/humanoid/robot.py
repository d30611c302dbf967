"""The humanoid: its model, action modes, scaling, the ramp and the inverse kinematics.

An action is numbers in [-1, 1]: absolute joint targets (0 is the standing pose, -1 and 1 are the
joint's limits, linear on either side) and, in most modes, a command to the base. Whatever the
action, a ramp (``JointRamp``) keeps the motors' set points within limits of velocity and
acceleration. The model itself limits torque.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources

import numpy as np

from neon_sim.clock import CONTROL_DT_S, PHYSICS_DT_S, TICKS_PER_CONTROL
from neon_sim.errors import unknown_name
from neon_sim.robots import ROBOTS
from neon_sim.simulation.gl import mujoco

from ..menagerie import BODIES, copy_hull, menagerie_file
from ..scene import axes_to_quat

NUM_JOINTS = 29
JOINT_NAMES = tuple(f"{name}_joint" for name in ROBOTS["humanoid"].joints)
LEGS, WAIST, ARMS = slice(0, 12), slice(12, 15), slice(15, 29)
ARM_OF = {"left": slice(15, 22), "right": slice(22, 29)}
WAIST_YAW = 12
READY = (-0.4, 0.2, 0.0, 0.3, 0.0, 0.0, 0.0)  # rad, of the left arm, from which the IK starts
LEFT_ANKLE_PITCH, RIGHT_ANKLE_PITCH = 4, 10
LEFT_ANKLE_ROLL, RIGHT_ANKLE_ROLL = 5, 11
# Largest joint velocity, rad/s (Unitree's g1_29dof_rev_1_0.urdf).
_LEG_VELOCITY = (32.0, 20.0, 32.0, 20.0, 30.0, 30.0)
_ARM_VELOCITY = (37.0, 37.0, 37.0, 37.0, 37.0, 22.0, 22.0)
MAX_VELOCITY = np.array([*_LEG_VELOCITY * 2, 32.0, 30.0, 30.0, *_ARM_VELOCITY * 2])
RAMP_ACCELERATION = 40.0  # rad/s^2, of commanded motion; keeps torques below their limits
# Base command (vx, vy, yaw rate) at an action of 1: m/s, m/s, rad/s.
COMMAND_LIMIT = np.array([1.5, 0.5, 1.0])
HEAD_PITCH_RAD = 0.8307767239493009  # of the head camera (Unitree's g1_29dof_rev_1_0.urdf)


@dataclass(frozen=True)
class ActionMode:
    """Which joints an action sets, in the robot's order, and whether it commands the base.

    Attributes:
        name: registry name. first: index of the first joint that it sets; it sets all that follow.
        command: whether three numbers for the base follow.
    """

    name: str
    first: int
    command: bool

    @property
    def joints(self) -> slice:
        """The joints that it sets."""
        return slice(self.first, NUM_JOINTS)

    @property
    def num_joints(self) -> int:
        """J, how many joints it sets."""
        return NUM_JOINTS - self.first

    @property
    def dim(self) -> int:
        """A, the length of an action."""
        return self.num_joints + 3 * self.command

    @property
    def groups(self) -> dict[str, slice]:
        """Places in an action of ``legs``, ``waist``, ``arms`` and ``base``, if it has them."""
        return ROBOTS["humanoid"].groups(self.dim)


MODES: dict[str, ActionMode] = {
    mode.name: mode
    for mode in (
        ActionMode("arms", ARMS.start, True),  # 17
        ActionMode("upper_body", WAIST.start, True),  # 20
        ActionMode("whole_body", LEGS.start, False),  # 29
        ActionMode("whole_body_command", LEGS.start, True),  # 32
    )
}


def action_mode(name: str) -> ActionMode:
    """Look an action mode up.

    Raises:
        UnknownNameError: no such mode.
    """
    if name not in MODES:
        raise unknown_name("action mode", name, MODES)
    return MODES[name]


@dataclass(frozen=True)
class JointTable:
    """Properties of the model's joints, (29,) float64 each.

    Attributes:
        low, high: joint range, rad. stand: the standing pose, rad.
        torque: limit of each motor, Nm.
        lead: kd / kp of each servo, s. Times the velocity, it is the lag due to damping.
        height: of the pelvis in the standing pose, m.
    """

    low: np.ndarray
    high: np.ndarray
    stand: np.ndarray
    torque: np.ndarray
    lead: np.ndarray
    height: float


@lru_cache(maxsize=1)
def joint_table() -> JointTable:
    """Read the table from ``assets/humanoid.xml``."""
    model = load_humanoid().compile()
    pose = model.key("stand").qpos
    return JointTable(
        low=model.jnt_range[1:, 0].copy(),
        high=model.jnt_range[1:, 1].copy(),
        stand=pose[7:].copy(),
        torque=model.jnt_actfrcrange[1:, 1].copy(),
        lead=-model.actuator_biasprm[:, 2] / model.actuator_gainprm[:, 0],
        height=float(pose[2]),
    )


def joints_to_action(joints: np.ndarray, part: slice = slice(0, NUM_JOINTS)) -> np.ndarray:
    """Scale joint angles (..., J) of ``part``, rad, to [-1, 1]; 0 is the standing pose."""
    stand, up, down = _spans(part.start, part.stop)
    offset = joints - stand
    action: np.ndarray = np.minimum(
        np.maximum(offset / np.where(offset > 0.0, up, down), -1.0), 1.0
    )
    return action


def joints_from_action(action: np.ndarray, part: slice = slice(0, NUM_JOINTS)) -> np.ndarray:
    """Inverse of ``joints_to_action``; values beyond [-1, 1] are clipped to the joint range."""
    stand, up, down = _spans(part.start, part.stop)
    action = np.minimum(np.maximum(action, -1.0), 1.0)
    joints: np.ndarray = stand + action * np.where(action > 0.0, up, down)
    return joints


@cache
def _spans(start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Standing pose of some joints, and the distance from there to each limit, rad."""
    table, part = joint_table(), slice(start, stop)
    return table.stand[part], (table.high - table.stand)[part], (table.stand - table.low)[part]


def from_action(action: np.ndarray) -> np.ndarray:
    """Joint angles in rad, then base velocities in m/s and rad/s, of actions (..., A).

    A, the length of an action, tells the mode.

    Raises:
        ValueError: no mode has actions of that length.
    """
    modes = [mode for mode in MODES.values() if mode.dim == action.shape[-1]]
    if not modes:
        raise ValueError(
            f"actions must have {[mode.dim for mode in MODES.values()]} numbers "
            f"(got {action.shape[-1]})"
        )
    count = modes[0].num_joints
    joints = joints_from_action(action[..., :count], modes[0].joints)
    command = np.clip(action[..., count:], -1.0, 1.0)
    return np.concatenate([joints, command * COMMAND_LIMIT[: command.shape[-1]]], axis=-1)


class JointRamp:
    """Turns one target a control step into ten motor set points.

    Acceleration is constant over a control step. The velocity at its end is the largest from
    which the joint can still stop at the target, within both limits (see ``arm.robot.Ramp``).

    Args:
        velocity: largest velocity, rad/s, also bounded by ``MAX_VELOCITY``.
        acceleration: rad/s^2.

    Attributes:
        position, velocity: (29,) the present set point, rad, and its velocity, rad/s.
    """

    _T = np.arange(1, TICKS_PER_CONTROL + 1)[:, None] * PHYSICS_DT_S

    def __init__(self, velocity: float, acceleration: float = RAMP_ACCELERATION) -> None:
        self._velocity = np.minimum(velocity, MAX_VELOCITY)
        self._dv = acceleration * CONTROL_DT_S
        lead = joint_table().lead
        self._of_v, self._of_a = self._T + lead, self._T**2 / 2 + lead * self._T
        self.reset(joint_table().stand)

    def reset(self, position: np.ndarray) -> None:
        """Stand still at (29,) rad."""
        self.position = np.array(position, dtype=np.float64)
        self.velocity = np.zeros(NUM_JOINTS)

    def step(self, target: np.ndarray) -> np.ndarray:
        """Advance one control step towards (29,) ``target``, rad.

        Returns:
            (10, 29) float64 motor set points, one per physics tick, with feed-forward.
        """
        half, here, before = CONTROL_DT_S / 2, self.position, self.velocity
        rest = target - here - before * half
        half_dv = self._dv / 2
        speed = np.sqrt(half_dv * (half_dv + np.abs(rest) * (4.0 / CONTROL_DT_S))) - half_dv
        speed = np.copysign(np.minimum(speed, self._velocity), rest)
        change = np.minimum(np.maximum(speed - before, -self._dv), self._dv)
        self.position = here + (before + before + change) * half
        self.velocity = before + change
        points: np.ndarray = here + before * self._of_v + (change / CONTROL_DT_S) * self._of_a
        return points


def load_humanoid(robot: str = "primitive") -> mujoco.MjSpec:
    """Load the humanoid. A task adds its scene to the spec.

    Args:
        robot: ``"primitive"`` (our geoms) or ``"menagerie"`` (the published meshes in images,
            our geoms for contact). Joints, actuators and frames are the same.

    Raises:
        UnknownNameError: no such robot. ConfigError: the meshes are missing.
    """
    if robot not in BODIES:
        raise unknown_name("robot", robot, BODIES)
    text = resources.files("neon_sim.assets").joinpath("humanoid.xml").read_text()
    primitive = mujoco.MjSpec.from_string(text)
    return primitive if robot == "primitive" else _published_humanoid(primitive)


def _published_humanoid(primitive: mujoco.MjSpec) -> mujoco.MjSpec:
    """The menagerie's G1 with our contact geoms, head camera, sites and options."""
    spec = mujoco.MjSpec.from_file(str(menagerie_file("unitree_g1", "g1.xml")))
    for geom in [g for g in spec.geoms if g.contype or g.group == 3]:
        spec.delete(geom)
    for light in list(spec.lights):
        spec.delete(light)
    copy_hull(primitive, spec)
    known = {site.name for site in spec.sites}
    for site in primitive.sites:
        if site.name not in known:
            spec.body(site.parent.name).add_site(name=site.name, pos=site.pos, size=[0.005] * 3)
    eye = primitive.camera("head")
    add_head_camera(spec, "head", eye, HEAD_PITCH_RAD)
    spec.option.integrator = primitive.option.integrator
    spec.option.iterations = primitive.option.iterations
    spec.option.ls_iterations = primitive.option.ls_iterations
    return spec


def add_head_camera(spec: mujoco.MjSpec, name: str, eye: mujoco.MjsCamera, pitch: float) -> None:
    """Add a camera at the place of ``eye`` that looks ``pitch`` rad below the horizon."""
    axes = np.array([[0, -1, 0], [np.sin(pitch), 0, np.cos(pitch)]])  # x and y of the image
    spec.body("torso_link").add_camera(
        name=name, pos=eye.pos, fovy=eye.fovy, quat=axes_to_quat(axes)
    )


def _ready(side: str) -> np.ndarray:
    """(29,) rad: standing, with one forearm in front of the body."""
    joints = joint_table().stand.copy()
    joints[ARM_OF[side]] = np.array(READY) * [1, 1 if side == "left" else -1, 1, 1, 1, 1, 1]
    return joints


class HumanoidKinematics:
    """Forward and inverse kinematics on a separate copy of the body.

    The inverse is a function of the target alone: damped Gauss-Newton that starts with the
    forearm in front of the body, not from the body's present pose.
    """

    _MARGIN = 0.03  # rad kept from the joint limits
    _POSTURE_WEIGHT = 0.02  # m per rad

    def __init__(self) -> None:
        self._model = load_humanoid().compile()
        self._data = mujoco.MjData(self._model)
        self._site = {side: self._model.site(f"{side}_hand").id for side in ARM_OF}
        self._jacobian = np.zeros((3, self._model.nv))
        self._data.qpos[:7] = [0, 0, 0, 1, 0, 0, 0]

    def hand(self, joints: np.ndarray, side: str) -> np.ndarray:
        """(3,) m: a hand in the pelvis frame at (29,) joint angles, rad."""
        self._data.qpos[7:] = joints
        mujoco.mj_kinematics(self._model, self._data)
        return np.array(self._data.site_xpos[self._site[side]])

    def inverse(
        self, position: np.ndarray, side: str, *, waist: bool = False, iterations: int = 20
    ) -> np.ndarray:
        """Joint angles that bring a hand to ``position`` while the rest of the body stands.

        Args:
            position: (3,) m in the pelvis frame. side: ``"left"`` or ``"right"``.
            waist: whether the waist may turn.
            iterations: largest number of Gauss-Newton steps, about 40 us each.

        Returns:
            (29,) float64 rad, inside the joint limits. The nearest pose if out of reach.
        """
        table, joints = joint_table(), _ready(side)
        rest = joints.copy()
        arm = np.arange(*ARM_OF[side].indices(NUM_JOINTS))
        free = np.append(arm, WAIST_YAW) if waist else arm
        low, high = table.low[free] + self._MARGIN, table.high[free] - self._MARGIN
        for index in range(iterations):
            error = position - self.hand(joints, side)
            jacobian = self._hand_jacobian(side)[:, free + 6]
            pull = self._POSTURE_WEIGHT**2 * 0.5**index
            normal = jacobian.T @ jacobian
            normal[np.diag_indices(len(free))] += pull + 1e-6
            gradient = jacobian.T @ error + pull * (rest - joints)[free]
            step = np.clip(np.linalg.solve(normal, gradient), -0.5, 0.5)
            joints[free] = np.minimum(np.maximum(joints[free] + step, low), high)
            if index > 6 and np.abs(step).max() < 1e-4:
                break
        return joints

    def _hand_jacobian(self, side: str) -> np.ndarray:
        mujoco.mj_comPos(self._model, self._data)
        mujoco.mj_jacSite(self._model, self._data, self._jacobian, None, self._site[side])
        return self._jacobian

    def __reduce__(self) -> tuple[type[HumanoidKinematics], tuple[()]]:
        return type(self), ()  # MuJoCo's own data is made again
