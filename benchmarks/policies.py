"""Loads what plays: a scripted policy, a network with its head, or the user's own factory."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from neon_sim.errors import CheckpointError
from neon_sim.registry import POLICY_PARTS, task_entry
from neon_sim.robots import check_action_dim

from .factory import make_player
from .plan import Cell, PolicySpec, RunPlan
from .scripted import SCRIPTED


def load_player(spec: PolicySpec, cell: Cell) -> Any:
    """The policy of one cell, ready to play.

    Returns:
        A ``Scripted`` policy, or an object with ``reset(num_envs)``, ``act(ClipBatch)``,
        ``clip`` and ``needs``.

    Raises:
        NeonError: no such factory, a missing or foreign checkpoint.
    """
    if spec.kind == "scripted":
        return SCRIPTED[spec.base]()
    if spec.kind == "factory":
        return make_player(spec.base, cell)
    import torch

    torch.set_num_threads(1)  # the same sums in the same order, whatever the machine
    if spec.kind == "ppo":
        return _trained_by_ppo(spec, cell)
    load = POLICY_PARTS.resolve("load_policy")
    return load(spec.config, cell.condition, cell.task, cell.train_seed, spec.checkpoint_of(cell))


def check_players(plan: RunPlan) -> dict[str, str]:
    """Load every policy of a run once, so that what is missing is said before the first episode.

    Returns:
        Hash of the head of every trained cell, by ``policy/condition/train_seed/task``.

    Raises:
        CheckpointError: a head is missing or foreign; of several tasks, all are named.
        NeonError: see ``load_player``.
    """
    hashes: dict[str, str] = {}
    lacking: dict[str, CheckpointError] = {}
    for task in plan.tasks:
        for spec, cell in plan.cells(task):
            if spec.kind == "scripted":
                continue
            try:
                player = _checked_player(plan, spec, cell)
            except CheckpointError as error:
                lacking.setdefault(task, error)
                continue
            path = getattr(player, "checkpoint", None) or spec.checkpoint_of(cell)
            if path is not None:
                name = f"{cell.policy}/{cell.condition}/{cell.train_seed}/{cell.task}"
                hashes[name] = file_hash(path)
    if lacking:
        raise _uncovered(plan, lacking)
    return hashes


def _checked_player(plan: RunPlan, spec: PolicySpec, cell: Cell) -> Any:
    """The policy of a cell, whose actions are as long as the task's."""
    player = load_player(spec, cell)
    if spec.kind != "factory":
        who = f"{player.checkpoint} of policy {spec.base!r}"
        check_action_dim(player.action_dim, who, cell.task, plan.options.mode)
    return player


def _uncovered(plan: RunPlan, lacking: dict[str, CheckpointError]) -> CheckpointError:
    """One error for all tasks without a head: their names, the first one's reason, the mend."""
    first, error = next(iter(lacking.items()))
    if len(lacking) == 1:
        return error
    by_robot: dict[str, list[str]] = {}
    for name in lacking:
        by_robot.setdefault(task_entry(name).robot, []).append(name)
    collect = "; ".join(
        f"python -m neon_sim.collect task={','.join(names)} out=DATASET"
        for names in by_robot.values()
    )
    covered = ",".join(name for name in plan.tasks if name not in lacking)
    leave = f". Or run those that have one: --task {covered}" if covered else ""
    return CheckpointError(
        f"{len(lacking)} of {len(plan.tasks)} tasks have no head: {', '.join(lacking)}. Of "
        f"{first}: {error}. Demonstrations of all (a head is of one robot): {collect}{leave}"
    )


def _trained_by_ppo(spec: PolicySpec, cell: Cell) -> Any:
    """A policy of ``neon_sim.rl``; it must see what the run's column says.

    Raises:
        CheckpointError: missing, foreign, or trained to observe something else.
    """
    load = POLICY_PARTS.resolve("load_ppo")
    player = load(spec.checkpoint_of(cell), cell.task, spec.config.replan_steps)
    if player.spec.condition != cell.condition:
        raise CheckpointError(
            f"{player.checkpoint} observes {player.spec.condition!r}, the column is of "
            f"{cell.condition!r}; run the tasks apart, or train all with one observe="
        )
    return player


def file_hash(path: str | Path) -> str:
    """Hex SHA-256 of a file."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
