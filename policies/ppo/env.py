"""A task as PPO trains on it: vectors in, held actions out, episodes that no evaluation uses."""

from __future__ import annotations

from typing import Any, Protocol

import gymnasium
import numpy as np

from neon_sim.observation.batch import observe_row
from neon_sim.registry import RL_ENVIRONMENTS, TASKS
from neon_sim.robots import ROBOTS, body_arguments
from neon_sim.seeding import RL_SEED
from neon_sim.vocabulary import WORDS

from .settings import RLConfig
from .spec import Observation, RLSpec

BLOCK_EPISODES = 100_000  # more than an environment can begin in a block
MAX_ENVS = 4096


class TrainingEnv(Protocol):
    """What the trainer asks of an environment besides Gymnasium's contract."""

    def begin_block(self, block: int, share: float) -> None:
        """Start a block: the next reset begins an episode that ``block`` alone decides.

        Args:
            block: index of the block. share: of the training that is over, 0 to 1.
        """

    def about(self) -> dict[str, Any]:
        """JSON values for the checkpoint: what the policy sees and does."""

    def mirror(self) -> dict[str, Any] | None:
        """Left and right exchanged, where the job is the same in a mirror.

        Returns:
            ``observation`` and ``action``: (places, signs) of each; None where it is not.
        """


class TaskEnv(gymnasium.Env[Any, np.ndarray]):
    """A registered task; the reward is the change of its progress.

    Args:
        config: what is observed and how actions are meant. index: which of the environments.

    Attributes:
        policy_spec: what the policy sees and does.
    """

    def __init__(self, config: RLConfig, index: int) -> None:
        entry = TASKS[config.task]
        body = body_arguments(config.mode, config.lower)
        env = gymnasium.make(entry.env_id, disable_env_checker=True, cameras=(), **body)
        self.core: Any = env.unwrapped
        self.policy_spec = make_spec(config, self.core)
        self.observation_space = self.policy_spec.observation_space
        self.action_space = self.policy_spec.action_space
        self._seed, self._index = RL_SEED + config.seed, index
        self._success, self._pose = False, np.zeros(self.policy_spec.proprio_dim, np.float32)
        self.begin_block(0, 0.0)

    def begin_block(self, block: int, share: float) -> None:
        """As of ``TrainingEnv``."""
        del share
        self._episode = (block * MAX_ENVS + self._index) * BLOCK_EPISODES

    def about(self) -> dict[str, Any]:
        """As of ``TrainingEnv``."""
        return {"spec": self.policy_spec.to_json()}

    def mirror(self) -> None:
        """Tasks have no mirror."""
        return

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin the next episode; ``seed`` and ``options`` change nothing."""
        super().reset(seed=seed)
        self.core.reset(seed=self._seed, options={"episode": self._episode})
        self._episode += 1
        self._success, self._pose = False, self.core.agent_pos()
        return self._observe(), {}

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Hold an action for ``replan_steps`` control steps, or to the end of the episode."""
        target = self.policy_spec.actions(action[None], self._pose[None])[0]
        total, terminated, truncated = 0.0, False, False
        for _ in range(self.policy_spec.replan_steps):
            reward, terminated, truncated, info = self.core.advance(target)
            total += reward
            self._success = self._success or bool(info["is_success"])
            if terminated or truncated:
                break
        self._pose = self.core.agent_pos()
        return self._observe(), total, terminated, truncated, {"is_success": self._success}

    def _observe(self) -> Observation:
        seen = self.policy_spec.observation(
            observe_row(self.core, self.policy_spec.clip, self.policy_spec.needs)
        )
        if isinstance(seen, dict):
            return {key: value[0] for key, value in seen.items()}
        return np.asarray(seen[0])

    def close(self) -> None:
        """Free the cameras."""
        self.core.close()


def make_spec(config: RLConfig, core: Any) -> RLSpec:
    """What a policy of ``config`` sees and does in a task."""
    robot = ROBOTS[TASKS[config.task].robot]
    count = robot.num_joints(core.action_dim)
    auto = TASKS[config.task].robot == "arm"
    feels = TASKS[config.task].kind == "state" and config.observe == "state"
    return RLSpec(
        task=config.task,
        observe=config.observe,
        velocities=config.velocities,
        num_frames=config.num_frames if config.observe == "pixels" else 1,
        image_size=config.image_size,
        camera="front",
        relative=auto if config.actions == "auto" else config.actions == "relative",
        reach=config.reach,
        replan_steps=config.replan_steps,
        proprio_dim=core.proprio_dim,
        action_dim=core.action_dim,
        first_joint=len(robot.joints) - count,
        num_joints=count,
        words=WORDS,
        body_dim=len(core.body_state()) if feels else 0,
    )


def make_env(config: RLConfig, index: int) -> Any:
    """One training environment.

    Args:
        config: the run. index: which of its environments; they share no episode.
    """
    if config.task in RL_ENVIRONMENTS:
        return RL_ENVIRONMENTS.resolve(config.task)(RL_SEED + config.seed, index)
    return TaskEnv(config, index)
