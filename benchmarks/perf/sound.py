"""What hearing costs: CPU microseconds a control step, by part, with the physics beside it.

One episode of the scripted expert is replayed, a sound task with its own cues, any other with a
telephone ringing on the table: deaf and hearing environments by turns, then once more with every
part of the sound under a stopwatch.
CPU time, not wall time: a shared machine takes the core away, but seldom charges for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np

from neon_sim.audio.soundscape import SoundScape
from neon_sim.audio.sources import RingTone
from neon_sim.registry import task_entry

from .rows import Options, Row, row_of

ARRAYS = (("mono", "anechoic"), ("mono", "dry"), ("linear4", "dry"))
MAX_US = 2000.0
PHONE = (0.5, 0.2, 0.05)


def measure(options: Options) -> list[Row]:
    """Rows of every task: cost by array and room, ratio to the deaf environment, parts."""
    rows: list[Row] = []
    for name in options.tasks:
        rows += _measure_task(name, options.repeats)
    return rows


def _measure_task(name: str, repeats: int) -> list[Row]:
    deaf = _make(name, microphones=())
    actions = _record(deaf)
    hearing = [_make(name, microphones=(array,), room=room) for array, room in ARRAYS]
    for env in hearing:
        _replay_us(env, actions)  # fills what is cached for good
    costs = np.array(
        [[_replay_us(env, actions) for env in (deaf, *hearing)] for _ in range(repeats)]
    )
    rows = []
    for column, (array, room) in enumerate(ARRAYS, start=1):
        extra = (costs[:, column] - costs[:, 0]).tolist()
        rows.append(row_of(f"sound, {array}, {room}", name, extra, "us/step", at_most=MAX_US))
    ratio = (costs[:, 1] / costs[:, 0]).tolist()
    rows.append(row_of("advance with sound / deaf", name, ratio, "x"))
    return rows + _parts(name, hearing[1], actions, repeats)


def _make(name: str, **arguments: Any) -> Any:
    env = gymnasium.make(
        task_entry(name).env_id, cameras=(), disable_env_checker=True, **arguments
    ).unwrapped
    if not env.CUE:  # type: ignore[attr-defined]
        env.begin_sound = lambda sound: sound.emit(RingTone(), PHONE)  # type: ignore[attr-defined]
    return env


def _record(env: Any) -> list[np.ndarray]:
    """The expert's actions in episode 0 of seed 0."""
    env.reset(seed=0)
    actions, over = [], False
    while not over:
        actions.append(env.expert_action())
        _, terminated, truncated, _ = env.advance(actions[-1])
        over = terminated or truncated
    return actions


def _replay_us(env: Any, actions: Sequence[np.ndarray]) -> float:
    """CPU microseconds of ``advance`` a control step; reset is not timed."""
    env.reset(seed=0)
    started = time.process_time_ns()
    for action in actions:
        env.advance(action)
    return (time.process_time_ns() - started) / 1e3 / len(actions)


class _Stopwatch:
    """Adds up the CPU time of calls."""

    def __init__(self) -> None:
        self.total_ns = 0

    def around(self, work: Callable[..., Any]) -> Callable[..., Any]:
        """``work``, timed."""

        def timed(*args: Any) -> Any:
            started = time.process_time_ns()
            answer = work(*args)
            self.total_ns += time.process_time_ns() - started
            return answer

        return timed


def _timed_parts(sound: SoundScape) -> dict[str, _Stopwatch]:
    """Put a stopwatch around each part; the keys are what the rows are called."""
    places: dict[str, tuple[Any, str]] = {
        "recording contacts, ten ticks": (sound._listener, "record"),
        "sorting contacts": (sound._listener, "collect"),
        "ringing and rubbing": (sound._bodies, "block"),
        "motors": (sound, "_whine"),
        "sources": (sound, "_sources"),
        "propagation": (sound, "_hear"),
        "noise and ring": (sound, "_keep"),
    }
    watches = {}
    for part, (owner, method) in places.items():
        watches[part] = _Stopwatch()
        setattr(owner, method, watches[part].around(getattr(owner, method)))
    return watches


def _parts(name: str, env: Any, actions: Sequence[np.ndarray], repeats: int) -> list[Row]:
    watches = _timed_parts(env.sound)
    costs: dict[str, list[float]] = {part: [] for part in watches}
    for _ in range(repeats):
        for watch in watches.values():
            watch.total_ns = 0
        _replay_us(env, actions)
        for part, watch in watches.items():
            costs[part].append(watch.total_ns / 1e3 / len(actions))
    return [row_of(f"  {part}", name, values, "us/step") for part, values in costs.items()]
