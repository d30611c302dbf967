"""Sound through the bench: certificates, swapped sound, sound tracks, the page to listen to."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import gymnasium
import numpy as np
import pytest
import sound_fakes
from report_fakes import Reader, decode, make_row

from neon_sim.benchmarks.analysis.tables import summary_text
from neon_sim.benchmarks.certificates.common import certificates_table
from neon_sim.benchmarks.certificates.sound import SoundCheck, check_sound
from neon_sim.benchmarks.certificates.visual import certificate
from neon_sim.benchmarks.cli import main
from neon_sim.benchmarks.compare import summary_of_run
from neon_sim.benchmarks.film.media import MAX_GAIN, encode_flac, encode_video, for_ears, has_sound
from neon_sim.benchmarks.film.videos import read_index
from neon_sim.benchmarks.report.background import certificate_card
from neon_sim.benchmarks.report.page import write_report
from neon_sim.benchmarks.report.spectrogram import HOP, ROWS, pitches, power_db
from neon_sim.benchmarks.running.runner import Resources, run
from neon_sim.benchmarks.runs.folder import Row, RunFolder
from neon_sim.benchmarks.runs.plan import Cell, make_plan
from neon_sim.clock import AUDIO_HZ, CAMERA_HZ
from neon_sim.errors import ConfigError
from neon_sim.registry import TASKS, TaskEntry

LISTENER = "sound_fakes:listener"


def register(monkeypatch: pytest.MonkeyPatch, name: str) -> str:
    """Make a class of ``sound_fakes`` a registered task; gone after the test."""
    task = f"test_{name.lower()}"
    entry = TaskEntry(task, f"neon_sim/{name}-v0", f"sound_fakes:{name}", "sound", 32)
    monkeypatch.setitem(TASKS, task, entry)
    if entry.env_id not in gymnasium.registry:
        gymnasium.register(entry.env_id, entry.entry_point)
    return task


@pytest.fixture
def beep(monkeypatch: pytest.MonkeyPatch) -> str:
    """The task without a fault."""
    return register(monkeypatch, "ArmBeep")


@pytest.fixture(scope="module", autouse=True)
def _forget() -> Iterator[None]:
    """The ids that tests register are theirs alone."""
    before = set(gymnasium.registry)
    yield
    for name in set(gymnasium.registry) - before:
        del gymnasium.registry[name]


# ---- the certificate ----------------------------------------------------------------------


def test_a_sound_task_passes(beep: str) -> None:
    check = check_sound(beep, seed=0, episodes=1, draws=60)
    assert check.holds, check.faults
    assert (check.cues, check.chance, check.pairs, check.heard) == (2, 0.5, 1, 1)
    assert check.tapes == ["expert", "expert of another cue", "random", "hold"]
    assert check.keys == ["agent_pos", "environment_state", "pixels.front", "text"]
    assert (check.rollouts, check.steps) == (8, 8 * 32)
    assert -60 < check.quietest_db < 0


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Painted", "tape expert, step 10: pixels.front differs between 'left' and 'right'"),
        ("Told", "step 0: environment_state differs"),
        ("Written", "step 0: text differs"),
        ("Leaning", "step 0: agent_pos differs"),
        ("Silent", "episode 0: 'left' and 'right' sound the same under every tape"),
        ("Greedy", "what was done fits several cues: 'left' (step"),
        ("Fickle", "is_success is not fits("),
        ("Uneven", "cues are not drawn evenly: ["),
        ("Unlisted", "latent['side'] = 'right' of cues() = ['left', 'middle']"),
    ],
)
def test_a_fault_is_found_and_named(monkeypatch, name: str, text: str) -> None:
    check = check_sound(register(monkeypatch, name), seed=0, episodes=1, draws=60)
    assert not check.holds
    assert any(text in fault for fault in check.faults), check.faults


SOUND = SoundCheck(2, ["expert"], 8, 320, ["agent_pos"], 2, 0.5, 0.6, 2, 2, -30.0)


def made_up(task: str, rates: dict[str, float], episodes: int = 200) -> list[Row]:
    """Rows of a certificate's run."""
    rows = []
    for word, rate in rates.items():
        scripted = word in ("expert", "hold", "random")
        cell = Cell(task, word, "scripted", None) if scripted else Cell(task, "ears", word, 0)
        rows += [make_row(cell, e, e < rate * episodes) for e in range(episodes)]
    return rows


