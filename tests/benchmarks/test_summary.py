"""Summaries of runs that are not whole, of swapped sounds and of limits, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from verdict_fakes import FRAME, HOLD, RAISED, VIDEO, column, row

from neon_sim.benchmarks.analysis import summary
from neon_sim.benchmarks.analysis.pairing import Planned
from neon_sim.benchmarks.analysis.statistics import cluster_bootstrap, smallest_shown, wilson
from neon_sim.benchmarks.runs.folder import Row
from neon_sim.registry import TASKS

BOTH = [FRAME, VIDEO]
EPISODES = tuple((5, episode) for episode in range(4))


def test_what_was_planned_is_shown_whether_it_ran_or_not() -> None:
    asked = []

    def planned(task: str, which: tuple[str, str]) -> Planned:
        asked.append((task, which))
        return Planned((0,), EPISODES[:2] if which == HOLD else EPISODES)

    rows = column(FRAME, [1, 0, 1])
    found = summary.summarise(rows, [*BOTH, HOLD], ["one"], planned=planned)
    assert asked == [("one", FRAME), ("one", VIDEO), ("one", HOLD)]
    cells = found["tasks"]["one"]["cells"]
    assert [(c["condition"], c["n"], c["missing"]) for c in cells] == [
        ("frame", 3, 1),
        ("video", 0, 4),
        ("scripted", 0, 2),
    ]
    (pair,) = found["tasks"]["one"]["pairs"]
    assert pair["unmeasured"] == {"pairs": 4, "rows": [4, 4], "raised": [0, 0], "missing": [1, 4]}
    assert pair["outcome"] == "incomparable"
    turned = summary.summarise(rows, [VIDEO, FRAME], ["one"], planned=planned)
    assert turned["tasks"]["one"]["pairs"][0]["unmeasured"]["missing"] == [4, 1]
    bare = summary.summarise(rows, [*BOTH, HOLD], ["one"])
    assert [cell["condition"] for cell in bare["tasks"]["one"]["cells"]] == ["frame"]
    assert bare["tasks"]["one"]["pairs"] == []


def test_each_side_of_a_pair_has_a_plan_of_its_own() -> None:
    plans = {FRAME: Planned((0, 1), EPISODES), VIDEO: Planned((0,), EPISODES[:3])}
    rows = column(FRAME, [1, 1, 1, 1]) + column(VIDEO, [1, 1, 1])
    found = summary.summarise(rows, BOTH, ["one"], planned=lambda _, which: plans[which])
    (pair,) = found["tasks"]["one"]["pairs"]
    assert (pair["n"], pair["episodes"]) == (3, 3)
    assert "unmeasured" not in pair
    assert found["tasks"]["one"]["cells"][0]["missing"] == 4


def test_columns_that_never_met_are_no_comparison() -> None:
    rows = column(FRAME, [1, 1]) + column(VIDEO, [1, 1], train_seed=3)
    assert summary.summarise(rows, BOTH, ["one"])["tasks"]["one"]["pairs"] == []


def test_scripted_policies_are_compared_with_nobody() -> None:
    expert = ("expert", "scripted")
    assert summary.compared([HOLD, expert]) == []
    assert summary.compared([("scripted", "frame"), ("scripted", "video")]) != []


def test_a_summary_says_its_level_and_the_kind_of_its_tasks() -> None:
    rows = column(FRAME, [1], task="arm_catch")
    found = summary.summarise(rows, [FRAME], ["arm_catch"])
    assert found["alpha"] == 0.05
    assert found["tasks"]["arm_catch"]["kind"] == TASKS["arm_catch"].kind != "unknown"


def test_a_summary_of_this_version_holds_these_keys() -> None:
    """``summary.json`` is read by other people's programs: who changes its keys raises VERSION."""
    found = summary.summarise(column(FRAME, [1]) + column(VIDEO, [0, 1]), BOTH, ["one"])
    entry = found["tasks"]["one"]
    assert found["version"] == 3
    assert {*found} == {
        "version", "alpha", "margin", "verdict", "tasks", "failures", "decisions",
    }  # fmt: skip
    assert {*entry} == {"kind", "cells", "pairs", "verdict"}
    assert {*entry["cells"][0]} == {
        "policy", "condition", "train_seeds", "n", "any_time", "final", "swapped", "limits",
        "replan_steps", "latency_steps", "per_train_seed", "progress", "mean_jerk",
        "boundary_jump", "steps", "inference_ms", "observe_ms", "wall_s", "errors", "missing",
    }  # fmt: skip
    numbers = {
        "only_a", "only_b", "both", "neither", "difference", "interval", "interval_method",
        "difference_per_train_seed", "p", "p_equivalent",
    }  # fmt: skip
    (pair,) = entry["pairs"]
    told = {"a", "b", "n", "episodes", "train_seeds", "p_holm", "outcome"}
    undecided = {"unmeasured", "ways", "smallest_shown"}
    assert {*pair} == told | numbers | undecided
    assert all({*way} >= numbers | {"episodes"} for way in pair["ways"])


