"""A toy for tests of reinforcement learning, named as ``rl_fakes:function``."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from neon_sim.seeding import keyed_rng


class Echo(gymnasium.Env[np.ndarray, np.ndarray]):
    """Say the number you see; four times an episode. The best return is 0, silence's about -1.3."""

    def __init__(self, seed: int, index: int) -> None:
        self.observation_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self._key = seed, index
        self.begin_block(0, 0.0)

    def begin_block(self, block: int, share: float) -> None:
        self._rng = keyed_rng("echo", *self._key, block)

    def about(self) -> dict[str, Any]:
        return {}

    def mirror(self) -> None:
        return

    def _see(self) -> np.ndarray:
        self._seen = self._rng.uniform(-1.0, 1.0, 1).astype(np.float32)
        return self._seen

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        self._left = 4
        return self._see(), {}

    def step(self, action: np.ndarray):
        reward = -float(np.square(action - self._seen).sum())
        self._left -= 1
        return self._see(), reward, self._left == 0, False, {"is_success": reward > -0.1}
