"""Side-by-side videos of single episodes: played again, drawn for people, kept small.

A run stores no pictures. The episodes worth looking at (those where two conditions end
differently come first) are played once more by the worker that plays every episode, their
rows are held against the run's rows, and only then a video is written. A video of an
episode that went another way than its row says would be a lie, so that is an error.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from neon_sim.clock import TICKS_PER_CAMERA

from .compare import plan_of_run
from .episode import Job, Settings
from .media import Recorder, encode_image, for_ears, small_video
from .pairing import Column, rows_of
from .plan import Cell, PolicySpec, RunPlan
from .results import (
    LATER_KEYS,
    Row,
    RunError,
    RunFolder,
    dump_row,
    without_timing,
    write_json,
    write_whole,
)
from .sweep import base_name, setting_of
from .verdict import headline_pairs
from .worker import Worker

HEIGHT, WIDTH = 240, 320
MAX_PAIRS = 10  # a task
INDEX = "index.json"


@dataclass(frozen=True)
class Side:
    """One of the videos of a group.

    Attributes:
        train_seed: of the head that plays, None where nothing was trained.
        success: at any time. success_final: in the last state.
        steps: control steps played.
        row: hash of the row that the videos show, so that another run's are not taken for it.
        video, poster: file names in ``videos/``; the poster is the last picture.
    """

    policy: str
    condition: str
    train_seed: int | None
    success: bool
    success_final: bool
    steps: int
    row: str
    video: str
    poster: str


@dataclass(frozen=True)
class VideoGroup:
    """Videos of one episode under one or two columns.

    Attributes:
        description: the instruction of the episode.
        alike: episodes of the run that ended in the same way under these columns.
        total: episodes that both columns have.
        sides: one or two.
    """

    task: str
    seed: int
    episode: int
    description: str
    alike: int
    total: int
    sides: tuple[Side, ...]


@dataclass(frozen=True)
class Choice:
    """Rows of one episode that are worth seeing, one a column; see ``VideoGroup``."""

    rows: tuple[Row, ...]
    alike: int
    total: int


# ---- which episodes ---------------------------------------------------------------------


def shown_columns(entry: dict[str, Any]) -> list[Column]:
    """The two columns of a task's summary that are shown: those its verdict is about.

    Of a sweep, both under its first setting. Without a comparison (scripted policies) the first
    two columns, or the only one; of a sweep the best and the worst setting of the first policy.
    """
    for pair in headline_pairs(entry):
        return [tuple(pair["a"]), tuple(pair["b"])]
    cells = entry["cells"]
    if cells and setting_of(cells[0]["policy"]):
        first = [c for c in cells if base_name(c["policy"]) == base_name(cells[0]["policy"])]
        best = max(first, key=lambda cell: cell["any_time"]["rate"])
        worst = min(reversed(first), key=lambda cell: cell["any_time"]["rate"])
        cells = [best, worst]
    columns = dict.fromkeys((cell["policy"], cell["condition"]) for cell in cells[:2])
    return list(columns)


def choose(rows: Sequence[Row], task: str, columns: Sequence[Column], count: int) -> list[Choice]:
    """The first episodes of each way to end; ways in which the columns differ come first.

    Args:
        rows: of the run. task: registry name. columns: one or two. count: at most so many.

    Returns:
        Choices of different episodes. Episodes that raised are left out.
    """
    together = _matched(rows, task, columns)
    groups: dict[tuple[bool, ...], list[tuple[Row, ...]]] = {}
    for group in together:
        groups.setdefault(tuple(bool(row["success"]) for row in group), []).append(group)
    chosen: list[Choice] = []
    for group in _in_order(groups):
        taken = {choice.rows[0]["episode"] for choice in chosen}
        if len(chosen) < count and group[0]["episode"] not in taken:
            alike = len(groups[tuple(bool(row["success"]) for row in group)])
            chosen.append(Choice(group, alike, len(together)))
    return chosen


def _matched(rows: Sequence[Row], task: str, columns: Sequence[Column]) -> list[tuple[Row, ...]]:
    """Rows of the same episode under each column, in the order of training seeds, episodes."""
    tables = []
    for column in columns:
        mine = [row for row in rows_of(rows, task, column) if row["error"] is None]
        tables.append({(r["train_seed"], r["seed"], r["episode"]): r for r in mine})
    trained = {key[0] for table in tables for key in table} - {None}
    found: list[tuple[Row, ...]] = []
    for train_seed in sorted(trained) or [None]:
        for seed, episode in sorted({key[1:] for key in tables[0]}):
            keys = (train_seed, seed, episode), (None, seed, episode)
            group = [table[key] for table in tables for key in dict.fromkeys(keys) if key in table]
            if len(group) == len(columns):
                found.append(tuple(group))
    return found


def _in_order(groups: dict[tuple[bool, ...], list[tuple[Row, ...]]]) -> list[tuple[Row, ...]]:
    """One of each way to differ, the commoner first; more of the commonest; then the others."""
    differing = sorted((k for k in groups if len(set(k)) > 1), key=lambda k: -len(groups[k]))
    alike = sorted(k for k in groups if len(set(k)) == 1)  # failures before successes
    order = [groups[key][0] for key in differing]
    for key in differing:
        order += groups[key][1:]
    for key in alike:
        order += groups[key]
    return order


# ---- playing them again -----------------------------------------------------------------


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


# ---- files ------------------------------------------------------------------------------


def _stem(row: Row) -> str:
    parts = [row["task"], f"s{row['seed']}e{row['episode']}", row["policy"], row["condition"]]
    if row["train_seed"] is not None:
        parts.append(f"t{row['train_seed']}")
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", "-".join(parts))


def make_side(row: Row) -> Side:
    """What the index says about one row."""
    keys = ("policy", "condition", "train_seed", "success", "success_final", "steps")
    stem, text = _stem(row), dump_row({**row, "timing": {}})
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Side(
        **{key: row[key] for key in keys}, row=digest, video=f"{stem}.mp4", poster=f"{stem}.jpg"
    )


def read_index(folder: Path) -> list[VideoGroup]:
    """Groups of ``videos/index.json``; none when there is no index of this version."""
    run = RunFolder(folder)
    if not (run.videos / INDEX).exists():
        return []
    try:
        groups = run.read_json(run.videos / INDEX)["groups"]
        return [
            VideoGroup(**{**group, "sides": tuple(Side(**side) for side in group["sides"])})
            for group in groups
        ]
    except (KeyError, TypeError, RunError):
        return []


def make_videos(
    folder: Path | RunFolder, summary: dict[str, Any], pairs: int = 2, *, verbose: bool = False
) -> list[VideoGroup]:
    """Fill ``videos/`` of a run; videos that are there and still hold are kept.

    Args:
        folder: of the run. summary: of its rows.
        pairs: episodes a task, 0 to 10.
        verbose: show a progress bar.

    Returns:
        The groups, task by task, failures first; also in ``videos/index.json``.

    Raises:
        NeonError: a policy cannot be loaded, an episode cannot be repeated, no disk space.
    """
    run = folder if isinstance(folder, RunFolder) else RunFolder(folder)
    if not 0 <= pairs <= MAX_PAIRS:
        raise RunError(f"a report shows 0 to {MAX_PAIRS} pairs of videos a task (got {pairs})")
    rows = run.read_rows()
    choices = [
        choice
        for task, entry in summary["tasks"].items()
        for choice in choose(rows, task, shown_columns(entry), pairs)
    ]
    if not choices:
        return []
    plan, known = plan_of_run(run), _known_words(run)
    RunFolder(run.videos).create()
    groups = []
    with closing(Worker()) as worker:
        for choice in tqdm(choices, desc="videos", disable=not verbose, unit="episode"):
            groups.append(_make_group(run, worker, plan, choice, known))
    before = read_index(run.path)
    write_json(run.videos / INDEX, {"groups": [asdict(group) for group in groups]})
    for name in _files(before) - _files(groups):
        (run.videos / name).unlink(missing_ok=True)
    return groups


def _files(groups: Sequence[VideoGroup]) -> set[str]:
    return {name for group in groups for side in group.sides for name in (side.video, side.poster)}


def _known_words(run: RunFolder) -> dict[Side, str]:
    """Instructions of the sides whose files are there."""
    return {
        side: group.description
        for group in read_index(run.path)
        for side in group.sides
        if (run.videos / side.video).exists() and (run.videos / side.poster).exists()
    }


def _make_group(
    run: RunFolder, worker: Worker, plan: RunPlan, choice: Choice, known: dict[Side, str]
) -> VideoGroup:
    sides = tuple(make_side(row) for row in choice.rows)
    words = ""
    for row, side in zip(choice.rows, sides, strict=True):
        if side in known:
            words = known[side]
            continue
        again = replay(worker, plan, row)
        words = again.words
        sound = None if again.sound is None else for_ears(again.sound)
        write_whole(run.videos / side.video, small_video(again.frames, sound))
        write_whole(run.videos / side.poster, encode_image(again.frames[-1], "mjpeg"))
    first = choice.rows[0]
    return VideoGroup(
        first["task"], first["seed"], first["episode"], words, choice.alike, choice.total, sides
    )