def test_a_summary_says_it_in_words() -> None:
    rows = column(FRAME, [0] * 20) + column(VIDEO, [1] * 15 + [0] * 5)
    found = summary.summarise(rows, BOTH, ["one"])
    assert found["tasks"]["one"]["verdict"].startswith("one: video beats frame by 75 points")
    assert found["verdict"] == "Video beats frame on 1 task (one)."


def test_gaps_are_judged_at_the_level_of_the_run() -> None:
    """199 of 200 measured, 8 won by video alone: p is 0.008, or 0.004 with the one that raised."""
    rows = column(FRAME, [0] * 200) + column(VIDEO, [1] * 8 + [0] * 192)
    rows[399] |= RAISED
    for alpha, outcome in ((0.05, "better"), (0.006, "incomparable")):
        (pair,) = summary.summarise(rows, BOTH, ["one"], alpha=alpha)["tasks"]["one"]["pairs"]
        assert pair["outcome"] == outcome
        assert [way["p"] for way in pair["ways"]] == pytest.approx([2 / 2**8, 2 / 2**9], rel=1e-9)


def test_what_could_have_been_shown_depends_on_the_whole_family() -> None:
    """A comparison of which nothing was measured is one that was asked for all the same."""
    tasks = ["one", "two", "three", "four"]
    rows: list[Row] = []
    for task in tasks[:3]:
        rows += column(FRAME, [0] * 40, task=task) + column(VIDEO, [0] * 40, task=task)
    lost = [row(which, e, task="four", **RAISED) for which in BOTH for e in range(3)]
    found = summary.summarise([*rows, *lost], BOTH, tasks)
    shown = [found["tasks"][task]["pairs"][0] for task in tasks]
    assert [pair["outcome"] for pair in shown[:3]] == ["equivalent"] * 3
    open_rows = [{**each, "success": each["episode"] < 3} if each["condition"] == "video" else each
                 for each in rows]  # fmt: skip
    found = summary.summarise([*open_rows, *lost], BOTH, tasks)
    shown = [found["tasks"][task]["pairs"][0] for task in tasks]
    assert [pair["outcome"] for pair in shown] == ["open"] * 3 + ["incomparable"]
    want = smallest_shown(40, [0.25, 0.25, 1.0], 0.05)
    assert [pair["smallest_shown"] for pair in shown[:3]] == [want] * 3
    assert want == 8 / 40  # 2 / 2^8 is the first at most 0.05 / 4
    three = summary.summarise(open_rows, BOTH, tasks)
    assert three["tasks"]["two"]["pairs"][0]["smallest_shown"] == 7 / 40


# ---- squares of the table ----


def test_seeds_of_a_square_that_did_not_run() -> None:
    assert summary.cell_summary([], "one", FRAME)["train_seeds"] == []
    mixed = [row(FRAME, 0, train_seed=seed) for seed in (8, 1, None, 0)]
    assert summary.cell_summary(mixed, "one", FRAME)["train_seeds"] == [None, 0, 1, 8]
    single = summary.cell_summary([row(FRAME, 0)], "one", FRAME)
    assert (single["replan_steps"], single["latency_steps"]) == (4, 3)


