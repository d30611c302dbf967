"""Two runs against each other, or one run's table again.

Rows of two runs are paired like those of one: by task, seed and episode, and only when both
started from the same state.
"""

from __future__ import annotations

from collections.abc import Sequence

from neon_sim.errors import RunError
from neon_sim.files import write_json

from .analysis.claims import claims_of_run
from .analysis.pairing import Column, Planned, outcomes, rows_of
from .analysis.results import CellSummary, Summary, TaskEntry
from .analysis.summary import Plan, cell_summary, describe_pair, failure, judged, summarise
from .certificates.common import is_certified
from .runs.folder import Row, RunFolder
from .runs.plan import RunOptions, RunPlan, plan_of
from .runs.scripted import CONDITION
from .runs.stored import Decision, read_manifest, read_run


def plan_of_run(folder: RunFolder) -> RunPlan:
    """The plan that a run's manifest holds.

    Raises:
        RunError: no such run, or a manifest that is damaged or of another version.
    """
    return plan_of(read_manifest(folder)["config"], str(folder.manifest))


def summary_of_run(folder: RunFolder, *, write: bool = False) -> Summary:
    """Summary of a run's rows, finished or not.

    Raises:
        NeonError: no such run, a damaged one, or rows that are no pairs.
    """
    stored = read_run(folder)
    plan, rows, decisions = stored.plan, stored.rows, stored.decisions
    if not rows:
        raise RunError(f"{folder.path} holds no finished episode yet; run it with --resume")
    planned = planned_by(plan, decisions)
    summary = summarise(
        rows,
        plan.columns(),
        plan.tasks,
        alpha=plan.alpha,
        decisions=decisions,
        planned=planned,
    )
    summary["drawn_weights"] = stored.manifest.get("drawn_weights", {})
    summary["own_policies"] = stored.manifest.get("own_policies", {})
    summary["training_seeds"] = stored.manifest.get("training_seeds", [])
    summary["claims"] = claims_of_run(rows, plan, is_certified, planned)
    if write:
        with folder.locked():
            write_json(folder.summary, summary)
    return summary


def planned_by(plan: RunPlan, decisions: dict[str, Decision]) -> Plan:
    """The rows that a run should hold; of a task that was stopped early those up to there."""
    seeds = {
        (spec.name, word): spec.train_seeds for spec in plan.policies for word in spec.conditions
    }

    def planned(task: str, column: Column) -> Planned:
        count = decisions[task]["episodes"] if task in decisions else plan.episodes
        return Planned(seeds[column], tuple((plan.seed, episode) for episode in range(count)))

    return planned


def compare_runs(a: RunFolder, b: RunFolder, alpha: float = 0.05) -> Summary:
    """Every column that both runs have, or the only column of each, paired.

    Returns:
        A summary in the form of ``summarise``; columns are named ``run:policy``, and ``left_out``
        says in sentences what only one of the runs holds.

    Raises:
        RunError: the runs share no column or no episode, or their episodes or robots differ.
    """
    runs = read_run(a), read_run(b)
    plans, rows = [run.plan for run in runs], [run.rows for run in runs]
    _check_bodies(a, b, *(plan.options for plan in plans))
    names = _run_names(a, b)
    tasks = [task for task in plans[0].tasks if task in plans[1].tasks]
    matching = _matching(plans[0].columns(), plans[1].columns())
    wanted = [planned_by(run.plan, run.decisions) for run in runs]
    body: dict[str, TaskEntry] = {}
    failed: list[Row] = []
    for task in tasks:
        pairs, cells = [], []
        for columns in matching:
            planned = wanted[0](task, columns[0]), wanted[1](task, columns[1])
            pair = outcomes(rows[0], task, *columns, other=rows[1], planned=planned)
            if not pair.n and not pair.rest[0].size:
                continue
            named = [_named(run, column) for run, column in zip(names, columns, strict=True)]
            pairs.append(describe_pair(pair, named[0], named[1]))
            for side, column, new, rows_there in zip(rows, columns, named, planned, strict=True):
                cells.append(_renamed(side, task, column, new, rows_there))
                mine = [row for row in rows_of(side, task, column) if row["error"] is not None]
                failed += [{**row, "policy": new[0]} for row in mine]
        if pairs:
            body[task] = {"kind": "", "cells": cells, "pairs": pairs}
    if not body:
        raise RunError(
            f"{a.path} and {b.path} share no policy, task and episode that could be paired"
        )
    drawn, own = (
        {
            f"{name}:{policy}": said
            for name, run in zip(names, runs, strict=True)
            for policy, said in run.manifest.get(key, {}).items()
        }
        for key in ("drawn_weights", "own_policies")
    )
    repeated = [
        f"{name}: {said}"
        for name, run in zip(names, runs, strict=True)
        for said in run.manifest.get("training_seeds", [])
    ]
    return {
        **judged(body, alpha),
        "failures": [failure(row) for row in failed],
        "decisions": {},
        "drawn_weights": drawn,
        "own_policies": own,
        "training_seeds": repeated,
        "left_out": _left_out(names, plans, matching, list(body)),
    }


def _left_out(
    names: Sequence[str],
    plans: Sequence[RunPlan],
    matching: Sequence[tuple[Column, Column]],
    compared: Sequence[str],
) -> list[str]:
    """What only one of two runs holds, and what they have in common without an episode."""
    found = []
    for side, (name, plan) in enumerate(zip(names, plans, strict=True)):
        other = plans[1 - side]
        tasks = [task for task in plan.tasks if task not in other.tasks]
        used = [columns[side] for columns in matching]
        columns = [" ".join(column) for column in plan.columns() if column not in used]
        for what in (tasks, columns):
            if what:
                found.append(f"Not compared: {', '.join(what)}, only in {name}.")
    common = [task for task in plans[0].tasks if task in plans[1].tasks and task not in compared]
    if common:
        found.append(f"Not compared: {', '.join(common)}, of which the runs share no episode.")
    return found


def _check_bodies(a: RunFolder, b: RunFolder, left: RunOptions, right: RunOptions) -> None:
    """Rows of robots that are kept up or set in other ways start alike and are no pairs."""
    for key in ("mode", "lower"):
        values = [getattr(options, key) or "(each task's own)" for options in (left, right)]
        if values[0] != values[1]:
            raise RunError(
                f"{a.path} ran with {key}={values[0]} and {b.path} with {key}={values[1]}, so "
                f"their episodes are no pairs; run both with the same {key}="
            )


def _run_names(a: RunFolder, b: RunFolder) -> tuple[str, str]:
    names = a.path.resolve().name, b.path.resolve().name
    return names if names[0] != names[1] else (str(a.path), str(b.path))


def _named(run: str, column: Column) -> Column:
    return (f"{run}:{column[0]}", column[1])


def _renamed(
    rows: Sequence[Row], task: str, column: Column, new: Column, planned: Planned
) -> CellSummary:
    cell = cell_summary(rows_of(rows, task, column), task, column, planned)
    return {**cell, "policy": new[0]}


def _matching(a: Sequence[Column], b: Sequence[Column]) -> list[tuple[Column, Column]]:
    both = [(column, column) for column in a if column in b]
    if both:
        return both
    left = [column for column in a if column[1] != CONDITION] or list(a)
    right = [column for column in b if column[1] != CONDITION] or list(b)
    return [(left[0], right[0])] if len(left) == len(right) == 1 else []