@pytest.mark.parametrize(
    ("muted", "status", "text"),
    [
        (0.52, "certified", "muted 52.0 % is inside chance, 50.0 % [43.0, 57.0]"),
        (0.1, "certified", "muted 10.0 % is below chance"),
        (0.6, "refused", "muted 60.0 % is not above chance, 50.0 % [43.0, 57.0] does not hold"),
    ],
)
def test_deaf_policies_are_held_to_chance(monkeypatch, beep, muted, status, text) -> None:
    monkeypatch.setattr("neon_sim.benchmarks.certificates.sound.check_sound", lambda *_: SOUND)
    rates = {"expert": 1.0, "muted": muted, "hold": 0.0, "random": 0.1}
    body = certificate(made_up(beep, rates), beep, "ears", 0, {})
    assert body["status"] == status
    assert text in body["verdict"]
    shown = certificates_table([json.loads(json.dumps(body))])
    assert "chance" in shown.splitlines()[0]
    card = " ".join(Reader(str(certificate_card(beep, body)[-1])).text)
    assert "one of 2 cues" in card


def test_a_sound_certificate_needs_its_expert(monkeypatch, beep) -> None:
    monkeypatch.setattr("neon_sim.benchmarks.certificates.sound.check_sound", lambda *_: SOUND)
    rows = made_up(beep, {"expert": 0.9, "muted": 0.5, "hold": 0.0, "random": 0.0})
    assert certificate(rows, beep, "ears", 0, {})["status"] == "refused"


def test_certify_prints_it_and_says_what_is_missing(tmp_path, capsys, beep) -> None:
    command = ["certify", "--task", beep, "--episodes", "2", "--workers", "1", "--quiet"]
    command += ["--run", str(tmp_path / "run"), "--out", str(tmp_path / "out")]
    assert main([*command, "checkpoint=nowhere/{condition}.safetensors"]) == 1
    shown = capsys.readouterr().out
    assert "incomplete: muted did not run; expert 100.0 %" in shown
    assert "2 of 2 pairs of cues sound different" in shown
    assert "twins heard" in shown
    body = json.loads((tmp_path / "out" / f"{beep}.json").read_text())
    assert body["sound"]["holds"]
    assert body["entries"]["expert"]["successes"] == 2
    assert body["chance_interval"] is None


# ---- swapped sound -------------------------------------------------------------------------


def small_run(folder: Path, beep: str, conditions: list[str]) -> RunFolder:
    """Six episodes of the policy that does what it hears."""
    plan = make_plan(
        policies=[LISTENER],
        conditions=conditions,
        tasks=[beep],
        suite=None,
        episodes=6,
        seed=1,
        train_seeds=[0],
        latency_steps=0,
        until_decided=False,
        alpha=0.05,
        overrides=["replan_steps=4"],
    )
    run_folder = RunFolder(folder)
    run(plan, run_folder, Resources(batch=3))
    return run_folder


@pytest.fixture(scope="module")
def swapped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunFolder, str]]:
    """A run with the true and with another's sound, and its report; page and task."""
    with pytest.MonkeyPatch.context() as patch:
        task = register(patch, "ArmBeep")
        conditions = ["video", "swap_audio_at_test"]
        folder = small_run(tmp_path_factory.mktemp("runs") / "run", task, conditions)
        yield folder, write_report(folder, videos=1, own=[LISTENER]).read_text()


def test_success_follows_the_sound_that_was_swapped_in(swapped) -> None:
    folder, _ = swapped
    by_word: dict[str, list[Row]] = {}
    for row in folder.read_rows():
        assert row["error"] is None
        by_word.setdefault(row["condition"], []).append(row)
    true, other = by_word["video"], by_word["swap_audio_at_test"]
    assert all(row["success"] and row["success_swapped"] is None for row in true)
    assert not any(row["success"] or row["success_final"] for row in other)
    assert all(row["success_swapped"] is True for row in other)
    assert [r["initial_hash"] for r in true] == [r["initial_hash"] for r in other]


def test_tables_tell_what_was_right_from_what_was_heard(swapped) -> None:
    folder, page = swapped
    summary = summary_of_run(folder)
    (entry,) = summary["tasks"].values()
    cell = entry["cells"][1]
    assert (cell["any_time"]["rate"], cell["swapped"]["rate"]) == (0.0, 1.0)
    shown = summary_text(summary)
    assert "as heard %" in shown
    assert "does what it hears in 100.0 % [61.0, 100.0] of 6 episodes" in shown
    assert cell["swapped"]["against"]["both"] == 6
    assert "+0.0 points [-39.0, 39.0] from what it does with the true sound." in shown
    assert "As heard: successful by the cue that sounded" in page
    assert page.count("data-sound=") == 2
    assert '<button type="button" class="sound">' in page


def test_only_sound_tasks_can_be_swapped(beep) -> None:
    with pytest.raises(ConfigError, match="swaps the cue of a sound task"):
        small_run(Path("nowhere"), "arm_reach", ["swap_audio_at_test"])


