"""``neon-bench certify``: the proof that a task needs to see time, to hear, or neither.

A visual certificate holds success, with n and intervals, of the scripted expert, of heads trained
on the true visible positions now (memoryless oracle) and over time (history oracle), of a
head that sees nothing, of holding still and of luck; and, for temporal tasks, twins: pairs
of episodes whose last frame and proprioception are equal to the bit while the right actions
differ. A head that does not exist is an explicit ``skipped`` entry with the command that
mends it, and the certificate then says that it is incomplete. A sound task's certificate is
another one: ``certify_sound.py``.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

import neon_sim
from neon_sim.clock import latest_camera_tick
from neon_sim.config.policy import PolicyConfig
from neon_sim.errors import EXIT_FAILED, CheckpointError, ConfigError
from neon_sim.files import hold_folder, locked, write_json
from neon_sim.observation.clips import stretched
from neon_sim.registry import clip_span_s, task_entry

from ..analysis.pairing import Column, outcomes
from ..analysis.statistics import (
    cluster_bootstrap,
    cluster_equivalence_p,
    equivalence_p,
    newcombe_paired,
    sign_flip,
)
from ..analysis.tables import percent, span
from ..running.players import load_player
from ..runs.folder import Row, RunFolder
from ..runs.plan import (
    DEFAULT_POLICY,
    LISTENER,
    ORACLES,
    Cell,
    PolicySpec,
    RunPlan,
    make_plan,
    split_overrides,
)
from ..runs.stored import read_run
from ..runs.suites import chosen_tasks
from .common import (
    ALPHA,
    SCRIPTED,
    certificate_folder,
    certificates_table,
    clause,
    columns_of,
    enough_clause,
    expert_clause,
    incomplete,
    keep_larger,
    provenance,
    raised_clauses,
    rate_of,
    verdict_of,
)
from .sound import SOUND_HEADS, sound_certificate

MEMORYLESS, HISTORY = ORACLES
HEADS = (MEMORYLESS, HISTORY, "blind")
ENTRIES = ("expert", HISTORY, MEMORYLESS, "blind", "hold", "random")
MIN_GAIN = 0.25  # history oracle over memoryless oracle, temporal tasks
MAX_BLIND = 0.25
MARGIN = 0.05  # of equivalence, static tasks
NUM_TWINS = 16
WAIT_S = 60.0  # for another certify that is just writing

Play = Callable[..., bool]


@dataclass(frozen=True)
class TwinCheck:
    """What came of comparing twins; see ``check_twins``.

    Attributes:
        checked: pairs compared. equal: last front frame and agent_pos equal to the bit.
        differing: the expert's action differs by more than ``MIN_ACTION_GAP``.
        action_gap: smallest largest difference of an action over the pairs.
    """

    checked: int
    equal: int
    differing: int
    action_gap: float

    @property
    def holds(self) -> bool:
        """Every pair looks the same and needs different actions."""
        return 0 < self.checked == self.equal == self.differing


MIN_ACTION_GAP = 0.01  # of [-1, 1]


def certify(args: argparse.Namespace, command: list[str], play: Play) -> int:
    """Run what certificates need, write them, print the table.

    Args:
        args: of the command line. command: what was typed. play: computes a plan.

    Returns:
        0; 1 when an episode raised or a task is not certified.
    """
    tasks = chosen_tasks(args.task, args.suite, "arm")
    check_certifiable(tasks, args.overrides)
    target = args.out or certificate_folder()
    hold_folder("--out", target)
    hold_folder("--run", args.run)
    certificates, failed = [], False
    for name in tasks:
        policy = args.policy or (LISTENER if is_sound(name) else DEFAULT_POLICY)
        keep_larger(target / f"{name}.json", args.episodes)
        plan, skipped = _plan(args, name, policy)
        folder = RunFolder(args.run / name)
        failed |= play(plan, folder, args, command, resume=True)
        with folder.locked():
            body = certificate(read_run(folder).rows, name, policy, args.seed, skipped)
        body["command"] = shlex.join(command)
        body["clip"] = shown_clip(plan, name)
        with locked(target, WAIT_S):
            keep_larger(target / f"{name}.json", args.episodes)
            write_json(target / f"{name}.json", body)
        certificates.append(body)
    print(certificates_table(certificates))
    print(f"\nwritten: {target}")
    granted = all(body["status"] == "certified" for body in certificates)
    return 0 if granted and not failed else EXIT_FAILED


def check_certifiable(tasks: Sequence[str], overrides: Sequence[str]) -> None:
    """Refuse what no certificate can be about, before any episode.

    Raises:
        ConfigError: a task of kind ``state``, or a robot other than the task's own.
    """
    blind = [name for name in tasks if task_entry(name).kind == "state"]
    if blind:
        raise ConfigError(
            f"{', '.join(blind)} is of kind 'state': no camera or microphone tells anything of it, "
            "so there is no ladder and no certificate; certify other tasks "
            "(neon-bench list tasks)"
        )
    options = split_overrides(overrides)[0]
    for key, value in (("mode", options.mode), ("lower", options.lower)):
        if value:
            raise ConfigError(
                f"a certificate is of the task as it is registered (got {key}={value}); leave "
                f"{key}= out, or measure it with neon-bench run"
            )


def is_sound(task: str) -> bool:
    """Whether a task's certificate is about hearing."""
    return task_entry(task).kind == "sound"


