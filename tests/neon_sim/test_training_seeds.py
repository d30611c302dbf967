"""A checkpoint knows the episodes it was trained on, and an evaluation can ask."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import torch
from train_fakes import SIZE, blob_dataset

from neon_sim.config.policy import PolicyConfig
from neon_sim.demonstrations.training_seeds import demonstration_record, training_seeds
from neon_sim.errors import CheckpointError
from neon_sim.observation.clips import ClipConfig
from neon_sim.policies.training.command import train
from neon_sim.policies.training.settings import TrainConfig
from neon_sim.tensor_file import read_metadata, write_tensors


def file_with(path: Path, **metadata: Any) -> Path:
    write_tensors(path, {"weight": torch.zeros(2)}, {"format": "neon_sim.head/1", **metadata})
    return path


def test_a_head_records_its_demonstrations(tmp_path: Path) -> None:
    blob_dataset(tmp_path / "demos", range(6))  # three episodes of each of two tasks, seed 1000
    policy = PolicyConfig(
        name="tested", condition="blind", clip=ClipConfig(num_frames=2, image_size=SIZE)
    )
    config = TrainConfig(
        data=[str(tmp_path / "demos")], tasks=["arm_catch"], out=str(tmp_path), steps=1
    )
    path = train(config, policy, progress=False)
    assert read_metadata(path)["demonstrations"] == [
        {"task": "arm_catch", "seed": 1000, "episodes": [[0, 2]]}
    ]
    seeds = training_seeds(path)
    assert seeds.recorded
    assert seeds.clash("arm_catch", 1000, range(2, 10)) == (
        "1 of 8 episodes of arm_catch with seed 1000 (the first is 2) were demonstrations or "
        "training episodes of the checkpoint"
    )
    assert seeds.clash("arm_catch", 1000, range(3, 10)) is None
    assert seeds.clash("arm_catch", 0, range(200)) is None
    assert seeds.clash("arm_block", 1000, range(200)) is None, "--tasks left these out"


def test_ranges_keep_holes() -> None:
    record = demonstration_record([("b", 1001, 4), ("a", 1000, 1), ("a", 1000, 0), ("b", 1001, 2)])
    assert record == [
        {"task": "a", "seed": 1000, "episodes": ((0, 1),)},
        {"task": "b", "seed": 1001, "episodes": ((2, 2), (4, 4))},
    ]


def test_heads_without_a_record_count_every_seed_of_collect() -> None:
    shipped = resources.files("neon_sim.assets") / "heads" / "neon_tiny" / "video-seed0.safetensors"
    seeds = training_seeds(str(shipped))
    assert not seeds.recorded
    assert seeds.clash("arm_catch", 999, range(5)) is None
    for seed in (1000, 1001, 5000):
        assert "does not record its seeds" in str(seeds.clash("arm_catch", seed, range(5)))
    assert seeds.clash("humanoid_reach", 1000, range(5)) is None, "not trained on it"


def test_ppo_counts_every_episode_of_its_seed(tmp_path: Path) -> None:
    path = file_with(tmp_path / "a", format="neon_sim.rl/1", task="arm_reach", train_seed=3)
    seeds = training_seeds(path)
    assert seeds.clash("arm_reach", 500_003, [10**9])
    assert seeds.clash("arm_reach", 500_002, [0]) is None


@pytest.mark.parametrize(
    "record",
    [
        {"arm_catch": 1000},
        [{"task": "arm_catch", "seed": "1000", "episodes": []}],
        [{"task": "arm_catch", "seed": 1000, "episodes": [[0]]}],
        [{"task": "arm_catch", "seed": 1000.5, "episodes": []}],
        None,
    ],
)
def test_a_record_of_another_shape_is_an_error(record: Any, tmp_path: Path) -> None:
    path = file_with(tmp_path / "bad.safetensors", demonstrations=record)
    with pytest.raises(CheckpointError, match=r"bad.safetensors: demonstrations: .*train it again"):
        training_seeds(path)


def test_no_checkpoint_and_damaged_ones(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        training_seeds(tmp_path)
    path = file_with(tmp_path / "cut.safetensors")
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(CheckpointError, match="truncated or no safetensors file"):
        training_seeds(path)
