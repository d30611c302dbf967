"""From rows to numbers and sentences: ``summary.json``.

Every number names its n and its interval, every comparison is paired, and the p-values of
one run are one family (Holm).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from neon_sim.observation.conditions import condition
from neon_sim.registry import TASKS

from ..runs.folder import Row
from ..runs.scripted import CONDITION
from ..runs.stored import Decision
from ..runs.sweep import setting_of
from .pairing import (
    Column,
    Pair,
    Planned,
    Success,
    measured,
    outcomes,
    rows_of,
    seed_order,
    success_matrix,
)
from .results import (
    CellSummary,
    Comparison,
    Failure,
    LimitShare,
    Numbers,
    Rate,
    SeedRate,
    Summary,
    Swapped,
    TaskEntry,
    Way,
)
from .statistics import (
    cluster_bootstrap,
    cluster_equivalence_p,
    equivalence_p,
    newcombe_paired,
    sign_flip,
    smallest_shown,
    wilson,
)
from .unmeasured import judge_family, lack_of
from .verdict import MARGIN, UNDECIDED, outcome, overall_verdict, task_verdict

VERSION = 3  # of the keys of ``summary.json``, for programs that read it


Plan = Callable[[str, Column], Planned]  # task and column -> the rows there should be


def summarise(
    rows: Sequence[Row],
    columns: Sequence[Column],
    tasks: Sequence[str],
    *,
    alpha: float = 0.05,
    decisions: dict[str, Decision] | None = None,
    planned: Plan | None = None,
) -> Summary:
    """Everything a table or a report shows.

    Args:
        rows: of the run. columns: in the order of tables. tasks: likewise.
        alpha: level of verdicts.
        decisions: of sequential stopping, by task.
        planned: the rows there should be; without it, those of the columns that have any.

    Returns:
        JSON values: ``tasks`` (each with ``cells``, ``pairs``, ``verdict``), ``verdict``,
        ``failures``, ``alpha``, ``margin``, ``decisions``.

    Raises:
        RunError: rows that should be pairs started differently.
    """
    body: dict[str, TaskEntry] = {}
    for task in tasks:
        here = [column for column in columns if planned or rows_of(rows, task, column)]
        wanted = {column: planned(task, column) for column in here} if planned else {}
        cells = [cell_summary(rows, task, column, wanted.get(column)) for column in here]
        pairs = [
            pair_summary(rows, task, a, b, (wanted[a], wanted[b]) if wanted else None)
            for a, b in compared(here)
        ]
        kind = TASKS[task].kind if task in TASKS else "unknown"
        shown = [pair for pair in pairs if pair["n"] or pair["unmeasured"]["pairs"]]
        body[task] = {"kind": kind, "cells": cells, "pairs": shown}
    return {
        **judged(body, alpha),
        "failures": [failure(row) for row in rows if row["error"] is not None],
        "decisions": decisions or {},
    }


def judged(body: dict[str, TaskEntry], alpha: float) -> Summary:
    """A summary of tasks whose pairs are all one family: p by Holm, verdicts, nothing else yet.

    Args:
        body: cells and pairs by task; p, outcome and verdict are written into them.
    """
    family = [pair for entry in body.values() for pair in entry["pairs"]]
    judge_family(family, alpha, outcome)
    for index, pair in enumerate(family):
        pair["outcome"] = outcome(pair, alpha)
        if pair["outcome"] in UNDECIDED:
            others = [other.get("p", 1.0) for other in (*family[:index], *family[index + 1 :])]
            pair["smallest_shown"] = smallest_shown(pair["episodes"], others, alpha)
    for task, entry in body.items():
        entry["verdict"] = task_verdict(task, entry, alpha)
    verdict = overall_verdict(body, alpha)
    return {
        "version": VERSION,
        "alpha": alpha,
        "margin": MARGIN,
        "verdict": verdict,
        "tasks": body,
    }


def compared(columns: Sequence[Column]) -> list[tuple[Column, Column]]:
    """Which columns are compared: same policy or same condition, scripted ones left out.

    Settings of a sweep are not compared with each other: that is what their curve is for.
    """
    playing = [column for column in columns if column[1] != CONDITION]
    return [
        (a, b)
        for a, b in itertools.combinations(playing, 2)
        if a[0] == b[0] or (a[1] == b[1] and setting_of(a[0]) == setting_of(b[0]))
    ]


def _mean(values: Sequence[float]) -> float | None:
    """The mean; None of no values."""
    return float(np.mean(values)) if values else None


def cell_summary(
    rows: Sequence[Row], task: str, column: Column, planned: Planned | None = None
) -> CellSummary:
    """One square of the table: rates with intervals, smoothness, latency.

    Rows that raised are counted (``errors``) and are in no number besides; nor are rows that are
    not there (``missing``). A rate of no rows is None.
    """
    mine = rows_of(rows, task, column)
    good = measured(mine)
    seeds = sorted({row["train_seed"] for row in mine}, key=seed_order)
    there = {(row["train_seed"], (row["seed"], row["episode"])) for row in mine}
    wanted = [(s, e) for s in planned.train_seeds for e in planned.episodes] if planned else []
    return {
        "policy": column[0],
        "condition": column[1],
        "train_seeds": seeds or (list(planned.train_seeds) if planned else []),
        "n": len(good),
        "any_time": rate_summary(rows, task, column, "success"),
        "final": rate_summary(rows, task, column, "success_final"),
        "swapped": _swapped(rows, task, column),
        "limits": _limits(good),
        "replan_steps": mine[0].get("replan_steps") if mine else None,
        "latency_steps": mine[0]["latency_steps"] if mine else None,
        "per_train_seed": [_seed_rate(good, seed) for seed in seeds] if len(seeds) > 1 else [],
        "progress": _mean([row["progress"] for row in good]),
        "mean_jerk": _mean([row["mean_jerk"] for row in good]),
        "boundary_jump": _mean([row["boundary_jump"] for row in good]),
        "steps": _mean([row["steps"] for row in good]),
        "inference_ms": _mean([row["timing"]["inference_ms_mean"] for row in good]),
        "observe_ms": _mean([row["timing"]["observe_ms_mean"] for row in good]),
        "wall_s": _mean([row["timing"]["wall_s"] for row in good]),
        "errors": len(mine) - len(good),
        "missing": sum(key not in there for key in wanted),
    }


def _swapped(rows: Sequence[Row], task: str, column: Column) -> Swapped | None:
    """Success by the cue that sounded, of columns whose sound was another episode's.

    ``against`` compares it (as b) with success of the same policy under the true sound (a).
    """
    mine = rows_of(rows, task, column)
    if not measured(mine) or any(row.get("success_swapped") is None for row in measured(mine)):
        return None
    heard: list[Row] = [{**row, "success": bool(row["success_swapped"])} for row in mine]
    true: Column = (column[0], condition(column[1]).trained_as)
    against = describe_pair(outcomes(rows, task, true, column, other=heard), true, column)
    return {**rate_summary(heard, task, column, "success"), "against": against}


def _limits(rows: Sequence[Row]) -> dict[str, LimitShare]:
    """Share of time in which some joint was at a limit, by kind: mean and worst episode."""
    known = [limits for row in rows if (limits := row.get("limits"))]
    values = {kind: [shares[kind] for shares in known] for kind in (known[0] if known else ())}
    return {kind: {"mean": float(np.mean(v)), "worst": max(v)} for kind, v in values.items()}


def rate_summary(rows: Sequence[Row], task: str, column: Column, key: Success) -> Rate:
    """A rate: Wilson over all episodes, and with several training seeds the cluster bootstrap.

    ``interval`` is the one to show: Wilson for one training seed, the bootstrap for several
    (their episodes are not independent, so Wilson's would be too short). Rows that raised are in
    neither; all three numbers are None where nothing was measured.
    """
    mine = measured(rows_of(rows, task, column))
    successes, n = sum(bool(row[key]) for row in mine), len(mine)
    if not n:
        return {"n": 0, "successes": 0, "rate": None, "wilson": None, "interval": None}
    low_high = list(wilson(successes, n))
    summary: Rate = {
        "n": n,
        "successes": successes,
        "rate": successes / n,
        "wilson": low_high,
        "interval": low_high,
    }
    matrix = success_matrix(rows, task, column, key)
    if len(matrix.train_seeds) > 1 and matrix.n:
        clustered = list(cluster_bootstrap(matrix.a))
        summary = {**summary, "cluster": clustered, "interval": clustered}
    return summary


def _seed_rate(rows: Sequence[Row], seed: int | None) -> SeedRate:
    mine = [row for row in rows if row["train_seed"] == seed]
    successes = sum(bool(row["success"]) for row in mine)
    return {
        "train_seed": seed,
        "n": len(mine),
        "successes": successes,
        "rate": successes / len(mine) if mine else None,
        "wilson": list(wilson(successes, len(mine))) if mine else None,
    }


def pair_summary(
    rows: Sequence[Row],
    task: str,
    a: Column,
    b: Column,
    planned: tuple[Planned, Planned] | None = None,
) -> Comparison:
    """Two columns of a task on the same episodes; ``planned`` as of ``outcomes``."""
    return describe_pair(outcomes(rows, task, a, b, planned=planned), a, b)


def describe_pair(pair: Pair, a: Column, b: Column) -> Comparison:
    """A comparison as JSON values; ``difference`` is rate(b) - rate(a).

    ``p`` is exact: McNemar for one training seed; for several, the sign-flip test over
    episodes, whose sum over training seeds is one unit (the same thing for one seed).
    ``interval`` is Newcombe's for one training seed, the cluster bootstrap over training
    seeds and episodes for several; ``p_equivalent`` likewise (Tango's score test for one). Where
    rows raised or are missing, all numbers are of the measured pairs, ``unmeasured`` counts the
    others and ``ways`` holds the same numbers with those in favour of a, then of b.
    """
    entry: Comparison = {
        "a": list(a),
        "b": list(b),
        "n": pair.n,
        "episodes": pair.num_episodes,
        "train_seeds": list(pair.train_seeds),
    }
    lack = lack_of(pair)
    if lack is not None:
        entry["unmeasured"] = lack
    if not pair.n:
        return entry
    entry = {**entry, **_numbers(pair)}
    ways: list[Way] = [{"episodes": pair.num_planned, **_numbers(way)} for way in pair.ways()]
    if ways:
        entry["ways"] = ways
    return entry


def _numbers(pair: Pair) -> Numbers:
    table, several = pair.table, len(pair.train_seeds) > 1
    low, high = cluster_bootstrap(pair.differences) if several else newcombe_paired(table)
    per_seed = [float(row.mean()) for row in -pair.differences] if several else []
    alike = (
        cluster_equivalence_p(pair.differences, MARGIN) if several else equivalence_p(table, MARGIN)
    )
    return {
        "only_a": table.only_a,
        "only_b": table.only_b,
        "both": table.both,
        "neither": table.neither,
        "difference": 0.0 - table.difference,
        "interval": [0.0 - high, 0.0 - low],
        "interval_method": "cluster bootstrap" if several else "Newcombe, paired",
        "difference_per_train_seed": per_seed,
        "p": sign_flip(pair.differences.sum(axis=0)),
        "p_equivalent": alike,
    }


def failure(row: Row) -> Failure:
    """A row that raised, as the summary lists it."""
    return {
        "task": row["task"],
        "policy": row["policy"],
        "condition": row["condition"],
        "train_seed": row["train_seed"],
        "seed": row["seed"],
        "episode": row["episode"],
        "error": row["error"],
    }
