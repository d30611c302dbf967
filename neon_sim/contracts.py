"""What one room may ask of another, as Protocols: no room imports the class behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeGuard

import gymnasium
import numpy as np
from typing_extensions import TypedDict

from neon_sim.errors import ConfigError

if TYPE_CHECKING:
    from neon_sim.audio.soundscape import SoundScape
    from neon_sim.observation.clips import ClipConfig, ClipPlan
    from neon_sim.simulation.gl import mujoco
    from neon_sim.simulation.world import World

# What varies between the episodes of a task, by name: numbers, strings and lists of them, as
# JSON holds them. Each task states its own keys in a TypedDict.
Latent = Mapping[str, object]
Cue = int | str  # a value of the latent that only sound tells
# ``agent_pos``, ``audio``: arrays; ``pixels``: one array per camera.
Observation = dict[str, np.ndarray | dict[str, np.ndarray]]


class Info(TypedDict):
    """The info of a control step: success now, progress in [0, 1], and which episode it is."""

    is_success: bool
    progress: float
    run_seed: int
    episode_index: int


@dataclass(frozen=True)
class Twins:
    """Two episodes that look the same now and need different actions.

    Attributes:
        latent_a, latent_b: latents for ``reset(options={"latent": ...})``.
        steps: control steps to hold the start pose until frame and proprioception agree.
    """

    latent_a: Latent
    latent_b: Latent
    steps: int


class JointLimits(Protocol):
    """Shares of control steps since reset that joints spent at their limits."""

    def shares(self) -> dict[str, np.ndarray]:
        """(J,) float64 in [0, 1] for each of ``position``, ``velocity`` and ``torque``."""

    def some_joint(self) -> dict[str, float]:
        """Share of control steps in which at least one joint was at a limit, by kind."""


class TaskEnv(Protocol):
    """An unwrapped task: what runners, recorders and certificates read and call.

    ``neon_sim.envs.task.Task`` implements it and documents every member.
    """

    @property
    def NAME(self) -> str: ...
    @property
    def VERSION(self) -> int: ...
    @property
    def EPISODE_STEPS(self) -> int: ...
    @property
    def MODE(self) -> str: ...
    @property
    def CUE(self) -> str: ...
    @property
    def VIEWS(self) -> Mapping[str, object]: ...
    @property
    def action_dim(self) -> int: ...
    @property
    def proprio_dim(self) -> int: ...
    @property
    def num_joints(self) -> int: ...
    @property
    def num_steered(self) -> int: ...
    @property
    def action_space(self) -> gymnasium.Space[np.ndarray]: ...
    @property
    def observation_space(self) -> gymnasium.Space[Observation]: ...
    @property
    def cameras(self) -> tuple[str, ...]: ...
    @property
    def world(self) -> World: ...
    @property
    def sound(self) -> SoundScape | None: ...
    @property
    def model(self) -> mujoco.MjModel: ...
    @property
    def data(self) -> mujoco.MjData: ...
    @property
    def limits(self) -> JointLimits: ...
    @property
    def joint_scale(self) -> np.ndarray: ...
    @property
    def latent(self) -> Latent: ...
    @property
    def run_seed(self) -> int: ...
    @property
    def control_step(self) -> int: ...
    @property
    def tick(self) -> int: ...
    @property
    def task_description(self) -> str: ...

    # ---- episodes -------------------------------------------------------------------------

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, object] | None = None
    ) -> tuple[Observation, dict[str, object]]: ...

    def advance(
        self, action: np.ndarray, *, past_end: bool = False
    ) -> tuple[float, bool, bool, Info]: ...

    def rng(self, stream: str) -> np.random.Generator: ...

    def initial_hash(self) -> str: ...

    def twins(self, seed: int, index: int) -> Twins | None: ...

    def close(self) -> None: ...

    # ---- what is seen -----------------------------------------------------------------------

    def observe(self) -> Observation: ...

    def agent_pos(self) -> np.ndarray: ...

    def body_state(self) -> np.ndarray: ...

    def environment_state(self, tick: int | None = None) -> np.ndarray: ...

    def frame(self, camera: str, tick: int, image_size: int | None = None) -> np.ndarray: ...

    def render_frame(
        self, tick: int, height: int = ..., width: int = ..., camera: str = ...
    ) -> np.ndarray: ...

    def sampling(self, config: ClipConfig) -> ClipConfig: ...

    def clip(self, config: ClipConfig) -> tuple[np.ndarray, ClipPlan]: ...

    def state_history(self, config: ClipConfig) -> np.ndarray: ...

    def flow_history(self, config: ClipConfig) -> np.ndarray: ...

    # ---- what is done and how it is judged --------------------------------------------------

    def expert_action(self) -> np.ndarray: ...

    def hold_action(self) -> np.ndarray: ...

    def count_limits(self) -> None: ...

    def is_success(self) -> bool: ...

    def failed(self) -> bool: ...

    def lost(self) -> bool: ...

    def progress(self) -> float: ...

    def cues(self) -> Sequence[Cue]: ...

    def fits(self, cue: Cue) -> bool: ...


def task_of(env: gymnasium.Env) -> TaskEnv:
    """The task inside an environment's wrappers.

    Raises:
        ConfigError: an environment of another project.
    """
    task = env.unwrapped
    if not _is_task(task):
        raise ConfigError(f"use an environment of neon_sim (got {type(task).__name__})")
    return task


def _is_task(env: gymnasium.Env) -> TypeGuard[TaskEnv]:
    return hasattr(type(env), "advance")  # Gymnasium itself has no such method
