"""The claims table: verdicts on made-up rows, and what it takes to be shown at all."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from neon_sim.benchmarks.analysis.claims import claims_of_run, claims_table
from neon_sim.benchmarks.analysis.tables import claims_text
from neon_sim.benchmarks.report.claims import claims as claims_section
from neon_sim.benchmarks.runs.plan import RunPlan
from neon_sim.benchmarks.runs.suites import SuiteConfig, load_suite
from neon_sim.errors import ConfigError
from neon_sim.registry import TASKS

N = 100
COLUMNS = [("p", "frame"), ("p", "video")]


def rows_of(task, rates, smooth=(1.0, 1.0), columns=COLUMNS, seeds=(0,)):
    """Rows in which the first ``rate * N`` episodes succeed; smoothness scaled by column."""
    rng = np.random.default_rng(zlib.crc32(task.encode()))
    size = rng.uniform(0.8, 1.2, N)
    return [
        {
            "task": task,
            "policy": policy,
            "condition": word,
            "train_seed": seed,
            "seed": 0,
            "episode": episode,
            "initial_hash": f"{task}{episode}",
            "success": episode < rate * N,
            "success_final": episode < rate * N,
            "mean_jerk": 100.0 * factor * size[episode],
            "boundary_jump": 0.01 * factor * size[episode],
            "error": None,
        }
        for (policy, word), rate, factor in zip(columns, rates, smooth, strict=True)
        for seed in seeds
        for episode in range(N)
    ]


SUITE = SuiteConfig(
    tasks=["arm_catch", "arm_block"],
    claims={"physics": ["arm_catch"], "motion": ["arm_catch", "arm_block"]},
    smoothness={"coherence": ["arm_catch", "arm_block"]},
)


def table_of(rows, certified=lambda task: True, columns=COLUMNS):
    """By claim: verdict and reason."""
    table = claims_table(rows, SUITE, columns, certified)
    return {entry["claim"]: (entry["verdict"], entry["why"]) for entry in table}


def test_a_claim_needs_a_gain_on_every_task_behind_it():
    both = rows_of("arm_catch", (0.2, 0.9)) + rows_of("arm_block", (0.2, 0.9))
    assert table_of(both)["motion"][0] == "supported"
    one = rows_of("arm_catch", (0.2, 0.9)) + rows_of("arm_block", (0.5, 0.5))
    found = table_of(one)
    assert found["physics"][0] == "supported"
    assert found["motion"][0] == "not supported"
    assert "arm_block equivalent to frame (+0 points)" in found["motion"][1]


def test_a_small_gain_is_undecided_and_a_loss_is_not_supported():
    loss = rows_of("arm_catch", (0.2, 0.9)) + rows_of("arm_block", (0.9, 0.2))
    verdict, why = table_of(loss)["motion"]
    assert (verdict, "worse than frame" in why) == ("not supported", True)
    small = rows_of("arm_catch", (0.45, 0.60))
    for row in small[N : N + 12]:  # and 12 that video alone loses
        row["success"] = False
    assert table_of(small)["physics"][0] == "undecided"


def test_time_removed_has_to_lose_too():
    columns = [("p", "frame"), ("p", "video"), ("p", "video_repeat")]
    arguments = {"smooth": (1, 1, 1), "columns": columns}
    gone = rows_of("arm_catch", (0.2, 0.9, 0.2), **arguments)
    assert table_of(gone, columns=columns)["physics"][0] == "supported"
    kept = rows_of("arm_catch", (0.2, 0.9, 0.9), **arguments)
    verdict, why = table_of(kept, columns=columns)["physics"]
    assert verdict == "not supported"
    assert "equivalent to video_repeat" in why


def test_without_certificate_or_rows_nothing_is_supported():
    rows = rows_of("arm_catch", (0.2, 0.9))
    found = table_of(rows, certified=lambda task: False)
    assert found["physics"] == (
        "undecided",
        "arm_catch is not certified",
    )
    assert "arm_block did not run" in table_of(rows)["motion"][1]


@pytest.mark.parametrize(
    ("factor", "verdict"), [(0.7, "supported"), (1.0, "not supported"), (1.5, "not supported")]
)
@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_coherence_is_jerk_and_jumps(factor, verdict, seeds):
    rows = [
        row for task in SUITE.tasks for row in rows_of(task, (0.5, 0.5), (1.0, factor), seeds=seeds)
    ]
    found, why = table_of(rows)["coherence"]
    assert found == verdict
    assert "jerk" in why
    assert "jump" in why


def test_one_smooth_task_does_not_carry_a_rough_one():
    """The mean over both is below 1, and on one of them video moves less smoothly."""
    rows = rows_of("arm_catch", (0.5, 0.5), (1.0, 1.2)) + rows_of(
        "arm_block", (0.5, 0.5), (1.0, 0.5)
    )
    found, why = table_of(rows)["coherence"]
    assert found == "not supported"
    assert "arm_catch jerk worse than frame (+20 %)" in why
    assert "arm_block" not in why


def test_coherence_may_be_open():
    rows = rows_of("arm_catch", (0.5, 0.5)) + rows_of("arm_block", (0.5, 0.5))
    rng = np.random.default_rng(0)
    for row in rows:
        if row["condition"] == "video":
            row["mean_jerk"] *= float(np.exp(rng.normal(0, 2)))
            row["boundary_jump"] *= float(np.exp(rng.normal(0, 2)))
    assert table_of(rows)["coherence"][0] == "undecided"


def test_every_claim_of_the_suite_is_backed_by_temporal_tasks():
    suite = load_suite("claims")
    assert set(suite.claims) == {
        "object permanence",
        "physics",
        "motion prediction",
        "depth from motion",
    }
    assert list(suite.smoothness) == ["temporal coherence"]
    assert all(TASKS[task].kind == "temporal" for task in suite.tasks)
    assert set(suite.tasks) == {task for tasks in suite.claims.values() for task in tasks}


def test_a_claim_about_a_task_outside_its_suite_is_refused():
    with pytest.raises(ConfigError, match="'physics' must name tasks of its suite"):
        SuiteConfig(tasks=["arm_block"], claims={"physics": ["arm_catch"]}).validate()


def test_the_table_is_shown_where_all_its_tasks_ran():
    suite = load_suite("claims")
    rows = [row for task in suite.tasks for row in rows_of(task, (0.2, 0.9), (1.0, 0.7))]
    spec = type("Spec", (), {"name": "p", "conditions": ("frame", "video")})()
    plan = RunPlan(policies=(spec,), tasks=tuple(suite.tasks), episodes=N)
    table = claims_of_run(rows, plan, lambda task: True)
    assert {entry["verdict"] for entry in table} == {"supported"}
    assert len(table) == 5
    text, page = claims_text(table), claims_section(table)
    assert "object permanence" in text
    assert page.count("chip better") == 5
    fewer = RunPlan(policies=(spec,), tasks=("arm_catch",), episodes=N)
    assert claims_of_run(rows, fewer, lambda task: True) == []
    assert claims_section([]) == ""
