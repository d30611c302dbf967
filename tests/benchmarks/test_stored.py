"""What lies in a run folder is believed only where it is whole, typed, its own, and inside."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from report_fakes import NASTY, Reader, make_row, save, synthetic
from run_fakes import plan, row

from neon_sim.benchmarks.certificates.common import certificate_folder, read_certificate
from neon_sim.benchmarks.cli import main
from neon_sim.benchmarks.compare import plan_of_run, summary_of_run
from neon_sim.benchmarks.film.videos import read_index
from neon_sim.benchmarks.report.page import write_report
from neon_sim.benchmarks.running.runner import Resources, run
from neon_sim.benchmarks.runs.folder import EpisodeLog, Row, RunFolder
from neon_sim.benchmarks.runs.plan import Cell
from neon_sim.benchmarks.runs.stored import read_run
from neon_sim.benchmarks.runs.suites import load_suite
from neon_sim.errors import NeonError, RunError
from neon_sim.files import write_json
from neon_sim.registry import TASKS


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A sound run of 2 tasks x 2 conditions x 8 episodes."""
    return synthetic(tmp_path / "run", {"frame": 2, "video": 6}, episodes=8)


def lines_of(folder: RunFolder) -> list[dict[str, Any]]:
    return [json.loads(line) for line in folder.episodes.read_text().splitlines()]


def write_lines(folder: RunFolder, lines: list[Any]) -> None:
    folder.episodes.write_text("".join(json.dumps(line) + "\n" for line in lines))


def refused(folder: RunFolder, capsys: pytest.CaptureFixture[str], *parts: str) -> None:
    """Report, compare and resuming end in one line that says so, and change nothing."""
    before = folder.episodes.read_bytes(), folder.manifest.read_bytes()
    for command in ("report", "compare"):
        assert main([command, str(folder.path), *(["--videos", "0"] * (command == "report"))]) == 2
        (told,) = capsys.readouterr().err.strip().splitlines()
        for part in parts:
            assert part in told
    assert (folder.episodes.read_bytes(), folder.manifest.read_bytes()) == before


# ---- rows -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("success", "false"),
        ("success", 1),
        ("success", None),
        ("success_final", "true"),
        ("progress", 7.5),
        ("progress", float("nan")),
        ("steps", -1),
        ("steps", 3.5),
        ("seed", "0"),
        ("seed", True),
        ("episode", -1),
        ("train_seed", "0"),
        ("task", None),
        ("mean_jerk", float("inf")),
        ("mean_jerk", -1.0),
        ("limits", {"torque": 2.0}),
        ("limits", []),
        ("timing", {}),
        ("timing", None),
        ("error", 3),
        ("error", "raised, and succeeded"),
        ("replan_steps", 0),
    ],
)
def test_a_value_of_another_kind_is_damage(folder, capsys, key, value) -> None:
    lines = lines_of(folder)
    lines[0][key] = value  # an episode that succeeded
    write_lines(folder, lines)
    refused(folder, capsys, "line 1 is damaged", key if value is None else "")


def test_a_line_that_is_json_and_no_row_is_damage_at_the_end_too(folder, capsys) -> None:
    lines = lines_of(folder)
    oddities: list[Any] = [[], {}, 3, {**lines[0], "more": 1}]
    for strange in oddities:
        write_lines(folder, [*lines, strange])
        refused(folder, capsys, f"line {len(lines) + 1} is damaged")
    with pytest.raises(RunError, match="is damaged"):
        EpisodeLog(folder.episodes)
    assert len(folder.episodes.read_text().splitlines()) == len(lines) + 1  # and nothing was cut


def test_a_row_that_is_there_twice_is_damage_alike_or_not(folder, capsys) -> None:
    lines = lines_of(folder)
    write_lines(folder, [*lines, {**lines[0], "timing": lines[1]["timing"]}])
    refused(folder, capsys, "lines 1 and 33 are damaged", "they are alike: delete line 33")
    write_lines(folder, [*lines, {**lines[0], "success": False}])
    refused(folder, capsys, "lines 1 and 33", "neither can be trusted", "arm_reach neon_tiny frame")


