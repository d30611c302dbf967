"""Sound on disk and in training: to the bit, and what lacks it is refused with the mend."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from dataset_fakes import fake_dataset, fake_episode

import neon_sim  # noqa: F401  (registers the Gymnasium ids)
from neon_sim.audio.pcm import encode_flac, from_pcm, quantised, read_flac, rings, to_pcm
from neon_sim.config.policy import PolicyConfig
from neon_sim.demonstrations import collection as collect
from neon_sim.demonstrations.assemble import assemble
from neon_sim.demonstrations.dataset import DemoDataset
from neon_sim.demonstrations.layout import AUDIO_KEY
from neon_sim.demonstrations.shards import RecordedEpisode, read_shard, shard_path, write_shard
from neon_sim.demonstrations.windows import check_datasets
from neon_sim.errors import DatasetError, UnknownNameError
from neon_sim.observation.batch import observe_row
from neon_sim.observation.clips import ClipConfig
from neon_sim.policies.policy import load_policy
from neon_sim.policies.tower import make_tower
from neon_sim.policies.training.command import main as train_main
from neon_sim.policies.training.command import train
from neon_sim.policies.training.feature_cache import (
    FeatureTable,
    build_cache,
    cache_key,
    episode_layout,
)
from neon_sim.policies.training.settings import TrainConfig
from neon_sim.policies.training.trainer import Trainer

torch.set_num_threads(1)
SIZE = 36
CHANNELS = ("ear.0", "ear.1")


def sounding(index: int, channels: int = 2) -> RecordedEpisode:
    """A made-up episode with sound."""
    episode = fake_episode(index, size=SIZE, channels=channels)
    return replace(episode, identity=replace(episode.identity, description="stop the puck"))


def write(root: Path, episodes: list[RecordedEpisode]) -> Path:
    paths = [shard_path(root, i) for i in range(len(episodes))]
    for path, episode in zip(paths, episodes, strict=True):
        write_shard(path, episode)
    assemble(root, paths, {"made_with": {"neon_sim": "test"}})
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("sounding") / "set", [sounding(i) for i in range(8)])


def policy(**changes) -> PolicyConfig:
    base = PolicyConfig(
        name="tested",
        backbone="random",
        image_backbone="random_image",
        backbone_args={"dim": "16"},
        audio="log_mel",
        clip=ClipConfig(num_frames=3, image_size=SIZE),
    )
    return replace(base, **changes)


def run(data: Path, out: Path, **changes) -> TrainConfig:
    values = {
        "data": [str(data)],
        "out": str(out),
        "cache": str(data.parent / "features"),
        "steps": 12,
        "batch_size": 8,
        "val_fraction": 0.0,
        "device": "cpu",
    }
    return TrainConfig(**{**values, **changes})


# ---- 16 bits --------------------------------------------------------------------------------


def test_sixteen_bits_there_and_back(tmp_path):
    rng = np.random.default_rng(0)
    heard = quantised(rng.normal(0, 0.5, (3, 5000))).astype(np.float32)
    assert heard.min() == -1.0
    assert heard.max() == 32767 / 32768
    pcm = to_pcm(heard)
    np.testing.assert_array_equal(from_pcm(pcm), heard)
    path = tmp_path / "sound.flac"
    path.write_bytes(encode_flac(pcm))
    np.testing.assert_array_equal(read_flac(path, 5000), pcm)
    assert encode_flac(pcm) == encode_flac(pcm)
    with pytest.raises(ValueError, match="quantise"):
        to_pcm(np.array([[0.1]], dtype=np.float32))
    with pytest.raises(ValueError, match="int16"):
        encode_flac(heard)


def test_rings_are_the_second_before_each_row():
    samples = np.arange(16_000 + 320 * 4)[None]
    seen = rings(samples, [0, 3])
    assert seen.shape == (2, 1, 16_000)
    assert seen[0, 0, -1] == 15_999
    assert seen[1, 0, -1] == 15_999 + 3 * 320


def test_microphones_deliver_sixteen_bits():
    env: Any = gymnasium.make("neon_sim/ArmReach-v0", cameras=(), microphones=("mono",)).unwrapped
    env.reset(seed=0)
    for _ in range(5):
        env.advance(env.expert_action())
    heard = env.sound.observation()
    np.testing.assert_array_equal(from_pcm(to_pcm(heard)), heard)
    assert heard.any()
    env.close()


# ---- datasets -------------------------------------------------------------------------------


def test_sound_comes_back_to_the_bit_beside_the_videos(data):
    dataset = DemoDataset.open(data)
    for i, meta in enumerate(dataset.episodes):
        wanted = sounding(i)
        np.testing.assert_array_equal(to_pcm(dataset.sound(i)), wanted.audio)
        assert meta.audio_channels == CHANNELS
        assert meta.audio_file == f"audio/{AUDIO_KEY}/chunk-000/episode-{i:06d}.flac"
    assert len(list(data.glob("audio/**/*.flac"))) == 8


def test_lerobot_sees_no_feature_it_does_not_know(data):
    """Sound is told in meta/episodes alone; rows and info.json are those of a silent dataset."""
    info = json.loads((data / "meta/info.json").read_text())
    assert not [key for key in info["features"] if "audio" in key]
    rows = pq.read_table(data / "data/chunk-000/file-000.parquet")
    assert not [name for name in rows.column_names if "audio" in name]
    episodes = pq.read_table(data / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert episodes[2][f"audio/{AUDIO_KEY}/channels"] == list(CHANNELS)


def test_sound_is_content(tmp_path):
    write(tmp_path / "a", [sounding(0), sounding(1)])
    write(tmp_path / "b", [sounding(0), replace(sounding(1), audio=np.negative(sounding(1).audio))])
    silent = [replace(sounding(i), audio=None, audio_channels=()) for i in range(2)]
    write(tmp_path / "c", silent)
    hashes = {DemoDataset.open(tmp_path / name).content_hash for name in "abc"}
    assert len(hashes) == 3
    assert not (tmp_path / "c" / "audio").exists()


def test_a_silent_dataset_is_what_it_was(tmp_path):
    fake_dataset(tmp_path, 2)
    dataset = DemoDataset.open(tmp_path)
    assert dataset.episodes[0].audio_file == ""
    with pytest.raises(DatasetError, match=r"without sound.*microphones=mono"):
        dataset.sound(0)
    columns = pq.read_schema(tmp_path / "meta/episodes/chunk-000/file-000.parquet").names
    assert not [name for name in columns if "audio" in name]


def test_lost_and_damaged_sound_is_named(tmp_path):
    root = write(tmp_path / "set", [sounding(0), sounding(1)])
    path = root / DemoDataset.open(root).episodes[1].audio_file
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match=r"episode-000001\.flac is truncated"):
        DemoDataset.open(root)
    path.unlink()
    with pytest.raises(DatasetError, match="no such file"):
        DemoDataset.open(root)
    (root / "meta/neon_sim.json").unlink()  # as after lerobot's merge, which leaves sound behind
    merged = DemoDataset.open(root)
    assert merged.load(1).action.any()
    with pytest.raises(DatasetError, match=r"episode-000001\.flac is missing"):
        merged.sound(1)


def test_shards_carry_sound(tmp_path):
    write_shard(tmp_path / "s.npz", sounding(3, channels=1))
    shard = read_shard(tmp_path / "s.npz")
    assert shard.audio[:4] == b"fLaC"
    assert shard.audio_channels == CHANNELS[:1]


# ---- training -------------------------------------------------------------------------------


@pytest.mark.parametrize("audio", ["log_mel", "speech_embedding"])
def test_cached_sound_is_what_the_live_policy_hears_to_the_bit(data, audio, tmp_path):
    dataset, tower = DemoDataset.open(data), make_tower(policy(audio=audio), "video")
    table = FeatureTable([dataset], tower.ears, 8, tmp_path, progress=False)
    layout = episode_layout(tower.ears, dataset.episodes[2].length, 8, dataset.episodes[2].episode)
    before = sum(
        len(episode_layout(tower.ears, m.length, 8, m.episode).steps) for m in dataset.episodes[:2]
    )
    cached = table.gather(np.arange(before, before + len(layout.steps)))[0][:, 0]
    for row, step in enumerate(layout.steps):
        live = from_pcm(sounding(2).audio)[None, :, 320 * step : 320 * step + 16_000]
        assert torch.equal(tower.ears.encoder.encode(live).half()[0], cached[row])


def test_conditions_that_hear_the_same_share_their_features(data, tmp_path):
    dataset = DemoDataset.open(data)
    towers = {name: make_tower(policy(), name) for name in ("video", "muted", "frame")}
    deaf = make_tower(policy(audio="none"), "video")
    keys = {name: cache_key(dataset, tower, 4) for name, tower in towers.items()}
    assert keys["video"] == keys["muted"] == cache_key(dataset, deaf, 4) != keys["frame"]
    folders = {build_cache(dataset, t.ears, 4, tmp_path, False)[0] for t in towers.values()}
    assert len(folders) == 1
    other = make_tower(policy(audio_args={"windows": 5.0}), "video").ears
    assert build_cache(dataset, other, 4, tmp_path, False)[0] not in folders


def test_training_hears_normalises_and_plays(data, tmp_path):
    config = run(data, tmp_path / "out", condition="video")
    trainer = Trainer(config, policy(), progress=False)
    inputs, _, _ = trainer._batch(np.arange(16))
    assert inputs.audio.shape == (16, 10, 209)
    heard = trainer.network.eval()._listen(inputs)
    assert abs(float(heard.mean())) < 0.2
    assert 0.5 < float(heard.std()) < 1.5
    path = train(config, policy(), progress=False)
    player = load_policy(policy(), "video", "arm_block", checkpoint=str(path))
    assert player.metadata["ears"]["name"] == "log_mel"
    assert player.network.spec.audio_dropout == 0.2


def test_muted_training_needs_no_sound_and_is_the_same_head(tmp_path):
    fake = [replace(fake_episode(i, size=SIZE), identity=sounding(i).identity) for i in range(4)]
    root = write(tmp_path / "silent", fake)
    config = run(root, tmp_path / "out", condition="muted")
    trainer = Trainer(config, policy(), progress=False)
    assert trainer.sounds is None
    assert trainer.network.spec.audio_tokens == 10
    assert "ears" not in trainer.identity()
    with pytest.raises(DatasetError, match=r"without sound.*condition=muted.*audio=none"):
        Trainer(replace(config, condition="video"), policy(), progress=False)


def test_datasets_of_two_robots_are_refused(data, tmp_path):
    humanoid = DemoDataset.open(data)
    features = {**humanoid.info["features"], "action": {"shape": [15]}}
    humanoid.info = {**humanoid.info, "robot_type": "unitree_g1", "features": features}
    with pytest.raises(DatasetError, match=r"one robot.*unitree_g1 with actions of 15.*data="):
        check_datasets([DemoDataset.open(data), humanoid], needs=())


# ---- collecting, training and playing -------------------------------------------------------


@pytest.fixture(scope="module")
def collected(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("collected") / "latch"
    arguments = ["task=arm_latch", "episodes=2", f"out={out}", f"image_size={SIZE}"]
    assert collect.main([*arguments, "mix.clean=1", "mix.noisy=0", "mix.delayed=0"]) == 0
    return out


def test_a_recorded_row_holds_what_the_policy_would_have_heard(collected):
    """The clean expert of episode 1, played again: every ring, to the bit."""
    dataset = DemoDataset.open(collected)
    env: Any = gymnasium.make("neon_sim/ArmLatch-v0", cameras=()).unwrapped
    env.reset(seed=dataset.episodes[1].seed, options={"episode": 1})
    sound, length = dataset.sound(1), dataset.episodes[1].length
    for step in range(min(length, 40)):
        live = observe_row(env, ClipConfig(), {"audio"}).audio[0]
        np.testing.assert_array_equal(rings(sound, [step])[0], live)
        env.advance(env.expert_action())
    assert dataset.episodes[1].audio_channels == env.sound.channel_names
    env.close()


def test_the_command_line_trains_ears(collected, tmp_path, capsys):
    arguments = [
        *("policy=neon_tiny_hear", "condition=audio_only", f"data={collected}"),
        *(f"out={tmp_path}", "steps=4", "batch_size=8", "val_fraction=0", "device=cpu"),
        f"policy.clip.image_size={SIZE}",
    ]
    assert train_main(arguments) == 0
    assert (tmp_path / "audio_only-seed0.safetensors").is_file()
    assert train_main([*arguments, "policy.audio=none"]) == 2
    assert "does not listen" in capsys.readouterr().err


def test_microphones_are_checked_and_recorded(tmp_path):
    with pytest.raises(UnknownNameError, match="linear4"):
        collect.CollectConfig(microphones=["lineer4"]).validate()
    silent, heard = (collect.CollectConfig(microphones=m) for m in ([], ["mono"]))
    assert "microphones" not in collect.content_config(silent)
    assert collect.content_config(heard)["microphones"] == ["mono"]
