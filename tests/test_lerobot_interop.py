"""lerobot's own LeRobotDataset opens our dataset and returns the same numbers and pictures.

Skipped where lerobot (0.6, Python 3.12 or later) is not installed; docs/DATASETS.md says how
to run it in an environment of its own and with which versions it passed. The file uses only
numpy, pytest and lerobot besides the writer, whose dependencies lerobot shares.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("lerobot", reason="lerobot is not installed: pip install 'lerobot[dataset]'")

from dataset_fakes import fake_dataset
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from neon_sim.clock import CHUNK_STEPS
from neon_sim.shards import RecordedEpisode

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