@pytest.mark.parametrize(
    "changes",
    [
        {"task": "arm_block"},
        {"task": "arm_nowhere"},
        {"policy": "other"},
        {"condition": "stack"},
        {"condition": "no such word"},
        {"train_seed": 1},
        {"train_seed": None},
        {"seed": 1},
        {"episode": 8},
    ],
)
def test_rows_of_no_cell_of_the_run_do_not_vanish(folder, capsys, changes) -> None:
    lines = lines_of(folder)
    write_lines(folder, [*lines, {**lines[0], **changes}])
    refused(folder, capsys, "holds 1 rows that manifest.json does not have", "delete these lines")


def test_rows_without_a_manifest_are_not_resumed(tmp_path: Path) -> None:
    hold = plan(["hold"], episodes=1)
    run(hold, RunFolder(tmp_path / "run"), Resources())
    (tmp_path / "run" / "manifest.json").unlink()
    with pytest.raises(RunError, match=r"holds rows and no manifest\.json"):
        run(hold, RunFolder(tmp_path / "run"), Resources(), resume=True)
    assert len(RunFolder(tmp_path / "run").read_rows()) == 1


# ---- the manifest -----------------------------------------------------------------------


def edit(folder: RunFolder, change: Callable[[dict[str, Any]], Any]) -> None:
    body = json.loads(folder.manifest.read_text())
    change(body)
    folder.manifest.write_text(json.dumps(body))  # also what write_json refuses: NaN


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("config.alpha", 5),
        ("config.alpha", float("nan")),
        ("config.alpha", "0.05"),
        ("config.alpha", 0),
        ("config.episodes", -8),
        ("config.episodes", 8.5),
        ("config.episodes", None),
        ("config.seed", "0"),
        ("config.latency_steps", -1),
        ("config.tasks", []),
        ("config.tasks", ["arm_reach", "arm_reach"]),
        ("config.tasks", "arm_reach"),
        ("config.until_decided", "no"),
        ("config.options", {"checkpoint": 3}),
        ("config.options", {"typo": 1}),
        ("config.policies", []),
        ("config.policies.0.kind", "module:function"),
        ("config.policies.0.conditions", ["no such word"]),
        ("config.policies.0.train_seeds", [0, 0]),
        ("config.policies.0.train_seeds", ["0"]),
        ("config.policies.0.config.clip", None),
        ("config.policies.0.config.clip.num_frames", "8"),
        ("config.policies.0.config.typo", 1),
        ("config", []),
        ("version", 2),
        ("version", "1"),
        ("command", "neon-bench run"),
        ("checkpoints", ["c0ffee"]),
        ("decisions", {"arm_reach": {}}),
        (
            "decisions",
            {"arm_reach": {"columns": [], "episodes": 9, "e_value": 1.0, "decided": True}},
        ),
        (
            "decisions",
            {"arm_block": {"columns": [], "episodes": 1, "e_value": 1.0, "decided": True}},
        ),
        ("cores", "two"),
    ],
)
def test_a_manifest_of_another_kind_is_damage(folder, capsys, place, value) -> None:
    def change(body: dict[str, Any]) -> None:
        *path, last = place.split(".")
        for part in path:
            body = body[int(part) if isinstance(body, list) else part]
        body[int(last) if isinstance(body, list) else last] = value

    edit(folder, change)
    refused(folder, capsys, "manifest.json")


def test_a_manifest_that_is_no_json_names_the_mend(folder, capsys) -> None:
    for text in ("", "[]", '{"config": ', "\x00", "[" * 100_000):
        folder.manifest.write_text(text)
        refused(folder, capsys, "manifest.json", "restore it from a copy")