def shown_clip(plan: RunPlan, task: str) -> dict[str, Any]:
    """What the history oracle is shown of a task's past, as JSON values."""
    config = next((s.config for s in plan.policies if s.kind != "scripted"), PolicyConfig())
    clip = stretched(config.clip, clip_span_s(task))
    return {"num_frames": clip.num_frames, "fps": clip.fps, "sampler": clip.sampler}


def _plan(args: argparse.Namespace, task: str, policy: str) -> tuple[RunPlan, dict[str, str]]:
    """The run a certificate needs, without the heads that do not exist."""
    plan = make_plan(
        policies=[policy, *SCRIPTED],
        conditions=SOUND_HEADS if is_sound(task) else HEADS,
        tasks=[task],
        suite=None,
        episodes=args.episodes,
        seed=args.seed,
        train_seeds=args.train_seeds,
        latency_steps=0,
        until_decided=False,
        alpha=ALPHA,
        overrides=args.overrides,
    )
    spec = next(s for s in plan.policies if s.kind != "scripted")
    skipped = missing_heads(spec, plan.tasks)
    left = tuple(word for word in spec.conditions if word not in skipped)
    specs = [s for s in plan.policies if s.kind == "scripted"]
    if left:
        specs.insert(0, replace(spec, conditions=left))
    return replace(plan, policies=tuple(specs)), skipped


def missing_heads(spec: PolicySpec, tasks: Sequence[str]) -> dict[str, str]:
    """Conditions whose heads cannot be loaded, with what mends it."""
    missing = {}
    for word in spec.conditions:
        try:
            for task in tasks:
                for train_seed in spec.train_seeds:
                    load_player(spec, Cell(task, spec.name, word, train_seed))
        except CheckpointError as error:
            missing[word] = str(error).replace(f"{Path(next(iter(neon_sim.__path__)))}/", "")
    return missing


def certificate(
    rows: Sequence[Row], task: str, policy: str, seed: int, skipped: dict[str, str]
) -> dict[str, Any]:
    """The certificate of one task as JSON values.

    Args:
        rows: of the run. task: registry name. policy: whose heads. seed: of the run.
        skipped: conditions without a head -> the command that mends it.
    """
    if is_sound(task):
        return sound_certificate(rows, task, policy, seed, skipped)
    name, columns = columns_of(rows, policy, HEADS)
    entries = {word: rate_of(rows, task, columns[word], skipped.get(word)) for word in ENTRIES}
    twins = check_twins(task, seed)
    body: dict[str, Any] = {
        **provenance(task, name, seed),
        "entries": entries,
        "history_gain": _gain(rows, task, columns),
        "twins": None if twins is None else {**twins.__dict__, "holds": twins.holds},
    }
    return {**body, **judge(body)}


