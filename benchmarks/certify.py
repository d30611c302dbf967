"""``neon-bench certify``: the proof that a task needs to see time, or that it does not.

A certificate holds success, with n and intervals, of the scripted expert, of heads trained
on the true visible positions now (memoryless oracle) and over time (history oracle), of a
head that sees nothing, of holding still and of luck; and, for temporal tasks, twins: pairs
of episodes whose last frame and proprioception are equal to the bit while the right actions
differ. A head that does not exist is an explicit ``skipped`` entry with the command that
mends it, and the certificate then says that it is incomplete.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

import neon_sim
from neon_sim.clips import stretched
from neon_sim.clock import latest_camera_tick
from neon_sim.config import PolicyConfig
from neon_sim.errors import CheckpointError
from neon_sim.registry import clip_span_s, task_entry
from neon_sim.stats import (
    clopper_pearson,
    cluster_bootstrap,
    cluster_equivalence_p,
    equivalence_p,
    newcombe_paired,
    sign_flip,
    wilson,
)

from .machine import git_commit, now, versions
from .pairing import Column, outcomes, rows_of, success_matrix
from .plan import ORACLES, Cell, PolicySpec, RunPlan, make_plan
from .policies import load_player
from .results import Row, RunFolder, disk_error, write_json
from .scripted import CONDITION
from .suites import load_suite
from .tables import align, percent, span

MEMORYLESS, HISTORY = ORACLES
HEADS = (MEMORYLESS, HISTORY, "blind")
SCRIPTED = ("expert", "hold", "random")
ENTRIES = ("expert", HISTORY, MEMORYLESS, "blind", "hold", "random")
MIN_GAIN = 0.25  # history oracle over memoryless oracle, temporal tasks
MAX_BLIND = 0.25
MARGIN = 0.05  # of equivalence, static tasks
MIN_EXPERT = 0.95
ALPHA = 0.05
NUM_TWINS = 16
VERSION = 1

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
        0; 1 when an episode raised.
    """
    from .cli import EXIT_ERRORS

    target = args.out or certificate_folder()
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(target, error) from error
    names = args.task or load_suite("arm").tasks
    certificates, failed = [], False
    for name in dict.fromkeys(task_entry(name).name for name in names):
        plan, skipped = _plan(args, name)
        folder = RunFolder(args.run / name)
        failed |= play(plan, folder, args, command, resume=True)
        body = certificate(folder.read_rows(), name, args.policy, args.seed, skipped)
        body["command"] = " ".join(command)
        body["clip"] = shown_clip(plan, name)
        write_json(target / f"{name}.json", body)
        certificates.append(body)
    print(certificates_table(certificates))
    print(f"\nwritten: {target}")
    return EXIT_ERRORS if failed else 0


def shown_clip(plan: RunPlan, task: str) -> dict[str, Any]:
    """What the history oracle is shown of a task's past, as JSON values."""
    config = next((s.config for s in plan.policies if s.kind != "scripted"), PolicyConfig())
    clip = stretched(config.clip, clip_span_s(task))
    return {"num_frames": clip.num_frames, "fps": clip.fps, "sampler": clip.sampler}


def certificate_folder() -> Path:
    """Where certificates ship."""
    return Path(next(iter(neon_sim.__path__))) / "assets" / "certificates"


def read_certificate(task: str, folder: Path | None = None) -> dict[str, Any] | None:
    """The certificate of a task, None when there is none (or of another version)."""
    path = (folder or certificate_folder()) / f"{task}.json"
    if not path.is_file():
        return None
    try:
        body = dict(json.loads(path.read_text()))
    except ValueError:
        return None
    return body if body.get("version") == VERSION else None


def is_certified(task: str) -> bool:
    """Whether a task carries the certificate that it needs to see time."""
    body = read_certificate(task)
    return body is not None and (body["kind"], body["status"]) == ("temporal", "certified")


