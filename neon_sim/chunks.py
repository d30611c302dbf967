"""What the arm does with chunks of actions: when they start, overlap and run out.

A policy looks at control step k and answers with 16 actions for the steps k, k+1, ...
While the network thinks (``latency_steps``) the arm goes on with the chunk it has, so the
new one takes over at step k + latency with the actions that were meant for then. A chunk
that has run out leaves the arm holding its last target.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from neon_sim.clock import CHUNK_STEPS
from neon_sim.errors import ConfigError, unknown_name

BLENDINGS = ("none", "linear")


@dataclass(frozen=True)
class _Chunk:
    """Actions (H, A) whose first is meant for control step ``base``."""

    actions: np.ndarray
    base: int

    def at(self, step: int) -> np.ndarray:
        action: np.ndarray = self.actions[min(step - self.base, len(self.actions) - 1)]
        return action


class ChunkExecutor:
    """Turns chunks into one action a control step.

    Args:
        replan_steps: control steps between two looks of the policy, 1 to 16.
        latency_steps: control steps from a look to the moment its chunk takes over, >= 0.
        blending: ``"none"``, or ``"linear"``: over the first ``replan_steps`` steps of a
            new chunk (fewer where the old one ends sooner) the target moves in equal parts
            from what the old chunk says to what the new one says.

    Attributes:
        step: control steps since ``reset``.

    Raises:
        ConfigError: a number outside its rule. UnknownNameError: no such blending.
    """

    def __init__(self, replan_steps: int, latency_steps: int = 0, blending: str = "none") -> None:
        if not 1 <= replan_steps <= CHUNK_STEPS:
            raise ConfigError(f"replan_steps must be 1 to {CHUNK_STEPS} (got {replan_steps})")
        if latency_steps < 0:
            raise ConfigError(f"latency_steps must be >= 0 control steps (got {latency_steps})")
        if blending not in BLENDINGS:
            raise unknown_name("blending", blending, BLENDINGS)
        self.replan_steps, self.latency_steps = replan_steps, latency_steps
        self.blending = blending

    def reset(self, hold: np.ndarray) -> None:
        """Start an episode; until the first chunk takes over the arm holds ``hold`` (A,)."""
        self.step = 0
        self._current = _Chunk(np.asarray(hold)[None], 0)
        self._previous: _Chunk | None = None
        self._pending: deque[_Chunk] = deque()
        self._blend_from, self._blend_steps = 0, 0
        self._is_first = True

    def push(self, chunk: np.ndarray) -> None:
        """Hand over the (H, A) chunk computed from the observation at this step."""
        self._pending.append(_Chunk(chunk, self.step))

    def next(self) -> tuple[np.ndarray, bool]:
        """The action (A,) of this step, and whether a later chunk takes over with it."""
        boundary = False
        while self._pending and self._pending[0].base + self.latency_steps <= self.step:
            boundary = self._take_over(self._pending.popleft())
        action = self._current.at(self.step)
        since = self.step - self._blend_from
        if self._previous is not None and since < self._blend_steps:
            share = (since + 1) / (self._blend_steps + 1)
            action = (1 - share) * self._previous.at(self.step) + share * action
        self.step += 1
        return action, boundary

    def _take_over(self, chunk: _Chunk) -> bool:
        first, self._is_first = self._is_first, False
        if self.blending == "linear" and not first:
            left = len(self._current.actions) - (self.step - self._current.base)
            self._previous = self._current
            self._blend_from = self.step
            self._blend_steps = min(self.replan_steps, left)
        self._current = chunk
        return not first
