"""Side-by-side videos of single episodes: played again, drawn for people, kept small.

A run stores no pictures. The episodes worth looking at (those where two conditions end
differently come first) are played once more by the worker that plays every episode, their
rows are held against the run's rows, and only then a video is written. A video of an
episode that went another way than its row says would be a lie, so that is an error.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

from neon_sim.errors import RunError
from neon_sim.files import make_folder, write_json, write_whole
from neon_sim.schema import read_json

from ..analysis.pairing import Column, rows_of
from ..analysis.results import CellSummary, Summary, TaskEntry
from ..analysis.verdict import headline_pairs
from ..runs.folder import Row, RunFolder, hash_of_row
from ..runs.plan import RunPlan
from ..runs.stored import inside_folder, read_run
from ..runs.sweep import base_name, setting_of
from .filming import Shot, filmed, find_cell

MAX_PAIRS = 10  # a task
INDEX = "index.json"
MAX_STEM = 150  # letters of a file name before its ending


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
class Index:
    """``videos/index.json``."""

    groups: list[VideoGroup]


@dataclass(frozen=True)
class Films:
    """What a report shows.

    Attributes:
        asked: whether any were asked for. groups: task by task.
        unnamed: policies of the user's own that would have had to be imported and were not named
            on the command line; nothing of theirs was drawn.
    """

    asked: bool
    groups: list[VideoGroup]
    unnamed: list[str]


@dataclass(frozen=True)
class Choice:
    """Rows of one episode that are worth seeing, one a column; see ``VideoGroup``."""

    rows: tuple[Row, ...]
    alike: int
    total: int


# ---- which episodes ---------------------------------------------------------------------


def shown_columns(entry: TaskEntry) -> list[Column]:
    """The two columns of a task's summary that are shown: those its verdict is about.

    Of a sweep, both under its first setting. Without a comparison (scripted policies) the first
    two columns, or the only one; of a sweep the best and the worst setting of the first policy.
    """
    for pair in headline_pairs(entry):  # the first of them
        (a, word_a), (b, word_b) = pair["a"], pair["b"]
        return [(a, word_a), (b, word_b)]
    cells = [cell for cell in entry["cells"] if cell["n"]]
    if cells and setting_of(cells[0]["policy"]):
        first = [c for c in cells if base_name(c["policy"]) == base_name(cells[0]["policy"])]
        best = max(first, key=_rate)
        worst = min(reversed(first), key=_rate)
        cells = [best, worst]
    columns = dict.fromkeys((cell["policy"], cell["condition"]) for cell in cells[:2])
    return list(columns)


def _rate(cell: CellSummary) -> float:
    rate = cell["any_time"]["rate"]
    assert rate is not None  # some episodes were measured
    return rate


def choose(rows: Sequence[Row], task: str, columns: Sequence[Column], count: int) -> list[Choice]:
    """The first episodes of each way to end; ways in which the columns differ come first.

    Args:
        rows: of the run. task: registry name. columns: at most two. count: at most so many.

    Returns:
        Choices of different episodes. Episodes that raised are left out.
    """
    together = _matched(rows, task, columns) if columns else []
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
    trained = sorted({seed for table in tables for seed, _, _ in table if seed is not None})
    found: list[tuple[Row, ...]] = []
    for train_seed in trained or (None,):
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


# ---- files ------------------------------------------------------------------------------


def _stem(row: Row) -> str:
    """The name of a row's files: letters that every file system takes, and not too many."""
    parts = [row["task"], f"s{row['seed']}e{row['episode']}", row["policy"], row["condition"]]
    if row["train_seed"] is not None:
        parts.append(f"t{row['train_seed']}")
    whole = "-".join(parts)
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", whole)
    if len(name) <= MAX_STEM:
        return name
    return f"{name[:MAX_STEM]}-{hashlib.sha256(whole.encode()).hexdigest()[:12]}"


def make_side(row: Row) -> Side:
    """What the index says about one row."""
    stem = _stem(row)
    return Side(
        policy=row["policy"],
        condition=row["condition"],
        train_seed=row["train_seed"],
        success=row["success"],
        success_final=row["success_final"],
        steps=row["steps"],
        row=hash_of_row(row),
        video=f"{stem}.mp4",
        poster=f"{stem}.jpg",
    )


