"""``ArmTask``, the base class of every arm task: ``Task`` with the arm.

How to write a task (one file in ``envs/arm/``, one line in ``neon_sim.registry.TASKS``):

1. Derive from ``ArmTask[MyLatent]``, where ``MyLatent`` is a ``TypedDict`` of what varies between
   episodes. Set ``NAME`` (registry name), ``VERSION`` (the number after -v), ``EPISODE_STEPS``
   (control steps of 20 ms) and, where the defaults do not fit, ``START`` (7 joint angles),
   ``START_GRIPPER`` (-1 shut to 1 open), ``TOOL_POINT`` (the point that the IK moves) and
   ``VIEWS`` (cameras).
2. ``build_scene(spec)``: add bodies and geoms to the ``mujoco.MjSpec`` (``scene.py`` has the
   colours and the collision bits). Runs once per environment. A tool is a geom added to
   ``spec.body("hand")``; ``hide_fingers(spec)`` removes the fingers.
3. ``sample_latent(rng)``: draw everything that varies between episodes as plain JSON values
   (numbers, strings, lists), so that an episode can be stored and replayed.
4. ``apply_latent(latent)``: write it into the episode's start: ``place_body(name, pos, ...)``
   for bodies with a free joint, ``self.start`` (qpos, qvel, mocap_pos, mocap_quat) for
   anything else, ``self.model`` for colours and static poses. Runs before the world is reset.
5. ``expert_action() -> (8,)``: the right action in the current state, whatever happened
   before. It may read velocities (``body_velocity``). ``self.kinematics.inverse`` is the IK;
   ``joint_action(joints, gripper)`` makes the action.
6. ``is_success()``; ``failed()``, when success has become impossible; and ``closeness()`` in
   [0, 1], the progress while neither holds. ``after_step()`` runs after every control step and
   records what the state does not hold (a touch); ``apply_latent`` clears that record.
7. ``visible_state(qpos) -> list[float]``: at most 16 numbers for ``environment_state``: true
   positions of what a perfect single frame of that configuration shows; no velocity.
8. ``INSTRUCTION``, or ``task_description`` if it varies, in words of ``neon_sim.vocabulary``.
9. ``twins(seed, index)`` if the task is temporal.
10. A task with sound names its ``MATERIALS`` and emits its sounds in ``begin_sound(sound)``, which
    runs only if the environment has microphones. If only sound tells what is right, derive from
    ``HearingTask`` (``hearing.py``), which names its ``CUE``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Unpack

import numpy as np

from neon_sim.audio.soundscape import SoundScape
from neon_sim.simulation.gl import mujoco

from ..contract import L
from ..limits import LimitMeter
from ..scene import FRONT, VIEW, View, add_camera, add_room
from ..settings import TaskSettings
from ..sound import make_sound
from ..task import Task
from .robot import (
    ACTION_DIM,
    FINGER_TRAVEL,
    GRIP_POINT,
    HOME,
    JOINT_HIGH,
    JOINT_LOW,
    JOINT_NAMES,
    MAX_VELOCITY,
    NUM_JOINTS,
    ArmKinematics,
    Ramp,
    hand_rotation,
    joint_action,
    load_arm,
    scale_from_action,
    scale_to_action,
)

# The hand reaches forward, so that it does not hide what it touches from the front camera.
REACHING_HAND = hand_rotation("x", 0.5)


class ArmTask(Task[L]):
    """An arm on a table.

    Args:
        settings: see ``Task``; ``start_noise`` perturbs the seven joints.

    Class attributes:
        START: (7,) joint angles at the start, rad.
        START_GRIPPER: opening at the start, -1 shut to 1 open.
        MIN_START_HEIGHT_M: smallest height of the tool point after start noise.
        TOOL_POINT: the point that the IK moves, m in the frame of body ``hand``.
        MATERIALS: geom or body -> a material of ``neon_sim.audio.materials``.

    Attributes:
        kinematics: forward and inverse kinematics of this task's tool point.
    """

    START: ClassVar[np.ndarray] = HOME
    START_GRIPPER: ClassVar[float] = 1.0
    MIN_START_HEIGHT_M: ClassVar[float] = 0.12
    TOOL_POINT: ClassVar[tuple[float, float, float]] = GRIP_POINT
    VIEWS: ClassVar[dict[str, View]] = {"front": FRONT, "view": VIEW}
    MATERIALS: ClassVar[dict[str, str]] = {}
    MODE: ClassVar[str] = "arm"

    action_dim = ACTION_DIM
    proprio_dim = ACTION_DIM
    num_joints = num_steered = NUM_JOINTS

    def __init__(self, **settings: Unpack[TaskSettings]) -> None:
        super().__init__(**settings)
        self.kinematics = ArmKinematics(self.TOOL_POINT)
        self._ramp = Ramp()
        self._hand = self.model.body("hand").id
        self._joints = self.model.joint("joint1").qposadr[0]
        self._fingers = self.model.joint("finger_joint1").qposadr[0]
        self._tool = self.model.site("tool").id
        self._dofs = self.model.joint("joint1").dofadr[0]
        torque = self.model.actuator_forcerange[:NUM_JOINTS, 1]
        self.limits = LimitMeter(JOINT_LOW, JOINT_HIGH, MAX_VELOCITY, torque)

    # ---- what policies and evaluations read -----------------------------------------------

    @property
    def joint_scale(self) -> np.ndarray:
        """(7,) rad by which each joint moves when its action changes by 1: half its range."""
        limits = [self.model.joint(name).range for name in JOINT_NAMES]
        return np.array([(high - low) / 2 for low, high in limits])

    def agent_pos(self) -> np.ndarray:
        """(8,) float32 in [-1, 1]: joint positions and gripper opening, scaled; no velocity."""
        values = self.world.data.qpos.tolist()
        joints = values[self._joints : self._joints + NUM_JOINTS]
        joints.append((values[self._fingers] + values[self._fingers + 1]) / 2)
        return np.array(scale_to_action(joints), dtype=np.float32)

    def hold_action(self) -> np.ndarray:
        """(8,) float32: the action whose target is the present pose."""
        return self.agent_pos()

    def _make_sound(self, microphones: Sequence[str], room: str) -> SoundScape:
        return make_sound(self.world, microphones, room, self.MATERIALS)

    # ---- helpers for tasks ------------------------------------------------------------------

    def tool_position(self) -> np.ndarray:
        """(3,) m of the tool point (one tick old while the arm moves)."""
        return np.array(self.world.data.site_xpos[self._tool])

    def tool_velocity(self) -> np.ndarray:
        """(3,) m/s of the tool point."""
        jacobian = np.zeros((3, self.model.nv))
        point = self.tool_position()
        mujoco.mj_jac(self.model, self.world.data, jacobian, None, point, self._hand)
        velocity: np.ndarray = jacobian @ self.world.data.qvel
        return velocity

    def joints(self) -> np.ndarray:
        """(7,) rad joint angles now."""
        return np.array(self.world.data.qpos[self._joints : self._joints + NUM_JOINTS])

    def finger_travel(self) -> float:
        """Mean travel of the fingers in m: 0 shut, 0.04 open."""
        qpos = self.world.data.qpos
        return float(qpos[self._fingers] + qpos[self._fingers + 1]) / 2

    def touch_action(
        self, point: np.ndarray, turn: float = 0.0, hand: np.ndarray = REACHING_HAND
    ) -> np.ndarray:
        """(8,) float32: bring the shut fingertips to ``point``, reaching forward.

        Args:
            point: (3,) m.
            turn: angle about the vertical from +x to "forward", rad.
            hand: (3, 3) rotation of the hand if forward is +x.
        """
        c, s = math.cos(turn), math.sin(turn)
        about = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        joints = self.kinematics.inverse(
            point, about @ hand, rotation_weight=0.1, posture=self.START, spin_free=True
        )
        return joint_action(joints, -1.0)

    # ---- inside ---------------------------------------------------------------------------

    def _place_robot(self, noise: float) -> None:
        joints = self._start_joints(noise)
        travel = (self.START_GRIPPER + 1.0) / 2.0 * FINGER_TRAVEL
        self.start.qpos[self._joints : self._joints + NUM_JOINTS] = joints
        self.start.qpos[self._fingers : self._fingers + 2] = travel
        self._ramp.reset(np.append(joints, travel))

    def _start_drive(self) -> np.ndarray:
        return self._ramp.position

    def _drive(self, action: list[float]) -> None:
        self._step_physics(self._ramp.step(scale_from_action(action)))

    def count_limits(self) -> None:
        """Record in ``limits`` how near the joints are to their limits now."""
        data, q, v = self.data, self._joints, self._dofs
        joints, dofs = slice(q, q + NUM_JOINTS), slice(v, v + NUM_JOINTS)
        self.limits.count(data.qpos[joints], data.qvel[dofs], data.qfrc_actuator[dofs])

    def _start_joints(self, noise: float) -> np.ndarray:
        """(7,) rad: ``START`` with noise, redrawn until the tool point is clear of the table."""
        if noise == 0.0:
            return self.START.copy()
        rng = self.rng("start")
        for _ in range(64):
            joints = self.START + noise * rng.standard_normal(NUM_JOINTS)
            joints = np.clip(joints, JOINT_LOW + 0.02, JOINT_HIGH - 0.02)
            if self.kinematics.forward(joints)[0][2] > self.MIN_START_HEIGHT_M:
                return joints
        return self.START.copy()

    def _make_spec(self, robot: str) -> mujoco.MjSpec:
        spec = load_arm(robot)
        add_room(spec)
        self.build_scene(spec)
        spec.body("hand").add_site(name="tool", pos=self.TOOL_POINT, size=[0.005] * 3, group=4)
        for name, view in self.VIEWS.items():
            add_camera(spec, name, view)
        return spec
