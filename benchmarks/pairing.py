"""Pairs rows of two columns by the initial state they started from.

Episodes are paired by construction: task, seed and episode fix how an episode starts. The
hash of that start is in every row, and rows that should be a pair but differ in it are an
error, never a number.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from neon_sim.errors import RunError
from neon_sim.stats import PairedTable

from .results import Row

Column = tuple[str, str]  # policy, condition


@dataclass(frozen=True)
class Pair:
    """Outcomes of two columns on the same episodes.

    Attributes:
        a, b: (S, E) bool success at any time, training seed by episode.
        train_seeds: S of them. episodes: E of them, (seed, episode).
    """

    a: np.ndarray
    b: np.ndarray
    train_seeds: tuple[int | None, ...]
    episodes: tuple[tuple[int, int], ...]

    @property
    def num_episodes(self) -> int:
        """E."""
        return len(self.episodes)

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


def rows_of(rows: Iterable[Row], task: str, column: Column) -> list[Row]:
    """Rows of one task and column."""
    return [r for r in rows if r["task"] == task and (r["policy"], r["condition"]) == column]


def outcomes(
    rows: Sequence[Row],
    task: str,
    a: Column,
    b: Column,
    other: Sequence[Row] | None = None,
    key: str = "success",
) -> Pair:
    """Outcomes of two columns on the training seeds and episodes that both have.

    A column without training seeds (a scripted policy) meets every training seed of the
    other. An episode is used when every one of those seeds has it in both columns.

    Args:
        rows: of a run. task: registry name. a, b: columns.
        other: rows that column ``b`` is taken from, when it is another run's.
        key: ``"success"`` or ``"success_final"``.

    Raises:
        RunError: two rows of a pair started from different states.
    """
    seeds, episodes, pairs = _paired(rows, task, a, b, rows if other is None else other)
    sides = [
        np.array([bool(pair[side][key]) for pair in pairs], dtype=bool).reshape(
            len(seeds), len(episodes)
        )
        for side in (0, 1)
    ]
    return Pair(sides[0], sides[1], tuple(seeds), tuple(episodes))


def paired_values(
    rows: Sequence[Row], task: str, a: Column, b: Column, key: str
) -> tuple[np.ndarray, np.ndarray]:
    """A number of two columns on the training seeds and episodes that both have: (S, E) each.

    Raises:
        RunError: two rows of a pair started from different states.
    """
    seeds, episodes, pairs = _paired(rows, task, a, b, rows)
    numbers = np.array([[pair[0][key], pair[1][key]] for pair in pairs], dtype=np.float64)
    sides = numbers.reshape(len(seeds), len(episodes), 2)
    return sides[..., 0], sides[..., 1]


def _paired(
    rows: Sequence[Row], task: str, a: Column, b: Column, other: Sequence[Row]
) -> tuple[list[int | None], list[tuple[int, int]], list[tuple[Row, Row]]]:
    """Training seeds, episodes, and the pairs of rows, seed by seed."""
    left = _index(rows_of(rows, task, a))
    right = _index(rows_of(other, task, b))
    seeds = _common_seeds(left, right)
    episodes = sorted(
        set.intersection(*[set(left[x]) & set(right[y]) for x, y in seeds] or [set()])
    )
    pairs = [(left[x][episode], right[y][episode]) for x, y in seeds for episode in episodes]
    for index, (first, second) in enumerate(pairs):
        _check_start(task, episodes[index % len(episodes)], first, second)
    return [x if x is not None else y for x, y in seeds], episodes, pairs


_Index = dict[int | None, dict[tuple[int, int], Row]]


def _index(rows: Iterable[Row]) -> _Index:
    index: _Index = {}
    for row in rows:
        index.setdefault(row["train_seed"], {})[(row["seed"], row["episode"])] = row
    return index


def _common_seeds(left: _Index, right: _Index) -> list[tuple[int | None, int | None]]:
    if None in left:
        return [(None, seed) for seed in sorted(right, key=_seed_order)]
    if None in right:
        return [(seed, None) for seed in sorted(left, key=_seed_order)]
    return [(seed, seed) for seed in sorted(set(left) & set(right), key=_seed_order)]


def _seed_order(seed: int | None) -> int:
    return -1 if seed is None else seed


def _check_start(task: str, episode: tuple[int, int], a: Row, b: Row) -> None:
    """Refuse a pair that did not start alike (rows that raised before they started have none)."""
    hashes = a["initial_hash"], b["initial_hash"]
    if None not in hashes and hashes[0] != hashes[1]:
        raise RunError(
            f"{task}, seed {episode[0]}, episode {episode[1]}: the rows of "
            f"{a['policy']} {a['condition']} and {b['policy']} {b['condition']} started from "
            f"different states ({hashes[0][:12]} and {hashes[1][:12]}), so they are no pair; "
            "run both with the same version of the task and the same renderer"
        )


def success_matrix(rows: Sequence[Row], task: str, column: Column, key: str = "success") -> Pair:
    """Outcomes (S, E) of one column, as a pair with itself."""
    return outcomes(rows, task, column, column, key=key)
