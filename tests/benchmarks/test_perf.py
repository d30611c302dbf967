"""``make bench``: rows carry their target and their machine, and the command line is honest."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from neon_sim.benchmarks.perf import foundation
from neon_sim.benchmarks.perf.__main__ import main
from neon_sim.benchmarks.perf.rows import row_of, table
from neon_sim.policies.backbones.foundation.qwen_omni import QwenOmni


def test_a_row_is_the_median_and_knows_its_target():
    slow = row_of("overhead", "arm_reach", [1.3, 1.2, 1.1], "x", at_most=1.15)
    fast = row_of("pace", "arm_reach", [30.0, 25.0], "s/s", at_least=20.0)
    assert (slow.value, slow.low, slow.high) == (1.2, 1.1, 1.3)
    assert not slow.met
    assert fast.met
    text = table([slow, fast])
    assert "<= 1.15  MISSED" in text
    assert ">= 20    met" in text


@pytest.mark.parametrize(
    ("task", "name", "frames"),
    [("ArmReach", "arm_reach", None), ("HumanoidReach", "humanoid_reach", 300.0)],
)
def test_a_short_run_writes_every_number_with_its_machine(tmp_path, capsys, task, name, frames):
    out = tmp_path / "perf.json"
    arguments = ["--measure", "env_step", "--task", task, "--repeats", "1"]
    assert main([*arguments, "--out", str(out)]) == 0
    body = json.loads(out.read_text())
    assert {row["subject"] for row in body["rows"]} == {name}
    assert all(row["value"] > 0 for row in body["rows"])
    assert body["hardware"]["renderer"]["backend"]
    assert body["hardware"]["versions"]["mujoco"]
    assert "simulated time, one core" in capsys.readouterr().out
    rows = {row["measure"]: row for row in body["rows"]}
    seen = rows["env, camera frames"]
    assert seen["at_least"] == frames  # asked of the humanoid alone
    assert seen["met"] == (frames is None or seen["value"] >= frames)
    assert seen["value"] == pytest.approx(rows["env"]["value"] / 2)  # a frame every other step


def test_what_sound_costs_is_told_by_part(tmp_path):
    out = tmp_path / "perf.json"
    arguments = ["--measure", "sound", "--task", "ArmReach", "--repeats", "1", "--out", str(out)]
    assert main(arguments) == 0
    rows = {row["measure"].strip(): row for row in json.loads(out.read_text())["rows"]}
    assert rows["sound, mono, dry"]["at_most"] == 2000.0
    parts = [row["value"] for row in rows.values() if row["measure"].startswith("  ")]
    assert len(parts) == 7
    assert all(value >= 0 for value in parts)
    assert rows["propagation"]["value"] > 0


@pytest.mark.parametrize("arguments", [["--measure", "speed"], ["--task", "arm_fly"]])
def test_unknown_names_are_one_line_and_exit_code_2(arguments, capsys):
    assert main(arguments) == 2
    assert "Known:" in capsys.readouterr().err


@pytest.mark.usefixtures("hub_extra")
def test_a_foundation_model_is_measured_by_the_users_path(tmp_path, monkeypatch, capsys):
    """Both weights, both lengths; tiny here, so that it takes seconds."""
    small = tuple(replace(row, shape=QwenOmni.TINY) for row in QwenOmni.PUBLISHED)
    monkeypatch.setattr(QwenOmni, "PUBLISHED", small)
    monkeypatch.setattr(foundation, "_available_bytes", lambda: 10**12)
    # the catalogue says the size of the true model; a machine may have less room than that
    monkeypatch.setattr(foundation.shutil, "disk_usage", lambda path: SimpleNamespace(free=10**12))
    out = tmp_path / "perf.json"
    arguments = ["--measure", "foundation", "--backbone", "qwen_omni_3b", "--repeats", "1"]
    assert main([*arguments, "--out", str(out)]) == 0
    rows = json.loads(out.read_text())["rows"]
    looks = [row["subject"].removeprefix("qwen_omni_3b ") for row in rows[::2]]
    assert looks == [
        *("fp32, 4 frames, batch 1", "fp32, 16 frames, batch 1"),
        *("nf4, 4 frames, batch 1", "nf4, 16 frames, batch 1"),
    ]
    assert {row["measure"] for row in rows} == {"encode", "peak memory"}
    assert all(row["value"] > 0 for row in rows)


def test_the_memory_of_work_shorter_than_a_watch_is_seen(monkeypatch):
    monkeypatch.setattr(foundation, "WATCH_S", 3600)
    with foundation._peak_gb("cpu") as peak:
        pass
    assert 0.05 < peak[0] < 100


def test_a_foundation_model_that_does_not_fit_is_named_and_gives_no_row(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(foundation, "_available_bytes", lambda: 10**9)
    out = tmp_path / "perf.json"
    arguments = ["--measure", "foundation", "--backbone", "qwen_vl_7b", "--out", str(out)]
    assert main(arguments) == 0
    assert "skipped qwen_vl_7b: needs 49.6 GB of cpu memory, 1.0 GB" in capsys.readouterr().err
    assert json.loads(out.read_text())["rows"] == []
    assert main([*arguments[:3], "qwen_vl_8b", *arguments[4:]]) == 2
    assert "Known:" in capsys.readouterr().err