def read_index(folder: Path) -> list[VideoGroup]:
    """Groups of ``videos/index.json``; none when there is no index of this version.

    An index that names a file elsewhere, or one of another kind, is none either.
    """
    path = RunFolder(folder).videos / INDEX
    if not path.exists():
        return []
    try:
        groups = read_json(path, Index, RunError, "it is made again").groups
    except RunError:
        return []
    names = [
        name
        for group in groups
        for s in group.sides
        for name in ((s.video, ".mp4"), (s.poster, ".jpg"))
    ]
    return groups if all(inside_folder(path.parent, *name) for name in names) else []


def make_videos(
    folder: Path | RunFolder,
    summary: Summary,
    pairs: int = 2,
    *,
    workers: int = 1,
    verbose: bool = False,
    own: Collection[str] = (),
) -> Films:
    """Fill ``videos/`` of a run; videos that are there and still hold are kept.

    Args:
        folder: of the run. summary: of its rows.
        pairs: episodes a task, 0 to 10. workers: processes that play and draw; 1: this one.
        verbose: show a progress bar. own: policies ``module:function`` that may be imported.

    Returns:
        The groups, task by task, failures first (also in ``videos/index.json``), and whose videos
        would have taken an import that was not asked for.

    Raises:
        NeonError: a policy cannot be loaded, an episode cannot be repeated, no disk space.
    """
    run = folder if isinstance(folder, RunFolder) else RunFolder(folder)
    if not 0 <= pairs <= MAX_PAIRS:
        raise RunError(f"a report shows 0 to {MAX_PAIRS} pairs of videos a task (got {pairs})")
    stored = read_run(run)
    plan, rows = stored.plan, stored.rows
    choices = [
        choice
        for task, entry in summary["tasks"].items()
        for choice in choose(rows, task, shown_columns(entry), pairs)
    ]
    if not choices:
        return Films(pairs > 0, [], [])
    run.hold_inside()
    known = _known_words(run)
    lacking = [[row for row in c.rows if make_side(row) not in known] for c in choices]
    foreign = [_foreign(plan, rows, own) for rows in lacking]
    unnamed = list(dict.fromkeys(name for names in foreign for name in names))
    choices = [c for c, names in zip(choices, foreign, strict=True) if not names]
    lacking = [rows for rows, names in zip(lacking, foreign, strict=True) if not names]
    make_folder(run.videos)
    shots = filmed(plan, [rows for rows in lacking if rows], workers)
    groups = []
    with closing(shots), tqdm(total=len(choices), desc="videos", disable=not verbose) as bar:
        for choice, rows in zip(choices, lacking, strict=True):
            if rows:
                known |= _write(run, rows, next(shots))
            groups.append(_group(choice, known))
            bar.update()
    before = read_index(run.path)
    write_json(run.videos / INDEX, {"groups": [asdict(group) for group in groups]})
    for name in _files(before) - _files(groups):
        (run.videos / name).unlink(missing_ok=True)
    return Films(True, groups, unnamed)


def _foreign(plan: RunPlan, rows: Sequence[Row], own: Collection[str]) -> list[str]:
    """Policies of the user's own that playing some rows again would import unasked."""
    specs = [find_cell(plan, row)[0] for row in rows]
    return [spec.base for spec in specs if spec.kind == "factory" and spec.base not in own]


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


def _write(run: RunFolder, rows: Sequence[Row], shots: Sequence[Shot]) -> dict[Side, str]:
    """Write the files of some rows; returns the instructions of their sides."""
    sides = [make_side(row) for row in rows]
    for side, shot in zip(sides, shots, strict=True):
        write_whole(run.videos / side.video, shot.video)
        write_whole(run.videos / side.poster, shot.poster)
    return {side: shot.words for side, shot in zip(sides, shots, strict=True)}


def _group(choice: Choice, words: dict[Side, str]) -> VideoGroup:
    sides, first = tuple(make_side(row) for row in choice.rows), choice.rows[0]
    return VideoGroup(
        first["task"],
        first["seed"],
        first["episode"],
        words[sides[0]],
        choice.alike,
        choice.total,
        sides,
    )
