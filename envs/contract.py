"""What a robot adds to a task and what a task writes: every method that ``Task`` leaves to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import gymnasium
import numpy as np

from neon_sim.audio.soundscape import SoundScape
from neon_sim.errors import ConfigError

from .episode import Twins
from .limits import LimitMeter
from .scene import View


class TaskContract(gymnasium.Env[dict[str, Any], np.ndarray]):
    """The words that robots (``ArmTask``, ``HumanoidTask``) and tasks fill.

    Attributes:
        action_dim, proprio_dim: A and P, lengths of an action and of ``agent_pos``.
        num_joints: J; the first J numbers of an action are joints.
        num_steered: how many of an action's first numbers lead the robot to a place: joints, and
            the base where it walks. Demonstrations are led astray in these.
    """

    NAME: ClassVar[str]
    VERSION: ClassVar[int] = 0
    EPISODE_STEPS: ClassVar[int]
    VIEWS: ClassVar[dict[str, View]]
    MICROPHONES: ClassVar[tuple[str, ...]] = ()  # what a task must hear with
    MODE: ClassVar[str]  # what a policy sets: of ``neon_sim.robots.Robot.modes``
    CUE: ClassVar[str] = ""  # key of the latent that nothing but sound tells

    action_dim: int
    proprio_dim: int
    num_joints: int
    num_steered: int
    limits: LimitMeter

    # ---- what a robot adds ----------------------------------------------------------------

    @property
    def joint_scale(self) -> np.ndarray:
        """(J,) rad by which each of the first J numbers of an action, the joints, moves by 1."""
        raise NotImplementedError

    def agent_pos(self) -> np.ndarray:
        """(P,) float32 in [-1, 1]: what the robot feels of its pose; no velocity."""
        raise NotImplementedError

    def hold_action(self) -> np.ndarray:
        """(A,) float32: the action that stays in the present pose."""
        raise NotImplementedError

    def _make_spec(self, robot: str) -> Any:
        """The robot in its surroundings, with the task's scene, as ``mujoco.MjSpec``."""
        raise NotImplementedError

    def _place_robot(self, noise: float) -> None:
        """Write the start pose into ``self.start``, before the task's latent."""
        raise NotImplementedError

    def _start_drive(self) -> np.ndarray:
        """Ready what drives the motors from ``self.start``; (nu,) set points that hold it."""
        raise NotImplementedError

    def _drive(self, action: list[float]) -> None:
        """One control step towards an action, through ``_step_physics``."""
        raise NotImplementedError

    def _make_sound(self, microphones: Sequence[str], room: str) -> SoundScape:
        """The robot's microphones in its surroundings.

        Raises:
            ConfigError: this robot has none yet.
        """
        raise ConfigError(f"{self.NAME} hears nothing yet (got microphones={list(microphones)})")

    def body_state(self) -> np.ndarray:
        """(S,) float32: what the robot's own sensors tell, velocities too; tasks of kind ``state``.

        ``agent_pos`` comes first.
        """
        raise NotImplementedError

    def count_limits(self) -> None:
        """Look once at how near the joints are to what they can do, for ``limits``.

        A judge calls it after each control step; a step alone does not pay for it.
        """
        raise NotImplementedError

    # ---- what a task writes -------------------------------------------------------------

    def build_scene(self, spec: Any) -> None:
        """Add the task's bodies and geoms to the ``mujoco.MjSpec``."""
        raise NotImplementedError

    def sample_latent(self, rng: np.random.Generator) -> dict[str, Any]:
        """Draw what varies between episodes, as JSON values."""
        raise NotImplementedError

    def apply_latent(self, latent: dict[str, Any]) -> None:
        """Write ``latent`` into ``self.start`` and the model's colours."""
        raise NotImplementedError

    def expert_action(self) -> np.ndarray:
        """The scripted expert's action (A,) float32 for the current state."""
        raise NotImplementedError

    def is_success(self) -> bool:
        """Whether the job is done in the current state."""
        raise NotImplementedError

    def closeness(self) -> float:
        """How far the job is, 0 to 1, while it is neither done nor lost."""
        raise NotImplementedError

    def visible_state(self, qpos: np.ndarray) -> list[float]:
        """At most 16 numbers that a perfect single frame shows of a configuration.

        Args:
            qpos: (nq,) of this episode, now or in its past.
        """
        raise NotImplementedError

    @property
    def task(self) -> str:
        """The task's name; LeRobot's tools ask for it beside ``task_description``."""
        return self.NAME

    @property
    def task_description(self) -> str:
        """The instruction of this episode, in words of ``neon_sim.vocabulary``."""
        raise NotImplementedError

    def failed(self) -> bool:
        """Whether success is out of reach for good; ends the episode."""
        return False

    def lost(self) -> bool:
        """Whether the robot itself can go on no more: no success in any task, and the end."""
        return False

    def after_step(self) -> None:
        """Called after each control step, to remember what the state alone does not tell."""

    def begin_sound(self, sound: SoundScape) -> None:
        """Called as an episode begins, to emit its cues; only where there are microphones."""

    def cues(self) -> list[Any]:
        """Every value that ``latent[CUE]`` may have in this episode, as JSON; sound tasks only.

        The episode is the same to the bit for each of them, but for what is heard.
        """
        raise NotImplementedError

    def fits(self, cue: Any) -> bool:
        """Whether what was done by now is the job if ``latent[CUE]`` were ``cue``.

        A sound task's ``is_success`` is ``fits(latent[CUE])``; what it did is one irrevocable
        choice, so that it fits one cue or none.
        """
        raise NotImplementedError

    def twins(self, seed: int, index: int) -> Twins | None:
        """A pair of episodes equal in last frame and proprioception; None for static tasks."""
        del seed, index
        return None
