"""Workers that die: their episodes are computed again, and give the rows of an undisturbed run."""

from __future__ import annotations

import os
import signal

import pytest
from mortal_fakes import mortal, rows_of

from neon_sim.benchmarks.cli import main
from neon_sim.benchmarks.running.attempts import MAX_DEATHS, Attempts
from neon_sim.benchmarks.running.episode import Job, Settings
from neon_sim.benchmarks.running.pool import ProcessPool, how_ended
from neon_sim.benchmarks.runs.folder import ROW_KEYS, RunFolder, without_timing
from neon_sim.benchmarks.runs.plan import Cell, RunOptions, RunPlan, make_plan
from neon_sim.errors import RunError

__all__ = ["mortal"]  # a fixture


def test_a_worker_that_is_killed_changes_no_row(tmp_path, mortal, capsys) -> None:
    whole = rows_of(tmp_path / "whole", "never", workers=1)
    assert rows_of(tmp_path / "killed", "once", workers=2) == whole
    assert mortal.exists()
    note = capsys.readouterr().err
    assert note.count("\n") == 1
    assert "note: a worker process died (SIGKILL, which often means out of memory)" in note


def test_an_episode_that_always_kills_becomes_a_row_with_an_error(tmp_path, mortal, capsys) -> None:
    whole = rows_of(tmp_path / "whole", "never", workers=1)
    command = ["run", "--policy", "mortal:sometimes", "--task", "arm_block", "--episodes", "4"]
    options = ["--seed", "3", "--workers", "2", "--batch", "2", "--videos", "0", "--quiet"]
    assert main([*command, *options, "--out", str(tmp_path / "run")]) == 1
    assert "raised an error" in capsys.readouterr().out
    rows = without_timing(RunFolder(tmp_path / "run").read_rows())
    failed = [row for row in rows if row["error"] is not None]
    assert 0 < len(failed) < len(rows) == 4
    for row in failed:
        assert tuple(row) == tuple(key for key in ROW_KEYS if key != "timing")
        assert row["error"] == (
            f"WorkerDied: the process that played it ended {MAX_DEATHS} times (SIGSEGV)"
        )
    for row, other in zip(rows, whole[:4], strict=True):
        if row["error"] is None:
            assert {**row, "policy": "mortal"} == other


def test_a_policy_that_ends_its_process_at_once_is_refused(tmp_path, mortal, capsys) -> None:
    command = ["run", "--policy", "mortal:always", "--task", "arm_block", "--episodes", "2"]
    options = ["--workers", "2", "--videos", "0", "--quiet", "--out", str(tmp_path / "run")]
    assert main([*command, *options]) == 2
    shown = capsys.readouterr().err
    assert "ended the process that asked it for one chunk, 2 times (exit code 9)" in shown
    assert shown.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_an_idle_worker_that_died_is_replaced() -> None:
    pool = ProcessPool(1)
    try:
        for process in pool._processes.values():
            os.kill(process.pid, signal.SIGKILL)
            process.join(5)
        settings = Settings(3, 0, RunOptions(), batch=1)
        (spec,) = make_hold().policies
        cell = Cell("arm_block", "hold", "scripted", None)
        rows = list(pool.run([Job(spec, cell, (0,), settings)]))
    finally:
        pool.close()
    assert [row["error"] for row in rows] == [None]


def make_hold() -> RunPlan:
    """A run of ``hold``."""
    return make_plan(
        policies=["hold"],
        conditions=[],
        tasks=["arm_block"],
        suite=None,
        episodes=1,
        seed=3,
        train_seeds=[0],
        latency_steps=0,
        until_decided=False,
        alpha=0.05,
        overrides=[],
    )


# ---- the list of what is tried again ---------------------------------------------------------


def job(*episodes: int) -> Job:
    """A job of ``hold``."""
    (spec,) = make_hold().policies
    cell = Cell("arm_block", "hold", "scripted", None)
    return Job(spec, cell, episodes, Settings(3, 0, RunOptions(), batch=8))


def test_what_is_left_of_a_job_is_tried_whole_and_then_apart(capsys) -> None:
    attempts = Attempts([job(0, 1, 2, 3)], workers=1)
    first = attempts.next()
    attempts.came(first, {"episode": 1})
    assert attempts.died(first, "SIGKILL") == []
    again = attempts.next()
    assert again.work.episodes == (0, 2, 3)
    assert attempts.died(again, "SIGKILL") == []
    alone = [attempts.next() for _ in range(3)]
    assert [attempt.work.episodes for attempt in alone] == [(0,), (2,), (3,)]
    assert not attempts
    (lost,) = attempts.died(alone[1], "SIGKILL")
    assert (lost["episode"], lost["success"], lost["steps"]) == (2, False, 0)
    assert not attempts
    assert capsys.readouterr().err.count("\n") == 2


def test_a_death_after_the_last_row_loses_nothing() -> None:
    attempts = Attempts([job(0)], workers=1)
    first = attempts.next()
    attempts.came(first, {"episode": 0})
    assert attempts.died(first, "SIGKILL") == []
    assert not attempts


def test_workers_that_die_in_vain_end_the_run() -> None:
    """Nothing is given up one by one for hours where no process survives at all."""
    attempts = Attempts([job(*range(40))], workers=2)
    for _ in range(MAX_DEATHS * 3):
        attempts.died(attempts.next(), "exit code 1")
    with pytest.raises(RunError, match=r"a worker process died \(exit code 1\).*--resume"):
        attempts.died(attempts.next(), "exit code 1")


def test_exit_codes_in_words() -> None:
    assert how_ended(-9) == "SIGKILL, which often means out of memory"
    assert how_ended(-11) == "SIGSEGV"
    assert how_ended(3) == "exit code 3"
    assert how_ended(-200) == "signal 200"
