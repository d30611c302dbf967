"""The claims table: what is claimed for video models, and whether this run bears it out.

A claim about success is supported when, on every task that backs it, ``video`` beats the same
policy without time: under ``frame``, and under ``video_repeat`` where that ran too. It is not
supported when on one of them the two are equivalent, or video is worse. Everything else is
undecided at this n, and so is a claim with a task that did not run or carries no certificate of
needing time. Temporal coherence compares how smoothly the same policy moves under ``frame`` and
``video``, on each task and by both measures, by the same rule: an average over tasks would let one
carry the others. The p-values of the whole table are one family (Holm).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ..runs.folder import Row
from ..runs.plan import RunPlan
from ..runs.suites import SuiteConfig, load_suite
from .pairing import Smoothness, outcomes, paired_values
from .results import Claim, ClaimTest, Comparison, Outcome
from .statistics import cluster_bootstrap, sign_flip
from .summary import Plan, pair_summary
from .unmeasured import judge_family, lack_of
from .verdict import UNDECIDED, outcome

SUITE = "claims"
VIDEO, FRAME = "video", "frame"
TIMELESS = (FRAME, "video_repeat")
SMOOTHNESS: dict[Smoothness, str] = {"mean_jerk": "jerk", "boundary_jump": "jump"}
SAME_RATIO = 1.10  # smoothness within this factor is equivalent

Certified = Callable[[str], bool]


def claims_of_run(
    rows: Sequence[Row], plan: RunPlan, certified: Certified, planned: Plan | None = None
) -> list[Claim]:
    """The claims table of a run that has every task of the suite ``claims``; else empty.

    Args:
        rows: of the run. plan: of the run.
        certified: whether a task carries the certificate that it needs time.
        planned: the rows there should be; see ``summary.summarise``.
    """
    suite = load_suite(SUITE)
    if not set(suite.tasks) <= set(plan.tasks):
        return []
    return claims_table(rows, suite, plan.columns(), certified, plan.alpha, planned)


def claims_table(
    rows: Sequence[Row],
    suite: SuiteConfig,
    columns: Sequence[tuple[str, str]],
    certified: Certified,
    alpha: float = 0.05,
    planned: Plan | None = None,
) -> list[Claim]:
    """One entry a policy and claim, for every policy that ran under ``frame`` and ``video``.

    Returns:
        JSON values: ``policy``, ``claim``, ``measure`` (``success`` or ``smoothness``),
        ``tests`` (each ``task``, ``a``, ``b``, ``difference``, ``interval``, ``p``, ``p_holm``,
        ``outcome``), ``verdict`` (``supported``, ``not supported``, ``undecided``), ``why``.

    Raises:
        RunError: rows that should be pairs started differently.
    """
    words = {policy: [word for p, word in columns if p == policy] for policy, _ in columns}
    table = [
        entry
        for policy, ran in words.items()
        if {FRAME, VIDEO} <= set(ran)
        for entry in _entries(rows, suite, policy, ran, certified, planned)
    ]
    family = [test for entry in table for test in entry["tests"]]
    judge_family(family, alpha, _judge)
    for test in family:
        test["outcome"] = _judge(test, alpha)
    for entry in table:
        entry["verdict"], entry["why"] = _verdict(entry)
    return table


def _entries(
    rows: Sequence[Row],
    suite: SuiteConfig,
    policy: str,
    ran: Sequence[str],
    certified: Certified,
    planned: Plan | None,
) -> Iterator[Claim]:
    seen = {row["task"] for row in rows}
    for measure, claims in (("success", suite.claims), ("smoothness", suite.smoothness)):
        for name, tasks in claims.items():
            here = [task for task in tasks if task in seen]
            if measure == "success":
                tests = [
                    t for task in here for t in _success_tests(rows, task, policy, ran, planned)
                ]
                done = {test["task"] for test in tests}
            else:
                tests = [t for task in here for t in _smoothness_tests(rows, task, policy)]
                done = {test["task"].partition(" ")[0] for test in tests}
            lacking = [f"{task} did not run" for task in tasks if task not in done]
            if measure == "success":
                lacking += [f"{task} is not certified" for task in tasks if not certified(task)]
            yield {
                "policy": policy,
                "claim": name,
                "measure": measure,
                "tests": tests,
                "lacking": lacking,
            }


def _success_tests(
    rows: Sequence[Row], task: str, policy: str, ran: Sequence[str], planned: Plan | None
) -> list[ClaimTest]:
    """``video`` against each condition without time."""
    pairs = []
    for word in TIMELESS:
        if word in ran:
            a, b = (policy, word), (policy, VIDEO)
            both = (planned(task, a), planned(task, b)) if planned else None
            pairs.append(pair_summary(rows, task, a, b, both))
    shown = [pair for pair in pairs if pair["n"] or pair["unmeasured"]["pairs"]]
    return [{"task": task, **pair} for pair in shown]


def _smoothness_tests(rows: Sequence[Row], task: str, policy: str) -> list[ClaimTest]:
    """Jerk and jumps of a task under ``video`` over those under ``frame``.

    ``difference`` and ``interval`` are of the mean logarithm of the ratio; ``p`` is the exact sign
    test over episodes.
    """
    tests: list[ClaimTest] = []
    for key, name in SMOOTHNESS.items():
        logs = _log_ratios(rows, task, policy, key)
        lack = lack_of(outcomes(rows, task, (policy, FRAME), (policy, VIDEO)))
        test: ClaimTest = {
            "task": f"{task} {name}",
            "a": [policy, FRAME],
            "b": [policy, VIDEO],
            "n": int(logs.size),
        }
        if lack is not None:
            test["unmeasured"] = lack
        if logs.size:
            test["difference"] = float(logs.mean())
            test["interval"] = list(cluster_bootstrap(logs))
            test["p"] = sign_flip(np.sign(logs.mean(axis=0)).astype(np.int64))
        if logs.size or (lack is not None and lack["pairs"]):
            tests.append(test)
    return tests


def _log_ratios(rows: Sequence[Row], task: str, policy: str, key: Smoothness) -> np.ndarray:
    """(S, E) log(video / frame); episodes in which one of them did not move are left out."""
    frame, video = paired_values(rows, task, (policy, FRAME), (policy, VIDEO), key)
    moved = ((frame > 0) & (video > 0)).all(axis=0)
    logs: np.ndarray = np.log(video[:, moved] / frame[:, moved])
    return logs


def _judge(test: Comparison, alpha: float) -> Outcome:
    """What a test of either kind shows; only that of success has a test of equivalence."""
    return (outcome if "p_equivalent" in test else _smoother)(test, alpha)


def _smoother(test: Comparison, alpha: float) -> Outcome:
    """As ``verdict.outcome``, for a ratio of which less is better.

    No bound holds for a ratio that was not measured, so one such pair makes it incomparable.
    """
    if "incomparable" in test:
        return "incomparable"
    (low, high), same = test["interval"], math.log(SAME_RATIO)
    if test["p_holm"] <= alpha and (high < 0 or low > 0):
        return "better" if high < 0 else "worse"
    return "equivalent" if -same < low and high < same else "open"


def _verdict(entry: Claim) -> tuple[str, str]:
    """The verdict on a claim, and what it rests on or what stands in its way."""
    against = [_said(test) for test in entry["tests"] if test["outcome"] in ("worse", "equivalent")]
    if against:
        return "not supported", "; ".join(against)
    open_ones = (*UNDECIDED, "incomparable")
    undecided = [_said(test) for test in entry["tests"] if test["outcome"] in open_ones]
    if undecided or entry["lacking"]:
        return "undecided", "; ".join([*undecided, *entry["lacking"]])
    return "supported", "; ".join(_said(test) for test in entry["tests"])


def _said(test: ClaimTest) -> str:
    """One comparison in words."""
    if test["outcome"] == "incomparable":
        return f"{test['task']} not comparable with {test['a'][1]} ({test['incomparable']})"
    if "p_equivalent" in test:
        size = f"{100 * test['difference']:+.0f} points"
    else:
        size = f"{100 * (math.exp(test['difference']) - 1):+.0f} %"
    if test["outcome"] in UNDECIDED:
        few = f" at n = {test['episodes']}" if test["outcome"] == "small" else ""
        return f"{test['task']} undecided{few} against {test['a'][1]} ({size})"
    words = "equivalent to" if test["outcome"] == "equivalent" else f"{test['outcome']} than"
    return f"{test['task']} {words} {test['a'][1]} ({size})"
