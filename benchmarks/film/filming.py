"""Episodes of a run played again for people: rows in, pictures, sound and files out.

The worker that plays every episode plays these; a replay that goes another way than its row
says is an error. Several processes may film at once, which changes no picture.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np

from neon_sim.clock import TICKS_PER_CAMERA
from neon_sim.errors import RunError

from ..running.episode import Job, Settings
from ..running.pool import single_threads
from ..running.worker import Worker
from ..runs.folder import LATER_KEYS, Row, without_timing
from ..runs.plan import Cell, PolicySpec, RunPlan
from .media import Recorder, encode_image, for_ears, small_video

HEIGHT, WIDTH = 240, 320


def find_cell(plan: RunPlan, row: Row) -> tuple[PolicySpec, Cell]:
    """The policy that made a row.

    Raises:
        RunError: the run's plan has no such cell.
    """
    wanted = Cell(row["task"], row["policy"], row["condition"], row["train_seed"])
    for spec, cell in plan.cells(row["task"]):
        if cell == wanted:
            return spec, cell
    raise RunError(f"{' '.join(map(str, wanted))} is in episodes.jsonl and not in manifest.json")


@dataclass(frozen=True)
class Replay:
    """An episode played again, for people.

    Attributes:
        frames: (F, 240, 320, 3) uint8 at 25 Hz.
        sound: (C, n) float32 at 16 kHz from the same moment on; None without microphones.
        words: the instruction.
    """

    frames: np.ndarray
    sound: np.ndarray | None
    words: str


def replay(worker: Worker, plan: RunPlan, row: Row) -> Replay:
    """Play the episode of a row again.

    Args:
        worker: keeps environments and policies. plan: of the run. row: without error.

    Raises:
        RunError: it went another way than the row says.
        NeonError: the policy cannot be loaded.
    """
    spec, cell = find_cell(plan, row)
    settings = Settings(row["seed"], row["latency_steps"], plan.options, batch=1)
    seen: list[tuple[np.ndarray, str]] = []
    recorder = Recorder()

    def draw(env: Any, _: Row) -> None:
        seen.append((drawn_frames(env.unwrapped), env.unwrapped.task_description))

    job = Job(spec, cell, (row["episode"],), settings)
    (again,) = worker.play(job, on_end=draw, on_step=recorder.hear)
    check_replay(row, again)
    frames, words = seen[0]
    return Replay(frames, recorder.samples(), words)


@dataclass(frozen=True)
class Shot:
    """A replay as files: the instruction, an MP4 and the JPEG of its last picture."""

    words: str
    video: bytes
    poster: bytes


def filmed(
    plan: RunPlan, groups: Sequence[Sequence[Row]], workers: int
) -> Generator[list[Shot], None, None]:
    """Replay and encode groups of rows, in order.

    Args:
        plan: of the run. groups: rows that are likely to share an environment.
        workers: processes; with 1 everything happens in this one.

    Raises:
        RunError: a process died. NeonError: see ``replay``.
    """
    if min(workers, len(groups)) < 2:
        with closing(Worker()) as worker:
            for rows in groups:
                yield [film(worker, plan, row) for row in rows]
        return
    count, context = min(workers, len(groups)), multiprocessing.get_context("spawn")
    try:
        with single_threads(), ProcessPoolExecutor(count, context, _begin) as pool:
            yield from pool.map(partial(_film_here, plan), groups)
    except BrokenProcessPool as error:
        raise RunError(
            "a process that draws videos died (often out of memory); make the report with "
            "--workers 1, or leave the videos out with --videos 0"
        ) from error


def film(worker: Worker, plan: RunPlan, row: Row) -> Shot:
    """Replay and encode one row; see ``replay``."""
    again = replay(worker, plan, row)
    sound = None if again.sound is None else for_ears(again.sound)
    poster = encode_image(again.frames[-1], "mjpeg")
    return Shot(again.words, small_video(again.frames, sound), poster)


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle


@lru_cache(maxsize=1)
def _own_worker() -> Worker:
    """The worker of a process of the pool."""
    return Worker()


def _film_here(plan: RunPlan, rows: Sequence[Row]) -> list[Shot]:
    return [film(_own_worker(), plan, row) for row in rows]


def drawn_frames(core: Any) -> np.ndarray:
    """(F, 240, 320, 3) uint8 of an episode up to now, at 25 Hz."""
    ticks = range(0, core.tick + 1, TICKS_PER_CAMERA)
    return np.stack([core.render_frame(tick, HEIGHT, WIDTH) for tick in ticks])


def check_replay(row: Row, again: Row) -> None:
    """Hold a replayed row to the run's row.

    Raises:
        RunError: they differ; names in what.
    """
    before, after = without_timing([row, again])
    unknown = {key for key in LATER_KEYS if before.get(key) is None}
    differing = [key for key in before if before[key] != after[key] and key not in unknown]
    if differing:
        changes = ", ".join(f"{key} {before[key]} -> {after[key]}" for key in differing)
        raise RunError(
            f"{row['task']} {row['policy']} {row['condition']} episode {row['episode']} went "
            f"another way when it was played again ({changes}); make the report where the run "
            "was made, or leave the videos out with --videos 0"
        )
