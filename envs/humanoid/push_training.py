"""Where the balance is learned: ``HumanoidBalance`` under pushes that grow, a reward each step.

Made by ``python -m neon_sim.rl task=balance``; what it trains is the residual of
``learned_balance``. Pushes come sooner than in the task, a part of the episodes swings the arms,
and an episode ends as soon as the fall is certain.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from neon_sim.seeding import keyed_rng

from .balance import HumanoidBalance
from .learned_balance import (
    CLIP,
    NUM_BODY,
    OBSERVATION_DIM,
    SHIFT_RAD,
    Learned,
    load_reflex,
    mirror,
)
from .lower_body import up_in_body
from .robot import ARMS, NUM_JOINTS

EPISODE_STEPS = 210
PUSH_AT = ((5, 20), (105, 125))  # control steps between which each push starts
EASY_NS, HARD_NS = (5.0, 10.0), (7.0, 16.0)  # of impulses, first and from half of the training on
ARMS_SHARE, ARMS_REACH, ARMS_EVERY = 0.25, 0.7, 50  # episodes with moving arms; control steps
LOST_HEIGHT_M, LOST_UP = 0.62, 0.75  # of the pelvis: nothing helps any more
ALIVE, TILT, OFFSET, EFFORT, JERK = 0.1, 0.4, 1.0, 0.02, 0.02  # weights of the reward, a step


class PushTraining(gymnasium.Env[np.ndarray, np.ndarray]):
    """The residual's own episodes; the reward is alive - tilt - offset - effort - jerk.

    Args:
        seed: run seed. index: which of the environments side by side.
    """

    def __init__(self, seed: int, index: int) -> None:
        self.core = HumanoidBalance(cameras=(), lower="learned")
        self.lower: Any = self.core.lower
        assert isinstance(self.lower, Learned)
        self.observation_space = spaces.Box(-CLIP, CLIP, (OBSERVATION_DIM,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (NUM_BODY,), np.float32)
        self._seed, self._index = seed, index
        self._swings, self._action = False, np.zeros(NUM_JOINTS)
        self.begin_block(0, 0.0)

    def begin_block(self, block: int, share: float) -> None:
        """As of ``neon_sim.policies.ppo.env.TrainingEnv``; pushes grow over the first half."""
        self._block, self._episode = block, 0
        grown = min(1.0, 2.0 * share)
        self._impulses = (1 - grown) * np.array(EASY_NS) + grown * np.array(HARD_NS)

    def about(self) -> dict[str, Any]:
        """As of ``TrainingEnv``."""
        return {"shift_rad": SHIFT_RAD.tolist(), "reflex": load_reflex().gains}

    def mirror(self) -> dict[str, tuple[list[int], list[float]]]:
        """As of ``TrainingEnv``."""
        return mirror()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin the next episode; ``seed`` and ``options`` change nothing."""
        super().reset(seed=seed)
        self._rng = keyed_rng("push-training", self._seed, self._index, self._block, self._episode)
        self._episode += 1
        latent = {
            "impulse": float(self._rng.uniform(*self._impulses)),
            "directions": [float(self._rng.uniform(-np.pi, np.pi)) for _ in PUSH_AT],
            "steps": [int(self._rng.integers(low, high + 1)) for low, high in PUSH_AT],
        }
        self.core.reset(seed=self._seed, options={"latent": latent})
        self._swings = bool(self._rng.uniform() < ARMS_SHARE)
        self._action = np.zeros(NUM_JOINTS)
        return self.lower.observe(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One control step with the residual ``action`` (15,) in [-1, 1]."""
        if self._swings and self.core.control_step % ARMS_EVERY == 0:
            arms = ARMS.stop - ARMS.start
            self._action[ARMS] = self._rng.uniform(-ARMS_REACH, ARMS_REACH, arms)
        self.lower.residual = lambda observation: action
        self.core.advance(self._action)
        qpos = self.core.data.qpos
        lost = bool(qpos[2] < LOST_HEIGHT_M or up_in_body(qpos[3:7])[2] < LOST_UP)
        over = self.core.control_step >= EPISODE_STEPS
        return self.lower.observe(), self._reward(action), lost, over, {"is_success": not lost}

    def _reward(self, action: np.ndarray) -> float:
        up = np.array(up_in_body(self.core.data.qpos[3:7])[:2])
        offset = np.array(self.lower.com_state()[:2])
        jerk = float(np.square(self.lower.change / SHIFT_RAD).mean())
        effort = float(np.square(np.clip(action, -1.0, 1.0)).mean())
        return (
            ALIVE
            - TILT * float(up @ up)
            - OFFSET * float(offset @ offset)
            - EFFORT * effort
            - JERK * jerk
        )

    def close(self) -> None:
        """Free the world."""
        self.core.close()
