"""Errors and missing rows are no outcome: a verdict stands only where they could not change it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up_runs import made_up_row, made_up_run, oracle_rows
from report_fakes import Reader
from run_fakes import plan, row

from neon_sim.benchmarks.analysis.claims import claims_table
from neon_sim.benchmarks.analysis.pairing import outcomes
from neon_sim.benchmarks.certificates.visual import certificate
from neon_sim.benchmarks.cli import main
from neon_sim.benchmarks.report.page import write_report
from neon_sim.benchmarks.running.runner import decide
from neon_sim.benchmarks.runs.folder import Row, RunFolder, dump_row
from neon_sim.benchmarks.runs.suites import SuiteConfig
from neon_sim.files import write_whole

LOST = {"success": False, "success_final": False, "error": "ConnectionError: lost"}
FRAME, VIDEO = ("neon_tiny", "frame"), ("neon_tiny", "video")


def change(folder: RunFolder, edit: Callable[[Row], Row | None]) -> RunFolder:
    """Rewrite the rows of a run; None drops one."""
    rows = [new for old in folder.read_rows() if (new := edit(old)) is not None]
    write_whole(folder.episodes, "".join(dump_row(each) + "\n" for each in rows))
    return folder


def raised(condition: str, below: int) -> Callable[[Row], Row]:
    """An edit after which the first so many episodes of a condition raised."""
    return lambda r: {**r, **LOST} if r["condition"] == condition and r["episode"] < below else r


def only_pair(folder: RunFolder) -> dict[str, Any]:
    """The one comparison of a run, from its summary."""
    summary = json.loads(folder.summary.read_text())
    ((pair,),) = [entry["pairs"] for entry in summary["tasks"].values()]
    return pair


def test_a_policy_that_raised_everywhere_has_not_lost(tmp_path, capsys) -> None:
    """12 of 12: the first example of the report, in every place that shows a verdict."""
    run = made_up_run(tmp_path / "run", {"arm_catch": {"frame": 1.0, "video": 0.9}}, episodes=12)
    change(run, raised("video", 12))
    assert main(["compare", str(run.path)]) == 1
    shown = capsys.readouterr().out
    why = "video raised an error in 12 of 12 rows"
    assert f"arm_catch: frame and video are not comparable ({why})." in shown
    assert "Frame and video are not comparable on 1 task (arm_catch)." in shown
    assert "beats" not in shown
    assert "<1e-4" not in shown
    page = write_report(run.path, videos=0).read_text()
    assert why in " ".join(Reader(page).text)
    assert page.count('class="chip incomparable">not comparable<') == 2
    for claim in ("−100 points", "+100 points", "frame better", "A better", "B better"):
        assert claim not in page
    pair = only_pair(run)
    assert (pair["outcome"], pair["incomparable"], pair["n"]) == ("incomparable", why, 0)
    cells = json.loads(run.summary.read_text())["tasks"]["arm_catch"]["cells"]
    assert [(c["n"], c["errors"], c["any_time"]["rate"]) for c in cells] == [
        (12, 0, 1.0),
        (0, 12, None),
    ]


def test_two_policies_that_raised_everywhere_are_not_equivalent(tmp_path, capsys) -> None:
    run = made_up_run(tmp_path / "run", {"arm_catch": {"frame": 0.5, "video": 0.5}})
    change(run, lambda r: {**r, **LOST})
    assert main(["compare", str(run.path)]) == 1
    shown = capsys.readouterr().out
    assert "equivalent on" not in shown
    assert "frame raised an error in 60 of 60 rows; video raised an error in 60 of 60" in shown
    other = made_up_run(tmp_path / "other", {"arm_catch": {"frame": 0.5, "video": 0.5}})
    assert main(["compare", str(run.path), str(other.path), "--json"]) == 1
    summary = json.loads(capsys.readouterr().out)
    assert len(summary["failures"]) == 120
    assert {p["outcome"] for p in summary["tasks"]["arm_catch"]["pairs"]} == {"incomparable"}


@pytest.mark.parametrize(
    ("rates", "errors", "expected"),
    [
        ((0.2, 0.9), 0, "better"),
        ((0.2, 0.9), 2, "better"),  # 1 %: and 0.2 against 0.9 stays what it is
        ((0.2, 0.9), 3, "incomparable"),  # more than 1 % raised, whatever they were
        ((0.9, 0.9), 2, "equivalent"),
    ],
)
def test_a_verdict_stands_where_it_holds_either_way(tmp_path, rates, errors, expected) -> None:
    named = dict(zip(("frame", "video"), rates, strict=True))
    run = made_up_run(tmp_path / "run", {"arm_catch": named}, episodes=200)
    change(run, raised("video", errors))
    assert main(["compare", str(run.path)]) == (1 if errors else 0)
    write_report(run.path, videos=0)
    assert only_pair(run)["outcome"] == expected


def edge(tmp_path: Path, errors: int) -> dict[str, Any]:
    """200 episodes, of which 6 are won by video alone: p = 0.03, until some of these raise."""
    run = made_up_run(tmp_path / "run", {"arm_catch": {"frame": 0.0, "video": 0.03}}, episodes=200)
    ends = {r["episode"]: r["success"] for r in run.read_rows() if r["condition"] == "video"}
    lost = [("frame", episode) for episode, won in ends.items() if not won][:errors]
    change(run, lambda r: {**r, **LOST} if (r["condition"], r["episode"]) in lost else r)
    write_report(run.path, videos=0)
    return only_pair(run)


def test_a_verdict_that_two_errors_could_turn_is_none(tmp_path: Path) -> None:
    assert edge(tmp_path / "0", 0)["outcome"] == "better"
    pair = edge(tmp_path / "2", 2)
    assert pair["outcome"] == "incomparable"
    assert pair["incomparable"] == (
        "frame raised an error in 2 of 200 rows: what they might have been decides"
    )
    assert pair["p"] < 0.05  # of what was measured
    assert [way["p"] < 0.05 for way in pair["ways"]] == [False, True]


def test_rows_that_are_not_there_are_counted_and_decide_nothing(tmp_path, capsys) -> None:
    """The rows that frame won are gone, and with them the difference, were they left out."""
    run = made_up_run(tmp_path / "run", {"arm_catch": {"frame": 0.6, "video": 0.4}}, episodes=60)
    change(run, lambda r: None if r["condition"] == "frame" and r["success"] else r)
    assert main(["compare", str(run.path)]) == 1
    shown = capsys.readouterr().out
    assert "not comparable (frame lacks 36 of 60 rows: what they might have been decides)" in shown
    few = made_up_run(tmp_path / "few", {"arm_catch": {"frame": 0.1, "video": 0.9}}, episodes=60)
    change(few, lambda r: None if r["condition"] == "frame" and r["episode"] == 7 else r)
    assert main(["compare", str(few.path)]) == 0
    assert "1 pairs not measured change nothing" in capsys.readouterr().out


def test_a_cell_without_rows_is_shown_as_one(tmp_path, capsys) -> None:
    rates = {"arm_catch": {"frame": 0.1, "video": 0.9}, "arm_reach": {"frame": 1.0, "video": 1.0}}
    run = made_up_run(tmp_path / "run", rates)
    change(run, lambda r: None if (r["task"], r["condition"]) == ("arm_reach", "video") else r)
    assert main(["compare", str(run.path)]) == 1
    shown = capsys.readouterr().out
    assert "arm_reach: frame and video are not comparable (video lacks 60 of 60 rows)." in shown
    assert "Video beats frame on 1 task (arm_catch); the two are not comparable on 1 task" in shown
    page = write_report(run.path, videos=0).read_text()
    assert "not measured" in page


def test_two_runs_say_what_only_one_of_them_holds(tmp_path, capsys) -> None:
    a = made_up_run(tmp_path / "a", {"arm_catch": {"frame": 0.2, "video": 0.8}, "arm_reach": {}})
    b = made_up_run(tmp_path / "b", {"arm_catch": {"video": 0.8}})
    assert main(["compare", str(a.path), str(b.path)]) == 0
    shown = capsys.readouterr().out
    assert "Not compared: arm_reach, only in a." in shown
    assert "Not compared: neon_tiny frame, only in a." in shown


def test_several_training_seeds_are_held_to_every_one_of_them(tmp_path: Path) -> None:
    rates = {"arm_catch": {"frame": 0.2, "video": 0.9}}
    run = made_up_run(tmp_path / "run", rates, episodes=60, seeds=3)
    change(run, lambda r: None if (r["condition"], r["train_seed"]) == ("video", 2) else r)
    write_report(run.path, videos=0)
    assert only_pair(run)["incomparable"] == "video lacks 60 of 180 rows"


def test_what_is_not_known_is_counted_for_either_side() -> None:
    rows = [row(e, condition=c, success=e < 2) for e in range(4) for c in ("a", "b")]
    rows[0] |= LOST  # a, episode 0; b succeeded there
    rows = rows[:-1]  # b, episode 3; a failed there
    pair = outcomes(rows, "arm_block", ("p", "a"), ("p", "b"))
    assert (pair.n, pair.num_planned) == (2, 4)
    assert [(lack.planned, lack.raised, lack.missing) for lack in pair.lack] == [
        (4, 1, 0),
        (4, 0, 1),
    ]
    for_a, for_b = pair.ways()
    np.testing.assert_array_equal(for_a.differences, [[0, 0, 0, 0]])
    np.testing.assert_array_equal(for_b.differences, [[0, 0, -1, -1]])


def early(first: list[bool | None], second: list[bool | None]) -> dict[str, Any]:
    """A look at two columns of --until-decided; None raised."""
    the_plan = plan(["expert", "hold"], episodes=60, until_decided=True)
    rows = [
        row(e, policy=p, condition="scripted", train_seed=None, success=bool(won))
        | (LOST if won is None else {})
        for p, outcomes_of in (("expert", first), ("hold", second))
        for e, won in enumerate(outcomes_of)
    ]
    return decide(the_plan, "arm_block", rows)


def test_early_stopping_counts_no_error_as_a_defeat() -> None:
    assert early([True] * 20, [False] * 20)["decided"]
    broken = early([True] * 20, [None] * 20)
    assert not broken["decided"]
    assert broken["episodes"] == 20
    assert not early([True] * 20, [False] * 19 + [None])["decided"]  # 5 % raised
    assert early([True] * 200, [False] * 198 + [None] * 2)["decided"]  # 1 %, and no matter
    close = [True] * 7 + [False] * 193
    assert early(close, [False] * 200)["decided"]
    assert not early(close, [None] * 2 + [False] * 198)["decided"]  # 1 %, and they decide


@pytest.mark.parametrize("word", ["expert", "oracle_history", "blind", "random"])
def test_a_certificate_with_rows_that_raised_is_refused(word, monkeypatch) -> None:
    monkeypatch.setattr(
        "neon_sim.benchmarks.certificates.visual.check_twins", lambda task, seed: None
    )
    rates = {"expert": 1.0, "oracle_history": 0.9, "oracle_memoryless": 0.2}
    rows = oracle_rows("arm_catch", {**rates, "blind": 0.1, "hold": 0.0, "random": 0.0}, 101)
    assert certificate(rows, "arm_catch", "x", 0, {})["status"] == "certified"
    first = next(r for r in rows if word in (r["policy"], r["condition"]))
    first |= LOST
    body = certificate(rows, "arm_catch", "x", 0, {})
    assert body["status"] == "refused"
    assert f"no episode of {word} raises an error (1 did) does not hold" in body["verdict"]
    assert (body["entries"][word]["n"], body["entries"][word]["errors"]) == (100, 1)
    for each in rows:
        if word in (each["policy"], each["condition"]):
            each |= LOST
    body = certificate(rows, "arm_catch", "x", 0, {})
    assert body["status"] != "certified"
    assert "rate" not in body["entries"][word]


def test_a_claim_that_rests_on_errors_is_undecided() -> None:
    suite = SuiteConfig(
        tasks=["arm_catch"], claims={"physics": ["arm_catch"]}, smoothness={"calm": ["arm_catch"]}
    )
    rows = [
        made_up_row("arm_catch", word, 0, e, word == "video") | {"mean_jerk": jerk}
        for word, jerk in (("frame", 10.0), ("video", 1.0))
        for e in range(100)
    ]

    def verdicts() -> dict[str, tuple[str, str]]:
        table = claims_table(rows, suite, [FRAME, VIDEO], lambda task: True)
        return {entry["claim"]: (entry["verdict"], entry["why"]) for entry in table}

    assert verdicts()["physics"][0] == "supported"
    for each in rows[:5]:
        each |= LOST
    for claim in ("physics", "calm"):
        verdict, why = verdicts()[claim]
        assert verdict == "undecided"
        assert "frame raised an error in 5 of 100 rows" in why