def _gain(rows: Sequence[Row], task: str, columns: dict[str, Column]) -> dict[str, Any] | None:
    """History oracle minus memoryless oracle, paired; None when one of them is missing."""
    pair = outcomes(rows, task, columns[HISTORY], columns[MEMORYLESS])
    if not pair.n:
        return None
    several = len(pair.train_seeds) > 1
    table = pair.table
    interval = cluster_bootstrap(pair.differences) if several else newcombe_paired(table)
    alike = (
        cluster_equivalence_p(pair.differences, MARGIN) if several else equivalence_p(table, MARGIN)
    )
    return {
        "n": pair.n,
        "difference": table.difference,
        "interval": list(interval),
        "p": sign_flip(pair.differences.sum(axis=0)),
        "margin": MARGIN,
        "p_equivalent": alike,
    }


# ---- twins ------------------------------------------------------------------------------


def check_twins(task: str, seed: int, count: int = NUM_TWINS) -> TwinCheck | None:
    """Hold the arm still in both episodes of each pair of twins, then compare.

    Returns:
        What was found; None for a task that has no twins.
    """
    env = gymnasium.make(task_entry(task).env_id, disable_env_checker=True, cameras=())
    core: Any = env.unwrapped
    equal = differing = 0
    gaps: list[float] = []
    try:
        for index in range(count):
            twins = core.twins(seed, index)
            if twins is None:
                return None
            a, b = (
                _after_holding(core, env, seed, latent, twins.steps)
                for latent in (twins.latent_a, twins.latent_b)
            )
            equal += bool(np.array_equal(a[0], b[0]) and np.array_equal(a[1], b[1]))
            gaps.append(float(np.abs(a[2] - b[2]).max()))
            differing += gaps[-1] > MIN_ACTION_GAP
    finally:
        env.close()
    return TwinCheck(count, equal, differing, min(gaps))


def _after_holding(
    core: Any, env: Any, seed: int, latent: dict[str, Any], steps: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Last front frame, proprioception and the expert's action after holding the start pose."""
    env.reset(seed=seed, options={"episode": 0, "latent": latent})
    hold = core.hold_action()
    for _ in range(steps):
        core.advance(hold)
    frame = core.frame("front", latest_camera_tick(core.tick))
    return frame, core.agent_pos(), np.asarray(core.expert_action())


# ---- verdict ----------------------------------------------------------------------------


def judge(body: dict[str, Any]) -> dict[str, Any]:
    """``status`` (``certified``, ``refused`` or ``incomplete``), ``reasons`` and ``verdict``."""
    entries, gain = body["entries"], body["history_gain"]
    if entries["expert"].get("skipped") or gain is None or entries["blind"].get("skipped"):
        return incomplete([word for word in ENTRIES if entries[word].get("skipped")])
    is_static = body["kind"] == "static"
    checks = [*raised_clauses(entries), enough_clause(entries), expert_clause(entries)]
    checks += _static(gain) if is_static else _temporal(body)
    return verdict_of("static: history gains nothing" if is_static else "temporal", checks)


def _static(gain: dict[str, Any]) -> list[tuple[bool, str]]:
    text = (
        f"oracles differ by {100 * gain['difference']:+.1f} points {span(gain['interval'])}, "
        f"equivalent within {100 * MARGIN:.0f} (two one-sided tests, "
        f"p = {gain['p_equivalent']:.2g})"
    )
    return [clause(gain["p_equivalent"] <= ALPHA, text)]


def _temporal(body: dict[str, Any]) -> list[tuple[bool, str]]:
    gain, blind, twins = body["history_gain"], body["entries"]["blind"], body["twins"]
    gained = (
        f"history oracle {100 * gain['difference']:+.1f} points over the memoryless one "
        f"{span(gain['interval'])} (at least {100 * MIN_GAIN:.0f})"
    )
    seen = f"blind {percent(blind['rate'])} % (at most {percent(MAX_BLIND)})"
    checks = [
        clause(gain["difference"] >= MIN_GAIN, gained),
        clause(blind["rate"] <= MAX_BLIND, seen),
    ]
    if twins is not None:
        text = f"{twins['equal']} of {twins['checked']} twins equal to the bit"
        text += f", {twins['differing']} with other right actions"
        checks.append(clause(twins["holds"], text))
    return checks
