"""A run on disk: rows that survive ``kill -9``, a manifest, files written whole or not at all.

``episodes.jsonl`` is valid after every line: a row is one ``write`` followed by ``fsync``,
and a line that was torn is cut off before the next one is written. A finished run's rows
are sorted, so that the file (``timing`` aside) does not tell how it was computed.

Of a row, ``success`` is by the cue of the episode, ``success_swapped`` by the one that sounded
(null unless a condition swapped them; ``progress`` goes by it then), and ``limits`` the share of
control steps in which some joint was at the end of its range, its largest speed or torque.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from annotated_types import Ge, Le
from typing_extensions import TypedDict

from neon_sim.errors import RunError
from neon_sim.files import FolderLock, disk_error, inside, make_folder, write_whole
from neon_sim.schema import checked, parse_json, read_json

from .plan import Cell

Count = Annotated[int, Ge(0)]
Amount = Annotated[float, Ge(0)]
Share = Annotated[float, Ge(0), Le(1 + 1e-6)]


class Timing(TypedDict):
    """What computing a row took; the one part of it that differs between runs."""

    wall_s: Amount
    inference_ms_mean: Amount
    observe_ms_mean: Amount
    looks: Count


class Row(TypedDict):
    """One episode: a line of ``episodes.jsonl``, which is held to these types when it is read.

    Units: ``mean_jerk`` rad/s^3, ``boundary_jump`` rad, ``progress`` in [0, 1], ``steps`` and
    ``latency_steps`` in control steps of 20 ms. ``train_seed`` is None for a policy without one.
    """

    task: str
    policy: str
    condition: str
    train_seed: Count | None
    seed: Count
    episode: Count
    initial_hash: str | None
    success: bool
    success_final: bool
    progress: Share
    steps: Count
    mean_jerk: Amount
    boundary_jump: Amount
    latency_steps: Count
    replan_steps: Annotated[int, Ge(1)] | None
    success_swapped: bool | None
    limits: dict[str, Share] | None
    error: str | None
    timing: Timing


ROW_KEYS = tuple(Row.__annotations__)
LATER_KEYS = ("replan_steps", "success_swapped", "limits")  # null in rows of older runs


class EpisodeKey(NamedTuple):
    """What identifies a row within a run."""

    cell: Cell
    seed: int
    episode: int


def key_of_row(row: Row) -> EpisodeKey:
    """The key of a row."""
    cell = Cell(row["task"], row["policy"], row["condition"], row["train_seed"])
    return EpisodeKey(cell, row["seed"], row["episode"])


def sort_key(row: Row) -> tuple[str, str, str, int, int, int]:
    """Order of rows in a finished file."""
    train_seed = -1 if row["train_seed"] is None else row["train_seed"]
    return (
        row["task"],
        row["policy"],
        row["condition"],
        train_seed,
        row["seed"],
        row["episode"],
    )


def dump_row(row: Row) -> str:
    """One JSON line, keys in the order of ``ROW_KEYS``."""
    return json.dumps(_ordered(row), allow_nan=False, ensure_ascii=False)


def _ordered(row: Row) -> dict[str, object]:
    """The keys of ``ROW_KEYS`` in their order; those that older rows lack are null."""
    filled = {**dict.fromkeys(LATER_KEYS), **row}
    return {key: filled[key] for key in ROW_KEYS}


def hash_of_row(row: Row) -> str:
    """Hex SHA-256 of what a row says, its timing left out."""
    text = json.dumps({**_ordered(row), "timing": {}}, allow_nan=False, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


class RunFolder:
    """Paths of one run, and how its files are written.

    Args:
        path: the folder; it need not exist.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.episodes = self.path / "episodes.jsonl"
        self.manifest = self.path / "manifest.json"
        self.summary = self.path / "summary.json"
        self.report = self.path / "report.html"
        self.videos = self.path / "videos"
        self._lock = FolderLock(self.path)

    def create(self) -> None:
        """Make the folder.

        Raises:
            RunError: it cannot be made.
        """
        make_folder(self.path)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder where there is none and keep every other writer out; may be nested.

        Raises:
            RunError: another process writes it, or it cannot be made.
        """
        self.create()
        self.hold_inside()
        with self._lock:
            yield

    def hold_inside(self) -> None:
        """Refuse a folder whose files are links that lead out of it.

        Raises:
            RunError: names the link.
        """
        for path in (self.episodes, self.manifest, self.summary, self.report, self.videos):
            if path.is_symlink():
                inside(self.path, path.name, mend="put the file itself there")

    def no_run(self, path: Path) -> RunError:
        """The error for a folder without one of a run's files."""
        return RunError(
            f"{path} does not exist: {self.path} is no run; make one with "
            f"neon-bench run --out {shlex.quote(str(self.path))}"
        )

    def read_json(self, path: Path) -> dict[str, Any]:
        """One of the run's JSON files, whatever it holds.

        Raises:
            RunError: missing or damaged.
        """
        if not path.exists():
            raise self.no_run(path)
        return read_json(path, dict[str, Any], RunError, "run again with --resume")

    def read_rows(self) -> list[Row]:
        """All complete rows; a torn last line is left out, not an error.

        Raises:
            RunError: no such run, or a line in the middle is damaged.
        """
        if not self.episodes.exists():
            raise self.no_run(self.episodes)
        self.hold_inside()
        rows, _ = parse_rows(self.episodes)
        return rows


