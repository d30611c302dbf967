"""A user's own policy: whatever is no policy is named in one line before a run begins."""

from __future__ import annotations

import importlib
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neon_sim.benchmarks.cli import main
from neon_sim.benchmarks.runs.folder import Row, RunFolder, without_timing
from neon_sim.benchmarks.runs.scripted import SCRIPTED, Hold

GOOD = """
import numpy as np
from neon_sim.config.policy import ClipConfig


class Policy:
    clip = ClipConfig(num_frames=2)
    needs = frozenset({"state"})

    def reset(self, num_envs):
        pass

    def act(self, batch):
        return np.full((len(batch), 16, 8), 0.1, dtype=np.float32)


def make(condition, task, train_seed):
    return Policy()
"""
ACT = "return np.full((len(batch), 16, 8), 0.1, dtype=np.float32)"


def answering(expression: str) -> str:
    """The good policy with another answer."""
    assert ACT in GOOD
    return GOOD.replace(ACT, expression)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes a module ``own_policy`` that this process and its workers find."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(source: str) -> str:
        (tmp_path / "own_policy.py").write_text(textwrap.dedent(source))
        importlib.invalidate_caches()
        monkeypatch.delitem(__import__("sys").modules, "own_policy", raising=False)
        return "own_policy:make"

    return write


def attempt(tmp_path: Path, policy: str, *more: str, task: str = "arm_block") -> int:
    """``neon-bench run`` of two episodes."""
    command = ["run", "--policy", policy, "--task", task, "--episodes", "2", "--workers", "1"]
    out = ["--out", str(tmp_path / "run"), "--videos", "0", "--quiet"]
    return main([*command, *out, *more])


def refused(tmp_path: Path, capsys: Any, policy: str, *more: str, task: str = "arm_block") -> str:
    """The one line that a run is refused with; nothing is made."""
    assert attempt(tmp_path, policy, *more, task=task) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1
    assert "Traceback" not in shown.err
    assert not (tmp_path / "run").exists()
    return shown.err


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        ("os:system", "must take condition, task, train_seed by name"),
        ("json:dumps", "must take condition, task, train_seed by name"),
        ("math:pi", "must be a function that returns a policy (got a value of type float)"),
        ("builtins:dict", "lacks reset, act, clip, needs (got a value of type dict)"),
        ("no_such_module:make", "cannot be imported (ModuleNotFoundError"),
        (".relative:make", "cannot be imported (TypeError"),
        (":make", "cannot be imported (ValueError"),
        ("json:", "has no ''"),
        ("json:dumbs", "has no 'dumbs'"),
        ("json:dumps:loads", "has no 'dumps:loads'"),
    ],
)
def test_a_name_that_is_no_factory_is_refused(tmp_path, capsys, policy: str, text: str) -> None:
    assert text in refused(tmp_path, capsys, policy)


@pytest.mark.slow
def test_a_file_of_the_current_folder_is_found_also_by_workers(tmp_path: Path) -> None:
    """``-P`` leaves the folder out, as the installed command does."""
    (tmp_path / "of_mine.py").write_text(GOOD)
    run = "run --policy of_mine:make --task arm_block --episodes 2 --workers 2 --videos 0 --quiet"
    command = [sys.executable, "-P", "-m", "neon_sim.benchmarks.cli", *run.split(), "--out", "run"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "run" / "episodes.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("raise RuntimeError('no licence\\nfound')", "RuntimeError: no licence found"),
        ("import sys\nsys.exit(3)", "cannot be imported (SystemExit: 3"),
        ("def make(:", "cannot be imported (SyntaxError"),
        ("def make(task): pass", "it takes (task)"),
        ("def make(condition, task, train_seed, size): pass", "missing a required argument"),
        ("def make(**_): raise KeyError('weights')", "raised when it was called with condition="),
        ("def make(**_): return None", "got a value of type NoneType"),
        (GOOD.replace("return Policy()", "return Policy"), "returned the class Policy"),
        (GOOD.replace("def act(", "def answer("), "lacks act"),
        (GOOD.replace("def reset(", "def restart("), "lacks reset"),
        (GOOD.replace("    def act(self", "    act = 3\n    def other(self"), "must be a method"),
        (
            GOOD.replace("clip = ClipConfig(num_frames=2)", "clip = 2"),
            "must be a neon_sim.observation.clips.",
        ),
        (GOOD.replace("num_frames=2", "num_frames=0"), "clip.num_frames must be 1 to 64"),
        (GOOD.replace("num_frames=2", 'camera="rear"').replace("state", "video"), "rear"),
        (GOOD.replace('frozenset({"state"})', '"state"'), "must be a set of words"),
        (GOOD.replace('{"state"}', '{"stats"}'), "Did you mean 'state'"),
        (GOOD.replace('{"state"}', '{"audio"}'), "arm_block has no microphones"),
    ],
)
def test_what_a_factory_makes_is_checked(tmp_path, capsys, module, source, text) -> None:
    assert text in refused(tmp_path, capsys, module(source))


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("return np.zeros((len(batch), 8), np.float32)", "(1, 16, 8) actions (got (1, 8))"),
        ("return np.zeros((len(batch), 8, 8), np.float32)", "(got (1, 8, 8))"),
        ("return np.zeros((1, 16, 8), np.float32)", "(2, 16, 8) actions (got (1, 16, 8))"),
        ("return np.zeros((len(batch), 16, 7), np.float32)", "(got (1, 16, 7))"),
        ("return [[0.0], [0.0, 1.0]]", "must return an array"),
        ("return None", "(got ())"),
        ("return np.zeros((len(batch), 16, 8), int)", "must return floats (got int64)"),
        ("return np.full((len(batch), 16, 8), 1.5)", "must be finite in [-1, 1] (got 1.5)"),
        ("return np.full((len(batch), 16, 8), np.nan)", "must be finite in [-1, 1] (got nan)"),
        ("return np.full((len(batch), 16, 8), np.inf)", "must be finite in [-1, 1] (got inf)"),
        (
            "raise OSError('connection\\nlost')",
            "at its first look (OSError: connection lost",
        ),
        ("raise SystemExit(4)", "raised at its first look (SystemExit: 4"),
    ],
)
def test_what_a_policy_answers_is_tried(tmp_path, capsys, module, answer, text) -> None:
    line = refused(tmp_path, capsys, module(answering(answer)))
    assert text in line
    assert "policy 'own_policy:make' on arm_block under " in line


