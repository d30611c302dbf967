"""The report: one file that holds every task, says what is missing and trusts no text."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import numpy as np
import pytest
from report_fakes import NASTY, TASKS, Reader, decode, make_row, save, synthetic

from neon_sim.benchmarks.compare import plan_of_run, summary_of_run
from neon_sim.benchmarks.film.filming import HEIGHT, WIDTH, check_replay, filmed
from neon_sim.benchmarks.film.media import MAX_BYTES, encode_image, encode_video, small_video
from neon_sim.benchmarks.film.videos import choose, make_videos, read_index, shown_columns
from neon_sim.benchmarks.report import background as report_background
from neon_sim.benchmarks.report.charts import forest, forest_reach, signed
from neon_sim.benchmarks.report.markup import Html, markup, tag
from neon_sim.benchmarks.report.page import write_report
from neon_sim.benchmarks.running.runner import Resources, run
from neon_sim.benchmarks.runs.folder import RunFolder
from neon_sim.benchmarks.runs.plan import Cell, make_plan
from neon_sim.clock import CAMERA_HZ
from neon_sim.errors import RunError
from neon_sim.files import write_json

SHAPES = {"path", "rect", "circle"}


def read(folder: RunFolder, videos: int = 0) -> tuple[str, Reader]:
    page = write_report(folder.path, videos=videos).read_text()
    return page, Reader(page)


def test_page_stands_alone_and_holds_everything(tmp_path: Path) -> None:
    folder = synthetic(tmp_path / "run", {"blind": 4, "frame": 10, "video": 36})
    page, reader = read(folder)
    text = " ".join(reader.text)
    assert page.startswith("<!doctype html>")
    assert all(link.startswith(("#", "data:")) for link in reader.links)
    assert "url(" not in page
    assert "@import" not in page
    assert re.findall(r"https?://", page) == []
    assert {link[1:] for link in reader.links if link.startswith("#")} <= set(reader.ids)
    assert len(reader.ids) == len(set(reader.ids))
    summary = folder.read_json(folder.summary)
    assert summary["verdict"] in text
    for words in (*TASKS, "video better", "36", "4.25", "Example CPU", "llvmpipe", "9.9.9"):
        assert words in text
    assert "neon-bench run --out 'a b'" in text
    assert text.count("c0ffee" * 10) == 1
    assert f"<td>{', '.join(TASKS)}</td>" in page
    assert reader.tags.count("figure") == len(TASKS)
    assert len(SHAPES & set(reader.tags)) >= 2


def test_difference_and_interval_come_from_the_summary(tmp_path: Path) -> None:
    folder = synthetic(tmp_path / "run", {"frame": 10, "video": 36})
    page, _ = read(folder)
    pair = folder.read_json(folder.summary)["tasks"]["arm_catch"]["pairs"][0]
    low, high = pair["interval"]
    assert f"+65 points (95 % interval {signed(low)} to {signed(high)}" in page
    assert f'<td class="n">{pair["only_b"]}</td>' in page


def test_says_when_the_data_cannot_decide(tmp_path: Path) -> None:
    folder = synthetic(tmp_path / "run", {"frame": 10, "video": 12})
    assert "Undecided: these data show neither" in read(folder)[0]


def test_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neon_sim.benchmarks.report.page.read_certificate", lambda task: None)
    folder = synthetic(tmp_path / "run", {"frame": 10})
    rows = folder.read_rows()
    save(folder, rows[:-3])
    text = " ".join(read(folder)[1].text)
    for words in (
        "3 episodes are missing",
        "Nothing was compared",
        "No certificate stored",
        "made without videos",
        "No episode raised an error",
    ):
        assert words in text


def test_errors_are_listed_and_text_is_escaped(tmp_path: Path) -> None:
    folder = synthetic(tmp_path / "run", {"frame": 10, "video": 36})
    rows = folder.read_rows()
    rows[0] = {**rows[0], "success": False, "success_final": False, "error": NASTY}
    save(folder, rows)
    page, reader = read(folder)
    assert "<script>alert" not in page
    assert NASTY in "".join(reader.text)
    assert "1 episode raised an error" in page


def test_summary_follows_the_rows(tmp_path: Path) -> None:
    folder = synthetic(tmp_path / "run", {"frame": 10, "video": 36})
    first = read(folder)[0]
    summary = folder.read_json(folder.summary)
    write_json(folder.summary, {**summary, "verdict": "frame wins", "tasks": {}})
    assert read(folder)[0] == first  # a summary is made from rows and never believed
    assert folder.read_json(folder.summary) == summary
    save(folder, folder.read_rows()[:-5])
    assert read(folder)[0] != first


def test_several_training_seeds_show_their_own_interval(tmp_path: Path) -> None:
    folder = synthetic(tmp_path / "run", {"frame": 3, "video": 9}, episodes=10, train_seeds=(0, 1))
    page, _ = read(folder)
    assert "over seeds" in page
    assert 'class="seed c-video"' in page


CERTIFICATE = {
    "policy": "neon_tiny",
    "status": "refused",
    "verdict": "not certified as temporal: blind 40 % <at most 25>",
    "entries": {
        "expert": {"n": 20, "successes": 19, "rate": 0.95, "wilson": [0.76, 0.99]},
        "blind": {"n": 20, "successes": 8, "rate": 0.4, "wilson": [0.22, 0.61]},
        "oracle_history": {"skipped": True, "why": "train it"},
    },
    "history_gain": None,
    "twins": {"checked": 16, "equal": 16, "differing": 16, "action_gap": 0.1, "holds": True},
}


def test_certificate_card() -> None:
    page = tag("div", *report_background.certificate_card("arm_catch", CERTIFICATE))
    text = " ".join(Reader(page).text)
    assert "<at most 25>" in text
    assert "Not measured: oracle_history" in text
    assert "16 of 16 equal" in text
    assert (
        'aria-label="Success on arm_catch (certificate): expert 95 %; neon_tiny blind 40 %"' in page
    )


def test_markup_escapes() -> None:
    assert tag("p", "<b>", title='"&') == '<p title="&quot;&amp;">&lt;b&gt;</p>'
    assert tag("br", hidden=True, class_=None) == "<br hidden>"
    assert markup(Html("<b>")) == "<b>"


@pytest.mark.parametrize("difference", [-1.0, -0.3, 0.0, 0.004, 1.0])
def test_forest_stays_inside(difference: float) -> None:
    pair = {
        "a": ["p", "frame"],
        "b": ["p", "video"],
        "difference": difference,
        "interval": [max(-1.0, difference - 0.2), min(1.0, difference + 0.2)],
    }
    reach = forest_reach([pair])
    picture = forest(pair, reach, 0.1, "better")
    Reader(picture)
    found = re.search(r'cx="([\d.]+)"', picture)
    assert found
    assert 0 < float(found[1]) < 260
    assert 0.25 <= reach <= 1.0


def test_signed() -> None:
    assert [signed(x) for x in (0.381, -0.04, 0.001, -0.001)] == ["+38", "−4", "0", "0"]
    assert [signed(x, 1) for x in (0.3812, -0.0004, -0.04)] == ["+38.1", "0.0", "−4.0"]


# ---- videos ------------------------------------------------------------------------------


def test_episodes_that_differ_come_first() -> None:
    a, b = Cell("arm_catch", "p", "frame", 0), Cell("arm_catch", "p", "video", 0)
    ends = [(1, 1), (0, 0), (1, 0), (0, 1), (0, 1), (0, 1)]
    rows = [make_row(a, i, bool(x)) for i, (x, _) in enumerate(ends)]
    rows += [make_row(b, i, bool(y)) for i, (_, y) in enumerate(ends)]
    rows.append(make_row(a, 6, False, error="boom"))
    rows.append(make_row(b, 6, True))
    columns = [("p", "frame"), ("p", "video")]
    chosen = choose(rows, "arm_catch", columns, 9)
    assert [c.rows[0]["episode"] for c in chosen] == [3, 2, 4, 5, 1, 0]
    assert [(c.alike, c.total) for c in chosen[:2]] == [(3, 6), (1, 6)]
    assert len(choose(rows, "arm_catch", columns, 2)) == 2
    alone = choose(rows, "arm_catch", columns[:1], 2)
    assert [c.rows[0]["success"] for c in alone] == [False, False]


def test_a_policy_without_training_meets_every_training_seed() -> None:
    expert = Cell("arm_catch", "expert", "scripted", None)
    rows = [make_row(Cell("arm_catch", "p", "video", s), 0, s == 1) for s in (0, 1)]
    rows.append(make_row(expert, 0, True))
    columns = [("p", "video"), ("expert", "scripted")]
    (first,) = choose(rows, "arm_catch", columns, 1)
    assert [row["train_seed"] for row in first.rows] == [0, None]


def test_videos_show_frame_against_video(tmp_path: Path) -> None:
    folder = synthetic(tmp_path / "run", {"blind": 1, "video": 9, "frame": 5}, episodes=10)
    entry = summary_of_run(folder)["tasks"]["arm_catch"]
    assert shown_columns(entry) == [("neon_tiny", "frame"), ("neon_tiny", "video")]


def test_encoding() -> None:
    ramp = np.linspace(40, 200, WIDTH).astype(np.uint8)
    moved = [np.roll(ramp, 9 * i)[:, None] for i in range(5)]
    frames = np.stack([np.broadcast_to(row, (HEIGHT, WIDTH, 3)) for row in moved])
    pictures, facts = decode(encode_video(frames, 24))
    assert facts == ("h264", "yuv420p", CAMERA_HZ)
    assert np.abs(np.stack(pictures).astype(int) - frames).mean() < 4
    noise = np.random.default_rng(0).integers(0, 255, (8, HEIGHT, WIDTH, 3), dtype=np.uint8)
    assert len(small_video(noise)) < len(encode_video(noise, 20))
    (poster,), _ = decode(encode_image(frames[0], "mjpeg"))
    assert np.abs(poster.astype(int) - frames[0]).mean() < 4


def test_replay_that_differs_is_an_error() -> None:
    row = make_row(Cell("arm_catch", "p", "video", 0), 3, True)
    check_replay(row, {**row, "timing": {}})
    with pytest.raises(RunError, match=r"episode 3.*success True -> False.*--videos 0"):
        check_replay(row, {**row, "success": False})


@pytest.fixture(scope="module")
def scripted_run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Two episodes of arm_catch, played by the expert and by nobody."""
    plan = make_plan(
        policies=["hold", "expert"],
        conditions=[],
        tasks=["arm_catch"],
        suite=None,
        episodes=2,
        seed=0,
        train_seeds=[0],
        latency_steps=0,
        until_decided=False,
        alpha=0.05,
        overrides=[],
    )
    folder = RunFolder(tmp_path_factory.mktemp("runs") / "scripted")
    run(plan, folder, Resources())
    return folder


