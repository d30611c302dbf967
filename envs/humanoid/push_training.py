"""Training environment of the balance: ``HumanoidBalance`` with growing pushes and a dense reward.

``python -m neon_sim.rl task=balance`` trains the residual of ``learned_balance`` on it. Pushes
come earlier than in the task, the arms swing in a part of the episodes, and an episode ends as
soon as a fall is certain.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from neon_sim.seeding import keyed_rng

from .balance import HumanoidBalance, Pushes
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
PUSH_AT = ((5, 20), (105, 125))  # range of the control step at which each push starts
EASY_NS = (5.0, 10.0)  # impulses at the start of the training
HARD_NS = (7.0, 16.0)  # impulses in its second half
ARMS_SHARE = 0.25  # of the episodes, in which the arms move
ARMS_REACH = 0.7  # largest action of a moving arm
ARMS_EVERY = 50  # control steps between new targets of moving arms
LOST_HEIGHT_M = 0.62  # height of the pelvis below which a fall is certain
LOST_UP = 0.75  # cosine of the tilt of the pelvis below which a fall is certain
# Weights of the reward of a step.
ALIVE, TILT, OFFSET, EFFORT, JERK = 0.1, 0.4, 1.0, 0.02, 0.02


class PushTraining(gymnasium.Env[np.ndarray, np.ndarray]):
    """Episodes of the residual. The reward is alive - tilt - offset - effort - jerk.

    Args:
        seed: run seed. index: of this environment among those side by side.
    """

    def __init__(self, seed: int, index: int) -> None:
        self.core = HumanoidBalance(cameras=(), lower="learned")
        lower = self.core.lower
        assert isinstance(lower, Learned)
        self.lower = lower
        self.observation_space = spaces.Box(-CLIP, CLIP, (OBSERVATION_DIM,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (NUM_BODY,), np.float32)
        self._seed, self._index = seed, index
        self._swings, self._action = False, np.zeros(NUM_JOINTS)
        self.begin_block(0, 0.0)

    def begin_block(self, block: int, share: float) -> None:
        """See ``neon_sim.policies.ppo.env.TrainingEnv``. Pushes grow over the first half."""
        self._block, self._episode = block, 0
        grown = min(1.0, 2.0 * share)
        self._impulses = (1 - grown) * np.array(EASY_NS) + grown * np.array(HARD_NS)

    def about(self) -> dict[str, list[float] | dict[str, float]]:
        """See ``TrainingEnv``."""
        return {"shift_rad": SHIFT_RAD.tolist(), "reflex": load_reflex().gains}

    def mirror(self) -> dict[str, tuple[list[int], list[float]]]:
        """See ``TrainingEnv``."""
        return mirror()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin the next episode; ``seed`` and ``options`` have no effect."""
        super().reset(seed=seed)
        self._rng = keyed_rng("push-training", self._seed, self._index, self._block, self._episode)
        self._episode += 1
        latent: Pushes = {
            "impulse": float(self._rng.uniform(*self._impulses)),
            "directions": [float(self._rng.uniform(-np.pi, np.pi)) for _ in PUSH_AT],
            "steps": [int(self._rng.integers(low, high + 1)) for low, high in PUSH_AT],
        }
        self.core.reset(seed=self._seed, options={"latent": latent})
        self._swings = bool(self._rng.uniform() < ARMS_SHARE)
        self._action = np.zeros(NUM_JOINTS)
        return self.lower.observe(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One control step with the residual's ``action`` (15,) in [-1, 1]."""
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
        """The reward of the control step that has just ended."""
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
        """Free the environment."""
        self.core.close()
