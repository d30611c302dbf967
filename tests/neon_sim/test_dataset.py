"""The dataset on disk: round trips to the bit, LeRobot's layout, errors that name the mend."""

from __future__ import annotations

import json
import pickle
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from dataset_fakes import fake_dataset, fake_episode
from hypothesis import given, settings
from hypothesis import strategies as st

from neon_sim.demonstrations import assemble as dataset_write
from neon_sim.demonstrations.dataset import DemoDataset
from neon_sim.demonstrations.record import RECORD_FILE
from neon_sim.demonstrations.shards import RecordedEpisode, read_shard, shard_path, write_shard
from neon_sim.demonstrations.statistics import feature_stats, image_stats, pool_stats
from neon_sim.demonstrations.video_io import GOP_ROWS, Mp4Joiner, VideoFiles, encode_rows
from neon_sim.errors import DatasetError, UnknownNameError

NUM_EPISODES = 6
VIDEO = "videos/observation.images.front/chunk-000/file-000.mp4"
DATA = "data/chunk-000/file-000.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    fake_dataset(tmp_path / "demos", NUM_EPISODES)
    return tmp_path / "demos"


def assert_holds(dataset: DemoDataset, episodes: list[RecordedEpisode]) -> None:
    assert dataset.num_episodes == len(episodes)
    for i, wanted in enumerate(episodes):
        got = dataset.load(i)
        for name in ("agent_pos", "action", "executed_action", "environment_state"):
            np.testing.assert_array_equal(getattr(got, name), getattr(wanted, name))
            assert getattr(got, name).dtype == np.float32
        np.testing.assert_array_equal(dataset.frames(i), wanted.frames["front"])
        for name in ("description", "task_name", "seed", "episode", "success", "source"):
            assert getattr(got, name) == getattr(wanted.identity, name)


# ---- round trips ------------------------------------------------------------------------------


def test_reader_returns_what_was_written(tmp_path: Path) -> None:
    episodes = fake_dataset(tmp_path, NUM_EPISODES)
    dataset = DemoDataset.open(tmp_path)
    assert_holds(dataset, episodes)
    assert dataset.num_rows == sum(len(e.action) for e in episodes)
    assert dataset.image_size == 32
    assert dataset.task_names == ["arm_block", "arm_catch"]
    assert [m.initial_hash for m in dataset.episodes] == [e.identity.initial_hash for e in episodes]


def test_long_collections_are_cut_into_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset_write, "MAX_VIDEO_ROWS", 60)
    monkeypatch.setattr(dataset_write, "MAX_DATA_ROWS", 80)
    monkeypatch.setattr(dataset_write, "CHUNK_FILES", 2)
    episodes = fake_dataset(tmp_path, NUM_EPISODES)
    dataset = DemoDataset.open(tmp_path)
    assert_holds(dataset, episodes)
    assert len({m.data_file for m in dataset.episodes}) == 3
    assert any("chunk-001" in m.videos["observation.images.front"][0] for m in dataset.episodes)


def test_reader_survives_pickling(root: Path) -> None:
    dataset = DemoDataset.open(root)
    before = dataset.frames(3)
    again = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(again.frames(3), before)
    np.testing.assert_array_equal(again.load(3).action, dataset.load(3).action)


def test_choice_of_tasks(root: Path) -> None:
    dataset = DemoDataset.open(root, "ArmBlock")
    assert {m.task_name for m in dataset.episodes} == {"arm_block"}
    assert dataset.load(0).action.shape == fake_episode(1).action.shape


def test_content_hash_tells_content(tmp_path: Path) -> None:
    fake_dataset(tmp_path / "a", 3)
    fake_dataset(tmp_path / "b", 3)
    fake_dataset(tmp_path / "c", 4)
    a, b, c = (DemoDataset.open(tmp_path / name).content_hash for name in "abc")
    assert len(a) == 64
    assert a == b != c


# ---- layout -----------------------------------------------------------------------------------


