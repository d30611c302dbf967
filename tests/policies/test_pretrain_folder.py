"""``pretrain data=FOLDER``: what is no folder of its own is refused and stays as it was."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from neon_sim.config.loading import main_config
from neon_sim.errors import CheckpointError, ConfigError, DatasetError, RunError
from neon_sim.files import locked
from neon_sim.policies.pretraining.clips import ClipDataConfig, ClipStore, hold_folder, make_clips
from neon_sim.policies.pretraining.trainer import STATE_KEYS, PretrainConfig, main, read_state

SMALL = ClipDataConfig(procedural=2, per_task=0, tasks=[], sequence_frames=3)
RUN = ["config=quick", "steps=1", "clips.procedural=2", "clips.sequence_frames=9", "workers=1"]


def listing(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def settings(*typed: str) -> PretrainConfig:
    return main_config(PretrainConfig, typed, "neon_tiny")


@pytest.mark.parametrize("name", ["a.mp4", "CLIP.MOV", "notes.txt", ".hidden", "frames.u8"])
def test_a_folder_of_somebody_elses_files_is_refused_and_left_as_it_is(name, tmp_path, capsys):
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    (data / name).write_bytes(b"mine")
    assert main([*RUN, f"data={data}", f"out={out}"]) == 2
    told = capsys.readouterr()
    assert (
        f"error: data must be a new or empty folder, or one that pretrain made (got {data}, "
        in (told.err)
    )
    assert ("videos" in told.err) == name.lower().endswith((".mp4", ".mov"))
    assert told.err.rstrip().endswith("name another: data=")
    assert "wrote" not in told.out
    assert listing(data) == {name: b"mine"}
    assert not out.exists()


@pytest.mark.parametrize("text", ['{"model_type": "clip"}', "[]", "{", '"x"', "null"])
def test_a_config_of_something_else_is_no_note(text, tmp_path):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises((ConfigError, DatasetError), match="data="):
        make_clips(tmp_path, SMALL)
    assert listing(tmp_path) == {"config.json": text.encode()}


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "data").write_text("x")
    with pytest.raises(ConfigError, match="data must be a folder"):
        make_clips(tmp_path / "data", SMALL)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return make_clips(tmp_path_factory.mktemp("whole"), SMALL, workers=1).folder


def test_a_kill_before_the_files_are_made_is_made_good(whole, tmp_path):
    broken = tmp_path / "broken"  # as a kill leaves it before the last of its files is made
    broken.mkdir()
    for name in (".lock", ".lock.json", ".config.json.123.tmp"):
        (broken / name).write_text("")
    hold_folder(broken, SMALL)
    (broken / "config.json").write_bytes((whole / "config.json").read_bytes())
    (broken / "frames.u8").write_bytes(b"")
    assert (make_clips(broken, SMALL, workers=1).frames == ClipStore(whole).frames).all()


def test_one_process_draws_at_a_time_and_many_read(whole, tmp_path):
    with locked(tmp_path), pytest.raises(RunError, match="is being written by process"):
        make_clips(tmp_path, SMALL)
    with locked(whole):
        assert len(make_clips(whole, SMALL).lengths) == 2


def test_damaged_clips_are_told_from_good_ones(whole, tmp_path):
    tmp_path = Path(shutil.copytree(whole, tmp_path / "copy"))
    np.array([3, 4], dtype=np.int32).tofile(tmp_path / "lengths.i4")
    with pytest.raises(DatasetError, match=r"a length beyond 3; delete the folder"):
        ClipStore(tmp_path)
    (tmp_path / "halves.u8").write_bytes(b"short")
    with pytest.raises(DatasetError, match=r"truncated .* delete the folder"):
        make_clips(tmp_path, SMALL)
    note = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(note | {"procedural": "2"}))
    with pytest.raises(DatasetError, match=r"procedural: .*integer .*'2'.*delete the folder"):
        ClipStore(tmp_path)


@pytest.mark.parametrize(
    ("typed", "error"),
    [
        (["backbone=none"], "cannot be pretrained"),
        (["init=nowhere.pt"], "nowhere.pt does not exist"),
        (["clips.procedural=1"], "at least 2 sequences"),
        (["clips.tasks=humanoid_reach", "clips.per_task=1"], "tasks of the arm"),
        (["clips.tasks=arm_reach"], "give clips.per_task= too"),
        (["clips.counts.arm_reach=3"], "clips.counts={}"),
        (["clips.per_task=3"], "clips.per_task must be 0 where clips.tasks names none"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_is_drawn(typed, error, tmp_path, capsys):
    data, out = tmp_path / "data", tmp_path / "out"
    assert main([*RUN, f"data={data}", f"out={out}", *typed]) == 2
    assert error in capsys.readouterr().err
    assert not data.exists()
    assert not out.exists()


def test_a_broken_state_is_one_line(tmp_path):
    state = tmp_path / "state.pt"
    for content in (b"", b"PK\x03\x04", b"text"):
        state.write_bytes(content)
        with pytest.raises(CheckpointError, match="no whole state"):
            read_state(state)
    for stored in ([1], {"step": 3}):
        torch.save(stored, state)
        with pytest.raises(CheckpointError, match=f"lacks {STATE_KEYS[0]}"):
            read_state(state)


def test_counts_of_the_yaml_do_not_beat_what_is_typed():
    shipped = settings().clips
    assert len(shipped.sources()) == 1200 + 4 * 800 + 2400 + 3000
    few = settings("clips.per_task=2", "clips.procedural=4").clips
    assert few.counts == {}
    assert len(few.sources()) == 4 + 6 * 2
    assert settings("clips={per_task: 2, procedural: 4}").clips == few
    told = settings("clips.per_task=2", "clips.counts.arm_catch=7").clips
    assert told.counts == {"arm_catch": 7}
    one = settings("clips.tasks=arm_catch,arm_reach").clips
    assert one.counts == {"arm_catch": 2400}
    assert settings("clips.tasks=all").clips.counts == shipped.counts
    assert settings("clips.counts={}").clips.counts == {}
    assert settings("clips.counts={arm_reach: 5}").clips.counts == shipped.counts | {"arm_reach": 5}
