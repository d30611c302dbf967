"""One dummy call of every policy before a run begins, so that what cannot play is said first.

A trial makes the policy of one cell, shows it the first look of one episode and then of two side
by side, and holds its answers to the rules of a chunk. It runs where the episodes will run (in a
worker, in an actor), with a policy of its own that is thrown away: no row depends on it. Networks
with a checkpoint are not tried: what they answer is checked when they are loaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from neon_sim.clock import CHUNK_STEPS
from neon_sim.errors import ConfigError, NeonError, PolicyError
from neon_sim.observation.batch import observe_row, stack_observations

from ..runs.plan import Cell, PolicySpec, RunPlan
from .episode import Settings, error_text
from .players import load_player

TRIED = ("factory", "scripted")  # kinds of policies
EPISODES = (0, 1)
RANGE_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Trial:
    """One policy of one cell, to be asked once; a worker gets it like a job."""

    spec: PolicySpec
    cell: Cell
    settings: Settings


def trials(plan: RunPlan) -> Iterator[Trial]:
    """What is to be tried before a plan runs, task by task."""
    settings = Settings(plan.seed, plan.latency_steps, plan.options, batch=1)
    for task in plan.tasks:
        for spec, cell in plan.cells(task):
            if spec.kind in TRIED:
                yield Trial(spec, cell, settings)


def try_out(trial: Trial, env: Any) -> None:
    """Ask a fresh policy of the trial's cell for its first chunks.

    Args:
        trial: whom to ask. env: an environment of its task; it is reset.

    Raises:
        PolicyError: the policy raised, or answered something that is no chunk.
        NeonError: it cannot be loaded, or the task cannot serve what it needs.
    """
    player = load_player(trial.spec, trial.cell)
    ask = _ask_scripted if trial.spec.kind == "scripted" else _ask
    try:
        ask(player, trial, env)
    except PolicyError as error:
        raise PolicyError(f"{_who(trial)}: {error}; nothing was run") from error
    except NeonError as error:
        raise ConfigError(f"{_who(trial)}: {error}") from error
    except (Exception, SystemExit) as error:
        raise PolicyError(
            f"{_who(trial)} raised at its first look ({error_text(error)}); mend it, or the "
            "factory that makes it; nothing was run"
        ) from error


def _who(trial: Trial) -> str:
    cell = trial.cell
    return f"policy {trial.spec.name!r} on {cell.task} under {cell.condition}"


def _ask(player: Any, trial: Trial, env: Any) -> None:
    looks = []
    for episode in EPISODES:
        env.reset(seed=trial.settings.seed, options={"episode": episode})
        looks.append(observe_row(env.unwrapped, player.clip, player.needs))
    for count in range(1, len(looks) + 1):
        player.reset(count)
        answer = player.act(stack_observations(looks[:count]))
        for chunk in check_chunks(answer, count, env.action_space.shape[0]):
            check_chunk(chunk)


def _ask_scripted(player: Any, trial: Trial, env: Any) -> None:
    env.reset(seed=trial.settings.seed, options={"episode": 0})
    chunk = player.chunk(env.unwrapped, trial.cell.task, trial.settings.seed, 0)
    if chunk is not None:
        check_chunk(check_shape(chunk, (CHUNK_STEPS, env.action_space.shape[0])))


def check_shape(answer: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Hold an answer to floats of a shape.

    Raises:
        PolicyError: it is no array, or one of another shape or kind.
    """
    try:
        array = np.asarray(answer)
    except (TypeError, ValueError, RuntimeError) as error:  # ragged; on an accelerator; with grad
        raise PolicyError(
            f"a policy must return an array of {shape} actions (got {type(answer).__name__}: "
            f"{error}); return a numpy array"
        ) from error
    if array.shape != shape:
        raise PolicyError(
            f"a policy must return {shape} actions (got {array.shape}): a chunk of {CHUNK_STEPS} "
            f"steps of {shape[-1]} numbers for each environment"
        )
    if array.dtype.kind != "f":
        raise PolicyError(f"a policy must return floats (got {array.dtype}); use float32")
    return array


def check_chunks(chunks: Any, num_rows: int, action_dim: int) -> np.ndarray:
    """Hold the answer of ``act`` to (B, 16, A) floats; float32.

    Raises:
        PolicyError: another shape or kind.
    """
    array = check_shape(chunks, (num_rows, CHUNK_STEPS, action_dim))
    return array.astype(np.float32, copy=False)


def check_chunk(chunk: np.ndarray) -> np.ndarray:
    """Hold one chunk (16, A) to finite values in [-1, 1].

    Raises:
        PolicyError: names the first step and action that break the rule.
    """
    bad = ~np.isfinite(chunk) | (np.abs(chunk) > 1 + RANGE_TOLERANCE)
    if bad.any():
        step, index = (int(value) for value in np.argwhere(bad)[0])
        raise PolicyError(
            f"chunk[{step}, {index}] must be finite in [-1, 1] (got {chunk[step, index]})"
        )
    held: np.ndarray = np.clip(chunk, -1.0, 1.0)
    return held
