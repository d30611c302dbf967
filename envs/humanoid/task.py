"""``HumanoidTask``, the base class of every humanoid task: ``Task`` with the humanoid.

Write a task as an arm task (see the docstring of ``arm/task.py``), with these differences:

1. Derive from ``HumanoidTask[MyLatent]``. Besides ``NAME``, ``VERSION`` and ``EPISODE_STEPS`` set,
   where the defaults do not fit, the class attributes of ``HumanoidTask``.
2. The robot stands on the floor at the origin and faces +x; ``self.start.qpos[:7]`` may place it
   elsewhere. The header of ``assets/humanoid.xml`` says how objects collide with the body.
3. ``expert_action()``: ``reach_action(position, side)`` brings a hand to a point;
   ``make_action(joints, command)`` makes any other action.
4. A fall fails every task (``lost``) and ends the episode; tasks do not check for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Unpack

import numpy as np

from neon_sim.audio.soundscape import SoundScape
from neon_sim.errors import ConfigError
from neon_sim.registry import LOWER_BODIES
from neon_sim.simulation.gl import mujoco

from ..contract import L
from ..limits import LimitMeter
from ..scene import View, add_camera, add_hall
from ..settings import TaskSettings, check_name
from ..sound import make_sound
from ..task import Task
from .lower_body import Standing, up_in_body
from .robot import (
    ARMS,
    COMMAND_LIMIT,
    HEAD_PITCH_RAD,
    LEGS,
    MAX_VELOCITY,
    MODES,
    NUM_JOINTS,
    RAMP_ACCELERATION,
    ActionMode,
    HumanoidKinematics,
    JointRamp,
    action_mode,
    add_head_camera,
    joint_table,
    joints_from_action,
    joints_to_action,
    load_humanoid,
)

FALLEN_HEIGHT_M = 0.55  # height of the pelvis below which the robot has fallen
FALLEN_UP = 0.5  # cosine of the tilt of the pelvis below which the robot has fallen
AT_REST = np.zeros(3)  # base command that stays in place
VIEW = View((1.95, -1.45, 1.30), (0.14, 0.0, 0.68), 38.0)


class HumanoidSettings(TaskSettings, total=False):
    """The keyword arguments of ``HumanoidTask``, whose docstring explains them."""

    mode: str | None
    lower: str | None


def _cannot_walk(task: str, mode: ActionMode, lower: str) -> str:
    """The error message for a robot that cannot walk in a task that needs it to."""
    if not mode.command:
        named = [name for name, other in MODES.items() if other.command]
        return (
            f"mode must be one of {', '.join(named)} in {task}, where the robot walks and needs a "
            f"base command (got {mode.name!r}); leave mode= out, or name one of them"
        )
    return (
        f"lower must be 'base' in {task}, where the robot walks: no other lower body can walk "
        f"(got {lower!r}); leave lower= out, or set lower=base"
    )


class HumanoidTask(Task[L]):
    """A humanoid in a hall.

    Args:
        mode: a name of ``MODES``; ``MODE`` by default.
        lower: ``"standing"``, ``"reflex"``, ``"learned"``, ``"harness"`` or ``"base"``;
            ``LOWER`` by default.
        settings: see ``Task``. ``start_noise`` perturbs the arms. Camera ``front`` is in the
            head, and so are the microphones (``wrist_contact`` is on the right wrist).

    Raises:
        ConfigError: the task ``WALKS``, and base commands do not move the robot.

    Class attributes:
        MODE: default action mode.
        LOWER: default lower body, a name of ``neon_sim.registry.LOWER_BODIES``.
        WALKS: whether the task can only be solved by walking.
        SPEED_RAD_S: largest velocity of commanded joint motion; the lower body's if None.
        RAMP_RAD_S2: acceleration of commanded joint motion.
        HEAD_PITCH_RAD: of the head camera, below the horizon.
        MATERIALS: geom or body -> a material of ``neon_sim.audio.materials``.

    Attributes:
        mode: the action mode. lower: the lower body, which keeps the robot up.
        kinematics: forward and inverse kinematics of the hands.
        rides: whether base commands move the robot.
    """

    MODE: ClassVar[str] = "arms"
    LOWER: ClassVar[str] = "harness"
    WALKS: ClassVar[bool] = False
    SPEED_RAD_S: ClassVar[float | None] = None
    RAMP_RAD_S2: ClassVar[float] = RAMP_ACCELERATION
    HEAD_PITCH_RAD: ClassVar[float] = HEAD_PITCH_RAD
    VIEWS: ClassVar[dict[str, View]] = {"view": VIEW}
    MATERIALS: ClassVar[dict[str, str]] = {}

    proprio_dim = NUM_JOINTS + 3

    def __init__(
        self,
        *,
        mode: str | None = None,
        lower: str | None = None,
        **settings: Unpack[TaskSettings],
    ) -> None:
        self.mode, keeper = self.check_body(mode, lower)
        self.action_dim, self.num_joints = self.mode.dim, self.mode.num_joints
        self.num_steered = self.action_dim
        self._prepare = keeper.prepare
        self.rides = self.mode.command and keeper.FOLLOWS
        super().__init__(**settings)
        self.lower = keeper(self.world, self._step_physics)
        self.kinematics = HumanoidKinematics()
        self._ramp = JointRamp(self.SPEED_RAD_S or keeper.SPEED, self.RAMP_RAD_S2)
        self._hands = {side: self.model.site(f"{side}_hand").id for side in ("left", "right")}
        self._torso = self.model.body("torso_link").id
        table = joint_table()
        self.limits = LimitMeter(table.low, table.high, MAX_VELOCITY, table.torque)

    @classmethod
    def check_body(cls, mode: str | None, lower: str | None) -> tuple[ActionMode, type[Standing]]:
        """Look up the action mode and the class of the lower body.

        Args:
            mode, lower: settings; None for the task's defaults.

        Raises:
            UnknownNameError: no such mode or lower body.
            ConfigError: the task ``WALKS``, and base commands do not move the robot.
        """
        mode = cls.MODE if mode is None else check_name("action mode", mode, list(MODES))
        lower = cls.LOWER if lower is None else check_name("lower body", lower, list(LOWER_BODIES))
        chosen = action_mode(mode)
        keeper: type[Standing] = LOWER_BODIES.resolve(lower)
        if cls.WALKS and not (chosen.command and keeper.FOLLOWS):
            raise ConfigError(_cannot_walk(cls.NAME, chosen, lower))
        return chosen, keeper

    def lost(self) -> bool:
        """The robot has fallen."""
        return self.has_fallen()

    # ---- what policies and evaluations read -----------------------------------------------

    @property
    def joint_scale(self) -> np.ndarray:
        """(J,) rad: half the range of each joint that the mode sets."""
        table = joint_table()
        scale: np.ndarray = ((table.high - table.low) / 2)[self.mode.joints]
        return scale

    def agent_pos(self) -> np.ndarray:
        """(32,) float32 in [-1, 1]: the 29 joints, scaled, and down in the pelvis frame.

        The direction is that of a filtered inertial sensor. There are no velocities.
        """
        qpos, values = self.data.qpos, np.empty(NUM_JOINTS + 3, dtype=np.float32)
        values[:NUM_JOINTS] = joints_to_action(qpos[7:36])
        values[NUM_JOINTS:] = [min(max(-up, -1.0), 1.0) for up in up_in_body(qpos[3:7])]
        return values

    def hold_action(self) -> np.ndarray:
        """(A,) float32: keep waist and arms, stand with the legs, keep the base at rest."""
        joints = self.data.qpos[7:36].copy()
        # Not the legs' present pose, which balancing has shifted.
        joints[LEGS] = joint_table().stand[LEGS]
        return self.make_action(joints)

    # ---- helpers for tasks ------------------------------------------------------------------

    def make_action(
        self, joints: np.ndarray, command: Sequence[float] | np.ndarray = (0.0, 0.0, 0.0)
    ) -> np.ndarray:
        """(A,) float32: the action for joint angles and a base command.

        Args:
            joints: (29,) rad. command: (3,) m/s, m/s, rad/s.
        """
        part = self.mode.joints
        action = joints_to_action(joints[part], part)
        if self.mode.command:
            action = np.concatenate([action, np.clip(command / COMMAND_LIMIT, -1.0, 1.0)])
        return action.astype(np.float32)

    def reach_action(
        self, position: np.ndarray, side: str, command: Sequence[float] = (0.0, 0.0, 0.0)
    ) -> np.ndarray:
        """(A,) float32: bring a hand to ``position``, turning the waist if the mode has it.

        The rest of the body stands. Depends only on the pose of the pelvis and the target.

        Args:
            position: (3,) m, world frame. side: ``"left"`` or ``"right"``.
            command: (3,) m/s, m/s, rad/s, for the base.
        """
        waist = "waist" in self.mode.groups
        joints = self.kinematics.inverse(self.to_pelvis(position), side, waist=waist)
        return self.make_action(joints, command)

    def to_pelvis(self, position: np.ndarray) -> np.ndarray:
        """(3,) m: a point of the world in the present pelvis frame."""
        qpos = self.data.qpos
        turn = np.zeros(9)
        mujoco.mju_quat2Mat(turn, qpos[3:7])
        local: np.ndarray = turn.reshape(3, 3).T @ (position - qpos[:3])
        return local

    def hand_position(self, side: str) -> np.ndarray:
        """(3,) m: place of a hand in the world (one tick old while it moves)."""
        return np.array(self.data.site_xpos[self._hands[side]])

    def push(self, force: np.ndarray) -> None:
        """Apply (3,) N, world frame, to the torso's centre of mass until the next call."""
        self.data.xfrc_applied[self._torso, :3] = force

    def has_fallen(self) -> bool:
        """Whether the pelvis is below 0.55 m or tilted beyond 60 degrees."""
        qpos = self.data.qpos
        return bool(qpos[2] < FALLEN_HEIGHT_M or up_in_body(qpos[3:7])[2] < FALLEN_UP)

    # ---- inside ---------------------------------------------------------------------------

    def _make_sound(self, microphones: Sequence[str], room: str) -> SoundScape:
        return make_sound(self.world, microphones, room, self.MATERIALS, "humanoid")

    def _place_robot(self, noise: float) -> None:
        table = joint_table()
        joints = table.stand.copy()
        if noise:
            joints[ARMS] += noise * self.rng("start").standard_normal(ARMS.stop - ARMS.start)
            joints = np.clip(joints, table.low + 0.02, table.high - 0.02)
        self.start.qpos[:7] = [0, 0, table.height, 1, 0, 0, 0]
        self.start.qpos[7:36] = joints

    def _start_drive(self) -> np.ndarray:
        self._ramp.reset(self.start.qpos[7:36])
        self.lower.begin(self.start)
        return self._ramp.position

    def _drive(self, action: list[float]) -> None:
        values, count, mode = np.array(action), self.num_joints, self.mode
        target = joint_table().stand.copy()
        target[mode.joints] = joints_from_action(values[:count], mode.joints)
        command = values[count:] * COMMAND_LIMIT if mode.command else AT_REST
        self.lower.drive(self._ramp.step(target), command)

    def count_limits(self) -> None:
        """Record in ``limits`` how near the joints are to their limits now."""
        data = self.data
        self.limits.count(data.qpos[7:36], data.qvel[6:35], data.qfrc_actuator[6:35])

    def _make_spec(self, robot: str) -> mujoco.MjSpec:
        spec = load_humanoid(robot)
        add_hall(spec)
        self._prepare(spec)
        self.build_scene(spec)
        add_head_camera(spec, "front", spec.camera("head"), self.HEAD_PITCH_RAD)
        for name, view in self.VIEWS.items():
            add_camera(spec, name, view)
        return spec
