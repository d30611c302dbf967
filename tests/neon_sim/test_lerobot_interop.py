"""lerobot opens our dataset, trains on what a policy may see, and edits it; we read what it made.

Skipped where lerobot (0.6, Python 3.12 or later) is not installed; docs/DATASETS.md says how
to run it in an environment of its own and with which versions it passed. The file uses only
numpy, pytest and lerobot besides the writer, whose dependencies lerobot shares.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("lerobot", reason="lerobot is not installed: pip install 'lerobot[dataset]'")

from dataset_fakes import fake_dataset
from lerobot.configs.video import RGBEncoderConfig
from lerobot.datasets import dataset_tools
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.utils.feature_utils import dataset_to_policy_features

from neon_sim.clock import CHUNK_STEPS
from neon_sim.dataset_check import check
from neon_sim.demonstrations.dataset import DemoDataset
from neon_sim.demonstrations.shards import RecordedEpisode
from neon_sim.errors import DatasetError

FRAME_ROWS = (-8, -4, -1, 0)
NUM_EPISODES = 5


def backends() -> list[str]:
    try:
        import torchcodec.decoders  # noqa: F401
    except (ImportError, RuntimeError, OSError):  # no FFmpeg libraries for it
        return ["pyav"]
    return ["pyav", "torchcodec"]


@pytest.fixture(scope="module", params=[0, 2], ids=["silent", "with sound"])
def written(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[RecordedEpisode]]:
    """Sound lies beside the videos; lerobot, which knows none, shall not mind."""
    root = tmp_path_factory.mktemp("interop") / "demos"
    return root, fake_dataset(root, NUM_EPISODES, channels=request.param)


def open_lerobot(root: Path, backend: str, **kwargs: Any) -> Any:
    return LeRobotDataset("neon/demos", root=root, video_backend=backend, **kwargs)


@pytest.mark.parametrize("backend", backends())
def test_every_row_with_delta_timestamps(
    written: tuple[Path, list[RecordedEpisode]], backend: str
) -> None:
    root, episodes = written
    deltas = {
        "observation.images.front": [row / 50 for row in FRAME_ROWS],
        "action": [step / 50 for step in range(CHUNK_STEPS)],
    }
    dataset = open_lerobot(root, backend, delta_timestamps=deltas)
    assert dataset.num_episodes == NUM_EPISODES
    index = 0
    for episode in episodes:
        length = len(episode.action)
        for row in range(length):
            item = dataset[index]
            chunk = row + np.arange(CHUNK_STEPS)
            shown = np.clip(row + np.array(FRAME_ROWS), 0, length - 1) // 2
            pictures = np.round(item["observation.images.front"].numpy() * 255)
            np.testing.assert_array_equal(
                pictures.transpose(0, 2, 3, 1), episode.frames["front"][shown]
            )
            np.testing.assert_array_equal(
                item["action"], episode.action[np.minimum(chunk, length - 1)]
            )
            np.testing.assert_array_equal(item["action_is_pad"], chunk >= length)
            np.testing.assert_array_equal(item["observation.state"], episode.agent_pos[row])
            np.testing.assert_array_equal(
                item["privileged.environment_state"], episode.environment_state[row]
            )
            assert bool(item["next.done"]) == (row == length - 1)
            assert item["task"] == episode.identity.description
            index += 1


def test_metadata(written: tuple[Path, list[RecordedEpisode]]) -> None:
    root, episodes = written
    meta = open_lerobot(root, "pyav").meta
    assert meta.fps == 50
    assert meta.camera_keys == ["observation.images.front"]
    assert meta.stats["action"]["mean"].shape == (8,)
    assert meta.stats["observation.images.front"]["std"].shape == (3, 1, 1)
    for row, episode in zip(meta.episodes, episodes, strict=True):
        assert row["initial_hash"] == episode.identity.initial_hash
        assert row["success"] == episode.identity.success


def test_choice_of_episodes(written: tuple[Path, list[RecordedEpisode]]) -> None:
    root, episodes = written
    dataset = open_lerobot(root, "pyav", episodes=[2, 4])
    lengths = [len(episodes[i].action) for i in (2, 4)]
    assert len(dataset) == sum(lengths)
    np.testing.assert_array_equal(dataset[lengths[0]]["action"], episodes[4].action[0])


# ---- training and editing -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[RecordedEpisode]]:
    root = tmp_path_factory.mktemp("tools") / "demos"
    return root, fake_dataset(root, NUM_EPISODES)


def assert_episodes(root: Path, episodes: list[RecordedEpisode], lossless: bool = True) -> None:
    dataset = DemoDataset.open(root)
    assert dataset.num_episodes == len(episodes)
    for number, wanted in enumerate(episodes):
        found, meta = dataset.load(number), dataset.episodes[number]
        np.testing.assert_array_equal(found.action, wanted.action)
        np.testing.assert_array_equal(found.agent_pos, wanted.agent_pos)
        for name in ("task_name", "version", "seed", "episode", "source", "success"):
            assert getattr(meta, name) == getattr(wanted.identity, name), name
        frames = dataset.frames(number)
        if lossless:
            np.testing.assert_array_equal(frames, wanted.frames["front"])
        else:
            assert not np.array_equal(frames, wanted.frames["front"])


def test_lerobot_trains_on_nothing_privileged(source: tuple[Path, list[RecordedEpisode]]) -> None:
    """What ``lerobot-train`` makes the inputs and outputs of a policy from."""
    taken = dataset_to_policy_features(open_lerobot(source[0], "pyav").meta.features)
    assert set(taken) == {"observation.images.front", "observation.state", "action"}


def test_tools_that_write_a_new_dataset(
    source: tuple[Path, list[RecordedEpisode]], tmp_path: Path
) -> None:
    root, episodes = source
    dataset = open_lerobot(root, "pyav")
    dataset_tools.delete_episodes(dataset, [1, 3], output_dir=tmp_path / "fewer")
    assert_episodes(tmp_path / "fewer", [episodes[i] for i in (0, 2, 4)])
    parts = {"train": [0, 3, 4], "val": [1, 2]}
    dataset_tools.split_dataset(dataset, parts, output_dir=tmp_path / "split")
    for name, numbers in parts.items():
        assert_episodes(tmp_path / "split" / name, [episodes[i] for i in numbers])
    fewer = open_lerobot(tmp_path / "fewer", "pyav")
    dataset_tools.merge_datasets([dataset, dataset], "neon/twice", output_dir=tmp_path / "twice")
    assert_episodes(tmp_path / "twice", episodes * 2)
    for number, names in enumerate(
        (["privileged.environment_state"], ["executed_action", "next.success"])
    ):
        out = tmp_path / f"removed{number}"
        dataset_tools.remove_feature(dataset, names, output_dir=out)
        assert_episodes(out, episodes)
    assert fewer.num_episodes == 3
    check(tmp_path / "fewer", accept=True)
    assert "written by another tool" in DemoDataset.open(tmp_path / "fewer").notes[0]


def copied(root: Path, to: Path) -> Path:
    shutil.copytree(root, to)
    return to


def test_tools_that_edit_in_place(
    source: tuple[Path, list[RecordedEpisode]], tmp_path: Path
) -> None:
    root, episodes = source
    named, coded = copied(root, tmp_path / "named"), copied(root, tmp_path / "coded")
    dataset_tools.modify_tasks(open_lerobot(named, "pyav"), new_task="catch the moving ball")
    dataset_tools.reencode_dataset(open_lerobot(coded, "pyav"), RGBEncoderConfig(vcodec="h264"))
    for place in (named, coded):
        with pytest.raises(DatasetError, match="accept=true"):
            DemoDataset.open(place)
        check(place, accept=True)
    assert_episodes(named, episodes)
    assert {meta.description for meta in DemoDataset.open(named).episodes} == {
        "catch the moving ball"
    }
    assert_episodes(coded, episodes, lossless=False)
    assert any("coded with loss (yuv420p)" in note for note in DemoDataset.open(coded).notes)
