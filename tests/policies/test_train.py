"""Windows, feature cache and training: what a user relies on before trusting a number."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from train_fakes import SIZE, TEXTS, blob_dataset, live_batch, policy, run

from neon_sim.demonstrations.dataset import DemoDataset
from neon_sim.demonstrations.windows import (
    BalancedBatches,
    build_windows,
    chunk_labels,
    is_validation,
)
from neon_sim.errors import CheckpointError, ConfigError, DatasetError, UnknownNameError
from neon_sim.observation.clips import ClipConfig, plan_clip
from neon_sim.policies.policy import load_policy
from neon_sim.policies.tower import make_tower
from neon_sim.policies.training.command import describe, main, parse, train
from neon_sim.policies.training.feature_cache import FeatureTable, build_cache, episode_layout
from neon_sim.policies.training.trainer import Trainer, check_same

# ---- windows ----------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return blob_dataset(tmp_path_factory.mktemp("blobs") / "set", range(24))


def test_labels_repeat_the_last_with_weight_zero():
    action = np.arange(20, dtype=np.float32)[:, None] * np.ones(8, dtype=np.float32) / 20
    chunks, weight = chunk_labels(action, np.array([0, 8]))
    np.testing.assert_array_equal(chunks[0], action[:16])
    assert weight[0].all()
    np.testing.assert_array_equal(chunks[1, 12:], np.repeat(action[-1:], 4, axis=0))
    assert weight[1].tolist() == [1.0] * 12 + [0.0] * 4


def test_windows_know_task_text_and_split(data):
    dataset = DemoDataset.open(data)
    windows = build_windows([dataset], stride=4, val_fraction=0.3)
    assert len(windows) == sum(-(-m.length // 4) for m in dataset.episodes)
    assert windows.tasks == ["arm_block", "arm_catch"]
    assert windows.texts == sorted(TEXTS.values())
    held = {m.index for m in dataset.episodes if is_validation(m, 0.3)}
    assert 0 < len(held) < 24
    both = build_windows([dataset, dataset], stride=4, val_fraction=0.3)
    np.testing.assert_array_equal(both.validation, np.tile(windows.validation, 2))


def test_recordings_of_one_initial_state_validate_together(data):
    meta = DemoDataset.open(data).episodes[3]
    assert is_validation(meta, 0.5) == is_validation(replace(meta, source="dagger:x"), 0.5)


def test_batches_are_balanced_repeatable_and_cover_everything():
    task, allowed = np.array([0] * 90 + [1] * 10), np.ones(100, dtype=bool)
    allowed[5] = False
    batches = BalancedBatches(task, allowed, 20, seed=3)
    first = [batches.batch(s) for s in range(12)]
    again = BalancedBatches(task, allowed, 20, seed=3)
    np.testing.assert_array_equal(again.batch(7), first[7])  # without the steps before it
    assert all((task[b] == 0).sum() == 10 for b in first)
    assert set(np.concatenate(first[:9])[task[np.concatenate(first[:9])] == 0]) >= set(
        range(90)
    ) - {5} - set(range(89, 90))
    assert not np.array_equal(first[0], BalancedBatches(task, allowed, 20, seed=4).batch(0))
    with pytest.raises(DatasetError, match="no window"):
        BalancedBatches(task, np.zeros(100, dtype=bool), 20, 0)


# ---- feature cache ----------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["blind", "frame", "stack", "video", "video_repeat", "video_shuffle", "oracle_history"],
)
@pytest.mark.parametrize("ram_bytes", [1e9, 0])
def test_cached_features_are_the_live_ones(data, name, ram_bytes, tmp_path):
    dataset, tower = DemoDataset.open(data), make_tower(policy(), name)
    table = FeatureTable(
        [dataset, dataset], tower, 4, data.parent / "features", ram_bytes, progress=False
    )
    windows = [len(episode_layout(tower, m.length, 4).steps) for m in dataset.episodes]
    assert len(table) == 2 * sum(windows)
    number = 5
    layout = episode_layout(tower, dataset.episodes[number].length, 4)
    batch = live_batch(dataset.load(number), dataset.frames(number), layout.plans, layout.steps)
    live = tower.encode(batch)
    start = sum(windows[:number])
    for offset in (0, sum(windows)):  # in the first and in the second dataset
        rows = np.arange(start, start + len(layout.steps)) + offset
        shuffled = np.random.default_rng(0).permutation(len(rows))
        hidden, mask, time_s = table.gather(rows[shuffled])
        picked = torch.from_numpy(shuffled)
        torch.testing.assert_close(mask, live.mask[picked])
        torch.testing.assert_close(time_s, live.time_s[picked])
        real = mask[..., None]
        torch.testing.assert_close(hidden * real, live.hidden[picked] * real, rtol=1e-3, atol=1e-3)


def test_exact_motion_is_cached_as_it_is_live(data, tmp_path):
    """A backbone that needs the state too sees whole clips, and the cache hands them to it."""
    settings = replace(policy(), image_backbone="exact_motion")
    settings.backbone_args = {"image": "random_image"}
    dataset, tower = DemoDataset.open(data), make_tower(settings, "stack")
    table = FeatureTable([dataset], tower, 4, tmp_path, progress=False)
    layout = episode_layout(tower, dataset.episodes[0].length, 4)
    episode = dataset.load(0)
    live = tower.encode(live_batch(episode, dataset.frames(0), layout.plans, layout.steps))
    hidden, mask, _ = table.gather(np.arange(len(layout.steps)))
    assert torch.equal(mask, live.mask)
    real = mask[..., None]
    torch.testing.assert_close(hidden * real, live.hidden * real, rtol=1e-3, atol=1e-3)
    assert (hidden[..., -16:] * real).abs().max() > 1e-3, "something moves"


def test_stack_stores_each_camera_frame_once(data):
    dataset = DemoDataset.open(data)
    stack = episode_layout(make_tower(policy(), "stack"), dataset.episodes[0].length, 4)
    frame = episode_layout(make_tower(policy(), "frame"), dataset.episodes[0].length, 4)
    assert stack.num_rows == frame.num_rows == len(stack.steps)
    assert stack.index.shape == (len(stack.steps), 4)


def test_a_killed_cache_resumes_and_is_encoded_once(data, tmp_path, monkeypatch):
    dataset, tower = DemoDataset.open(data), make_tower(policy(), "video")
    whole, _ = build_cache(dataset, tower, 4, tmp_path / "whole", progress=False)
    encode, calls = tower.encode, []

    def failing(batch):
        calls.append(len(batch))
        if len(calls) == 6:
            raise KeyboardInterrupt
        return encode(batch)

    monkeypatch.setattr(tower, "encode", failing)
    with pytest.raises(KeyboardInterrupt):
        build_cache(dataset, tower, 4, tmp_path / "killed", progress=False)
    folder, _ = build_cache(dataset, tower, 4, tmp_path / "killed", progress=False)
    assert len(calls) == 6 + 24 - 5
    for name in ("hidden.bin", "mask.bin"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()
    build_cache(dataset, tower, 4, tmp_path / "killed", progress=False)
    assert len(calls) == 6 + 24 - 5, "a finished cache is read, not made"


def test_a_cache_belongs_to_weights_condition_clip_and_data(data, tmp_path):
    dataset = DemoDataset.open(data)
    towers = [
        make_tower(policy(), "video"),
        make_tower(policy(), "video_repeat"),
        make_tower(policy(backbone_args={"dim": "24", "seed": "1"}), "video"),
        make_tower(policy(clip=ClipConfig(num_frames=3, image_size=SIZE)), "video"),
    ]
    folders = {build_cache(dataset, tower, 8, tmp_path, progress=False)[0] for tower in towers}
    folders.add(build_cache(dataset, towers[0], 16, tmp_path, progress=False)[0])
    assert len(folders) == 5


def test_damaged_caches_and_unfit_images_are_refused(data, tmp_path):
    dataset, tower = DemoDataset.open(data), make_tower(policy(), "frame")
    folder, _ = build_cache(dataset, tower, 8, tmp_path, progress=False)
    with (folder / "hidden.bin").open("r+b") as file:
        file.truncate(100)
    with pytest.raises(DatasetError, match=r"hidden.bin must be \d+ bytes \(got 100\)"):
        FeatureTable([dataset], tower, 8, tmp_path, progress=False)
    large = make_tower(policy(clip=ClipConfig(num_frames=4, image_size=96)), "frame")
    with pytest.raises(DatasetError, match="images of 48 pixels"):
        build_cache(dataset, large, 8, tmp_path, progress=False)


def test_no_space_is_said_before_encoding(data, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1 << 20})
    monkeypatch.setattr(
        "neon_sim.policies.training.feature_cache.shutil.disk_usage", lambda path: usage
    )
    tower = make_tower(policy(), "video")
    with pytest.raises(DatasetError, match="cache=DIR"):
        build_cache(DemoDataset.open(data), tower, 4, tmp_path, progress=False)


# ---- training ---------------------------------------------------


def weights(path: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(str(path))


def test_training_learns_and_the_head_plays(data, tmp_path):
    config = run(data, tmp_path, steps=400, batch_size=32, ema=0.98)
    path = train(config, policy(condition="frame"), progress=False)
    curve = json.loads(path.with_suffix(".curve.json").read_text())
    points = curve["points"]
    assert points[-1]["step"] == 400
    assert points[-1]["loss"] < points[0]["loss"] / 3
    for task in ("arm_catch", "arm_block"):
        row = curve["validation"][task]
        assert row["normalised"] < 0.35
        assert 0 < row["joints_rad"] < 0.16
        assert curve["training"][task]["windows"] > 0 < row["windows"]
    player = load_policy(policy(), "frame", "arm_catch", checkpoint=str(path))
    dataset = DemoDataset.open(data, "arm_catch")
    errors, spread = [], []
    for number in range(dataset.num_episodes):
        episode, frames = dataset.load(number), dataset.frames(number)
        seen = live_batch(episode, frames, [plan_clip(player.clip, 200)], np.array([20]))
        errors.append(np.abs(player.act(seen)[0, 0, :2] - episode.action[20, :2]))
        spread.append(episode.action[20, :2])
    assert np.mean(errors) < np.std(spread) / 2
    assert not path.with_name("frame-seed0.state.pt").exists()


def test_a_killed_run_ends_with_the_same_weights(data, tmp_path):
    settings = policy(head="flow")  # chance in training: dropout, times and noise
    whole = train(run(data, tmp_path / "whole"), settings, progress=False)
    config = run(data, tmp_path / "killed", save_every=10)
    trainer = Trainer(config, settings, progress=False)
    while trainer.step < 13:
        trainer.train_step()
        if trainer.step == 10:
            trainer.save_state()
    resumed = train(config, settings, progress=False)
    first, second = weights(whole), weights(resumed)
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=0, atol=0, msg=name)


@pytest.mark.parametrize("name", ["neon_tiny_dit", "neon_tiny_diffusion", "neon_tiny_tokens"])
def test_every_policy_of_a_head_trains_and_plays(name, data, tmp_path):
    small = [f"policy.clip.num_frames=4 policy.clip.image_size={SIZE} policy.backbone=random"]
    small += ["policy.image_backbone=random_image policy.backbone_args={dim:24} batch_size=8"]
    arguments = f"policy={name} condition=frame data={data} out={tmp_path} steps=2".split()
    config, settings = parse([*arguments, *(s for part in small for s in part.split())])
    path = train(config, settings, progress=False)
    curve = json.loads(path.with_suffix(".curve.json").read_text())
    assert all(np.isfinite(point["loss"]) for point in curve["points"])
    player = load_policy(settings, "frame", "arm_catch", checkpoint=str(path))
    dataset = DemoDataset.open(data, "arm_catch")
    episode, frames = dataset.load(0), dataset.frames(0)
    seen = live_batch(episode, frames, [plan_clip(player.clip, 200)], np.array([20]))
    chunk = player.act(seen)
    assert chunk.shape == (1, 16, 8)
    assert np.abs(chunk).max() <= 1.0


def test_conditions_see_the_same_windows_in_the_same_order(data, tmp_path):
    trainers = [
        Trainer(run(data, tmp_path, condition=name), policy(), progress=False)
        for name in ("frame", "video", "blind")
    ]
    batches = [trainer.batches.batch(11) for trainer in trainers]
    np.testing.assert_array_equal(batches[0], batches[1])
    np.testing.assert_array_equal(batches[0], batches[2])
    sizes = [trainer.network.num_parameters() for trainer in trainers[:2]]
    assert sizes[0] == sizes[1]


def test_a_finished_head_is_left_alone_and_others_are_not_overwritten(data, tmp_path):
    config = run(data, tmp_path, condition="blind", steps=3)
    path = train(config, policy(), progress=False)
    before = path.stat().st_mtime_ns
    assert train(config, policy(), progress=False) == path
    assert path.stat().st_mtime_ns == before
    with pytest.raises(CheckpointError, match=r"train.steps = 3, this run has 4"):
        train(replace(config, steps=4), policy(), progress=False)
    with pytest.raises(CheckpointError, match=r"policy.head = 'chunk_mlp'"):
        train(config, policy(head="flow"), progress=False)


def test_a_damaged_state_is_named(data, tmp_path):
    config = run(data, tmp_path, condition="blind")
    (tmp_path / "blind-seed0.state.pt").write_bytes(b"half")
    with pytest.raises(CheckpointError, match=r"blind-seed0\.state\.pt is damaged"):
        train(config, policy(), progress=False)


def test_metadata_says_what_made_the_head(data, tmp_path):
    from neon_sim.policies.checkpoint import read_checkpoint

    path = train(run(data, tmp_path, condition="oracle_memoryless", steps=3), policy())
    metadata = read_checkpoint(path)[1]
    assert metadata["condition"] == "oracle_memoryless"
    assert metadata["tasks"] == ["arm_block", "arm_catch"]
    assert metadata["data"][0]["episodes"] == 24
    assert metadata["train"]["steps"] == 3
    assert metadata["policy"]["clip"]["num_frames"] == 4
    assert metadata["parameters"] > 0
    assert metadata["backbone"]["name"] == "state"
    text = json.dumps(metadata)
    assert str(tmp_path) not in text
    assert str(data) not in text


def test_noise_is_repeatable_and_only_in_training(data, tmp_path):
    config = run(data, tmp_path, condition="frame", feature_noise=0.5, proprio_noise=0.1)
    first, second = (Trainer(config, policy(), progress=False) for _ in range(2))
    assert [first.train_step() for _ in range(3)] == [second.train_step() for _ in range(3)]
    plain = Trainer(run(data, tmp_path, condition="frame"), policy(), progress=False)
    torch.manual_seed(0)
    noisy_tokens = first._batch(np.arange(4), training=True)[0].tokens.hidden.float()
    clean_tokens = plain._batch(np.arange(4), training=True)[0].tokens.hidden.float()
    spread = ((noisy_tokens - clean_tokens) / plain.network.feature_std).std()
    assert 0.45 < spread < 0.55
    seen = first._batch(np.arange(4))[0]
    torch.testing.assert_close(seen.tokens.hidden.float(), clean_tokens)


def test_a_setting_added_later_counts_as_its_default(data, tmp_path):
    trainer = Trainer(run(data, tmp_path, condition="blind"), policy(), progress=False)
    older = json.loads(json.dumps(trainer.identity()))
    del older["train"]["feature_noise"]
    del older["policy"]["clip"]["refresh_steps"]
    check_same(tmp_path, older, trainer.identity())
    older["train"]["seed"] = 5
    with pytest.raises(CheckpointError, match=r"train\.seed = 5, this run has 0"):
        check_same(tmp_path, older, trainer.identity())


def test_a_loss_that_explodes_is_named(data, tmp_path, monkeypatch):
    trainer = Trainer(run(data, tmp_path, condition="blind"), policy(), progress=False)
    with torch.no_grad():
        trainer.network.head.leave.bias.fill_(float("nan"))
    with pytest.raises(ConfigError, match="learning_rate"):
        trainer.train_step()


# ---- command line -----------------------------------------------


def test_the_command_line_reaches_run_and_policy():
    arguments = ["policy=neon_tiny", "policy.head=flow", "data=a,b", "out=x", "steps=7"]
    config, settings = parse([*arguments, "policy.clip.num_frames=4"])
    assert config.data == ["a", "b"]
    assert (config.steps, settings.head, settings.clip.num_frames) == (7, "flow", 4)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("setps=3", "Did you mean 'steps'"),
        ("steps=many", "steps must be int"),
        ("steps=0", "steps must be 1 to"),
        ("condition=repeat_at_test", "trains nothing"),
        ("policy.haed=flow", "Did you mean 'head'"),
        ("policy=none_such", "unknown policy"),
        ("device=tpu", "unknown device"),
        ("threads=99999", "threads must be 0 to"),
        ("threads=-1", "threads must be 0 to"),
    ],
)
def test_bad_settings_exit_non_zero_with_the_mend(argument, message, capsys, data, tmp_path):
    assert main([f"data={data}", f"out={tmp_path}", argument]) == 2
    assert message in capsys.readouterr().err


def test_missing_data_and_unknown_words_are_named(tmp_path, capsys, monkeypatch):
    assert main([f"data={tmp_path}/none", f"out={tmp_path}", "condition=blind"]) == 2
    assert "no dataset at" in capsys.readouterr().err
    assert main([f"out={tmp_path}"]) == 2
    assert "give data=" in capsys.readouterr().err
    monkeypatch.setitem(TEXTS, "arm_catch", "catch the moving blal")
    strange = blob_dataset(tmp_path / "strange", range(2))
    with pytest.raises(UnknownNameError, match="blal"):
        train(run(strange, tmp_path, condition="blind"), policy(), progress=False)


def test_the_table_of_errors_names_what_each_robot_has_besides_joints():
    arm = {"normalised": 0.1, "joints_rad": 0.02, "gripper": 0.004, "windows": 5}
    body = {"normalised": 0.1, "joints_rad": 0.02, "windows": 5}
    for row, shown in (
        (arm, "gripper 0.004"),
        ({**body, "base": 0.3}, "base 0.300"),
        (body, "std"),
    ):
        text = describe({"validation": {"task": row}, "training": {}})
        assert shown in text
