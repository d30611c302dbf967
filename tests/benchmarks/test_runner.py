"""Runs: the same rows however they are computed, and nothing lost when they are stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_fakes import DRIFT, WATCHING, plan, row

from neon_sim.benchmarks.analysis.pairing import outcomes
from neon_sim.benchmarks.cli import main
from neon_sim.benchmarks.running.episode import smoothness
from neon_sim.benchmarks.running.players import check_players
from neon_sim.benchmarks.running.runner import (
    Resources,
    blocks,
    check_same_run,
    decide,
    make_jobs,
    run,
)
from neon_sim.benchmarks.runs.folder import (
    ROW_KEYS,
    EpisodeLog,
    Row,
    RunFolder,
    parse_rows,
    sort_key,
    without_timing,
)
from neon_sim.benchmarks.runs.plan import Cell, RunPlan, plan_of
from neon_sim.clock import CONTROL_DT_S
from neon_sim.errors import ConfigError, RunError, UnknownNameError


def rows_of_run(
    tmp_path: Path, the_plan: RunPlan, name: str = "run", **resources: Any
) -> list[Row]:
    """Compute a plan in a folder of its own."""
    return run(the_plan, RunFolder(tmp_path / name), Resources(**resources))


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    """Rows of a policy that watches video, computed one by one in one process."""
    folder = tmp_path_factory.mktemp("reference")
    return without_timing(rows_of_run(folder, plan([WATCHING]), workers=1, batch=1))


def test_rows_have_exactly_the_documented_keys(tmp_path: Path) -> None:
    rows = rows_of_run(tmp_path, plan(["expert", "hold"], episodes=2))
    assert [tuple(row) for row in rows] == [ROW_KEYS] * 4
    assert len({row["initial_hash"] for row in rows}) == 2  # paired: same start for both
    expert = [row for row in rows if row["policy"] == "expert"]
    assert all(row["success"] and row["error"] is None for row in expert)
    assert all(row["steps"] > 0 and row["progress"] > 0.9 for row in expert)


@pytest.mark.parametrize("resources", [{"workers": 1, "batch": 8}, {"workers": 2, "batch": 2}])
def test_rows_do_not_depend_on_batch_and_workers(tmp_path, reference, resources) -> None:
    rows = rows_of_run(tmp_path, plan([WATCHING]), **resources)
    assert without_timing(rows) == reference


def test_blending_and_latency_and_replan_change_the_rows(tmp_path: Path) -> None:
    base = rows_of_run(tmp_path, plan(), "base")
    late = rows_of_run(tmp_path, plan(latency_steps=5), "late")
    soft = rows_of_run(tmp_path, plan(overrides=["blending=linear"]), "soft")
    assert {row["latency_steps"] for row in late} == {5}
    jumps = [float(np.mean([row["boundary_jump"] for row in rows])) for rows in (base, soft)]
    assert jumps[1] < jumps[0]
    assert [row["initial_hash"] for row in base] == [row["initial_hash"] for row in late]


def test_a_policy_that_raises_fails_its_episodes_only(tmp_path: Path) -> None:
    clean = rows_of_run(tmp_path, plan(episodes=12), "clean")
    for name, text in (("nan", "PolicyError: chunk[3, 5] must be finite"), ("raise", "on fire")):
        rows = rows_of_run(tmp_path, plan([f"bench_fakes:{name}_sometimes"], episodes=12), name)
        failed = [row for row in rows if row["error"] is not None]
        assert 0 < len(failed) < len(rows)
        assert all(text in row["error"] for row in failed)
        assert not any(row["success"] or row["success_final"] for row in failed)
        for mine, other in zip(rows, clean, strict=True):
            if mine["error"] is None:
                assert mine["progress"] == other["progress"]
                assert mine["steps"] == other["steps"]


def test_failed_episodes_make_the_exit_code_1_and_are_listed(tmp_path, capsys) -> None:
    command = ["run", "--policy", "bench_fakes:raise_sometimes", "--task", "arm_block"]
    command += ["--episodes", "12", "--seed", "3", "--workers", "1", "--videos", "0", "--quiet"]
    assert main([*command, "--out", str(tmp_path / "run")]) == 1
    shown = capsys.readouterr().out
    assert "raised an error" in shown
    assert "the network is on fire" in shown
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["failures"]
    # --resume tries them again, and fails again
    assert main([*command, "--out", str(tmp_path / "run"), "--resume"]) == 1
    assert len(RunFolder(tmp_path / "run").read_rows()) == 12


def test_killed_twice_and_resumed_gives_the_same_rows(tmp_path: Path) -> None:
    slow = plan(["bench_fakes:slow"], episodes=10)
    whole = without_timing(rows_of_run(tmp_path, slow, "whole", workers=1))
    out = tmp_path / "killed"
    command = _command("bench_fakes:slow", 10, out, "--workers", "2", "--batch", "2")
    for _ in range(2):
        before = _lines(out)
        process = _spawn(command)
        _wait_for_rows(out, before + 2, process)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        rows, _ = parse_rows(out / "episodes.jsonl")
        assert before + 2 <= len(rows) < 10
        with (out / "episodes.jsonl").open("ab") as file:
            file.write(b'{"task": "arm_blo')  # what a kill inside write() leaves
    done = subprocess.run(command, capture_output=True, text=True, env=_environment(), check=False)
    assert done.returncode == 0, done.stderr
    assert without_timing(RunFolder(out).read_rows()) == whole
    assert sorted(RunFolder(out).read_rows(), key=sort_key) == RunFolder(out).read_rows()


def test_ctrl_c_keeps_what_is_done_and_exits_130(tmp_path: Path) -> None:
    out = tmp_path / "stopped"
    process = _spawn(_command("bench_fakes:slow", 40, out, "--workers", "2", "--batch", "2"))
    _wait_for_rows(out, 2, process)
    os.killpg(process.pid, signal.SIGINT)
    _, shown = process.communicate(timeout=60)
    assert process.returncode == 130, shown
    assert "--resume completes them" in shown
    assert "Traceback" not in shown
    assert 2 <= len(RunFolder(out).read_rows()) < 40


def _command(policy: str, episodes: int, out: Path, *more: str) -> list[str]:
    start = [sys.executable, "-m", "neon_sim.benchmarks.cli", "run", "--policy", policy]
    rest = ["--task", "arm_block", "--episodes", str(episodes), "--seed", "3", "--out", str(out)]
    return [*start, *rest, "--resume", "--videos", "0", "--quiet", *more]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "support")}


def _spawn(command: Sequence[str]) -> subprocess.Popen[str]:
    pipes: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=_environment(), text=True, start_new_session=True, **pipes)


def _lines(out: Path) -> int:
    path = out / "episodes.jsonl"
    return len(parse_rows(path)[0]) if path.exists() else 0


def _wait_for_rows(out: Path, count: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while _lines(out) < count:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "no rows"
        time.sleep(0.02)


# ---- the log -----------------------------------------------------------------------------


def test_log_repairs_a_torn_line_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "episodes.jsonl"
    log = EpisodeLog(path)
    log.append(row(0))
    log.append(row(1))
    log.close()
    path.write_bytes(path.read_bytes()[:-20])
    again = EpisodeLog(path)
    assert [r["episode"] for r in again.rows] == [0]
    again.append(row(1, success=False))
    again.close()
    assert [r["success"] for r in parse_rows(path)[0]] == [True, False]


def test_log_refuses_damage_in_the_middle(tmp_path: Path) -> None:
    path = tmp_path / "episodes.jsonl"
    log = EpisodeLog(path)
    for episode in range(3):
        log.append(row(episode))
    log.close()
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1][:30], lines[2]]) + "\n")
    with pytest.raises(RunError, match="line 2 is damaged"):
        EpisodeLog(path)


def test_a_full_disk_loses_no_finished_row(tmp_path, monkeypatch) -> None:
    path = tmp_path / "episodes.jsonl"
    log = EpisodeLog(path)
    log.append(row(0))
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:25]))
    with pytest.raises(RunError, match=r"no space left .* --resume"):
        log.append(row(1))
    monkeypatch.undo()
    assert len(path.read_text().splitlines()) == 1
    log.append(row(1))
    log.close()
    assert [r["episode"] for r in parse_rows(path)[0]] == [0, 1]


def test_rows_hold_no_nan(tmp_path: Path) -> None:
    log = EpisodeLog(tmp_path / "episodes.jsonl")
    with pytest.raises(ValueError, match="JSON compliant"):
        log.append(row(progress=float("nan")))
    log.close()


# ---- plans, resuming, stopping -------------------------------------------------------------


def test_resume_needs_the_same_run_and_no_fewer_episodes(tmp_path: Path) -> None:
    hold = plan(["hold"], episodes=2)
    rows_of_run(tmp_path, hold)
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(RunError, match="--resume"):
        run(hold, folder, Resources())
    with pytest.raises(RunError, match="different: seed"):
        run(plan(["hold"], episodes=2, seed=4), folder, Resources(), resume=True)
    with pytest.raises(RunError, match="episodes that these settings leave out"):
        run(plan(["hold"], episodes=1), folder, Resources(), resume=True)
    with pytest.raises(RunError, match="leave out"):
        run(plan(["random"], episodes=2), folder, Resources(), resume=True)
    assert len(run(plan(["hold"], episodes=3), folder, Resources(), resume=True)) == 3
    wider = plan(["hold", "random"], episodes=3, tasks=["arm_block", "arm_catch"])
    assert len(run(wider, folder, Resources(), resume=True)) == 12


def test_resume_refuses_another_policy_of_the_same_name(tmp_path: Path) -> None:
    rows_of_run(tmp_path, plan(episodes=1))
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(RunError, match=f"different: {DRIFT}.config"):
        run(plan(episodes=1, overrides=["replan_steps=2"]), folder, Resources(), resume=True)


def test_a_run_knows_the_head_of_every_task_and_may_gain_one() -> None:
    """Tasks may have heads of their own: each is written down, none hides another."""
    both = plan(["neon_tiny"], conditions=["frame"], tasks=["arm_reach", "arm_swing"])
    heads = check_players(both).checkpoints
    assert list(heads) == ["neon_tiny/frame/0/arm_reach", "neon_tiny/frame/0/arm_swing"]
    assert len(set(heads.values())) == 2
    base = {"config": both.resolved(), "renderer": {}, "versions": {}}
    folder = RunFolder(Path("run"))
    first, second = heads.values()

    def resumed(before: dict[str, str], now: dict[str, str]) -> None:
        check_same_run({**base, "checkpoints": before}, {**base, "checkpoints": now}, folder)

    resumed({"neon_tiny/frame/0/arm_reach": first}, heads)
    resumed({"neon_tiny/frame/0": first}, {"neon_tiny/frame/0/arm_reach": first})
    for known in ({"neon_tiny/frame/0/arm_swing": first}, {"neon_tiny/frame/0": first}):
        with pytest.raises(RunError, match="weights of neon_tiny/frame/0/arm_swing"):
            resumed(known, {"neon_tiny/frame/0/arm_swing": second})


def test_manifest_says_what_ran_where(tmp_path: Path) -> None:
    hold = plan(["hold"], episodes=1)
    rows_of_run(tmp_path, hold)
    folder = RunFolder(tmp_path / "run")
    manifest = folder.read_json(folder.manifest)
    assert {"config", "git_commit", "versions", "renderer", "cpu", "command"} <= set(manifest)
    assert {"python", "numpy", "mujoco", "torch", "gymnasium"} <= set(manifest["versions"])
    assert plan_of(manifest["config"]) == hold
    assert plan_of(plan().resolved()) == plan()


def test_jobs_hold_every_missing_episode_once() -> None:
    the_plan = plan(["hold", "random"], episodes=30, tasks=["arm_block", "arm_catch"])
    done = [row(e, policy="hold", condition="scripted", train_seed=None, seed=3) for e in range(10)]
    jobs = make_jobs(the_plan, the_plan.tasks, range(30), done, Resources(workers=2, batch=4))
    todo = [(job.cell, episode) for job in jobs for episode in job.episodes]
    assert len(todo) == len(set(todo)) == 4 * 30 - 10
    cell = Cell("arm_block", "hold", "scripted", None)
    assert sorted(e for c, e in todo if c == cell) == list(range(10, 30))
    tasks = [job.cell.task for job in jobs]
    assert tasks == sorted(tasks, key=list(the_plan.tasks).index)


def test_until_decided_stops_when_it_is_clear(tmp_path: Path) -> None:
    the_plan = plan(["expert", "hold"], episodes=60, until_decided=True)
    assert [len(block) for block in blocks(the_plan)] == [20, 20, 20]
    rows = rows_of_run(tmp_path, the_plan)
    folder = RunFolder(tmp_path / "run")
    decision = folder.read_json(folder.manifest)["decisions"]["arm_block"]
    assert decision["decided"]
    assert decision["e_value"] >= 20
    assert len(rows) == 2 * decision["episodes"] == 40
    assert run(the_plan, folder, Resources(), resume=True) == rows


def test_until_decided_goes_on_while_it_is_not() -> None:
    the_plan = plan(["expert", "hold"], episodes=60, until_decided=True)
    rows = [
        row(e, policy=p, condition="scripted", train_seed=None, seed=3, success=e % 3 > 0)
        for e in range(40)
        for p in ("expert", "hold")
    ]
    assert not decide(the_plan, "arm_block", rows)["decided"]


def test_rows_that_started_differently_are_no_pair() -> None:
    rows = [row(0), row(0, condition="video", initial_hash="f" * 64)]
    with pytest.raises(RunError, match="started from different states"):
        outcomes(rows, "arm_block", ("p", "frame"), ("p", "video"))


def test_pairs_use_only_what_every_training_seed_has() -> None:
    rows = [row(e, train_seed=s, condition=c) for e in (0, 1) for s in (0, 1) for c in "ab"]
    rows.append(row(2, train_seed=0, condition="a"))
    pair = outcomes(rows, "arm_block", ("p", "a"), ("p", "b"))
    assert pair.a.shape == (2, 2)
    assert pair.train_seeds == (0, 1)


def test_smoothness_by_hand() -> None:
    scale = np.full(7, 2.0)
    cubic = [np.full(8, (0.02 * t) ** 3, dtype=np.float32) for t in range(10)]
    jerk, jump = smoothness(cubic, [], scale)
    assert jerk == pytest.approx(12.0, rel=1e-2)  # third derivative of 2 t^3
    assert jump == 0.0
    step = [np.zeros(8)] * 4 + [np.full(8, 0.5)] * 4
    assert smoothness(step, [4], scale)[1] == pytest.approx(1.0)
    assert smoothness(step, [4], scale)[0] == pytest.approx(4 / 5 / CONTROL_DT_S**3)
    assert smoothness([], [], scale) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"policies": ["neon_tyni"]}, UnknownNameError, "Did you mean 'neon_tiny'"),
        ({"policies": []}, ConfigError, "names no policy"),
        ({"tasks": ["arm_cach"]}, UnknownNameError, "Did you mean 'arm_catch'"),
        ({"conditions": ["fram"]}, UnknownNameError, "Did you mean 'frame'"),
        ({"episodes": 0}, ConfigError, "--episodes must be at least 1"),
        ({"latency_steps": -1}, ConfigError, "--latency-steps"),
        ({"overrides": ["replan_step=2"]}, UnknownNameError, "Did you mean 'replan_steps'"),
        ({"overrides": ["replan_steps=two"]}, ConfigError, "replan_steps must be int"),
        ({"overrides": ["blending=cubic"]}, UnknownNameError, "blending"),
        ({"overrides": ["start_noise=9"]}, ConfigError, "start_noise"),
        ({"policies": ["hold"], "overrides": ["head=flow"]}, ConfigError, "none is named"),
        ({"suite": "arm"}, ConfigError, "not both"),
        ({"tasks": [], "suite": "leg"}, ConfigError, "unknown suite"),
        ({"until_decided": True}, ConfigError, "only one"),
    ],
)
def test_bad_words_are_named(changes, error, text) -> None:
    with pytest.raises(error, match=text):
        plan(**changes)


def test_oracles_are_conditions_of_the_default_policy() -> None:
    the_plan = plan(["neon_tiny", "oracle_history"], conditions=["frame"])
    assert the_plan.columns() == [("neon_tiny", "frame"), ("neon_tiny", "oracle_history")]


def test_checkpoint_template_is_filled_in() -> None:
    the_plan = plan(["neon_tiny"], overrides=["checkpoint=x/{condition}-{train_seed}.safetensors"])
    spec = the_plan.policies[0]
    cell = Cell("arm_block", "neon_tiny", "repeat_at_test", 2)
    assert spec.checkpoint_of(cell) == "x/video-2.safetensors"


def test_two_runs_started_together_on_one_folder_lose_no_row(tmp_path: Path) -> None:
    """One of them is refused by name, in one line; the other's rows are all there."""
    out = tmp_path / "both"
    both = [_spawn(_command(f"bench_fakes:{name}", 12, out)) for name in ("slow", "drift")]
    told = [process.communicate(timeout=120)[1] for process in both]
    codes = [process.returncode for process in both]
    assert sorted(codes) == [0, 2], told
    loser = codes.index(2)
    reasons = f"is being written by process {both[1 - loser].pid} (", "settings leave out"
    assert any(reason in told[loser] for reason in reasons), told  # the second: where it came late
    rows = RunFolder(out).read_rows()
    winner = f"bench_fakes:{('slow', 'drift')[1 - loser]}"
    assert [(row["policy"], row["episode"]) for row in rows] == [(winner, e) for e in range(12)]


def test_a_folder_that_is_being_written_is_neither_reported_nor_resumed(tmp_path: Path) -> None:
    rows_of_run(tmp_path, plan(["hold"], episodes=1))
    folder = RunFolder(tmp_path / "run")
    with RunFolder(folder.path).locked():
        for words in (["report", str(folder.path), "--videos", "0"], ["compare", str(folder.path)]):
            assert main(words) == (2 if words[0] == "report" else 0)
        with pytest.raises(RunError, match="is being written by"):
            run(plan(["hold"], episodes=2), folder, Resources(), resume=True)
    assert len(folder.read_rows()) == 1
    assert not folder.report.exists()
