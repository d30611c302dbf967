"""The embedded backbone: what it may depend on, and that its shipped weights are what they say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from neon_sim.errors import CheckpointError, ConfigError, DatasetError
from neon_sim.policies.backbones.own.neon_tiny import (
    NeonTinyImage,
    NeonTinyVideo,
    read_weights,
    weights_path,
)
from neon_sim.policies.pretraining.clips import ClipDataConfig, ClipStore, halve, make_clips
from neon_sim.policies.pretraining.probe import ProbeConfig, run
from neon_sim.policies.pretraining.scenes import ProceduralScene
from neon_sim.policies.pretraining.trainer import PretrainConfig, Trainer, main, pretrain
from neon_sim.seeding import keyed_rng

TOWERS = (NeonTinyVideo, NeonTinyImage)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def video() -> np.ndarray:
    """(8, 8, 96, 96, 3): eight procedural clips."""
    scene = ProceduralScene()
    return np.stack([scene.sequence(keyed_rng("test", i), 8).frames for i in range(8)])


def clip(video: np.ndarray, mask: np.ndarray | None = None) -> SimpleNamespace:
    mask = np.ones(video.shape[:2], dtype=bool) if mask is None else mask
    return SimpleNamespace(video=video, mask=mask)


@pytest.fixture(scope="module")
def clips_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    make_clips(folder, small_clips(), workers=1)
    return folder


def small_clips() -> ClipDataConfig:
    return ClipDataConfig(procedural=40, per_task=0, tasks=[], sequence_frames=14)


def small_run(folder: Path, out: Path, **changes) -> PretrainConfig:
    config = PretrainConfig(
        out=str(out), data=str(folder), clips=small_clips(), steps=20, batch=8, warmup=2
    )
    return replace(config, save_every=10, workers=1, **changes)


def test_twin_has_the_same_parameters():
    shapes = [{k: v.shape for k, v in t.new_network().state_dict().items()} for t in TOWERS]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("tower", TOWERS)
def test_shapes(tower, video):
    backbone = tower()
    tokens = backbone.encode(clip(video[:3]))
    assert tokens.hidden.shape == (3, backbone.num_tokens(8), backbone.feature_dim)
    assert tokens.mask.shape == tokens.hidden.shape[:2]
    assert tokens.pooled.shape == (3, backbone.feature_dim)
    assert torch.isfinite(tokens.hidden).all()


@pytest.mark.parametrize("tower", TOWERS)
def test_padded_frames_never_change_the_output(tower, video):
    mask = np.ones((8, 8), dtype=bool)
    mask[:, :5] = False
    other = video.copy()
    other[:, :5] = keyed_rng("noise").integers(0, 256, other[:, :5].shape, dtype=np.uint8)
    backbone = tower()
    one, two = backbone.encode(clip(video, mask)), backbone.encode(clip(other, mask))
    assert torch.equal(one.hidden, two.hidden)
    assert torch.equal(one.pooled, two.pooled)
    assert torch.equal(one.mask, two.mask)


def test_a_short_clip_is_a_padded_clip(video):
    mask = np.ones((8, 8), dtype=bool)
    mask[:, :7] = False
    backbone = NeonTinyVideo()
    short = backbone.encode(clip(video[:, 7:])).hidden
    assert torch.equal(short, backbone.encode(clip(video, mask)).hidden)


@pytest.mark.parametrize("tower", TOWERS)
def test_batch_size_and_place_never_change_a_row(tower, video):
    backbone = tower()
    together = backbone.encode(clip(video)).hidden
    alone = torch.cat([backbone.encode(clip(row[None])).hidden for row in video])
    assert torch.equal(together, alone)
    backwards = backbone.encode(clip(video[::-1].copy())).hidden.flip(0)
    assert torch.equal(together, backwards)


@pytest.mark.parametrize(
    "order", [[6, 5, 4, 3, 2, 1, 0, 7], [3, 1, 6, 0, 2, 5, 4, 7]], ids=["reversed", "shuffled"]
)
def test_order_of_frames_matters_to_video_only(video, order):
    true, wrong = (NeonTinyVideo().encode(clip(v)).hidden for v in (video, video[:, order]))
    assert not torch.allclose(true, wrong, atol=0.1)
    twin = NeonTinyImage()
    last = [twin.encode(clip(v)).hidden[:, -144:] for v in (video, video[:, order])]
    assert torch.equal(last[0], last[1])
    assert torch.equal(last[0], twin.encode(clip(video[:, 7:])).hidden)


@pytest.mark.parametrize("tower", TOWERS)
def test_wrong_input_is_named(tower, video):
    backbone = tower()
    with pytest.raises(ConfigError, match="needs video"):
        backbone.encode(SimpleNamespace(video=None, mask=None))
    with pytest.raises(ConfigError, match="image_size must be 96"):
        backbone.encode(clip(video[:, :, :64, :64]))


def test_too_many_frames_are_named(video):
    with pytest.raises(ConfigError, match="num_frames must be at most 8"):
        NeonTinyVideo().encode(clip(np.concatenate([video, video], axis=1)))


@pytest.mark.parametrize("tower", TOWERS)
def test_shipped_weights_are_the_file_of_their_record(tower):
    path = weights_path(tower.NAME)
    record = json.loads(path.with_suffix(".json").read_text())
    state, metadata = read_weights(path, tower.TOWER)  # compares the hash
    assert set(state) == set(tower.new_network(metadata["architecture"]).state_dict())
    for key in ("command", "commit", "seed", "data_sha256", "held_out_loss"):
        assert record[key] == metadata[key]
    assert path.stat().st_size < 4_000_000


def test_shipped_towers_had_the_same_clips_and_budget():
    records = [json.loads(weights_path(t.NAME).with_suffix(".json").read_text()) for t in TOWERS]
    one, two = (r["config"] for r in records)
    same = set(one) - {"backbone", "out", "init"}
    assert {k: one[k] for k in same} == {k: two[k] for k in same}
    assert records[0]["data_sha256"] == records[1]["data_sha256"]
    assert records[0]["parameters"] == records[1]["parameters"]


def test_damaged_weights_are_named(tmp_path):
    path = tmp_path / "neon_tiny.safetensors"
    with pytest.raises(CheckpointError, match="no weights"):
        NeonTinyVideo(weights=str(path))
    path.write_bytes(weights_path("neon_tiny").read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="no neon_tiny weights file"):
        NeonTinyVideo(weights=str(path))
    path.with_suffix(".json").write_text(json.dumps({"sha256": "0" * 64}))
    with pytest.raises(CheckpointError, match="not the file of its record"):
        NeonTinyVideo(weights=str(path))
    with pytest.raises(CheckpointError, match="holds the image tower"):
        NeonTinyVideo(weights=str(weights_path("neon_tiny_image")))


def test_clips_depend_on_the_configuration_alone(clips_folder, tmp_path):
    store = make_clips(tmp_path / "again", small_clips(), workers=2)
    assert store.sha256() == ClipStore(clips_folder).sha256()


def test_clips_complete_a_half_made_folder(clips_folder, tmp_path):
    store = make_clips(tmp_path / "half", small_clips(), workers=1)
    lengths = np.memmap(store.folder / "lengths.i4", dtype=np.int32, mode="r+")
    lengths[5:] = 0
    lengths.flush()
    with pytest.raises(DatasetError, match="unfinished"):
        ClipStore(store.folder)
    assert make_clips(store.folder, small_clips(), 1).sha256() == ClipStore(clips_folder).sha256()


def test_clips_of_other_settings_are_refused(clips_folder):
    with pytest.raises(ConfigError, match="another configuration"):
        make_clips(clips_folder, replace(small_clips(), seed=1), workers=1)


def test_windows_mark_what_was_not_shown(clips_folder):
    store = ClipStore(clips_folder)
    batch = store.batch(keyed_rng("windows"), 64, 8, (-6, 0, 5))
    assert batch.mask[:, -1].all()
    assert (np.diff(batch.mask.astype(int), axis=1) >= 0).all()
    assert (batch.targets[:, 1] == halve(batch.video[:, -1])).all()
    assert (batch.valid[:, 0] == batch.mask[:, 1]).all()
    assert batch.valid[:, 1].all()
    seen = batch.valid[:, 0]
    assert (batch.targets[seen, 0] == halve(batch.video[seen, 1])).all()


@pytest.mark.parametrize("backbone", ["neon_tiny", "neon_tiny_image"])
def test_pretraining_learns_resumes_and_ships(backbone, clips_folder, tmp_path):
    config = small_run(clips_folder, tmp_path / "whole", backbone=backbone)
    trainer = Trainer(config, ClipStore(clips_folder))
    losses = [trainer.train_step() for _ in range(20)]
    assert np.mean(losses[-4:]) < 0.7 * np.mean(losses[:4])
    half_way = Trainer(config, ClipStore(clips_folder))
    for _ in range(10):
        half_way.train_step()
    Path(config.out).mkdir()
    half_way.save_state(Path(config.out) / "state.pt")
    path = pretrain(config)
    tower = NeonTinyVideo if backbone == "neon_tiny" else NeonTinyImage
    resumed = tower(weights=str(path)).network.state_dict()
    for name, value in trainer.network.state_dict().items():
        assert torch.equal(value.half().float(), resumed[name]), name
    with pytest.raises(CheckpointError, match="other settings"):
        pretrain(replace(config, lr=0.5))


def test_a_backbone_without_a_network_cannot_be_pretrained(clips_folder, tmp_path):
    config = small_run(clips_folder, tmp_path / "no", backbone="none")
    with pytest.raises(ConfigError, match="cannot be pretrained"):
        Trainer(config, ClipStore(clips_folder))


def test_the_command_names_bad_input(capsys):
    assert main(["backbone=neon_tyni"]) == 2
    assert "Did you mean 'neon_tiny'" in capsys.readouterr().err
    assert main(["stepps=3"]) == 2
    assert "steps" in capsys.readouterr().err
    assert main(["lr=0"]) == 2
    assert "lr must be above 0" in capsys.readouterr().err
    assert main(["threads=99999"]) == 2
    assert "threads must be 1 to" in capsys.readouterr().err


def test_probe_reads_positions_and_velocities():
    config = ProbeConfig(task="arm_block", clips=60, steps=20)
    result = run(config)
    assert set(result) == {"position_error", "position_r2", "velocity_error", "velocity_r2"}
    assert np.isfinite(list(result.values())).all()
    assert result == run(config)
    with pytest.raises(ConfigError, match="clips must be 60 to"):
        run(replace(config, clips=10))
