"""From rows to pairs to words, by hand: what is paired, what is compared, what is said."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from verdict_fakes import FRAME, HOLD, RAISED, VIDEO, column, row

from neon_sim.benchmarks.analysis import pairing, summary, unmeasured, verdict
from neon_sim.benchmarks.analysis.pairing import (
    Lack,
    Pair,
    Planned,
    outcomes,
    paired_values,
    success_matrix,
)
from neon_sim.benchmarks.analysis.statistics import (
    PairedTable,
    cluster_bootstrap,
    cluster_equivalence_p,
    equivalence_p,
    newcombe_paired,
    wilson,
)
from neon_sim.errors import RunError

# ---- pairing ----


def test_a_pair_is_the_same_task_seed_and_episode() -> None:
    rows = [
        row(FRAME, 3, True),
        row(FRAME, 1, False),
        row(FRAME, 1, True, seed=6),
        row(VIDEO, 1, True),
        row(VIDEO, 3, True),
        row(VIDEO, 1, False, seed=6),
        row(VIDEO, 3, False, task="two"),
        row(("q", "video"), 3, False),
    ]
    pair = outcomes(rows, "one", FRAME, VIDEO)
    assert pair.episodes == ((5, 1), (5, 3), (6, 1))
    assert pair.train_seeds == (0,)
    assert pair.a.tolist() == [[False, True, True]]
    assert pair.b.tolist() == [[True, True, False]]
    assert pair.a.dtype == pair.b.dtype == bool
    assert pair.differences.tolist() == [[-1, 0, 1]]
    assert pair.differences.dtype == np.int64
    assert pair.table == PairedTable(1, 1, 1, 0)
    assert (pair.n, pair.num_episodes, pair.num_planned) == (3, 3, 3)
    assert not list(pair.ways())
    assert pair.lack == (Lack(3), Lack(3))
    final = outcomes(rows, "one", FRAME, VIDEO, key="success_final")
    assert final.a.tolist() == [[True, False, False]]
    assert outcomes(rows, "one", VIDEO, FRAME).a.tolist() == pair.b.tolist()
    assert outcomes(rows, "three", FRAME, VIDEO).n == 0


def test_the_other_side_may_be_of_another_run() -> None:
    mine, theirs = column(FRAME, [1, 0]), column(FRAME, [0, 0])
    pair = outcomes(mine, "one", FRAME, FRAME, other=theirs)
    assert (pair.a.tolist(), pair.b.tolist()) == ([[True, False]], [[False, False]])
    assert outcomes(mine, "one", FRAME, FRAME, other=[]).n == 0


def test_training_seeds_meet_their_own_and_a_policy_without_meets_all() -> None:
    rows = [
        row(which, episode, won, train_seed=seed)
        for which, seed, won in ((FRAME, 2, True), (FRAME, 0, False), (FRAME, 1, True))
        for episode in (0, 1)
    ]
    rows += [row(VIDEO, e, False, train_seed=s) for s in (2, 0) for e in (0, 1)]
    rows += [row(HOLD, e, e == 1) for e in (0, 1)]
    pair = outcomes(rows, "one", FRAME, VIDEO)
    assert pair.train_seeds == (0, 2)
    assert pair.a.tolist() == [[False, False], [True, True]]
    for one, other in ((HOLD, FRAME), (FRAME, HOLD)):
        mixed = outcomes(rows, "one", one, other)
        assert mixed.train_seeds == (0, 1, 2)
        held = mixed.a if one is HOLD else mixed.b
        assert held.tolist() == [[False, True]] * 3
        assert mixed.n == 6
        assert mixed.num_episodes == 2
    many = [row(which, 0, train_seed=s) for which in (FRAME, VIDEO) for s in (8, 16, 1, 0)]
    assert outcomes(many, "one", FRAME, VIDEO).train_seeds == (0, 1, 8, 16)
    lack = outcomes(rows, "one", HOLD, FRAME).lack
    assert lack == (Lack(2), Lack(6)), "a row that meets three seeds is one row"
    alone = outcomes(rows, "one", HOLD, HOLD)
    assert alone.train_seeds == (None,)
    assert alone.a.tolist() == alone.b.tolist() == [[False, True]]


def test_rows_without_a_training_seed_stand_before_those_with_one() -> None:
    """No run holds both in one column; where rows do, they are not lost."""
    rows = [row(HOLD, 0), row(FRAME, 0, train_seed=0), row(FRAME, 0, train_seed=None)]
    found = outcomes(rows, "one", HOLD, FRAME)
    assert found.train_seeds == (None, 0)
    assert found.lack == (Lack(1), Lack(2))


def test_a_pair_lacks_nothing_unless_it_says_so() -> None:
    pair = pair_of([[1, 0, 1]], [[1, 1, 1]])
    assert pair.lack == (Lack(0, 0, 0), Lack(0, 0, 0))
    assert pair.num_planned == pair.num_episodes == 3
    assert [rest.shape for rest in pair.rest] == [(0, 0), (0, 0)]
    assert not list(pair.ways())
    assert unmeasured.lack_of(pair) is None


def test_what_raised_or_is_missing_is_counted_and_is_no_outcome() -> None:
    rows = column(FRAME, [1, 0, 1, 0])
    rows += [row(VIDEO, 0, False), row(VIDEO, 1, **RAISED), row(VIDEO, 3, True)]
    pair = outcomes(rows, "one", FRAME, VIDEO)
    assert pair.episodes == ((5, 0), (5, 3))
    assert (pair.a.tolist(), pair.b.tolist()) == ([[True, False]], [[False, True]])
    assert pair.rest[0].tolist() == [[0, 1]]
    assert pair.rest[1].tolist() == [[pairing.UNKNOWN] * 2]
    assert pair.lack == (Lack(4), Lack(4, raised=1, missing=1))
    assert (pair.num_episodes, pair.num_planned, pair.n) == (2, 4, 2)
    for_a, for_b = pair.ways()
    assert for_a.a.tolist() == for_b.a.tolist() == [[True, False, False, True]]
    assert for_a.b.tolist() == [[False, True, False, False]]
    assert for_b.b.tolist() == [[False, True, True, True]]
    assert for_a.a.dtype == for_a.b.dtype == bool
    assert for_a.train_seeds == (0,)
    assert for_a.episodes == ()
    assert pair.rest[0].dtype == pair.rest[1].dtype == np.int8
    swapped_a, swapped_b = outcomes(rows, "one", VIDEO, FRAME).ways()
    assert swapped_a.a.tolist() == for_b.b.tolist()
    assert swapped_b.a.tolist() == for_a.b.tolist()


def test_an_episode_counts_where_every_training_seed_has_it() -> None:
    rows = [row(which, e, train_seed=s) for which in (FRAME, VIDEO) for s in (0, 1) for e in (0, 1)]
    rows.append(row(FRAME, 2, train_seed=0))
    pair = outcomes(rows, "one", FRAME, VIDEO)
    assert pair.episodes == ((5, 0), (5, 1))
    assert pair.rest[0].tolist() == [[1], [pairing.UNKNOWN]]
    assert pair.lack == (Lack(6, missing=1), Lack(6, missing=2))


def test_what_was_planned_and_is_not_there_is_missing() -> None:
    rows = column(FRAME, [1, 0]) + column(VIDEO, [1, 1])
    episodes = tuple((5, e) for e in range(4))
    planned = (Planned((0, 1), episodes), Planned((0, 1), episodes[:3]))
    pair = outcomes(rows, "one", FRAME, VIDEO, planned=planned)
    assert pair.train_seeds == (0, 1)
    assert pair.n == 0
    assert pair.num_planned == 3
    assert pair.lack == (Lack(6, missing=4), Lack(6, missing=4))
    one = Planned((0,), episodes[:2])
    assert outcomes(rows, "one", FRAME, VIDEO, planned=(one, one)).n == 2
    for some in ((one, planned[0]), (planned[0], one)):
        assert outcomes(rows, "one", FRAME, VIDEO, planned=some).lack == (Lack(2), Lack(2))
    apart = (Planned((0,), episodes), Planned((1,), episodes))
    assert outcomes(rows, "one", FRAME, VIDEO, planned=apart).num_planned == 0


def test_two_starts_are_no_pair_and_no_start_is_none() -> None:
    rows = [row(FRAME, 7), row(VIDEO, 7, initial_hash="f" * 64)]
    said = (
        r"^one, seed 5, episode 7: .*p frame and p video started .*000000000000 and ffffffffffff\)"
    )
    with pytest.raises(RunError, match=said):
        outcomes(rows, "one", FRAME, VIDEO)
    with pytest.raises(RunError, match=said):
        paired_values(rows, "one", FRAME, VIDEO, "progress")
    for side in (0, 1):
        lost = [dict(each) for each in rows]
        lost[side] |= {"initial_hash": None, **RAISED}
        assert outcomes(lost, "one", FRAME, VIDEO).n == 0


def test_a_column_with_itself_is_a_matrix() -> None:
    rows = [row(FRAME, e, e > s, train_seed=s) for s in (1, 0) for e in (0, 1)]
    matrix = success_matrix(rows, "one", FRAME)
    assert matrix.a.tolist() == matrix.b.tolist() == [[False, True], [False, False]]
    final = success_matrix(rows, "one", FRAME, "success_final")
    assert final.a.tolist() == [[True, False], [True, True]]


def test_numbers_are_paired_like_outcomes() -> None:
    rows = column(FRAME, [1, 1, 1]) + column(VIDEO, [1, 1], progress=0.5)
    rows[1] |= RAISED
    left, right = paired_values(rows, "one", FRAME, VIDEO, "progress")
    assert left.tolist() == [[0.0]]
    assert right.tolist() == [[0.5]]
    assert left.dtype == np.float64
    assert paired_values(rows, "one", FRAME, VIDEO, "steps")[1].dtype == np.float64
    assert paired_values([], "one", FRAME, VIDEO, "progress")[0].shape == (0, 0)


# ---- what was not measured ----


@pytest.mark.parametrize(
    ("rows", "raised", "broken"), [(100, 1, False), (100, 2, True), (99, 1, True), (0, 0, False)]
)
def test_at_most_one_row_in_a_hundred_may_have_raised(rows, raised, broken) -> None:
    for lacks in ((Lack(rows, raised), Lack(400)), (Lack(400, 4), Lack(rows, raised))):
        assert unmeasured.is_broken(lacks) == broken
    assert not unmeasured.is_broken([Lack(10, missing=9)] * 2)


def lacking(
    p: float, ways: Sequence[float] = (), raised: Sequence[int] = (0, 0), **more: Any
) -> dict[str, Any]:
    """A comparison of 200 rows a side, b ahead; ``ways`` are its p with the gaps for a, for b."""
    pair = told(0.3, 0.1, 0.5, p, n=199)
    del pair["p_holm"]
    if ways or any(raised) or more:
        counts = {"pairs": 1, "rows": [200, 200], "raised": [*raised], "missing": [0, 1]}
        pair["unmeasured"] = counts | more
    if ways:
        pair["ways"] = [{"p": way, "difference": 0.3, "interval": [0.1, 0.5]} for way in ways]
    return pair


def judged(*family: dict[str, Any]) -> list[dict[str, Any]]:
    unmeasured.judge_family(family, 0.05, verdict.outcome)
    return [*family]


def test_a_family_without_gaps_is_corrected_and_nothing_else() -> None:
    found = judged(lacking(0.01), lacking(0.04), lacking(0.03))
    assert [pair["p_holm"] for pair in found] == pytest.approx([0.03, 0.06, 0.06])
    assert not any("incomparable" in pair for pair in found)
    assert judged() == []


def test_gaps_that_change_nothing_leave_a_verdict_at_its_worst_p() -> None:
    found = judged(lacking(0.01, ways=(0.02, 0.015)), lacking(0.02))
    assert [pair["p_holm"] for pair in found] == pytest.approx([0.04, 0.04])
    # each way stands beside the other comparison of the family
    assert [way["p_holm"] for way in found[0]["ways"]] == pytest.approx([0.04, 0.03])
    assert not any("incomparable" in pair for pair in found)


def test_gaps_that_decide_make_a_comparison_none() -> None:
    one, other = judged(lacking(0.01, ways=(0.06, 0.01)), lacking(0.02))
    assert one["incomparable"] == "video lacks 1 of 200 rows: what they might have been decides"
    assert "incomparable" not in other
    assert other["p_holm"] == pytest.approx(0.04)
    # alone each way would show the same; in a family of two 0.03 is too much
    (pair, _) = judged(lacking(0.01, ways=(0.03, 0.01)), lacking(0.5))
    assert "incomparable" in pair


def test_every_comparison_of_a_family_is_looked_at() -> None:
    """Each way of a gap stands in the family at the place of its comparison."""
    family = [lacking(0.5), lacking(0.01, ways=(0.012, 0.011)), lacking(0.004, ways=(0.04, 0.004))]
    found = judged(*family, lacking(0.001))
    # the worst of each are 0.5, 0.012, 0.04 and 0.001
    assert [pair["p_holm"] for pair in found] == pytest.approx([0.5, 0.036, 0.08, 0.004])
    assert [way["p_holm"] for way in found[1]["ways"]] == pytest.approx([0.036, 0.033])
    assert [way["p_holm"] for way in found[2]["ways"]] == pytest.approx([0.08, 0.012])
    assert ["incomparable" in pair for pair in found] == [False, False, True, False]


def test_what_is_none_stays_a_member_of_its_family() -> None:
    one, other = judged(lacking(0.01, ways=(0.01, 0.01), raised=(3, 0)), lacking(0.03))
    assert one["incomparable"] == (
        "frame raised an error in 3 of 200 rows; video lacks 1 of 200 rows; more than 1 % raised"
    )
    assert (one["p_holm"], other["p_holm"]) == pytest.approx((1.0, 0.06))
    assert "p_holm" not in one["ways"][0]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"n": 0}, "video lacks 1 of 200 rows"),
        ({"n": 0, "missing": [0, 0]}, "they have no episode in common"),
        ({"raised": [0, 3]}, "video raised an error in 3 of 200 rows; video lacks 1 of 200 rows; "
                             "more than 1 % raised"),
        ({"raised": [2, 2]}, "frame raised an error in 2 of 200 rows; video raised an error in 2 "
                             "of 200 rows; video lacks 1 of 200 rows"),
    ],
)  # fmt: skip
def test_the_reason_names_who_lacks_what(change: dict[str, Any], reason: str) -> None:
    n = change.pop("n", 199)
    pair = lacking(0.01, raised=change.pop("raised", (0, 0)), **{"pairs": 1, **change}) | {"n": n}
    (found,) = judged(pair)
    assert found["incomparable"] == reason


# ---- which columns are compared ----


def test_columns_that_share_policy_or_condition_are_compared() -> None:
    q_video, q_stack = ("q", "video"), ("q", "stack")
    assert summary.compared([FRAME, VIDEO, HOLD, q_video, q_stack]) == [
        (FRAME, VIDEO),
        (VIDEO, q_video),
        (q_video, q_stack),
    ]
    swept = [("p@replan4", "video"), ("p@replan8", "video"), ("p@replan4", "frame")]
    other = ("q@replan4", "video")
    assert summary.compared([*swept, other]) == [(swept[0], swept[2]), (swept[0], other)]


# ---- numbers of a comparison ----


def pair_of(a: Sequence[Sequence[int]], b: Sequence[Sequence[int]]) -> Pair:
    first, second = np.array(a, dtype=bool), np.array(b, dtype=bool)
    seeds, episodes = range(len(first)), [(0, e) for e in range(first.shape[1])]
    return Pair(first, second, tuple(seeds), tuple(episodes))


def test_a_comparison_of_one_training_seed() -> None:
    found = summary.describe_pair(pair_of([[1, 1, 0, 0, 0, 0]], [[1, 0, 1, 1, 1, 0]]), FRAME, VIDEO)
    table = PairedTable(both=1, only_a=1, only_b=3, neither=1)
    low, high = newcombe_paired(table)
    assert found == {
        "a": ["p", "frame"],
        "b": ["p", "video"],
        "n": 6,
        "episodes": 6,
        "train_seeds": [0],
        "only_a": 1,
        "only_b": 3,
        "both": 1,
        "neither": 1,
        "difference": pytest.approx(2 / 6),  # b's rate less a's
        "interval": [pytest.approx(-high), pytest.approx(-low)],
        "interval_method": "Newcombe, paired",
        "difference_per_train_seed": [],
        "p": pytest.approx(2 * 5 / 2**4),  # 3 or more of 4 on one side
        "p_equivalent": equivalence_p(table, 0.10),
    }


def test_a_comparison_of_several_training_seeds() -> None:
    pair = pair_of([[1, 1, 0, 0], [1, 1, 0, 1]], [[0, 0, 0, 0], [0, 1, 1, 0]])
    found = summary.describe_pair(pair, FRAME, VIDEO)
    low, high = cluster_bootstrap(pair.differences)
    assert found["interval"] == [pytest.approx(-high), pytest.approx(-low)]
    assert found["interval_method"] == "cluster bootstrap"
    assert found["difference_per_train_seed"] == [-0.5, -0.25]
    assert found["difference"] == pytest.approx(-3 / 8)
    assert (found["n"], found["episodes"], found["train_seeds"]) == (8, 4, [0, 1])
    assert found["p_equivalent"] == cluster_equivalence_p(pair.differences, 0.10)
    # sums over seeds are 2, 1, -1, 1: of the 16 sign assignments 4 reach 3 on either side
    assert found["p"] == pytest.approx(8 / 16)


def test_a_comparison_of_nothing_has_no_numbers() -> None:
    found = summary.pair_summary([], "one", FRAME, VIDEO)
    assert found["n"] == found["episodes"] == 0
    assert "p" not in found
    assert found["unmeasured"]["pairs"] == 0


def test_a_comparison_with_gaps_is_told_both_ways() -> None:
    rows = column(FRAME, [1, 0, 1, 0]) + column(VIDEO, [0, 1, 1])
    found = summary.pair_summary(rows, "one", FRAME, VIDEO)
    assert found["unmeasured"] == {"pairs": 1, "rows": [4, 4], "raised": [0, 0], "missing": [0, 1]}
    assert (found["n"], found["only_a"], found["only_b"], found["both"]) == (3, 1, 1, 1)
    for_a, for_b = found["ways"]
    assert [way["episodes"] for way in found["ways"]] == [4, 4]
    assert (for_a["difference"], for_b["difference"]) == (0.0, 0.25)
    assert not math.copysign(1, for_a["difference"]) < 0, "no minus zero"


# ---- a square of the table ----


def test_a_square_of_the_table() -> None:
    rows = [*column(FRAME, [1, 1, 0]), row(FRAME, 3, **RAISED), *column(VIDEO, [0, 0])]
    found = summary.cell_summary(rows, "one", FRAME)
    assert (found["policy"], found["condition"], found["train_seeds"]) == ("p", "frame", [0])
    assert (found["n"], found["errors"], found["missing"]) == (3, 1, 0)
    rates = [(2, "any_time"), (1, "final")]
    for successes, key in rates:
        low_high = list(wilson(successes, 3))
        assert found[key] == {
            "n": 3,
            "successes": successes,
            "rate": pytest.approx(successes / 3),
            "wilson": low_high,
            "interval": low_high,
        }
    means = {"progress": 0.1, "mean_jerk": 2.0, "boundary_jump": 0.5, "steps": 11.0}
    means |= {"inference_ms": 4.0, "observe_ms": 2.0, "wall_s": 2.0}
    assert {key: found[key] for key in means} == pytest.approx(means)
    assert (found["replan_steps"], found["latency_steps"]) == (4, 3)
    assert found["per_train_seed"] == []
    assert found["swapped"] is None
    assert found["limits"] == {}
    planned = Planned((0,), tuple((5, e) for e in range(6)))
    assert summary.cell_summary(rows, "one", FRAME, planned)["missing"] == 2
    empty = summary.cell_summary([], "one", FRAME, planned)
    assert (empty["n"], empty["errors"], empty["missing"], empty["train_seeds"]) == (0, 0, 6, [0])
    assert empty["any_time"] == {
        "n": 0,
        "successes": 0,
        "rate": None,
        "wilson": None,
        "interval": None,
    }
    assert empty["progress"] is empty["replan_steps"] is empty["latency_steps"] is None


def test_a_square_of_several_training_seeds() -> None:
    wins = {2: [1, 0, 1, 1], 0: [0, 0, 1, 0]}
    rows = [
        row(FRAME, e, bool(won), train_seed=seed)
        for seed, each in wins.items()
        for e, won in enumerate(each)
    ]
    found = summary.cell_summary(rows, "one", FRAME)
    assert found["train_seeds"] == [0, 2]
    rate = found["any_time"]
    clustered = list(cluster_bootstrap(np.array([wins[0], wins[2]])))
    assert rate["cluster"] == rate["interval"] == clustered
    assert rate["wilson"] == list(wilson(4, 8))
    assert found["per_train_seed"] == [
        {"train_seed": 0, "n": 4, "successes": 1, "rate": 0.25, "wilson": list(wilson(1, 4))},
        {"train_seed": 2, "n": 4, "successes": 3, "rate": 0.75, "wilson": list(wilson(3, 4))},
    ]


# ---- a family ----


def test_p_values_of_a_run_are_one_family() -> None:
    wins = {"frame": [0] * 40, "video": [1] * 8 + [0] * 32}
    rows = []
    for task, gained in (("one", 8), ("two", 6)):
        rows += column(FRAME, wins["frame"], task=task)
        rows += column(VIDEO, [1] * gained + [0] * (40 - gained), task=task)
    found = summary.summarise(rows, [FRAME, VIDEO], ["one", "two", "three"], alpha=0.05)
    ones, twos = (found["tasks"][task]["pairs"][0] for task in ("one", "two"))
    assert (ones["p"], twos["p"]) == pytest.approx((2 / 2**8, 2 / 2**6))
    assert (ones["p_holm"], twos["p_holm"]) == pytest.approx((4 / 2**8, 2 / 2**6))
    assert found["tasks"]["three"]["pairs"] == []
    assert found["tasks"]["three"]["kind"] == "unknown"
    assert (found["alpha"], found["margin"], found["version"]) == (0.05, 0.10, summary.VERSION)
    assert found["failures"] == []
    assert found["decisions"] == {}
    strict = summary.summarise(rows, [FRAME, VIDEO], ["one", "two"], alpha=0.02)
    pairs = [strict["tasks"][task]["pairs"][0] for task in ("one", "two")]
    assert [pair["outcome"] for pair in pairs] == ["better", "open"]
    # beside p = 2 / 2**8 the other needs p <= 0.02: 7 of 40 episodes
    assert pairs[1]["smallest_shown"] == pytest.approx(7 / 40)
    assert "smallest_shown" not in pairs[0]


def test_rows_that_raised_are_listed() -> None:
    rows = [*column(FRAME, [1]), row(FRAME, 1, **RAISED)]
    decisions = {"one": {"decided": True}}
    found = summary.summarise(rows, [FRAME], ["one"], decisions=decisions)
    (lost,) = found["failures"]
    assert lost == {
        "task": "one",
        "policy": "p",
        "condition": "frame",
        "train_seed": 0,
        "seed": 5,
        "episode": 1,
        "error": "RuntimeError: fire",
    }
    assert found["decisions"] == decisions


# ---- what a comparison shows ----


def told(difference: float, low: float, high: float, p: float, **more: Any) -> dict[str, Any]:
    """A comparison of frame and video, described already."""
    values = {"a": ["p", "frame"], "b": ["p", "video"], "episodes": 100, "p_equivalent": 0.5}
    numbers = {"difference": difference, "interval": [low, high], "p": p, "p_holm": p}
    return {**values, **numbers, "only_a": 3, "only_b": 9, **more}


@pytest.mark.parametrize(
    ("pair", "kind"),
    [
        (told(0.3, 0.1, 0.5, 0.05), "better"),
        (told(-0.3, -0.5, -0.1, 0.05), "worse"),
        (told(0.3, 0.1, 0.5, 0.051), "open"),
        (told(0.3, 0.0, 0.5, 0.01), "open"),  # the interval reaches 0
        (told(-0.3, -0.5, 0.0, 0.01), "open"),
        (told(0.3, 0.1, 0.5, 0.01, p_holm=0.06), "open"),  # of a family that is too large
        (told(0.0, -0.1, 0.1, 1.0, p_equivalent=0.05), "equivalent"),
        (told(0.0, -0.1, 0.1, 1.0, p_equivalent=0.051), "open"),
        (told(0.0, -0.1, 0.1, 1.0, episodes=25), "open"),
        (told(0.0, -0.1, 0.1, 1.0, episodes=24, p_equivalent=0.0), "small"),
        (told(0.9, 0.5, 1.0, 0.001, episodes=12), "better"),  # few episodes may well show much
        (told(0.3, 0.1, 0.5, 0.01, incomparable="why"), "incomparable"),
    ],
)
def test_a_comparison_ends_in_one_of_six_ways(pair: dict[str, Any], kind: str) -> None:
    assert verdict.outcome(pair, 0.05) == kind
    assert kind in verdict.OUTCOMES
    assert (kind in verdict.UNDECIDED) == (kind in ("open", "small"))


def test_without_a_family_the_p_is_its_own() -> None:
    pair = told(0.3, 0.1, 0.5, 0.01)
    del pair["p_holm"]
    assert verdict.outcome(pair, 0.05) == "better"


def test_with_gaps_it_ends_as_every_way_of_filling_them_does() -> None:
    open_way = {"difference": 0.1, "interval": [-0.1, 0.3], "p": 0.2, "p_holm": 0.2}
    clear = {"difference": 0.3, "interval": [0.1, 0.5], "p": 0.01, "p_holm": 0.01}
    shown = told(0.3, 0.1, 0.5, 0.01, ways=[open_way, open_way])
    assert verdict.outcome(shown, 0.05) == "open"
    assert verdict.outcome({**told(0.1, -0.1, 0.3, 0.2), "ways": [clear, clear]}, 0.05) == "better"
    small = {**open_way, "episodes": 24}
    assert verdict.outcome({**shown, "ways": [small, small]}, 0.05) == "small"


def test_how_many_episodes_are_enough_depends_on_the_level() -> None:
    for episodes, kind in ((48, "small"), (49, "open")):  # 0.9 / 0.1 x 2.326^2 is 48.7
        assert verdict.outcome(told(0, -0.1, 0.1, 1, episodes=episodes), 0.01) == kind


def test_everything_else_of_a_turned_comparison_stays() -> None:
    way = {"p": 0.2, "difference": 0.2, "interval": [0.1, 0.4], "only_a": 1, "only_b": 5}
    pair = told(0.3, 0.1, 0.5, 0.01, a=["p", "video"], b=["p", "frame"], ways=[way])
    other = verdict.oriented(pair)
    turned = {"difference": -0.2, "interval": [-0.4, -0.1], "only_a": 5, "only_b": 1}
    assert other["ways"] == [{**way, **turned}]
    changed = {"a", "b", "difference", "interval", "only_a", "only_b", "ways"}
    assert {key for key in pair if pair[key] != other[key]} == changed
    assert other.keys() == pair.keys()
    empty = {"a": ["p", "video"], "b": ["p", "frame"], "n": 0}
    assert verdict.oriented(empty) == {"a": ["p", "frame"], "b": ["p", "video"], "n": 0}


def test_video_stands_second() -> None:
    pair = told(0.3, 0.1, 0.5, 0.01)
    assert verdict.oriented(pair) == pair
    turned = {**pair, "a": pair["b"], "b": pair["a"]}
    other = verdict.oriented(turned)
    assert (other["a"], other["b"]) == (["p", "frame"], ["p", "video"])
    assert (other["difference"], other["interval"]) == (-0.3, [-0.5, -0.1])
    assert (other["only_a"], other["only_b"]) == (9, 3)
    assert math.copysign(1, verdict.oriented({**turned, "difference": 0.0})["difference"]) == 1


@pytest.mark.parametrize(
    ("which", "others", "name"),
    [
        (VIDEO, [FRAME, VIDEO], "video"),
        (VIDEO, [VIDEO, ("q", "video")], "p"),
        (VIDEO, [FRAME, VIDEO, ("q", "video")], "p video"),
        (VIDEO, [], "p video"),
        (VIDEO, [HOLD], "p video"),  # scripted policies have no condition to tell apart
        (HOLD, [FRAME, HOLD], "hold"),
        (("p@replan8", "video"), [("p@replan8", "frame")], "video@replan8"),
        (("p@replan8", "video"), [("q@replan8", "video")], "p@replan8"),
        (("hold@replan8", "scripted"), [], "hold@replan8"),
    ],
)
def test_a_column_is_named_by_what_tells_it_apart(which, others, name) -> None:
    assert verdict.label(which, others) == name


def test_numbers_in_words() -> None:
    assert [verdict.points(x) for x in (0.414, -0.056, 0.0, 1.0)] == ["41", "-6", "0", "100"]
    assert verdict.reach_text({"smallest_shown": 0.06}) == (
        "at this n a difference shows from 6 points on"
    )
    assert "from 7 points on" in verdict.reach_text({"smallest_shown": 0.0601})
    assert "from 7 points on" in verdict.reach_text({"smallest_shown": 0.07}), "not 7.000000001"
    assert (
        verdict.reach_text({"smallest_shown": None})
        == (verdict.reach_text({}))
        == "at this n not even the largest difference shows"
    )
    swept = {"a": ["p@replan8", "frame"], "b": ["p@replan8", "video"]}
    assert verdict.names_of(swept) == ("frame", "video")
    assert verdict.names_of({"a": ["p", "video"], "b": ["q", "video"]}) == ("p", "q")


def test_the_comparison_that_a_task_is_about() -> None:
    stack, video, frame, muted = (["p", word] for word in ("stack", "video", "frame", "muted"))
    first = told(0.1, 0, 0, 1, a=frame, b=stack)
    wanted = told(0.2, 0, 0, 1, a=video, b=frame)
    heard = told(0.3, 0, 0, 1, a=muted, b=video)
    elsewhere = told(0.4, 0, 0, 1, a=["q", "frame"], b=video)
    for kind, found in (("temporal", -0.2), ("sound", 0.3)):
        (pair,) = verdict.headline_pairs({"kind": kind, "pairs": [first, elsewhere, wanted, heard]})
        assert pair["difference"] == found
        assert pair["b"] == video
    assert verdict.headline_pairs({"pairs": [first, elsewhere]}) == [first]
    assert verdict.headline_pairs({"pairs": []}) == []
    swept = [told(0.1 * k, 0, 0, 1, a=[f"p@replan{k}", "frame"], b=[f"p@replan{k}", "video"])
             for k in (4, 8)]  # fmt: skip
    assert [p["difference"] for p in verdict.headline_pairs({"pairs": swept})] == [0.4, 0.8]


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        (
            told(0.3, 0.1, 0.5, 0.0123),
            "video beats frame by 30 points (difference 30 [10, 50], p of difference = 0.012)",
        ),
        (
            told(-0.3, -0.5, -0.1, 0.01),
            "frame beats video by 30 points (difference -30 [-50, -10], p of difference = 0.01)",
        ),
        (
            told(0.01, -0.05, 0.06, 0.9, p_equivalent=0.01),
            "frame and video are equivalent within 10 points (difference 1 [-5, 6], p of "
            "equivalence = 0.01)",
        ),
        (
            told(0.1, -0.1, 0.3, 0.3, smallest_shown=0.06),
            "undecided between frame and video (difference 10 [-10, 30], p of "
            "difference = 0.3; "
            "at this n a difference shows from 6 points on)",
        ),
        (
            told(0.1, -0.1, 0.3, 0.3, episodes=9),
            "n = 9 is too small to decide between frame and video (difference 10 [-10, 30], "
            "p of difference = 0.3; at this n not even the largest difference shows)",
        ),
        (
            told(0.3, 0.1, 0.5, 0.01, unmeasured={"pairs": 2}),
            "video beats frame by 30 points (difference 30 [10, 50], p of difference = 0.01; 2 "
            "pairs not measured change nothing)",
        ),
        (
            told(0.3, 0.1, 0.5, 0.01, incomparable="video raised"),
            "frame and video are not comparable (video raised)",
        ),
    ],
)
def test_the_sentence_about_a_task(pair: dict[str, Any], said: str) -> None:
    assert verdict.task_verdict("one", {"pairs": [pair], "cells": []}, 0.05) == f"one: {said}."


def cell(policy: str, rate: float | None, n: int = 10, word: str = "scripted") -> dict[str, Any]:
    successes = round((rate or 0) * n)
    any_time = {"rate": rate, "successes": successes}
    return {"policy": policy, "condition": word, "n": n, "any_time": any_time}


def test_without_a_comparison_the_rates_are_told() -> None:
    cells = [cell("hold", 0.3), cell("expert", 1.0), cell("lost", None, n=0)]
    entry = {"pairs": [], "cells": cells}
    assert verdict.task_verdict("one", entry, 0.05) == "one: hold 30 %, expert 100 %."
    assert verdict.task_verdict("one", {"pairs": [], "cells": []}, 0.05) == "one: no episodes."
    swept = [cell("hold@replan4", 0.3), cell("hold@replan8", 0.1)]
    assert verdict.task_verdict("one", {"pairs": [], "cells": swept}, 0.05) == (
        "one: hold 10 to 30 % over 2 settings."
    )
    both = {"one": entry, "two": {"pairs": [], "cells": [cell("hold", 0.5, n=4)]}}
    assert verdict.overall_verdict(both, 0.05) == (
        "hold succeeds in 5 of 14 episodes; expert succeeds in 10 of 10 episodes."
    )
    assert verdict.overall_verdict({}, 0.05) == "No episodes."
    alike = [cell("p", 0.5, word="video"), cell("q", 0.2, word="video")]
    assert verdict.overall_verdict({"one": {"pairs": [], "cells": alike}}, 0.05) == (
        "p succeeds in 5 of 10 episodes; q succeeds in 2 of 10 episodes."
    )


def test_of_a_sweep_the_best_and_the_worst_setting_are_told() -> None:
    rates = {"replan4": (3, 10), "replan8": (8, 20), "replan12": (10, 25), "replan16": (1, 5),
             "replan2": (4, 20), "replan1": (4, 11)}  # fmt: skip
    cells = [cell(f"hold@{name}", won / n, n) for name, (won, n) in rates.items()]
    # the rates are 0.3, 0.4, 0.4, 0.2, 0.2 and 0.36: the first of the best, the last of the worst
    tasks = {"one": {"pairs": [], "cells": cells}}
    assert verdict.overall_verdict(tasks, 0.05) == (
        "hold succeeds in 8 of 20 episodes at best (chunks of 8), in 4 of 20 at worst (chunks of "
        "2), over 6 settings."
    )
    both = {**tasks, "two": {"pairs": [], "cells": [cell("hold@replan16", 1.0, 5)]}}
    assert "4 of 20 at worst (chunks of 2)" in verdict.overall_verdict(both, 0.05)
    assert "in 6 of 10 episodes at best (chunks of 16)" in verdict.overall_verdict(both, 0.05)


def overall(*pairs: dict[str, Any]) -> str:
    tasks = {f"t{i}": {"pairs": [pair], "cells": []} for i, pair in enumerate(pairs)}
    return verdict.overall_verdict(tasks, 0.05)


BETTER, WORSE = told(0.3, 0.1, 0.5, 0.01), told(-0.3, -0.5, -0.1, 0.01)
SAME, OPEN = told(0, -0.1, 0.1, 1, p_equivalent=0.01), told(0, -0.1, 0.1, 1)
SMALL, NONE = told(0, -0.1, 0.1, 1, episodes=9), told(0, 0, 0, 1, incomparable="why")


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        ([BETTER], "Video beats frame on 1 task (t0)."),
        ([BETTER, BETTER], "Video beats frame on all tasks (t0, t1)."),
        (
            [BETTER, WORSE, SAME],
            "Video beats frame on 1 task (t0); frame beats video on 1 task (t1); the two are "
            "equivalent on 1 task (t2).",
        ),
        ([SAME, SAME], "Frame and video are equivalent on all tasks (t0, t1)."),
        (
            [OPEN, OPEN],
            "Undecided between frame and video on all tasks (t0, t1).",
        ),
        (
            [OPEN, BETTER],
            "Video beats frame on 1 task (t1); undecided on 1 task (t0).",
        ),
        (
            [OPEN, {**OPEN, "a": ["p", "stack"], "b": ["q", "stack"]}],
            "Undecided on all tasks (t0, t1).",
        ),
        ([SMALL], "n = 9 is too small to decide between frame and video on 1 task (t0)."),
        (
            [SMALL, {**SMALL, "episodes": 5}, {**SMALL, "episodes": 7}, BETTER],
            "Video beats frame on 1 task (t3); n = 5 to 9 is too small to decide on 3 tasks "
            "(t0, t1, t2).",
        ),
        ([NONE, NONE], "Frame and video are not comparable on any task (t0, t1)."),
        ([NONE, WORSE], "Frame beats video on 1 task (t1); the two are not comparable on 1 task "
                        "(t0)."),
        (
            [BETTER, {**BETTER, "a": ["p", "stack"], "b": ["q", "stack"]}],
            "The second beats the first column on all tasks (t0, t1).",
        ),
    ],
)  # fmt: skip
def test_the_sentence_about_a_run(pairs: list[dict[str, Any]], said: str) -> None:
    assert overall(*pairs) == said


def test_the_sentence_about_a_sweep() -> None:
    def at(replan: int, pair: dict[str, Any]) -> dict[str, Any]:
        return {**pair, "a": [f"p@replan{replan}", "frame"], "b": [f"p@replan{replan}", "video"]}

    entry = {"pairs": [at(4, BETTER), at(8, {**BETTER, "difference": 0.1}), at(16, OPEN)]}
    assert verdict.task_verdict("one", entry, 0.05) == (
        "one: Video beats frame under 2 of 3 settings; undecided under 1 of 3 "
        "settings; differences 0 to 30 points."
    )
    lost = {"pairs": [at(4, NONE), at(8, NONE)]}
    assert verdict.task_verdict("one", lost, 0.05) == (
        "one: Frame and video are not comparable under 2 of 2 settings."
    )