def _plan(args: argparse.Namespace, task: str) -> tuple[RunPlan, dict[str, str]]:
    """The run a certificate needs, without the heads that do not exist."""
    plan = make_plan(
        policies=[args.policy, *SCRIPTED],
        conditions=HEADS,
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
    entry = task_entry(task)
    name = next((r["policy"] for r in rows if r["condition"] in HEADS), policy)
    columns: dict[str, Column] = {word: (name, word) for word in HEADS}
    columns |= {word: (word, CONDITION) for word in SCRIPTED}
    entries = {word: _rate(rows, task, columns[word], skipped.get(word)) for word in ENTRIES}
    twins = check_twins(task, seed)
    body: dict[str, Any] = {
        "version": VERSION,
        "task": task,
        "env_id": entry.env_id,
        "kind": entry.kind,
        "policy": name,
        "seed": seed,
        "date": now(),
        "git_commit": git_commit(),
        "versions": versions(),
        "entries": entries,
        "history_gain": _gain(rows, task, columns),
        "twins": None if twins is None else {**twins.__dict__, "holds": twins.holds},
    }
    return {**body, **judge(body)}


def _rate(rows: Sequence[Row], task: str, column: Column, mend: str | None) -> dict[str, Any]:
    mine = rows_of(rows, task, column)
    if mend is not None or not mine:
        return {"skipped": True, "why": mend or "not run"}
    n, successes = len(mine), sum(bool(row["success"]) for row in mine)
    found: dict[str, Any] = {
        "n": n,
        "successes": successes,
        "rate": successes / n,
        "wilson": list(wilson(successes, n)),
        "clopper_pearson": list(clopper_pearson(successes, n)),
        "train_seeds": sorted({r["train_seed"] for r in mine if r["train_seed"] is not None}),
        "errors": sum(row["error"] is not None for row in mine),
    }
    matrix = success_matrix(rows, task, column)
    if len(matrix.train_seeds) > 1 and matrix.n:
        found["cluster"] = list(cluster_bootstrap(matrix.a))
    return found


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
        lacking = [word for word in ENTRIES if entries[word].get("skipped")]
        sentence = f"incomplete: {', '.join(lacking)} did not run"
        return {"status": "incomplete", "reasons": lacking, "verdict": sentence}
    expert = _check(
        entries["expert"]["rate"] >= MIN_EXPERT,
        f"expert {percent(entries['expert']['rate'])} % (at least {percent(MIN_EXPERT)})",
    )
    checks = [expert, *(_static(gain) if body["kind"] == "static" else _temporal(body))]
    reasons = [text for _, text in checks]
    broken = [text for holds, text in checks if not holds]
    what = "static: history gains nothing" if body["kind"] == "static" else "temporal"
    if broken:
        sentence = f"not certified as {what}: {'; '.join(broken)}"
    else:
        sentence = f"certified {what}: {'; '.join(reasons)}"
    status = "refused" if broken else "certified"
    return {"status": status, "reasons": reasons, "verdict": sentence}


def _check(holds: bool, text: str) -> tuple[bool, str]:
    return holds, text if holds else f"{text} does not hold"


def _static(gain: dict[str, Any]) -> list[tuple[bool, str]]:
    text = (
        f"oracles differ by {100 * gain['difference']:+.1f} points {span(gain['interval'])}, "
        f"equivalent within {100 * MARGIN:.0f} (two one-sided tests, "
        f"p = {gain['p_equivalent']:.2g})"
    )
    return [_check(gain["p_equivalent"] <= ALPHA, text)]


def _temporal(body: dict[str, Any]) -> list[tuple[bool, str]]:
    gain, blind, twins = body["history_gain"], body["entries"]["blind"], body["twins"]
    gained = (
        f"history oracle {100 * gain['difference']:+.1f} points over the memoryless one "
        f"{span(gain['interval'])} (at least {100 * MIN_GAIN:.0f})"
    )
    seen = f"blind {percent(blind['rate'])} % (at most {percent(MAX_BLIND)})"
    checks = [
        _check(gain["difference"] >= MIN_GAIN, gained),
        _check(blind["rate"] <= MAX_BLIND, seen),
    ]
    if twins is not None:
        text = f"{twins['equal']} of {twins['checked']} twins equal to the bit"
        text += f", {twins['differing']} with other right actions"
        checks.append(_check(twins["holds"], text))
    return checks


def certificates_table(certificates: Sequence[dict[str, Any]]) -> str:
    """Certificates as text: a row a task, then a sentence a task."""
    head = ("task", "kind", *ENTRIES, "gain", "twins", "status")
    rows = [head]
    for body in certificates:
        gain, twins = body["history_gain"], body["twins"]
        rows.append(
            (
                body["task"],
                body["kind"],
                *(_cell(body["entries"][word]) for word in ENTRIES),
                "" if gain is None else f"{100 * gain['difference']:+.1f}",
                "" if twins is None else f"{twins['equal']}/{twins['checked']}",
                body["status"],
            )
        )
    sentences = [f"{body['task']}: {body['verdict']}" for body in certificates]
    lacking = {
        f"  {word}: {entry['why']}"
        for body in certificates
        for word, entry in body["entries"].items()
        if entry.get("skipped")
    }
    if lacking:
        sentences.append("\n".join(["skipped:", *sorted(lacking)]))
    return "\n\n".join([align(rows), "success in % [95 % Wilson], n episodes", *sentences])


def _cell(entry: dict[str, Any]) -> str:
    if entry.get("skipped"):
        return "skipped"
    low, high = entry["wilson"]
    return f"{percent(entry['rate'])} [{100 * low:.0f}, {100 * high:.0f}] n={entry['n']}"