def test_every_task_and_condition_is_tried(tmp_path, capsys, module) -> None:
    """8 numbers are an arm's action and no humanoid's; a policy may fail at one condition only."""
    name = module(GOOD)
    assert "(1, 16, 17) actions (got (1, 16, 8))" in refused(
        tmp_path, capsys, name, task="arm_block,humanoid_reach"
    )
    picky = GOOD.replace("return Policy()", "return Policy() if condition == 'frame' else None")
    assert "lacks" in refused(tmp_path, capsys, module(picky), "--condition", "frame,video")
    assert attempt(tmp_path, module(picky), "--condition", "frame") == 0


def test_workers_try_a_policy_before_anything_is_written(tmp_path, capsys, module) -> None:
    name = module(answering("return np.zeros((len(batch), 16, 3))"))
    assert "(got (1, 16, 3))" in refused(tmp_path, capsys, name, "--workers", "2")


class Broken(Hold):
    """Answers two joints of eight."""

    def chunk(self, env: Any, task: str, seed: int, episode: int) -> np.ndarray:
        return np.zeros((16, 2), dtype=np.float32)


def test_scripted_players_are_held_to_the_same_rules(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setitem(SCRIPTED, "hold", Broken)
    assert "must return (16, 8) actions (got (16, 2))" in refused(tmp_path, capsys, "hold")


def test_a_policy_that_fails_later_fails_its_episodes(tmp_path, capsys, module) -> None:
    """The trial sees first looks alone; whatever goes wrong later is an error of the episode."""
    late = answering(
        "self.looks = getattr(self, 'looks', 0) + 1\n"
        "        return np.zeros((len(batch), 16, 8 if self.looks < 3 else 7), np.float32)"
    )
    assert attempt(tmp_path, module(late)) == 1
    rows = RunFolder(tmp_path / "run").read_rows()
    assert [row["error"] is None for row in rows] == [False, False]
    assert all("(got (1, 16, 7))" in str(row["error"]) for row in rows)


def rows_of(tmp_path: Path, source: str, module: Any, name: str) -> list[Row]:
    """Rows of a policy that sees video."""
    policy = module(source.replace('{"state"}', '{"video", "state"}'))
    assert main(
        [
            *("run", "--policy", policy, "--task", "arm_block", "--episodes", "3"),
            *("--workers", "1", "--batch", "2", "--videos", "0", "--quiet"),
            *("--out", str(tmp_path / name)),
        ]
    ) in (0, 1)
    return without_timing(RunFolder(tmp_path / name).read_rows())


def test_a_policy_that_overwrites_what_it_sees_changes_no_row(tmp_path, module, capsys) -> None:
    """Its observation is a copy: the frames of the next look, and of the others, stay true."""
    look = "m = batch.video.mean(axis=(1, 2, 3, 4)) / 255 + batch.state.sum(axis=(1, 2)) / 100\n"
    spoil = (
        "        for a in (batch.video, batch.state, batch.agent_pos, batch.mask, batch.time_s):\n"
        "            a[...] = 0\n"
        "        batch.text[:] = ['' for _ in batch.text]\n"
    )
    answer = "        return np.repeat(np.clip(m, -1, 1), 128).reshape(-1, 16, 8).astype('f4')"
    honest = rows_of(tmp_path, answering(look + answer), module, "honest")
    assert rows_of(tmp_path, answering(look + spoil + answer), module, "spoilt") == honest