def parse_rows(path: Path) -> tuple[list[Row], int]:
    """Rows of a file and the number of its bytes that hold complete rows.

    Raises:
        RunError: a line that is not the last one is damaged, a row is of another shape, or two
            rows are of one episode.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RunError(f"cannot read {path} ({error.strerror}); choose another folder") from error
    rows: list[Row] = []
    places: dict[EpisodeKey, int] = {}
    good = 0
    lines = data.split(b"\n")
    for number, line in enumerate(lines, start=1):
        if number == len(lines):  # what follows the last newline: empty, or torn
            break
        row = _parse_row(line, f"{path}, line {number}")
        if row is None:
            if number == len(lines) - 1 and lines[-1] == b"":
                break
            raise RunError(
                f"{path}, line {number} is damaged; delete that line and run again with --resume"
            )
        first = places.setdefault(key_of_row(row), number)
        if first != number:
            raise _doubled(path, rows[first - 1], row, first, number)
        rows.append(row)
        good += len(line) + 1
    return rows, good


def _parse_row(line: bytes, place: str) -> Row | None:
    """The row of a line; None where the line is no JSON (a write that did not end).

    Raises:
        RunError: JSON of another shape.
    """
    mend = "delete that line and run again with --resume"
    try:
        row = parse_json(line)
    except ValueError:
        return None
    if not isinstance(row, dict) or set(row) | set(LATER_KEYS) != set(ROW_KEYS):
        strange = sorted(set(row) ^ set(ROW_KEYS)) if isinstance(row, dict) else []
        what = f"keys {', '.join(strange[:5])}" if strange else "no row"
        raise RunError(f"{place} is damaged ({what}); {mend}")
    filled = {**dict.fromkeys(LATER_KEYS), **row}
    found = checked(filled, Row, f"{place} is damaged", RunError, mend)
    if found["error"] is not None and (found["success"] or found["success_final"]):
        raise RunError(f"{place} is damaged (it raised an error and succeeded); {mend}")
    return found


def _doubled(path: Path, first: Row, second: Row, at: int, number: int) -> RunError:
    """The error for two rows of one episode."""
    alike = without_timing([first]) == without_timing([second])
    mend = (
        f"they are alike: delete line {number}"
        if alike
        else "they differ, so neither can be trusted: delete both and run again with --resume"
    )
    return RunError(
        f"{path}, lines {at} and {number} are damaged (both are of {describe(second)}); {mend}"
    )


def describe(row: Row) -> str:
    """A row in words."""
    key = key_of_row(row)
    seed = "" if key.cell.train_seed is None else f" train seed {key.cell.train_seed}"
    return f"{key.cell.task} {key.cell.policy} {key.cell.condition}{seed} episode {key.episode}"


class EpisodeLog:
    """Appends rows to ``episodes.jsonl`` so that each is on disk before the next begins.

    Args:
        path: the file. What it holds already is read and, where torn, repaired.

    Attributes:
        rows: every row of the file.

    Raises:
        RunError: the file cannot be written, or is damaged before its last line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open()

    def _open(self) -> None:
        self.rows: list[Row] = []
        self._size = 0
        if self.path.is_symlink():
            inside(self.path.parent, self.path.name, mend="put the file itself there")
        if self.path.exists():
            self.rows, self._size = parse_rows(self.path)
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            os.ftruncate(self._file, self._size)
            os.lseek(self._file, self._size, os.SEEK_SET)
        except OSError as error:
            raise disk_error(self.path, error) from error

    def append(self, row: Row) -> None:
        """Write one row and wait until it is on disk.

        Raises:
            RunError: the disk is full or gone; earlier rows are safe and the file is whole.
        """
        line = (dump_row(row) + "\n").encode()
        try:
            written = os.write(self._file, line)
            if written < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._file)
        except OSError as error:
            self._undo()
            raise disk_error(self.path, error) from error
        self._size += len(line)
        self.rows.append(row)

    def _undo(self) -> None:
        """Cut a half-written line off again."""
        try:
            os.ftruncate(self._file, self._size)
            os.lseek(self._file, self._size, os.SEEK_SET)
        except OSError:
            return  # the next reader cuts it

    def rewrite(self, rows: Iterable[Row]) -> None:
        """Replace the whole file at once by these rows."""
        kept = list(rows)
        write_whole(self.path, "".join(dump_row(row) + "\n" for row in kept))
        self.close()
        self._open()

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def without_timing(rows: Sequence[Row]) -> list[dict[str, object]]:
    """Rows as they must be equal to the bit between runs."""
    return [{key: value for key, value in row.items() if key != "timing"} for row in rows]