def test_layout_is_lerobots(root: Path) -> None:
    info = json.loads((root / "meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0"
    assert (info["fps"], info["total_episodes"]) == (50, NUM_EPISODES)
    assert info["features"]["observation.images.front"]["dtype"] == "video"
    rows = pq.read_table(root / DATA)
    assert rows.num_rows == info["total_frames"]
    assert set(rows.column_names) == {
        key for key, feature in info["features"].items() if feature["dtype"] != "video"
    }
    np.testing.assert_array_equal(rows["index"], np.arange(rows.num_rows))
    episodes = pq.read_table(root / EPISODES).to_pylist()
    for row in episodes:
        begin, end = (
            row[f"videos/observation.images.front/{side}_timestamp"] for side in ("from", "to")
        )
        assert round((end - begin) * 50) == row["length"]
        assert row["dataset_to_index"] - row["dataset_from_index"] == row["length"]
    # one row group an episode, as lerobot's own writer makes them
    assert pq.ParquetFile(root / DATA).num_row_groups == NUM_EPISODES
    assert not (root / ".shards").exists()


def test_tasks_table_has_the_instruction_as_pandas_index(root: Path) -> None:
    pandas = pytest.importorskip("pandas")
    tasks = pandas.read_parquet(root / "meta/tasks.parquet")
    assert tasks.index.name == "task"
    assert list(tasks["task_index"]) == list(range(len(tasks)))
    assert "do arm_catch number 0" in tasks.index


def test_stats_match_numpy(root: Path) -> None:
    stats = json.loads((root / "meta/stats.json").read_text())
    actions = np.concatenate([fake_episode(i).action for i in range(NUM_EPISODES)])
    for key, wanted in (
        ("mean", actions.mean(0)),
        ("std", actions.std(0)),
        ("max", actions.max(0)),
    ):
        np.testing.assert_allclose(stats["action"][key], wanted, atol=1e-6)
    assert stats["action"]["count"] == [len(actions)]
    assert np.shape(stats["observation.images.front"]["mean"]) == (3, 1, 1)


def test_image_stats_match_plain_numpy() -> None:
    frames = fake_episode(2).frames["front"]
    got, flat = image_stats(frames), frames.reshape(-1, 3) / 255.0
    np.testing.assert_allclose(got["mean"].ravel(), flat.mean(0), atol=1e-12)
    np.testing.assert_allclose(got["std"].ravel(), flat.std(0), atol=1e-12)
    np.testing.assert_allclose(got["min"].ravel(), flat.min(0))
    np.testing.assert_allclose(got["max"].ravel(), flat.max(0))
    np.testing.assert_allclose(
        got["q50"].ravel(), np.quantile(flat, 0.5, axis=0, method="inverted_cdf")
    )


@given(st.lists(st.integers(1, 30), min_size=1, max_size=5))
@settings(max_examples=25, deadline=None)
def test_pooled_stats_equal_stats_of_the_whole(lengths: list[int]) -> None:
    rng = np.random.default_rng(sum(lengths))
    parts = [rng.normal(i, 1 + i, (length, 3)) for i, length in enumerate(lengths)]
    pooled, whole = pool_stats([feature_stats(p) for p in parts]), np.concatenate(parts)
    np.testing.assert_allclose(pooled["mean"], whole.mean(0), atol=1e-9)
    np.testing.assert_allclose(pooled["std"], whole.std(0), atol=1e-9)
    np.testing.assert_array_equal(pooled["min"], whole.min(0))
    assert pooled["count"] == [len(whole)]


# ---- video ------------------------------------------------------------------------------------


@given(st.integers(1, 70), st.sampled_from([(16, 16), (33, 20), (96, 96)]))
@settings(max_examples=20, deadline=None)
def test_video_is_lossless(num_rows: int, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(num_rows)
    num_frames = -(-num_rows // 2)
    frames = rng.integers(0, 256, (num_frames, *size, 3), dtype=np.uint8)
    np.testing.assert_array_equal(there_and_back(frames, num_rows), frames)


def there_and_back(frames: np.ndarray, num_rows: int) -> np.ndarray:
    with tempfile.NamedTemporaryFile(suffix=".mp4") as file:
        Path(file.name).write_bytes(encode_rows(frames, num_rows))
        return VideoFiles().read(Path(file.name), 0, num_rows, fps=50, every=2)


def test_small_coloured_objects_keep_their_colours() -> None:
    frames = np.full((10, 96, 96, 3), (190, 160, 120), dtype=np.uint8)
    for j in range(10):
        frames[j, 40:46, 5 + 3 * j : 11 + 3 * j] = (250, 20, 30)
    assert np.abs(there_and_back(frames, 20).astype(int) - frames).max() == 0


def test_random_access_within_joined_files(tmp_path: Path) -> None:
    parts = [fake_episode(i, length) for i, length in enumerate((41, 2, 90, 1))]
    joiner = Mp4Joiner(tmp_path / "joined.mp4", 50)
    rows = []
    for part in parts:
        joiner.append(encode_rows(part.frames["front"], len(part.action)), len(part.action))
        rows += [part.frames["front"][r // 2] for r in range(len(part.action))]
    joiner.close()
    files = VideoFiles()
    for first, count in ((0, 134), (41, 2), (43, 90), (50, GOP_ROWS + 3), (133, 1), (7, 60)):
        got = files.read(tmp_path / "joined.mp4", first, count, fps=50)
        np.testing.assert_array_equal(got, rows[first : first + count])


def test_encoding_refuses_wrong_arrays() -> None:
    frames = np.zeros((3, 16, 16, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match="need 4 frames"):
        encode_rows(frames, 8)
    with pytest.raises(ValueError, match="uint8"):
        encode_rows(frames.astype(np.float32), 6)


# ---- writing can be interrupted -----------------------------------------------------------------


def test_assembling_can_be_interrupted_and_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    episodes = [fake_episode(i) for i in range(3)]
    paths = [shard_path(tmp_path, i) for i in range(3)]
    for path, episode in zip(paths, episodes, strict=True):
        write_shard(path, episode)
    with monkeypatch.context() as patch:
        patch.setattr(dataset_write, "tasks_table", _raise_disk_full)
        with pytest.raises(OSError, match="No space"):
            dataset_write.assemble(tmp_path, paths, {})
    assert all(path.exists() for path in paths)
    with pytest.raises(DatasetError, match="unfinished"):
        DemoDataset.open(tmp_path)
    dataset_write.assemble(tmp_path, paths, {})
    assert_holds(DemoDataset.open(tmp_path), episodes)


def _raise_disk_full(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_shard_is_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = shard_path(tmp_path, 0)
    with monkeypatch.context() as patch:
        patch.setattr("neon_sim.demonstrations.shards.os.replace", _raise_disk_full)
        with pytest.raises(OSError, match="No space"):
            write_shard(path, fake_episode(0))
    assert list(path.parent.iterdir()) == []
    write_shard(path, fake_episode(0))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DatasetError, match=r"0000000\.npz is damaged"):
        read_shard(path)


# ---- bad input ----------------------------------------------------------------------------------


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no dataset at .*python -m neon_sim\.collect"):
        DemoDataset.open(tmp_path / "nowhere")


@pytest.mark.parametrize("name", [VIDEO, DATA, EPISODES, "meta/info.json", RECORD_FILE])
def test_truncated_file_is_named(root: Path, name: str) -> None:
    content = (root / name).read_bytes()
    (root / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(DatasetError, match=rf"{Path(name).name} is .*damaged.*collect it again"):
        DemoDataset.open(root)


@pytest.mark.parametrize("name", [VIDEO, DATA, EPISODES])
def test_missing_file_is_named(root: Path, name: str) -> None:
    (root / name).unlink()
    with pytest.raises(DatasetError, match="truncated or damaged"):
        DemoDataset.open(root)


@pytest.mark.parametrize("name", [VIDEO, DATA])
def test_damage_without_provenance_is_found_when_read(root: Path, name: str) -> None:
    (root / RECORD_FILE).unlink()
    content = (root / name).read_bytes()
    (root / name).write_bytes(content[: len(content) // 2])
    dataset = DemoDataset.open(root)
    with pytest.raises(DatasetError, match=Path(name).name):
        [(dataset.load(i), dataset.frames(i)) for i in range(dataset.num_episodes)]


def edit_info(root: Path, **changes: object) -> None:
    """Change ``info.json`` as another tool would, which leaves no record behind."""
    (root / RECORD_FILE).unlink(missing_ok=True)
    path = root / "meta/info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_other_codebase_version(root: Path) -> None:
    edit_info(root, codebase_version="v2.1")
    with pytest.raises(DatasetError, match=r"codebase_version must be 'v3\.0' \(got 'v2\.1'\)"):
        DemoDataset.open(root)


def test_other_rate(root: Path) -> None:
    edit_info(root, fps=30)
    with pytest.raises(DatasetError, match=r"fps must be 50 \(got 30\)"):
        DemoDataset.open(root)


def test_other_robot(root: Path) -> None:
    features = json.loads((root / "meta/info.json").read_text())["features"]
    features["action"]["shape"] = [6]
    edit_info(root, features=features)
    with pytest.raises(DatasetError, match=r"'action' must have shape \[8\] \(got \[6\]\)"):
        DemoDataset.open(root)


def test_counts_that_do_not_add_up(root: Path) -> None:
    edit_info(root, total_episodes=9)
    with pytest.raises(DatasetError, match=r"6 episodes of .* says 9"):
        DemoDataset.open(root)


def test_other_task_than_asked(root: Path) -> None:
    with pytest.raises(DatasetError, match=r"no episode of 'arm_reach', only of arm_block, arm_c"):
        DemoDataset.open(root, ["arm_catch", "arm_reach"])
    with pytest.raises(UnknownNameError, match="arm_juggle"):
        DemoDataset.open(root, "arm_juggle")


def test_other_task_version(root: Path) -> None:
    table = pq.read_table(root / EPISODES)
    column = table.column_names.index("version")
    (root / RECORD_FILE).unlink()
    old = table.set_column(column, "version", [[7] * table.num_rows])
    pq.write_table(old, root / EPISODES)
    with pytest.raises(DatasetError, match="in version 7, this installation has version 0"):
        DemoDataset.open(root)


def test_unknown_camera(root: Path) -> None:
    with pytest.raises(DatasetError, match=r"no camera 'wrist'; it has observation\.images\.front"):
        DemoDataset.open(root).frames(0, camera="wrist")