def test_training_seeds_that_share_no_episode_have_no_cluster() -> None:
    rows = [row(FRAME, 0, train_seed=0), row(FRAME, 1, train_seed=1)]
    rate = summary.rate_summary(rows, "one", FRAME, "success")
    assert "cluster" not in rate
    assert rate["interval"] == list(wilson(2, 2))


def test_the_rate_at_the_end_is_clustered_by_itself() -> None:
    ends = np.array([[1, 0, 0, 1, 1], [0, 0, 1, 0, 0]], dtype=bool)
    rows = [
        row(FRAME, e, bool(not ends[s, e]), train_seed=s) for s in range(2) for e in range(5)
    ]  # success_final is what success is not
    found = summary.cell_summary(rows, "one", FRAME)
    assert found["final"]["cluster"] == list(cluster_bootstrap(ends))
    assert found["any_time"]["cluster"] == list(cluster_bootstrap(~ends))


def test_a_training_seed_of_which_everything_raised_has_no_rate() -> None:
    rows = column(FRAME, [1, 0]) + [row(FRAME, e, train_seed=1, **RAISED) for e in (0, 1)]
    first, second = summary.cell_summary(rows, "one", FRAME)["per_train_seed"]
    assert first["rate"] == 0.5
    assert second == {"train_seed": 1, "n": 0, "successes": 0, "rate": None, "wilson": None}


def test_limits_are_the_mean_and_the_worst_episode() -> None:
    shares = [{"range": 0.1, "torque": 0.0}, None, {"range": 0.4, "torque": 0.5}, {}]
    rows = [row(FRAME, e, limits=share) for e, share in enumerate(shares)]
    assert summary.cell_summary(rows, "one", FRAME)["limits"] == {
        "range": {"mean": pytest.approx(0.25), "worst": 0.4},
        "torque": {"mean": pytest.approx(0.25), "worst": 0.5},
    }
    one = [row(FRAME, 0, limits={"range": 0.1})]
    assert summary.cell_summary(one, "one", FRAME)["limits"] == {
        "range": {"mean": 0.1, "worst": 0.1}
    }


SWAP = ("p", "swap_audio_at_test")


def swapped(heard: list[int | None], true: list[int]) -> list[Row]:
    """Rows under another sound, and of the same policy under the true one (``video``)."""
    rows: list[Row] = [
        row(SWAP, e, False, success_swapped=None if h is None else bool(h))
        for e, h in enumerate(heard)
    ]
    return rows + column(VIDEO, true) + column(("q", "video"), [0] * len(true))


def test_under_another_sound_success_by_what_sounded_is_told() -> None:
    rows = swapped([1, 1, 0, 1], [1, 0, 1, 1])
    found = summary.cell_summary(rows, "one", SWAP)
    assert found["any_time"]["rate"] == 0.0
    heard = found["swapped"]
    assert heard is not None
    assert (heard["n"], heard["successes"], heard["rate"]) == (4, 3, 0.75)
    assert heard["interval"] == list(wilson(3, 4))
    against = heard["against"]
    assert (against["a"], against["b"]) == (["p", "video"], ["p", "swap_audio_at_test"])
    counts = [against[key] for key in ("both", "only_a", "only_b", "neither")]
    assert counts == [2, 1, 1, 0]
    assert against["difference"] == 0.0


def test_without_what_sounded_in_every_measured_row_nothing_is_told_of_it() -> None:
    assert summary.cell_summary(swapped([1, None], [1, 1]), "one", SWAP)["swapped"] is None
    assert summary.cell_summary(swapped([], []), "one", SWAP)["swapped"] is None
    rows = swapped([1, 0], [1, 1])
    rows[1] |= {**RAISED, "success_swapped": None}
    found = summary.cell_summary(rows, "one", SWAP)["swapped"]
    assert (found["n"], found["successes"]) == (1, 1)
