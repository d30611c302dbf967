"""Loads what plays: a scripted policy, a network with its head, or the user's own factory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from neon_sim.demonstrations.training_seeds import seeds_of
from neon_sim.errors import CheckpointError, ConfigError
from neon_sim.registry import POLICY_PARTS, task_entry
from neon_sim.robots import check_action_dim
from neon_sim.seeding import COLLECTION_SEED

from ..runs.own_policy import describe_own, file_hash, merged
from ..runs.plan import Cell, PolicySpec, RunPlan
from ..runs.scripted import SCRIPTED
from .factory import make_player


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


@dataclass(frozen=True)
class Players:
    """What loading every policy of a run told.

    Attributes:
        checkpoints: hash of the head of each trained cell, by ``policy/condition/train_seed/task``.
        own: what policies of the user's own say of themselves (``own_policy.OwnPolicy``).
        training_seeds: sentences on episodes of their training among those of the run.
    """

    checkpoints: dict[str, str] = field(default_factory=dict)
    own: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    training_seeds: list[str] = field(default_factory=list)


def check_players(plan: RunPlan, *, allow_training_seed: bool = False) -> Players:
    """Load every policy of a run once, so that what is missing is said before the first episode.

    Args:
        plan: of the run. allow_training_seed: whether policies may be played on episodes that they
            were trained on.

    Raises:
        CheckpointError: a head is missing or foreign; of several tasks, all are named.
        ConfigError: episodes of the run are some of a policy's training.
        NeonError: see ``load_player``.
    """
    hashes: dict[str, str] = {}
    lacking: dict[str, CheckpointError] = {}
    own: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    clashes: dict[str, str] = {}
    for task in plan.tasks:
        for spec, cell in plan.cells(task):
            if spec.kind == "scripted":
                continue
            try:
                player = _checked_player(plan, spec, cell)
            except CheckpointError as error:
                lacking.setdefault(task, error)
                continue
            rest = f"{cell.condition}/{cell.train_seed}/{cell.task}"
            if spec.kind == "factory":
                own.setdefault(spec.base, []).append((rest, describe_own(spec.base, player)))
                continue
            hashes[f"{cell.policy}/{rest}"] = file_hash(player.checkpoint)
            seeds = seeds_of(player.metadata, str(player.checkpoint))
            clash = seeds.clash(cell.task, plan.seed, range(plan.episodes))
            if clash:
                clashes.setdefault(clash, f"{spec.base} {cell.condition}: {clash}")
    if lacking:
        raise _uncovered(plan, lacking)
    if clashes and not allow_training_seed:
        raise ConfigError(
            f"{next(iter(clashes.values()))}; give --seed below {COLLECTION_SEED}, or "
            "--allow-training-seed to play them all the same, which table and page will say"
        )
    return Players(
        hashes, {name: merged(cells) for name, cells in own.items()}, list(clashes.values())
    )


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
