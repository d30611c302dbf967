"""Pairs rows of two columns by the initial state they started from.

Episodes are paired by construction: task, seed and episode fix how an episode starts. The
hash of that start is in every row, and rows that should be a pair but differ in it are an
error, never a number. A row that raised and a row that is not there are no outcome either: they
are counted, so that a verdict can be held to what they might have been (``unmeasured.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from neon_sim.errors import RunError

from ..runs.folder import Row
from .statistics import PairedTable

Column = tuple[str, str]  # policy, condition
Episode = tuple[int, int]  # run seed, index
Success = Literal["success", "success_final"]
Smoothness = Literal["mean_jerk", "boundary_jump"]
Measured = Literal["success", "success_final", "mean_jerk", "boundary_jump"]
UNKNOWN = -1  # in ``Pair.rest``
NOTHING = np.zeros((0, 0), np.int8)


@dataclass(frozen=True)
class Planned:
    """The rows that a column of a task should have.

    Attributes:
        train_seeds: of its heads, ``(None,)`` for a policy without. episodes: of each of them.
    """

    train_seeds: tuple[int | None, ...]
    episodes: tuple[Episode, ...]


@dataclass(frozen=True)
class Lack:
    """Rows of one side that hold no outcome.

    Attributes:
        planned: rows there should be. raised: that hold an error. missing: that are not there.
    """

    planned: int = 0
    raised: int = 0
    missing: int = 0


@dataclass(frozen=True)
class Pair:
    """Outcomes of two columns on the same episodes.

    Attributes:
        a, b: (S, E) bool success at any time, training seed by episode.
        train_seeds: S of them. episodes: E of them, (seed, episode), measured in every row.
        rest: a and b of the episodes that are not: (S, R) int8 each, 1, 0 or ``UNKNOWN``.
        lack: rows of a and of b without an outcome.
    """

    a: np.ndarray
    b: np.ndarray
    train_seeds: tuple[int | None, ...]
    episodes: tuple[Episode, ...]
    rest: tuple[np.ndarray, np.ndarray] = (NOTHING, NOTHING)
    lack: tuple[Lack, Lack] = (Lack(), Lack())

    @property
    def num_episodes(self) -> int:
        """E."""
        return len(self.episodes)

    @property
    def num_planned(self) -> int:
        """E + R."""
        return len(self.episodes) + int(self.rest[0].shape[1])

    @property
    def n(self) -> int:
        """Pairs, S x E."""
        return int(self.a.size)

    @property
    def table(self) -> PairedTable:
        """Counts over all pairs."""
        return PairedTable.of(self.a, self.b)

    @property
    def differences(self) -> np.ndarray:
        """(S, E) int: success(a) - success(b)."""
        return self.a.astype(np.int64) - self.b.astype(np.int64)

    def ways(self) -> Iterator[Pair]:
        """This pair with everything that is not known in favour of a, then in favour of b."""
        if self.rest[0].size:
            for for_a in (True, False):
                a, b = (
                    np.hstack([known, np.where(rest == UNKNOWN, favoured, rest).astype(bool)])
                    for known, rest, favoured in (
                        (self.a, self.rest[0], for_a),
                        (self.b, self.rest[1], not for_a),
                    )
                )
                yield Pair(a, b, self.train_seeds, ())


def rows_of(rows: Iterable[Row], task: str, column: Column) -> list[Row]:
    """Rows of one task and column."""
    return [r for r in rows if r["task"] == task and (r["policy"], r["condition"]) == column]


def measured(rows: Iterable[Row]) -> list[Row]:
    """Rows that hold an outcome: those that did not raise."""
    return [row for row in rows if row["error"] is None]


def outcomes(
    rows: Sequence[Row],
    task: str,
    a: Column,
    b: Column,
    other: Sequence[Row] | None = None,
    key: Success = "success",
    planned: tuple[Planned, Planned] | None = None,
) -> Pair:
    """Outcomes of two columns on the training seeds and episodes that both have.

    A column without training seeds (a scripted policy) meets every training seed of the
    other. An episode is used when every one of those seeds has it in both columns, and none of
    these rows raised; every other episode is counted as not measured.

    Args:
        rows: of a run. task: registry name. a, b: columns.
        other: rows that column ``b`` is taken from, when it is another run's.
        key: ``"success"`` or ``"success_final"``.
        planned: what a and b should hold; without it, what either of them holds.

    Raises:
        RunError: two rows of a pair started from different states.
    """
    found = _paired(rows, task, a, b, rows if other is None else other, planned)
    return found.pair(key)


def paired_values(
    rows: Sequence[Row], task: str, a: Column, b: Column, key: Smoothness
) -> tuple[np.ndarray, np.ndarray]:
    """A number of two columns on the training seeds and episodes that both have: (S, E) each.

    Raises:
        RunError: two rows of a pair started from different states.
    """
    found = _paired(rows, task, a, b, rows, None)
    left, right = (found.numbers(side, key, found.whole) for side in (0, 1))
    return left, right


@dataclass(frozen=True)
class _Paired:
    """Rows of two columns side by side; None where there is none.

    Attributes:
        seeds: training seeds of a and of b that meet; None for a policy without.
        sides: two tables, each a line of rows a pair of seeds, in the order of ``episodes``.
    """

    seeds: tuple[tuple[int | None, int | None], ...]
    episodes: tuple[Episode, ...]
    sides: tuple[list[list[Row | None]], list[list[Row | None]]]

    @property
    def whole(self) -> list[int]:
        """Places of the episodes of which every row holds an outcome."""
        rows = [line for side in self.sides for line in side]
        return [
            i
            for i in range(len(self.episodes))
            if all(_known(line[i], "success") != UNKNOWN for line in rows)
        ]

    def numbers(self, side: int, key: Measured, places: Sequence[int]) -> np.ndarray:
        """(S, len(places)) float64 of rows that are all there."""
        lines = [[_there(line[i])[key] for i in places] for line in self.sides[side]]
        return np.array(lines, dtype=np.float64).reshape(len(self.seeds), len(places))

    def pair(self, key: Success) -> Pair:
        """Success of both, and what is not known of it."""
        whole = self.whole
        known = set(whole)
        others = [i for i in range(len(self.episodes)) if i not in known]
        a, b = (self.numbers(side, key, whole).astype(bool) for side in (0, 1))
        rest_a, rest_b = (self._rest(side, key, others) for side in (0, 1))
        lack_a, lack_b = (self._lack(side) for side in (0, 1))
        episodes = tuple(self.episodes[i] for i in whole)
        seeds = tuple(x if x is not None else y for x, y in self.seeds)
        return Pair(a, b, seeds, episodes, (rest_a, rest_b), (lack_a, lack_b))

    def _rest(self, side: int, key: Success, places: Sequence[int]) -> np.ndarray:
        lines = [[_known(line[i], key) for i in places] for line in self.sides[side]]
        return np.array(lines, dtype=np.int8).reshape(len(self.seeds), len(places))

    def _lack(self, side: int) -> Lack:
        """Each row once, though one without training seed meets those of all seeds."""
        alone = all(pair[side] is None for pair in self.seeds)
        rows = [row for line in self.sides[side][: 1 if alone else None] for row in line]
        raised = sum(row is not None and row["error"] is not None for row in rows)
        return Lack(len(rows), raised, sum(row is None for row in rows))


def _there(row: Row | None) -> Row:
    assert row is not None
    return row


def _known(row: Row | None, key: Success) -> int:
    """1 or 0; ``UNKNOWN`` of a row that is not there or raised."""
    return UNKNOWN if row is None or row["error"] is not None else int(row[key])


def _paired(
    rows: Sequence[Row],
    task: str,
    a: Column,
    b: Column,
    other: Sequence[Row],
    planned: tuple[Planned, Planned] | None,
) -> _Paired:
    """Two columns side by side, training seed by training seed."""
    left = _index(rows_of(rows, task, a))
    right = _index(rows_of(other, task, b))
    if planned is None:
        every = {episode for index in (left, right) for line in index.values() for episode in line}
        seeds = _common_seeds(list(left), list(right))
    else:
        every = set(planned[0].episodes) & set(planned[1].episodes)
        seeds = _common_seeds(planned[0].train_seeds, planned[1].train_seeds)
    episodes = tuple(sorted(every)) if seeds else ()
    sides = (
        [[left.get(x, {}).get(episode) for episode in episodes] for x, _ in seeds],
        [[right.get(y, {}).get(episode) for episode in episodes] for _, y in seeds],
    )
    for first, second in zip(*sides, strict=True):
        for episode, one, two in zip(episodes, first, second, strict=True):
            if one is not None and two is not None:
                _check_start(task, episode, one, two)
    return _Paired(tuple(seeds), episodes, sides)


_Index = dict[int | None, dict[Episode, Row]]


def _index(rows: Iterable[Row]) -> _Index:
    index: _Index = {}
    for row in rows:
        index.setdefault(row["train_seed"], {})[(row["seed"], row["episode"])] = row
    return index


def _common_seeds(
    left: Sequence[int | None], right: Sequence[int | None]
) -> list[tuple[int | None, int | None]]:
    if None in left:
        return [(None, seed) for seed in sorted(right, key=seed_order)]
    if None in right:
        return [(seed, None) for seed in sorted(left, key=seed_order)]
    return [(seed, seed) for seed in sorted(set(left) & set(right), key=seed_order)]


def seed_order(seed: int | None) -> int:
    """The order of training seeds; what has none comes first."""
    return -1 if seed is None else seed


def _check_start(task: str, episode: tuple[int, int], a: Row, b: Row) -> None:
    """Refuse a pair that did not start alike (rows that raised before they started have none)."""
    left, right = a["initial_hash"], b["initial_hash"]
    if left is not None and right is not None and left != right:
        raise RunError(
            f"{task}, seed {episode[0]}, episode {episode[1]}: the rows of "
            f"{a['policy']} {a['condition']} and {b['policy']} {b['condition']} started from "
            f"different states ({left[:12]} and {right[:12]}), so they are no pair; "
            "run both with the same version of the task and the same renderer"
        )


def success_matrix(
    rows: Sequence[Row], task: str, column: Column, key: Success = "success"
) -> Pair:
    """Outcomes (S, E) of one column, as a pair with itself."""
    return outcomes(rows, task, column, column, key=key)