def test_a_cue_that_shows_is_no_twin(tmp_path, monkeypatch) -> None:
    leaning = register(monkeypatch, "Leaning")
    folder = small_run(tmp_path / "run", leaning, ["swap_audio_at_test"])
    assert all("must change nothing but the sound" in r["error"] for r in folder.read_rows())


# ---- sound tracks ---------------------------------------------------------------------------


def sound_of(data: bytes) -> tuple[np.ndarray, int]:
    """Samples (C, n) of a media file, and the time of the first one in samples."""
    with av.open(io.BytesIO(data)) as container:
        frames = list(container.decode(audio=0))
        assert frames[0].sample_rate == AUDIO_HZ
        return np.concatenate([f.to_ndarray() for f in frames], axis=1), frames[0].pts


def test_sound_is_in_time_with_the_picture() -> None:
    sound = np.zeros((2, 2 * AUDIO_HZ), dtype=np.int16)
    onsets = [round(AUDIO_HZ * seconds) for seconds in (0.4, 1.2)]
    for channel, onset in enumerate(onsets):
        sound[channel, onset : onset + 16] = 20_000
    frames = np.zeros((2 * CAMERA_HZ, 64, 64, 3), dtype=np.uint8)
    frames[10:] = 200  # light from 0.4 s on
    data = encode_video(frames, 28, sound)
    pictures, facts = decode(data)
    assert facts == ("h264", "yuv420p", CAMERA_HZ)
    assert [p.mean() > 100 for p in pictures].index(True) == 10
    heard, first = sound_of(data)
    assert abs(heard.shape[1] + first - sound.shape[1]) <= 1024
    for channel, onset in enumerate(onsets):
        assert abs(int(np.abs(heard[channel]).argmax()) + first - onset) < 24  # 1.5 ms


def test_flac_loses_nothing_and_loudness_is_bounded() -> None:
    noise = np.random.default_rng(0).integers(-3000, 3000, (1, 5000)).astype(np.int16)
    assert np.array_equal(sound_of(encode_flac(noise))[0], noise)
    quiet = np.full((4, 10), 1e-4, dtype=np.float32)
    assert for_ears(quiet).shape == (2, 10)  # the outer microphones of four
    assert for_ears(quiet).max() == round(1e-4 * MAX_GAIN * 32767)
    assert np.abs(for_ears(np.array([[0.01, -0.5]]))).max() == round(0.9 * 32767)


def test_videos_of_a_sound_task_have_its_sound(swapped) -> None:
    folder, _ = swapped
    (group,) = read_index(folder.path)
    for side in group.sides:
        path = folder.videos / side.video
        assert has_sound(path)
        heard, first = sound_of(path.read_bytes())
        envelope = np.abs(heard[0])
        onset = (np.flatnonzero(envelope > 0.3 * envelope.max())[0] + first) / AUDIO_HZ
        assert 0 < onset - sound_fakes.BEEP_TICK / 500 < 0.01  # on its way through the air
        assert heard.shape[1] / AUDIO_HZ == pytest.approx(side.steps / 50, abs=0.07)


# ---- the page ---------------------------------------------------------------------------------


def test_the_page_plays_every_cue(tmp_path, beep, capsys) -> None:
    out = tmp_path / "new" / "page.html"
    assert main(["listen", "--task", beep, "--out", str(out)]) == 0
    assert str(out) in capsys.readouterr().out
    page = out.read_text()
    reader = Reader(page)
    assert all(link.startswith("data:") for link in reader.links)
    for kind in ("video/mp4", "audio/flac", "image/png", "image/jpeg"):
        assert sum(link.startswith(f"data:{kind};") for link in reader.links) == 2
    text = " ".join(reader.text)
    for words in ("left", "right", "one of 2", "the expert succeeds", "time, s", "frequency, kHz"):
        assert words in text
    assert "touch the blue post" in text


def test_a_deaf_task_has_nothing_to_listen_to(tmp_path, capsys) -> None:
    assert main(["listen", "--task", "arm_reach", "--out", str(tmp_path / "x.html")]) == 2
    assert "a sound task has a cue to listen to (got arm_reach)" in capsys.readouterr().err


@pytest.mark.parametrize("hz", [300.0, 1000.0, 5000.0])
def test_a_tone_stands_at_its_pitch_and_level(hz: float) -> None:
    time = np.arange(AUDIO_HZ) / AUDIO_HZ
    level: Any = power_db(0.1 * np.sin(2 * np.pi * hz * time))
    assert level.shape == (ROWS, AUDIO_HZ // HOP + 1)
    middle = level[:, level.shape[1] // 2]
    row = int(middle.argmax())
    edges = pitches(ROWS + 1)
    assert edges[row + 2 if row + 2 < len(edges) else -1] <= hz <= edges[max(row - 1, 0)]
    assert middle.max() == pytest.approx(-20.0, abs=1.5)