def test_runs_of_before_the_later_settings_open_as_they_did(folder: RunFolder) -> None:
    """What manifests lacked until 2026-11: settings of policies and of the robot, drawn weights."""

    def older(body: dict[str, Any]) -> None:
        for key in ("mode", "lower"):
            del body["config"]["options"][key]
        for entry in body["config"]["policies"]:
            for key in ("replan_steps", "latency_steps"):
                del entry[key]
            for key in ("temporal", "temporal_args", "audio", "audio_args", "audio_dropout"):
                del entry["config"][key]
            del entry["config"]["clip"]["refresh_steps"]
        body["checkpoints"] = {"neon_tiny/video/0": "c0ffee"}

    before = plan_of_run(folder)
    edit(folder, older)
    assert plan_of_run(folder) == before
    page = write_report(folder.path, videos=0).read_text()
    assert "video beats frame" in page.lower() or "too small" in page


# ---- what would run or leave the folder ---------------------------------------------------


def test_a_manifest_imports_nothing_that_was_not_typed(tmp_path, monkeypatch, capsys) -> None:
    (tmp_path / "evil_policy.py").write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w')\nfrom bench_fakes import drift\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    out = str(tmp_path / "run")
    command = ["run", "--policy", "bench_fakes:drift,hold", "--task", "arm_block", "--seed", "3"]
    command += ["--episodes", "1", "--workers", "1", "--videos", "0", "--quiet", "--out", out]
    assert main(command) == 0
    folder = RunFolder(out)
    for path in (folder.manifest, folder.episodes):
        path.write_text(path.read_text().replace("bench_fakes:drift", "evil_policy:drift"))
    assert main(["report", out, "--videos", "1"]) == 0
    assert main(["compare", out]) == 0
    assert not (tmp_path / "ran").exists()
    text = " ".join(Reader(folder.report.read_text()).text)
    assert "No videos of evil_policy:drift" in text
    assert "neon-bench report RUN --policy evil_policy:drift" in text
    capsys.readouterr()
    assert main(["report", out, "--videos", "1", "--policy", "evil_policy:drift"]) == 0
    assert (tmp_path / "ran").exists()  # typed, so trusted
    assert "data:video/mp4" in folder.report.read_text()


@pytest.mark.parametrize(
    "name", ["../../precious.txt", "ABSOLUTE", "..", "precious.txt", "up/x.mp4"]
)
def test_a_report_deletes_and_shows_nothing_outside(tmp_path, name) -> None:
    precious = tmp_path / "precious.txt"
    precious.write_text("years of work")
    folder = RunFolder(tmp_path / "run")
    run(plan(["hold"], episodes=1), folder, Resources())
    write_report(folder, videos=1)
    (folder.videos / "precious.txt").write_text("a note")
    (folder.videos / "up").symlink_to(tmp_path)
    (tmp_path / "x.mp4").write_bytes(b"mine")
    index = json.loads((folder.videos / "index.json").read_text())
    index["groups"][0]["sides"][0]["video"] = str(precious) if name == "ABSOLUTE" else name
    index["groups"][0]["episode"] = 5  # not one of those that are shown now
    write_json(folder.videos / "index.json", index)
    assert read_index(folder.path) == []
    write_report(folder, videos=1)
    assert precious.read_text() == "years of work"
    assert (folder.videos / "precious.txt").read_text() == "a note"
    assert (tmp_path / "x.mp4").read_bytes() == b"mine"
    assert len(read_index(folder.path)) == 1


def test_links_out_of_a_run_are_neither_read_nor_emptied(tmp_path, capsys) -> None:
    folder = RunFolder(tmp_path / "run")
    the_plan = plan(["hold"], episodes=1)
    run(the_plan, folder, Resources())
    write_report(folder, videos=1)
    diary = tmp_path / "diary"
    diary.write_text("a line without its end")  # which a log would cut off as torn
    rows = folder.episodes.read_bytes()
    for path in (folder.episodes, folder.path / ".lock"):
        path.unlink()
        path.symlink_to(diary)
        with pytest.raises(RunError, match="symbolic link"):
            run(the_plan, folder, Resources(), resume=True)
        assert main(["report", str(folder.path)]) == 2
        path.unlink()
        folder.episodes.write_bytes(rows)
    (video,) = folder.videos.glob("*.mp4")
    video.unlink()
    video.symlink_to(diary)
    page = write_report(folder, videos=1)  # the index does not count, the video is made again
    assert diary.read_text() == "a line without its end"
    assert "data:video/mp4" in page.read_text()
    assert not video.is_symlink()


