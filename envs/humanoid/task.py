"""The Gymnasium environment that every humanoid task derives from: ``Task`` with the humanoid.

A task is written as an arm task is (the docstring of ``base.py``), with these differences:

1. Derive from ``HumanoidTask``; besides ``NAME``, ``VERSION``, ``EPISODE_STEPS`` set, where the
   defaults do not fit, ``MODE`` (what a policy sets: ``humanoid.MODES``), ``LOWER`` (what keeps
   the body up: ``neon_sim.registry.LOWER_BODIES``), ``WALKS`` (nobody can do it on the spot),
   ``HEAD_PITCH_RAD`` (a head camera that looks further ahead than the robot's) and ``VIEWS``.
2. The robot stands on the floor at the origin and looks along +x; ``self.start.qpos[:7]`` may
   put it elsewhere. Objects collide with the body as the header of ``assets/humanoid.xml`` says.
3. ``expert_action()``: ``reach_action(position, side)`` brings a hand to a point;
   ``make_action(joints, command)`` scales anything else.
4. A fall is a failure in every task (``lost``), and ends the episode; a task need not ask.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from neon_sim.audio.soundscape import SoundScape
from neon_sim.errors import ConfigError
from neon_sim.registry import LOWER_BODIES
from neon_sim.simulation.gl import mujoco

from ..limits import LimitMeter
from ..scene import View, add_camera, add_hall
from ..settings import check_name
from ..sound import make_sound
from ..task import Task
from .lower_body import up_in_body
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

FALLEN_HEIGHT_M, FALLEN_UP = 0.55, 0.5  # of the pelvis; cosine of its tilt
AT_REST = np.zeros(3)  # the command of a base that stays
VIEW = View((1.95, -1.45, 1.30), (0.14, 0.0, 0.68), 38.0)


def _on_the_spot(task: str, mode: ActionMode, lower: str) -> str:
    """What is wrong with a robot that cannot walk, in a task that walks."""
    if not mode.command:
        named = [name for name, other in MODES.items() if other.command]
        return (
            f"mode must be one of {', '.join(named)} in {task}, where the robot walks and needs a "
            f"base command (got {mode.name!r}); leave mode= out, or name one of them"
        )
    return (
        f"lower must be 'base' in {task}, where the robot walks: the feet of no other lower body "
        f"leave their place (got {lower!r}); leave lower= out, or say lower=base"
    )


class HumanoidTask(Task):
    """A humanoid with a job to do.

    Args:
        args, kwargs: as of ``Task``; the noise is of the arms' start pose. Camera ``front`` is the
            one in the head, and there the microphones are (``wrist_contact`` sits on the right
            wrist).
        mode: name of ``humanoid.MODES``; the task's own by default.
        lower: ``"standing"``, ``"reflex"``, ``"learned"``, ``"harness"`` or ``"base"``; the
            task's own by default.

    Attributes:
        mode: the action mode. lower: what keeps the body up. kinematics: IK of the hands.
        rides: whether base commands move the robot: the mode has them, the lower body follows.

    Raises:
        ConfigError: the task ``WALKS``, and the robot does not ride.
    """

    MODE: ClassVar[str] = "arms"
    LOWER: ClassVar[str] = "harness"
    WALKS: ClassVar[bool] = False  # nobody can do it on the spot
    SPEED_RAD_S: ClassVar[float | None] = None  # of commanded motion; the lower body's by default
    RAMP_RAD_S2: ClassVar[float] = RAMP_ACCELERATION  # of commanded motion
    HEAD_PITCH_RAD: ClassVar[float] = HEAD_PITCH_RAD
    VIEWS: ClassVar[dict[str, View]] = {"view": VIEW}
    MATERIALS: ClassVar[dict[str, str]] = {}  # geom or body -> name of neon_sim.audio.materials

    proprio_dim = NUM_JOINTS + 3

    def __init__(
        self, *args: Any, mode: str | None = None, lower: str | None = None, **kwargs: Any
    ) -> None:
        self.mode, keeper = self.check_body(mode, lower)
        self.action_dim, self.num_joints = self.mode.dim, self.mode.num_joints
        self.num_steered = self.action_dim
        self._prepare = keeper.prepare
        self.rides = self.mode.command and keeper.FOLLOWS
        super().__init__(*args, **kwargs)
        self.lower = keeper(self.world, self._step_physics)
        self.kinematics = HumanoidKinematics()
        self._ramp = JointRamp(self.SPEED_RAD_S or keeper.SPEED, self.RAMP_RAD_S2)
        self._hands = {side: self.model.site(f"{side}_hand").id for side in ("left", "right")}
        self._torso = self.model.body("torso_link").id
        table = joint_table()
        self.limits = LimitMeter(table.low, table.high, MAX_VELOCITY, table.torque)

    @classmethod
    def check_body(cls, mode: str | None, lower: str | None) -> tuple[ActionMode, Any]:
        """The action mode and the class of the lower body that the settings mean here.

        Raises:
            UnknownNameError: no such mode or lower body.
            ConfigError: the task ``WALKS``, and with these the robot stays where it is.
        """
        mode = cls.MODE if mode is None else check_name("action mode", mode, list(MODES))
        lower = cls.LOWER if lower is None else check_name("lower body", lower, list(LOWER_BODIES))
        chosen, keeper = action_mode(mode), LOWER_BODIES.resolve(lower)
        if cls.WALKS and not (chosen.command and keeper.FOLLOWS):
            raise ConfigError(_on_the_spot(cls.NAME, chosen, lower))
        return chosen, keeper

    def lost(self) -> bool:
        """The robot has fallen."""
        return self.has_fallen()

    # ---- what the bench reads -------------------------------------------------------------

    @property
    def joint_scale(self) -> np.ndarray:
        """(J,) rad: half the range of each joint the mode sets (the two sides' mean)."""
        table = joint_table()
        return ((table.high - table.low) / 2)[self.mode.joints]

    def agent_pos(self) -> np.ndarray:
        """(32,) float32 in [-1, 1]: the 29 joints scaled, and down in the pelvis frame.

        The direction is what the inertial sensor's filter gives; no velocity is in it.
        """
        qpos, values = self.data.qpos, np.empty(NUM_JOINTS + 3, dtype=np.float32)
        values[:NUM_JOINTS] = joints_to_action(qpos[7:36])
        values[NUM_JOINTS:] = [min(max(-up, -1.0), 1.0) for up in up_in_body(qpos[3:7])]
        return values

    def hold_action(self) -> np.ndarray:
        """(A,) float32: waist and arms stay where they are, the legs stand, the base rests."""
        joints = self.data.qpos[7:36].copy()
        joints[LEGS] = joint_table().stand[LEGS]  # where they are now is the balance at work
        return self.make_action(joints)

    # ---- helpers for tasks ------------------------------------------------------------------

    def make_action(
        self, joints: np.ndarray, command: Sequence[float] | np.ndarray = (0.0, 0.0, 0.0)
    ) -> np.ndarray:
        """Action of (29,) joint angles in rad and a base command in m/s, m/s, rad/s."""
        part = self.mode.joints
        action = joints_to_action(joints[part], part)
        if self.mode.command:
            action = np.concatenate([action, np.clip(command / COMMAND_LIMIT, -1.0, 1.0)])
        return action.astype(np.float32)

    def reach_action(
        self, position: np.ndarray, side: str, command: Sequence[float] = (0.0, 0.0, 0.0)
    ) -> np.ndarray:
        """Action that brings a hand to (3,) m in the world, with the waist where the mode has it.

        The rest of the body stands. A function of the pelvis' pose and the target.
        """
        waist = "waist" in self.mode.groups
        joints = self.kinematics.inverse(self.to_pelvis(position), side, waist=waist)
        return self.make_action(joints, command)

    def to_pelvis(self, position: np.ndarray) -> np.ndarray:
        """(3,) m of a point of the world in the pelvis frame, now."""
        qpos = self.data.qpos
        turn = np.zeros(9)
        mujoco.mju_quat2Mat(turn, qpos[3:7])
        return turn.reshape(3, 3).T @ (position - qpos[:3])

    def hand_position(self, side: str) -> np.ndarray:
        """(3,) m of a hand (one tick old while it moves)."""
        return self.data.site_xpos[self._hands[side]].copy()

    def push(self, force: np.ndarray) -> None:
        """Push the torso's centre of mass with (3,) N, world frame, until told otherwise."""
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
        """Look once at how near the joints are to what they can do, for ``limits``."""
        data = self.data
        self.limits.count(data.qpos[7:36], data.qvel[6:35], data.qfrc_actuator[6:35])

    def _make_spec(self, robot: str) -> Any:
        spec = load_humanoid(robot)
        add_hall(spec)
        self._prepare(spec)
        self.build_scene(spec)
        add_head_camera(spec, "front", spec.camera("head"), self.HEAD_PITCH_RAD)
        for name, view in self.VIEWS.items():
            add_camera(spec, name, view)
        return spec
