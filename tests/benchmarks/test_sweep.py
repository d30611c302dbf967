"""Sweeps over chunk length and latency, the robot's limits, and rows that know neither."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_fakes import Reader, make_row, save, synthetic

from neon_sim.benchmarks.analysis.summary import compared, summarise
from neon_sim.benchmarks.analysis.tables import summary_text
from neon_sim.benchmarks.analysis.verdict import label
from neon_sim.benchmarks.cli import main
from neon_sim.benchmarks.compare import summary_of_run
from neon_sim.benchmarks.film.filming import check_replay
from neon_sim.benchmarks.film.videos import shown_columns
from neon_sim.benchmarks.report.page import write_report
from neon_sim.benchmarks.report.sections import verdict
from neon_sim.benchmarks.runs.folder import LATER_KEYS, ROW_KEYS, RunFolder
from neon_sim.benchmarks.runs.plan import Cell, RunPlan, make_plan, plan_of
from neon_sim.benchmarks.runs.sweep import base_name, setting_of, swept
from neon_sim.envs.limits import LimitMeter
from neon_sim.errors import ConfigError, RunError


def plan(policies: list[str], **changes: Any) -> RunPlan:
    """A plan on arm_block."""
    values: dict[str, Any] = {
        "policies": policies,
        "conditions": [],
        "tasks": ["arm_block"],
        "suite": None,
        "episodes": 2,
        "seed": 0,
        "train_seeds": [0],
        "latency_steps": 0,
        "until_decided": False,
        "alpha": 0.05,
        "overrides": [],
    }
    return make_plan(**{**values, **changes})


# ---- sweeps ------------------------------------------------------------------------------


def test_every_policy_runs_under_every_setting() -> None:
    found = swept(plan(["expert", "neon_tiny"]), [1, 8], [0, 4])
    assert [spec.name for spec in found.policies][:4] == [
        "expert@replan1,late0",
        "expert@replan8,late0",
        "expert@replan1,late4",
        "expert@replan8,late4",
    ]
    assert len(found.policies) == 8
    assert plan_of(json.loads(json.dumps(found.resolved()))) == found
    one = swept(plan(["expert"]), [8], [3])
    assert (one.policies[0].name, one.policies[0].replan_steps) == ("expert", 8)
    assert one.latency_steps == 3
    untouched = plan(["expert"], latency_steps=2)
    assert swept(untouched, [], []) == untouched


def test_a_sweep_has_one_head() -> None:
    overrides = ["checkpoint=x/{policy}-{condition}.safetensors"]
    found = swept(plan(["neon_tiny"], overrides=overrides), [1, 8], [])
    spec = found.policies[1]
    assert spec.name == "neon_tiny@replan8"
    cell = Cell("arm_block", spec.name, "video", 0)
    assert spec.checkpoint_of(cell) == "x/neon_tiny-video.safetensors"
    assert (base_name(spec.name), setting_of(spec.name)) == ("neon_tiny", "replan8")


@pytest.mark.parametrize(
    ("looks", "late", "text"),
    [
        ([0], [], "replan_steps must be 1 to 16"),
        ([1, 17], [], "replan_steps must be 1 to 16"),
        ([], [0, -1], "latency_steps must be >= 0"),
    ],
)
def test_settings_have_their_rules(looks, late, text) -> None:
    with pytest.raises(ConfigError, match=text):
        swept(plan(["expert"]), looks, late)


def test_a_sweep_cannot_stop_early() -> None:
    early = plan(["expert", "hold"], until_decided=True)
    with pytest.raises(ConfigError, match="a sweep needs all of it"):
        swept(early, [1, 4], [])


def test_settings_are_not_compared_with_each_other() -> None:
    names = ("a@replan1", "a@replan8", "b@replan1")
    columns = [(name, word) for name in names for word in ("frame", "video")]
    pairs = compared(columns)
    assert (("a@replan1", "frame"), ("a@replan1", "video")) in pairs
    assert (("a@replan1", "video"), ("b@replan1", "video")) in pairs
    assert not [p for p in pairs if setting_of(p[0][0]) != setting_of(p[1][0])]
    assert len(pairs) == 5


@pytest.fixture(scope="module")
def swept_run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The expert of arm_block under four settings."""
    folder = RunFolder(tmp_path_factory.mktemp("runs") / "sweep")
    command = ["run", "--policy", "expert", "--task", "arm_block", "--episodes", "2"]
    command += ["--replan-steps", "1,16", "--latency-steps", "0,40", "--workers", "1"]
    assert main([*command, "--quiet", "--videos", "0", "--out", str(folder.path)]) == 0
    return folder