def test_videos_of_a_real_run(scripted_run: RunFolder) -> None:
    reader = read(scripted_run, videos=1)[1]
    shown = [link for link in reader.links if link.startswith("data:video/mp4;base64,")]
    assert len(shown) == 2
    (group,) = read_index(scripted_run.path)
    rows = {
        row["policy"]: row for row in scripted_run.read_rows() if row["episode"] == group.episode
    }
    for link, side in zip(shown, group.sides, strict=True):
        data = base64.b64decode(link.partition(",")[2])
        pictures, _ = decode(data)
        assert len(data) < MAX_BYTES
        assert len(pictures) == rows[side.policy]["steps"] // 2 + 1
        assert side.success == rows[side.policy]["success"]
        assert np.std(pictures[0]) > 10  # not a blank screen
    assert group.description
    assert group.description in " ".join(reader.text)


def test_processes_change_no_picture(scripted_run: RunFolder) -> None:
    plan, rows = plan_of_run(scripted_run), scripted_run.read_rows()
    groups = [[row] for row in rows if row["policy"] == "expert"]
    assert len(groups) == 2
    here, there = (list(filmed(plan, groups, workers)) for workers in (1, 2))
    assert [[(s.words, s.poster) for s in shots] for shots in here] == [
        [(s.words, s.poster) for s in shots] for shots in there
    ]


