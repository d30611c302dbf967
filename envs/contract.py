"""The methods that ``Task`` leaves to robots (``ArmTask``, ``HumanoidTask``) and to tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Generic, TypeVar

import gymnasium
import numpy as np

from neon_sim.audio.soundscape import SoundScape
from neon_sim.contracts import Cue, Latent, Twins
from neon_sim.errors import ConfigError
from neon_sim.simulation.gl import mujoco

from .limits import LimitMeter
from .scene import View

L = TypeVar("L", bound=Latent)


class TaskContract(gymnasium.Env[dict[str, Any], np.ndarray], Generic[L]):
    """What a robot and a task implement. ``L`` is the ``TypedDict`` of the task's latent.

    Class attributes:
        NAME: registry name. VERSION: the number after ``-v``.
        EPISODE_STEPS: control steps of 20 ms until an episode is truncated.
        INSTRUCTION: in words of ``neon_sim.vocabulary``, if it is the same in every episode.
        VIEWS: fixed cameras by name.
        MICROPHONES: arrays that the task needs by default.
        MODE: what a policy sets, one of ``neon_sim.robots.Robot.modes``.
        CUE: key of the latent that only sound tells; empty for tasks without one.

    Attributes:
        action_dim, proprio_dim: A and P, lengths of an action and of ``agent_pos``.
        num_joints: J; the first J numbers of an action are joints.
        num_steered: how many of an action's first numbers move the robot through space: the
            joints, and the base where it walks. Demonstrations perturb these.
    """

    NAME: ClassVar[str]
    VERSION: ClassVar[int] = 0
    EPISODE_STEPS: ClassVar[int]
    INSTRUCTION: ClassVar[str]
    VIEWS: ClassVar[dict[str, View]]
    MICROPHONES: ClassVar[tuple[str, ...]] = ()
    MODE: ClassVar[str]
    CUE: ClassVar[str] = ""

    action_dim: int
    proprio_dim: int
    num_joints: int
    num_steered: int
    limits: LimitMeter

    # ---- what a robot adds ----------------------------------------------------------------

    @property
    def joint_scale(self) -> np.ndarray:
        """(J,) rad by which each joint moves when its number in an action changes by 1."""
        raise NotImplementedError

    def agent_pos(self) -> np.ndarray:
        """(P,) float32 in [-1, 1]: the robot's own pose, without velocities."""
        raise NotImplementedError

    def hold_action(self) -> np.ndarray:
        """(A,) float32: the action that keeps the present pose."""
        raise NotImplementedError

    def _make_spec(self, robot: str) -> mujoco.MjSpec:
        """The robot, its surroundings and the task's scene."""
        raise NotImplementedError

    def _place_robot(self, noise: float) -> None:
        """Write the start pose into ``self.start``; called before ``apply_latent``."""
        raise NotImplementedError

    def _start_drive(self) -> np.ndarray:
        """Reset the motor control to ``self.start``; returns the set points (nu,) that hold it."""
        raise NotImplementedError

    def _drive(self, action: list[float]) -> None:
        """One control step towards an action, through ``_step_physics``."""
        raise NotImplementedError

    def _make_sound(self, microphones: Sequence[str], room: str) -> SoundScape:
        """The robot's microphones in its surroundings.

        Raises:
            ConfigError: this robot has no microphones.
        """
        raise ConfigError(f"{self.NAME} has no microphones (got microphones={list(microphones)})")

    def body_state(self) -> np.ndarray:
        """(S,) float32: ``agent_pos``, then what else the robot's own sensors measure.

        Velocities are among it. Only tasks of kind ``state`` have it.
        """
        raise NotImplementedError

    def count_limits(self) -> None:
        """Record in ``limits`` how near the joints are to their limits now.

        Evaluations call it after each control step. ``advance`` does not, to stay fast.
        """
        raise NotImplementedError

    # ---- what a task writes -------------------------------------------------------------

    def build_scene(self, spec: mujoco.MjSpec) -> None:
        """Add the task's bodies and geoms."""
        raise NotImplementedError

    def sample_latent(self, rng: np.random.Generator) -> L:
        """Draw what varies between episodes, as JSON values."""
        raise NotImplementedError

    def apply_latent(self, latent: L) -> None:
        """Write ``latent`` into ``self.start`` and into the model's colours and static poses."""
        raise NotImplementedError

    def expert_action(self) -> np.ndarray:
        """(A,) float32: the scripted expert's action in the current state."""
        raise NotImplementedError

    def is_success(self) -> bool:
        """Whether the task is solved in the current state."""
        raise NotImplementedError

    def closeness(self) -> float:
        """Partial progress in [0, 1] while the task is neither solved nor failed."""
        raise NotImplementedError

    def visible_state(self, qpos: np.ndarray) -> list[float]:
        """At most 16 numbers that a perfect single frame shows of a configuration.

        Args:
            qpos: (nq,) of this episode, now or earlier.
        """
        raise NotImplementedError

    @property
    def task(self) -> str:
        """The task's name. LeRobot's tools read it next to ``task_description``."""
        return self.NAME

    @property
    def task_description(self) -> str:
        """The instruction of this episode; ``INSTRUCTION`` unless a task overrides it."""
        return self.INSTRUCTION

    def failed(self) -> bool:
        """Whether success has become impossible; this ends the episode."""
        return False

    def lost(self) -> bool:
        """Whether the robot itself cannot continue (it fell); fails any task."""
        return False

    def after_step(self) -> None:
        """Called after each control step, to record what the state alone does not hold."""

    def begin_sound(self, sound: SoundScape) -> None:
        """Emit the sounds of the episode. Called at its start if there are microphones."""

    def cues(self) -> Sequence[Cue]:
        """Every value that ``latent[CUE]`` may have in this episode; sound tasks only.

        Apart from what is heard, the episode is equal to the bit for all of them.
        """
        raise NotImplementedError

    def fits(self, cue: Cue) -> bool:
        """Whether the robot has solved the task if ``latent[CUE]`` were ``cue``.

        A sound task's ``is_success`` is ``fits(latent[CUE])``. The robot makes one irrevocable
        choice, so it fits at most one cue.
        """
        raise NotImplementedError

    def twins(self, seed: int, index: int) -> Twins | None:
        """Two episodes with equal last frame and proprioception; None for static tasks.

        Args:
            seed: run seed. index: of the pair; both key the random draws.
        """
        del seed, index
        return None