def test_a_sweep_is_a_curve_of_the_report(swept_run: RunFolder) -> None:
    rows = swept_run.read_rows()
    settings = {row["policy"]: (row["replan_steps"], row["latency_steps"]) for row in rows}
    assert settings["expert@replan16,late40"] == (16, 40)
    assert len(rows) == 8
    late = [row["success"] for row in rows if row["latency_steps"] == 40]
    assert not any(late)  # the puck is there before the first answer
    page = swept_run.report.read_text()
    text = " ".join(Reader(page).text)
    for words in ("at once", "800 ms late", "control steps between two looks", "n = 2"):
        assert words in text
    assert "Success of expert on arm_block over control steps between two looks" in page
    summary = summary_of_run(swept_run)
    best, worst = "2 of 2 episodes at best (chunks of 1, at once)", "0 of 2 at worst"
    assert f"expert succeeds in {best}, in {worst} (chunks of 16, 800 ms late)" in text
    columns = shown_columns(summary["tasks"]["arm_block"])
    assert columns == [("expert@replan1,late0", "scripted"), ("expert@replan16,late40", "scripted")]
    assert "over 4 settings" in summary["verdict"]
    assert "expert 0 to 100 % over 4 settings" in summary_text(summary)
    assert "0, 40 control steps" in text


def test_a_sweep_is_judged_setting_by_setting(tmp_path: Path) -> None:
    folder = synthetic(tmp_path / "run", {"frame": 4, "video": 36})
    rows = [
        {**row, "policy": f"neon_tiny@replan{steps}", "replan_steps": steps}
        for row in folder.read_rows()
        for steps in (4, 16)
        if row["task"] == "arm_catch"
    ]
    lost = [{**r, "success": False} if r["policy"].endswith("16") else r for r in rows]
    columns = [(f"neon_tiny@replan{n}", word) for n in (4, 16) for word in ("frame", "video")]
    summary = summarise(lost, columns, ["arm_catch"])
    assert summary["verdict"] == (
        "Video beats frame under 1 of 2 settings (arm_catch); the two are equivalent under 1 of 2 "
        "settings (arm_catch)."
    )
    assert "differences 0 to 80 points" in summary["tasks"]["arm_catch"]["verdict"]
    assert label(columns[0], columns) == "frame@replan4"
    header = verdict(summary, 0)
    assert header.count("<li>") == 2
    assert "chunks of 16" in header
    assert shown_columns(summary["tasks"]["arm_catch"]) == columns[:2]


# ---- limits -------------------------------------------------------------------------------


def test_limits_by_hand() -> None:
    low, high = np.array([-1.0, -2.0]), np.array([1.0, 2.0])
    meter = LimitMeter(low, high, np.array([3.0, 3.0]), np.array([10.0, 20.0]))
    still = np.zeros(2)
    meter.count(still, still, still)
    meter.count(np.array([0.995, 0.0]), still, np.array([0.0, -19.9]))
    meter.count(np.array([0.0, -2.1]), np.array([0.0, -3.0]), still)
    meter.count(np.array([0.98, 1.98]), np.array([2.9, 2.9]), np.array([9.8, 19.7]))
    shares = meter.shares()
    assert shares["position"].tolist() == [0.25, 0.25]
    assert shares["velocity"].tolist() == [0.0, 0.25]
    assert shares["torque"].tolist() == [0.0, 0.25]
    assert meter.some_joint() == {"position": 0.5, "velocity": 0.25, "torque": 0.25}
    meter.reset()
    assert set(meter.some_joint().values()) == {0.0}


def test_rows_and_report_tell_the_limits(swept_run: RunFolder) -> None:
    rows = swept_run.read_rows()
    kinds = {"position", "velocity", "torque"}
    assert all(set(row["limits"]) == kinds for row in rows)
    assert all(row["limits"]["velocity"] == 0.0 for row in rows)  # the ramp sees to it
    page = swept_run.report.read_text()
    table = page.partition('id="limits"')[2].partition("</section>")[0]
    assert table.count("<tr>") == 1 + 4
    assert "torque worst %" in table


# ---- rows of older runs --------------------------------------------------------------------


def test_rows_without_the_later_keys_are_read_and_shown(tmp_path: Path) -> None:
    folder = synthetic(tmp_path / "run", {"frame": 10, "video": 36})
    lines = [json.loads(line) for line in folder.episodes.read_text().splitlines()]
    old = [{k: v for k, v in row.items() if k not in LATER_KEYS} for row in lines]
    folder.episodes.write_text("".join(json.dumps(row) + "\n" for row in old))
    rows = folder.read_rows()
    assert [tuple(row) for row in rows] == [ROW_KEYS] * len(old)
    assert all(row[key] is None for row in rows for key in LATER_KEYS)
    page = write_report(folder.path, videos=0).read_text()
    assert "Rows of this run do not tell." in page
    assert "as heard" not in page


def test_rows_with_a_key_that_nobody_knows_are_damaged(tmp_path: Path) -> None:
    folder = synthetic(tmp_path / "run", {"frame": 1}, episodes=2)
    rows = folder.read_rows()
    save(folder, rows)
    text = folder.episodes.read_text().replace('"steps"', '"stepps"', 1)
    folder.episodes.write_text(text)
    with pytest.raises(RunError, match="line 1 is damaged"):
        folder.read_rows()


def test_an_old_row_is_replayed_by_what_it_tells() -> None:
    cell = Cell("arm_catch", "p", "video", 0)
    old = make_row(cell, 3, True, **dict.fromkeys(LATER_KEYS))
    new = {"replan_steps": 4, "limits": {"position": 0.0}, "success_swapped": None}
    check_replay(old, {**old, **new})
    with pytest.raises(RunError, match="replan_steps 8 -> 4"):
        check_replay({**old, "replan_steps": 8}, {**old, **new})
