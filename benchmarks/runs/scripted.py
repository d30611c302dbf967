"""Policies that need no network: the ceiling (expert) and two floors (random, hold).

They run under the same executor as every other policy, so latency delays the expert too.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from neon_sim.clock import CHUNK_STEPS
from neon_sim.seeding import keyed_rng

CONDITION = "scripted"  # what rows of scripted policies carry as their condition


class Scripted(Protocol):
    """A policy that is handed the environment itself.

    Attributes:
        replan_steps: control steps between two calls.
    """

    replan_steps: int

    def chunk(self, env: Any, task: str, seed: int, episode: int) -> np.ndarray | None:
        """Actions (16, A) from now on, or None to hold the start pose."""
        ...


class Expert:
    """The task's scripted expert, asked again at every control step."""

    replan_steps = 1

    def chunk(self, env: Any, task: str, seed: int, episode: int) -> np.ndarray | None:
        """The expert's action for the current state, repeated."""
        return np.repeat(env.expert_action()[None], CHUNK_STEPS, axis=0)


class Random:
    """A uniformly random target every 0.32 s: what luck alone gives."""

    replan_steps = CHUNK_STEPS

    def chunk(self, env: Any, task: str, seed: int, episode: int) -> np.ndarray | None:
        """One target, keyed by the episode and the control step."""
        rng = keyed_rng("random_policy", task, seed, episode, int(env.control_step))
        target = rng.uniform(-1.0, 1.0, env.action_space.shape[0]).astype(np.float32)
        return np.repeat(target[None], CHUNK_STEPS, axis=0)


class Hold:
    """Never moves."""

    replan_steps = CHUNK_STEPS

    def chunk(self, env: Any, task: str, seed: int, episode: int) -> np.ndarray | None:
        """No actions at all."""
        return None


SCRIPTED: dict[str, type[Scripted]] = {"expert": Expert, "random": Random, "hold": Hold}
