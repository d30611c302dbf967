"""Runs a plan: missing episodes in, rows on disk, nothing lost when it is stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from neon_sim.config.policy import PolicyConfig
from neon_sim.errors import RunError, unknown_name
from neon_sim.files import write_json
from neon_sim.machine import git_commit
from neon_sim.registry import POLICY_PARTS
from neon_sim.rules import Batch, Workers, hold

from ..analysis.pairing import Pair, outcomes
from ..analysis.statistics import mean_e_value
from ..analysis.unmeasured import is_broken
from ..runs.folder import EpisodeKey, EpisodeLog, Row, RunFolder, describe, key_of_row, sort_key
from ..runs.plan import Cell, PolicySpec, RunOptions, RunPlan, plan_of
from ..runs.stored import MANIFEST_VERSION, Decision, cells_of, holds, read_manifest
from .episode import Job, Settings
from .machine import machine, now
from .players import Players, check_players
from .pool import EXECUTORS, Pool, make_pool
from .trial import trials

BLOCK_EPISODES = 20  # between two looks of --until-decided
MAX_JOB_EPISODES = 64

Progress = Callable[[Row], None]


@dataclass
class Resources:
    """How a run is computed; none of it changes a row.

    Attributes:
        workers: processes. batch: environments side by side in each.
        executor: ``"local"`` or ``"ray"``.
        command: what was typed, for the manifest.
    """

    workers: int = 1
    batch: int = 8
    executor: str = "local"
    command: list[str] = field(default_factory=list)

    def validate(self) -> None:
        """Hold the rules.

        Raises:
            ConfigError: no environments or workers. UnknownNameError: no such executor.
        """
        hold("--batch", self.batch, Batch)
        hold("--workers", self.workers, Workers)
        if self.executor not in EXECUTORS:
            raise unknown_name("executor", self.executor, EXECUTORS)


def run(
    plan: RunPlan,
    folder: RunFolder,
    resources: Resources,
    *,
    resume: bool = False,
    progress: Progress | None = None,
    players: Players | None = None,
) -> list[Row]:
    """Compute what a plan lacks and write the run's folder (rows and manifest).

    Args:
        plan: what to run. folder: where to. resources: with what.
        resume: complete a run that is there; episodes that raised are tried again.
        progress: called with every new row.
        players: what ``check_players`` said of the plan, where it was asked before.

    Returns:
        Every row, sorted. Stopping it at any moment keeps the episodes that are done.

    Raises:
        NeonError: nothing could be run, or the folder holds another run.
    """
    resources.validate()
    with closing(make_pool(resources.executor, resources.workers)) as pool:
        players = check_players(plan) if players is None else players
        for _ in pool.run(list(trials(plan))):
            pass  # a trial gives no rows: it raises
        with folder.locked():
            return _continue(plan, folder, resources, pool, players, resume, progress)


def _continue(
    plan: RunPlan,
    folder: RunFolder,
    resources: Resources,
    pool: Pool,
    players: Players,
    resume: bool,
    progress: Progress | None,
) -> list[Row]:
    """Compute what a folder that nobody else writes lacks; see ``run``."""
    manifest = _manifest(plan, resources, players)
    log = _open_log(plan, folder, manifest, resume)
    with closing(log):
        write_json(folder.manifest, manifest)
        decisions: dict[str, Any] = {}
        for block in blocks(plan):
            tasks = [task for task in plan.tasks if not decisions.get(task, {}).get("decided")]
            jobs = make_jobs(plan, tasks, block, log.rows, resources)
            for row in pool.run(jobs):
                log.append(row)
                if progress is not None:
                    progress(row)
            if plan.until_decided:
                decisions |= {task: decide(plan, task, log.rows) for task in tasks}
        rows = sorted(log.rows, key=sort_key)
        log.rewrite(rows)
    write_json(folder.manifest, {**manifest, "finished": now(), "decisions": decisions})
    return rows


def blocks(plan: RunPlan) -> Iterator[range]:
    """Ranges of episodes that are run before anybody looks at the outcome."""
    size = BLOCK_EPISODES if plan.until_decided else plan.episodes
    for start in range(0, plan.episodes, size):
        yield range(start, min(start + size, plan.episodes))


def make_jobs(
    plan: RunPlan, tasks: Sequence[str], block: range, rows: Sequence[Row], resources: Resources
) -> list[Job]:
    """Jobs for what is missing of a block, task by task (a worker keeps its environments)."""
    done = {key_of_row(row) for row in rows}
    settings = Settings(plan.seed, plan.latency_steps, plan.options, resources.batch)
    missing: list[tuple[PolicySpec, Cell, list[int]]] = []
    for task in tasks:
        for spec, cell in plan.cells(task):
            todo = [e for e in block if EpisodeKey(cell, plan.seed, e) not in done]
            if todo:
                missing.append((spec, cell, todo))
    total = sum(len(todo) for _, _, todo in missing)
    size = job_size(total, resources)
    return [
        Job(spec, cell, tuple(todo[at : at + size]), settings)
        for spec, cell, todo in missing
        for at in range(0, len(todo), size)
    ]


def job_size(total: int, resources: Resources) -> int:
    """Episodes a job: long enough to fill the batch, short enough to share the end fairly."""
    fair = -(-total // (8 * resources.workers))
    return max(resources.batch, min(fair, MAX_JOB_EPISODES))


def decide(plan: RunPlan, task: str, rows: Sequence[Row]) -> Decision:
    """Look at the first two columns of a task: are they told apart?

    The e-value of each training seed's discordant pairs, averaged over seeds; a value of
    1 / alpha or more is a decision that holds at every look
    (``neon_sim.benchmarks.analysis.statistics``). Rows that raised decide nothing: the value is the
    least one with them in favour of either side, 1 where those two point in different directions or
    where more raised than a verdict may rest on.
    """
    first, second = plan.columns()[:2]
    pair = outcomes(rows, task, first, second)
    value = _e_value(pair)
    return {
        "columns": [list(first), list(second)],
        "episodes": pair.num_planned,
        "e_value": value,
        "decided": value >= 1 / plan.alpha,
    }


def _e_value(pair: Pair) -> float:
    if not pair.n or is_broken(pair.lack):
        return 1.0
    ways = [way.differences for way in pair.ways()] or [pair.differences]
    if len({int(np.sign(way.sum())) for way in ways}) > 1:
        return 1.0
    return min(mean_e_value(way) for way in ways)


def _manifest(plan: RunPlan, resources: Resources, players: Players) -> dict[str, Any]:
    return {
        "version": MANIFEST_VERSION,
        "command": resources.command,
        "started": now(),
        "config": plan.resolved(),
        "checkpoints": players.checkpoints,
        "own_policies": players.own,
        "training_seeds": players.training_seeds,
        "drawn_weights": _drawn_weights(plan),
        "git_commit": git_commit(),
        "workers": resources.workers,
        "batch": resources.batch,
        "executor": resources.executor,
        **machine(),
    }


def _drawn_weights(plan: RunPlan) -> dict[str, list[str]]:
    """Policies that look through weights which nobody trained, and the settings that say so."""
    drawn = POLICY_PARTS.resolve("drawn_weights")
    found = {
        spec.name: drawn(spec.config.backbone_args)
        for spec in plan.policies
        if spec.kind == "network"
    }
    return {name: settings for name, settings in found.items() if settings}


def _open_log(
    plan: RunPlan, folder: RunFolder, manifest: dict[str, Any], resume: bool
) -> EpisodeLog:
    """The log of a new run, or of one that may be continued; failed episodes are dropped."""
    if not resume and (folder.episodes.exists() or folder.manifest.exists()):
        raise RunError(
            f"{folder.path} already holds a run; add --resume to complete it, or choose another "
            "--out"
        )
    if folder.manifest.exists():
        before = read_manifest(folder)
        plan_of(before["config"], str(folder.manifest))
        check_same_run(before, manifest, folder)
        manifest["started"] = before.get("started", manifest["started"])
        manifest["resumed"] = [*before.get("resumed", []), now()]
    log = EpisodeLog(folder.episodes)
    if log.rows and not folder.manifest.exists():
        log.close()
        raise RunError(
            f"{folder.path} holds rows and no {folder.manifest.name}, so nobody knows what played "
            "them; restore it from a copy, or choose another folder"
        )
    cells = cells_of(plan)
    outside = [row for row in log.rows if not holds(plan, row, cells)]
    if outside:
        log.close()
        raise RunError(
            f"{folder.path} holds {len(outside)} episodes that these settings leave out (one: "
            f"{describe(outside[0])}); a run may only grow, so add them again or choose "
            "another folder"
        )
    kept = [row for row in log.rows if row["error"] is None]
    if len(kept) < len(log.rows):
        log.rewrite(kept)
    return log


def check_same_run(before: dict[str, Any], now_: dict[str, Any], folder: RunFolder) -> None:
    """Refuse to continue a run with other settings, weights or software.

    Tasks, policies, conditions, training seeds and episodes may be added.

    Raises:
        RunError: names what differs.
    """
    old, new = before["config"], now_["config"]
    old = {**old, "options": {**asdict(RunOptions()), **old.get("options", {})}}
    fixed = ("seed", "latency_steps", "options", "until_decided", "alpha")
    differing = [key for key in fixed if old.get(key) != new[key]]
    known = {entry["name"]: entry for entry in old["policies"]}
    for entry in new["policies"]:
        differing += _changes(known.get(entry["name"], entry), entry)
    heads = before.get("checkpoints", {})
    for name, digest in now_["checkpoints"].items():
        column = name.rpartition("/")[0]  # all that was written down until 2026-11-29
        if heads.get(name, heads.get(column, digest)) != digest:
            differing.append(f"weights of {name}")
    differing += _changed_own(before.get("own_policies", {}), now_.get("own_policies", {}))
    if before.get("renderer") != now_["renderer"]:
        differing.append("renderer")
    mujoco = [entry.get("versions", {}).get("mujoco") for entry in (before, now_)]
    if mujoco[0] != mujoco[1]:
        differing.append(f"mujoco {mujoco[0]} -> {mujoco[1]}")
    if differing:
        raise RunError(
            f"{folder.path} is another run (different: {', '.join(differing)}); choose another "
            "folder, or give the settings of its manifest.json"
        )


def _changes(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What changed in a policy, other than what may grow; a new setting had its default."""
    if (
        new["kind"] == old.get("kind") == "factory" and "config" in old
    ):  # which until 2026-11-30 was a network's
        old = {**old, "config": {"replan_steps": old["config"].get("replan_steps")}}
    elif "config" in old:
        old = {**old, "config": {**asdict(PolicyConfig()), **old["config"]}}
    keys = set(new) - {"conditions", "train_seeds"}
    return [f"{new['name']}.{key}" for key in sorted(keys) if old.get(key) != new[key]]


def _changed_own(before: dict[str, Any], now_: dict[str, Any]) -> list[str]:
    """Policies of the user's own that describe themselves otherwise for a cell than they did."""

    def by_cell(entries: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
        return {cell: {**e, "cells": []} for e in entries for cell in e["cells"]}

    changed = []
    for name, entries in now_.items():
        known = by_cell(before.get(name, []))
        for cell, says in by_cell(entries).items():
            changed += [f"{name}.{k}" for k in says if known.get(cell, says).get(k) != says[k]]
    return list(dict.fromkeys(changed))