def test_videos_are_kept_until_the_rows_change(scripted_run: RunFolder) -> None:
    summary = summary_of_run(scripted_run)
    films = make_videos(scripted_run, summary, 1)
    path = scripted_run.videos / films.groups[0].sides[0].video
    before = path.stat().st_mtime_ns
    assert make_videos(scripted_run, summary, 1) == films
    assert path.stat().st_mtime_ns == before
    rows = [{**row, "steps": row["steps"] + 1} for row in scripted_run.read_rows()]
    text = scripted_run.episodes.read_text()
    save(scripted_run, rows)
    with pytest.raises(RunError, match="another way"):
        make_videos(scripted_run, summary, 1)
    scripted_run.episodes.write_text(text)


@pytest.mark.parametrize("count", [-1, 11])
def test_number_of_videos_has_bounds(scripted_run: RunFolder, count: int) -> None:
    with pytest.raises(RunError, match="0 to 10"):
        write_report(scripted_run, videos=count)


def test_no_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is no run"):
        write_report(tmp_path / "nowhere")


def test_damaged_index_only_costs_time(scripted_run: RunFolder) -> None:
    index = scripted_run.videos / "index.json"
    text = index.read_text()
    index.write_text(json.dumps({"groups": [{"task": "?"}]}))
    assert read_index(scripted_run.path) == []
    index.write_text(text)


def test_many_comparisons_are_folded(tmp_path: Path) -> None:
    few = synthetic(tmp_path / "few", {"frame": 3, "video": 9}, episodes=10)
    wins = {"blind": 1, "frame": 3, "stack": 5, "video": 9, "video_repeat": 3}
    many = synthetic(tmp_path / "many", wins, episodes=10)
    assert "all 2 comparisons" not in read(few)[0]
    page, reader = read(many)
    assert "all 20 comparisons" in page
    rows = page.partition('id="pairs"')[2].partition("</section>")[0].count("<tr>")
    assert rows == 2 + len(TASKS) + 20  # two heads, the verdict's pairs, all pairs
    assert reader.ids.count("pairs") == 1