def test_a_name_too_long_for_the_disk_is_shortened(tmp_path: Path) -> None:
    row_ = make_row(Cell("arm_catch", "p" * 400, "video", 0), 3, True)
    from neon_sim.benchmarks.film.videos import make_side

    other = make_side({**row_, "policy": "p" * 401})
    assert len(make_side(row_).video) < 200
    assert make_side(row_).video != other.video


def test_errors_in_rows_are_text_and_no_markup(folder: RunFolder) -> None:
    rows: list[Row] = folder.read_rows()
    rows[0] |= {"success": False, "success_final": False, "error": NASTY}
    save(folder, rows)
    assert "<script>alert" not in write_report(folder.path, videos=0).read_text()


# ---- certificates -----------------------------------------------------------------------


def test_every_certificate_that_ships_is_whole() -> None:
    found = {name: read_certificate(name) for name in TASKS}
    shipped = {path.stem for path in certificate_folder().glob("*.json")}
    assert {name for name, body in found.items() if body is not None} == shipped
    assert len(shipped) >= 20


def test_readme_and_script_tell_of_the_certificate_that_needs_more_episodes() -> None:
    root = Path(__file__).parents[2]
    entries = {name: read_certificate(name) for name in load_suite("arm").tasks}
    usual = {name for name, body in entries.items() if body["entries"]["blind"]["n"] == 200}
    assert set(entries) - usual == {"arm_catch"}
    blind = entries["arm_catch"]["entries"]["blind"]
    text = " ".join((root / "README.md").read_text().split())
    assert f"rests on {blind['n']} episodes ({100 * blind['rate']:.1f} %)" in text
    script = (root / "benchmarks" / "reproduce" / "arm.sh").read_text()
    assert "--task arm_catch --episodes $((5 * EPISODES)) --seed 1" in script
    (listed,) = re.findall(r"certify --task (arm_reach\S+)", script)
    assert set(listed.split(",")) == usual


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("status", "granted"),
        ("task", "arm_block"),
        ("verdict", None),
        ("entries", []),
        ("entries", {"expert": {"n": 100, "successes": 99, "rate": 1.0, "wilson": [0.9, 1.0]}}),
        ("entries", {"expert": {"n": 100, "successes": 101, "rate": 1.01, "wilson": [0.9, 1]}}),
        ("entries", {"expert": {"n": 0, "successes": 0, "rate": 0.0, "wilson": [0.0, 1.0]}}),
        ("entries", {"expert": {}}),
        ("history_gain", {"difference": 0.5}),
        ("seed", "1"),
    ],
)
def test_a_damaged_certificate_is_an_error_and_not_none(tmp_path, key, value) -> None:
    body = json.loads((certificate_folder() / "arm_catch.json").read_text())
    (tmp_path / "arm_catch.json").write_text(json.dumps({**body, key: value}))
    with pytest.raises(NeonError, match="neon-bench certify --task arm_catch"):
        read_certificate("arm_catch", tmp_path)
    assert read_certificate("arm_reach", tmp_path) is None
    (tmp_path / "arm_catch.json").write_text(json.dumps({**body, "version": 2}))
    assert read_certificate("arm_catch", tmp_path) is None


def test_one_reading_gives_plan_rows_and_decisions(folder: RunFolder) -> None:
    stored = read_run(folder)
    assert len(stored.rows) == 32
    assert stored.plan.episodes == 8
    assert stored.decisions == {}
    assert summary_of_run(folder)["failures"] == []
    assert [r["episode"] for r in [row(1)]] == [1]
