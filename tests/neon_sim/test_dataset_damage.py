"""A dataset that is not what was written is never trained on without a word."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dataset_fakes import fake_dataset, fake_episode

from neon_sim.dataset_check import check, main
from neon_sim.demonstrations import video_io
from neon_sim.demonstrations.dataset import DemoDataset
from neon_sim.demonstrations.layout import FORMER_KEYS, IDENTITY_COLUMNS, IDENTITY_KEY, STATE_KEY
from neon_sim.demonstrations.record import RECORD_FILE, content_files
from neon_sim.demonstrations.shards import RecordedEpisode, read_shard, shard_path, write_shard
from neon_sim.demonstrations.statistics import feature_stats, to_lists
from neon_sim.demonstrations.values import resting
from neon_sim.demonstrations.windows import build_windows, check_datasets
from neon_sim.errors import DatasetError
from neon_sim.seeding import keyed_rng

DATA = "data/chunk-000/file-000.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
VIDEO = "videos/observation.images.front/chunk-000/file-000.mp4"
INFO, STATS = "meta/info.json", "meta/stats.json"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("damage") / "demos"
    fake_dataset(root, 6)
    return root


@pytest.fixture
def root(written: Path, tmp_path: Path) -> Path:
    shutil.copytree(written, tmp_path / "demos")
    return tmp_path / "demos"


def read_all(root: Path) -> None:
    dataset = DemoDataset.open(root)
    for number in range(dataset.num_episodes):
        dataset.load(number)
        dataset.frames(number)


# ---- turned bits --------------------------------------------------------------------------------


def test_no_turned_bit_passes(written: Path, tmp_path: Path) -> None:
    """80 tries, one bit each, spread over every file: 54 of them once gave other labels."""
    rng, silent = keyed_rng("turned bits"), []
    files = [*content_files(written), written / RECORD_FILE]
    sizes = np.array([path.stat().st_size for path in files], dtype=np.float64)
    for trial in range(80):
        path = files[trial % len(files)] if trial < 40 else rng.choice(files, p=sizes / sizes.sum())
        content = bytearray(path.read_bytes())
        bit = int(rng.integers(8 * len(content)))
        content[bit // 8] ^= 1 << bit % 8
        kept = path.read_bytes()
        path.write_bytes(content)
        try:
            read_all(written)
            silent.append((path.name, bit))
        except DatasetError as error:
            if "collect it again" not in str(error):
                silent.append((path.name, bit))
        finally:
            path.write_bytes(kept)
    assert silent == []
    read_all(written)


def test_a_file_that_nobody_wrote_is_not_read(root: Path) -> None:
    extra = root / "meta/episodes/chunk-000/file-001.parquet"
    shutil.copy(root / EPISODES, extra)
    with pytest.raises(DatasetError, match=r"file-001.parquet is .*does not know it"):
        DemoDataset.open(root)


def test_a_later_format_is_named(root: Path) -> None:
    record = json.loads((root / RECORD_FILE).read_text())
    (root / RECORD_FILE).write_text(json.dumps(record | {"format": 3}))
    with pytest.raises(DatasetError, match=r"format must be at most 2 \(got 3\)"):
        DemoDataset.open(root)


# ---- edited on purpose --------------------------------------------------------------------------


def rewrite(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.read_table(path)), path)


def scaled(key: str, factor: float = 1.0, offset: float = 0.0) -> Callable[[pa.Table], pa.Table]:
    """A table whose column is rescaled, as a script of somebody else would."""

    def change(table: pa.Table) -> pa.Table:
        values = table[key].combine_chunks()
        width = values.type.list_size
        numbers = values.flatten().to_numpy().reshape(-1, width) * factor + offset
        column = pa.FixedSizeListArray.from_arrays(
            pa.array(numbers.astype(np.float32).reshape(-1)), width
        )
        return table.set_column(table.column_names.index(key), key, column)

    return change


def without(*keys: str) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.drop_columns([*keys])


def instruction(text: str) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        column = pa.array([[text]] * table.num_rows)
        return table.set_column(table.column_names.index("tasks"), "tasks", column)

    return change


def test_an_edit_in_place_is_refused_until_it_is_accepted(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = DemoDataset.open(root).content_hash
    rewrite(root / EPISODES, instruction("catch the moving ball"))
    with pytest.raises(DatasetError, match=r"dataset_check data=.* accept=true"):
        DemoDataset.open(root)
    assert main([f"data={root}"]) == 2
    assert main([f"data={root}", "accept=true"]) == 0
    assert main([f"data={root}"]) == 0
    assert "every file is what was recorded" in capsys.readouterr().out
    dataset = DemoDataset.open(root)
    assert dataset.episodes[0].description == "catch the moving ball"
    assert dataset.content_hash != before
    assert dataset.provenance["made_with"] == {"neon_sim": "test"}
    assert any("edited after it was collected" in note for note in dataset.notes)
    rewrite(root / DATA, scaled("action", 0.5))
    with pytest.raises(DatasetError, match=r"file-000.parquet is truncated or damaged"):
        DemoDataset.open(root)


def test_a_damaged_dataset_cannot_be_accepted(root: Path) -> None:
    content = (root / VIDEO).read_bytes()
    (root / VIDEO).write_bytes(content[: len(content) // 2])
    with pytest.raises(DatasetError, match=r"file-000\.mp4"):
        check(root, accept=True)
    assert "edits" not in json.loads((root / RECORD_FILE).read_text())


def test_without_a_record_it_opens_and_says_so(root: Path) -> None:
    assert DemoDataset.open(root).notes == []
    (root / RECORD_FILE).unlink()
    dataset = DemoDataset.open(root)
    assert "damage cannot be told from data" in dataset.notes[0]
    assert "accept=true" in check(root)
    check(root, accept=True)
    assert "written by another tool" in DemoDataset.open(root).notes[0]


def test_features_that_only_oracles_need_may_be_left_out(root: Path) -> None:
    (root / RECORD_FILE).unlink()
    info = json.loads((root / INFO).read_text())
    for key in (STATE_KEY, "executed_action", "next.success"):
        del info["features"][key]
        rewrite(root / DATA, without(key))
    (root / INFO).write_text(json.dumps(info))
    dataset = DemoDataset.open(root)
    assert dataset.load(0).environment_state is None
    assert len(build_windows([dataset], 4, 0.0)) > 0
    check_datasets([dataset], {"video"})
    with pytest.raises(DatasetError, match="told true positions"):
        check_datasets([dataset], {"state"})
    check(root, accept=True)


def test_identity_that_a_tool_dropped_is_read_from_the_rows(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As lerobot's ``delete_episodes`` and ``split_dataset`` leave ``meta/episodes``."""
    monkeypatch.setattr("neon_sim.demonstrations.assemble.MAX_DATA_ROWS", 80)
    root = tmp_path / "several files"
    fake_dataset(root, 6)
    wanted = DemoDataset.open(root).episodes
    (root / RECORD_FILE).unlink()
    rewrite(root / EPISODES, without(*IDENTITY_COLUMNS))
    found = DemoDataset.open(root).episodes
    assert len({meta.data_file for meta in found}) == 3
    for name in ("task_name", "version", "seed", "episode", "source", "success", "flow_ticks"):
        assert [getattr(m, name) for m in found] == [getattr(m, name) for m in wanted], name
    assert len({meta.initial_hash for meta in found}) == 6
    info = json.loads((root / INFO).read_text())
    del info["features"][IDENTITY_KEY]
    (root / INFO).write_text(json.dumps(info))
    with pytest.raises(DatasetError, match="lacks the column 'task_name'"):
        DemoDataset.open(root)


# ---- datasets from before -----------------------------------------------------------------------


def h264(frames: np.ndarray, num_rows: int) -> bytes:
    """An episode as it was coded before HEVC."""
    import io

    buffer = io.BytesIO()
    options = {"qp": "0", "preset": "ultrafast", "g": "20", "bf": "0", "threads": "1"}
    with av.open(buffer, "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264rgb", rate=50, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "rgb24"
        for row in range(num_rows):
            picture = av.VideoFrame.from_ndarray(frames[row // 2], format="rgb24")
            picture.pts = row
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return buffer.getvalue()


def as_before(root: Path, monkeypatch: pytest.MonkeyPatch) -> list[RecordedEpisode]:
    """Write a dataset of format 1: H.264, sizes only, true positions under ``observation.``."""
    with monkeypatch.context() as patch:
        patch.setattr("neon_sim.demonstrations.shards.encode_rows", h264)
        episodes = fake_dataset(root, 4)
    old = FORMER_KEYS[STATE_KEY]
    renamed = [old if n == STATE_KEY else n for n in pq.read_schema(root / DATA).names]
    rewrite(root / DATA, lambda table: table.rename_columns(renamed))
    record = json.loads((root / RECORD_FILE).read_text())
    for key in ("format", "sha256", "record_sha256"):
        del record[key]
    record["files"][DATA] = (root / DATA).stat().st_size
    (root / RECORD_FILE).write_text(json.dumps(record))
    for name in (INFO, STATS):
        text = (root / name).read_text()
        (root / name).write_text(text.replace(STATE_KEY, old))
    return episodes


def test_datasets_from_before_open_and_can_be_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    episodes = as_before(tmp_path / "old", monkeypatch)
    fake_dataset(tmp_path / "new", 4)
    old, new = (DemoDataset.open(tmp_path / name) for name in ("old", "new"))
    assert old.content_hash == new.content_hash, "what depends on it stays"
    for number, episode in enumerate(episodes):
        np.testing.assert_array_equal(old.load(number).environment_state, episode.environment_state)
        np.testing.assert_array_equal(old.frames(number), episode.frames["front"])
    np.testing.assert_array_equal(
        build_windows([old], 4, 0.0).actions, build_windows([new], 4, 0.0).actions
    )
    assert "from before hashes were recorded" in old.notes[0]
    assert "its content is what was collected" in check(tmp_path / "old")
    check(tmp_path / "old", accept=True)
    sealed = DemoDataset.open(tmp_path / "old")
    assert sealed.notes == []
    assert sealed.content_hash == new.content_hash


def test_damage_in_a_dataset_from_before_is_found_by_its_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "old"
    as_before(root, monkeypatch)
    table = pq.read_table(root / DATA)
    values = table["action"].combine_chunks().flatten().to_numpy().copy()
    values[3] = np.nextafter(values[3], np.float32(2))
    column = pa.FixedSizeListArray.from_arrays(pa.array(values), 8)
    place = table.column_names.index("action")
    pq.write_table(table.set_column(place, "action", column), root / DATA)
    record = json.loads((root / RECORD_FILE).read_text())
    record["files"][DATA] = (root / DATA).stat().st_size
    (root / RECORD_FILE).write_text(json.dumps(record))
    with pytest.raises(DatasetError, match=r"its content is not what meta/neon_sim\.json says"):
        check(root)


def test_shards_of_another_version_are_recorded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neon_sim.demonstrations.shards.FORMAT", 1)
    write_shard(shard_path(tmp_path, 0), fake_episode(0))
    monkeypatch.undo()
    with pytest.raises(DatasetError, match=r"format 2 \(got 1\); delete it and run the same"):
        read_shard(shard_path(tmp_path, 0))


# ---- scales, colours, order ---------------------------------------------------------------------


def smooth_episode(index: int) -> RecordedEpisode:
    """An arm that goes to a pose and rests there, led by the expert from the middle on."""
    episode, rng = fake_episode(index, length=80), keyed_rng("smooth", index)
    target = rng.uniform(-0.45, 0.45, 8).astype(np.float32)
    share = 1 - np.exp(-np.arange(80, dtype=np.float32)[:, None] / 6)
    label = np.repeat(target[None], 80, axis=0)
    sent = label.copy()
    source = ("expert", "noisy", "delayed")[index % 3]
    if source != "expert":
        sent[:20] += np.float32(0.1)
    pose = (target * share).astype(np.float32)
    values = vars(episode) | {"agent_pos": pose, "action": label, "executed_action": sent}
    identity = vars(episode.identity) | {"source": source}
    return RecordedEpisode(**values | {"identity": type(episode.identity)(**identity)})


@pytest.fixture(scope="module")
def smooth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from neon_sim.demonstrations.assemble import assemble

    root = tmp_path_factory.mktemp("smooth") / "demos"
    paths = [shard_path(root, i) for i in range(9)]
    for index, path in enumerate(paths):
        write_shard(path, smooth_episode(index))
    assemble(root, paths, {})
    (root / RECORD_FILE).unlink()  # what another tool leaves behind
    return root


@pytest.fixture
def foreign(smooth: Path, tmp_path: Path) -> Path:
    shutil.copytree(smooth, tmp_path / "demos")
    return tmp_path / "demos"


def told_again(root: Path) -> None:
    """Compute the statistics anew, as lerobot's ``recompute_stats`` does."""
    stats, table = json.loads((root / STATS).read_text()), pq.read_table(root / DATA)
    for key in ("observation.state", "action", "executed_action"):
        values = table[key].combine_chunks().flatten().to_numpy().reshape(len(table), -1)
        stats[key] = to_lists({key: feature_stats(values)})[key]
    (root / STATS).write_text(json.dumps(stats))


DEGREES = 180 / np.pi
SCALES = [
    (["action"], 2.0, 0.0),
    (["executed_action"], 2.0, 0.0),
    (["action", "executed_action"], 2.0, 0.0),
    (["action", "executed_action"], 0.5, 0.0),
    (["observation.state"], 2.0, 0.0),
    (["observation.state"], DEGREES, 0.0),
    (["observation.state"], 1.0, 0.15),
    (["action"], DEGREES, 0.0),
]


@pytest.mark.parametrize("honest", [False, True], ids=["old statistics", "new statistics"])
@pytest.mark.parametrize(("keys", "factor", "offset"), SCALES)
def test_rescaled_rows_are_refused(
    keys: list[str], factor: float, offset: float, honest: bool, foreign: Path
) -> None:
    assert len(build_windows([DemoDataset.open(foreign)], 4, 0.0)) > 0
    for key in keys:
        rewrite(foreign / DATA, scaled(key, factor, offset))
    if honest:
        told_again(foreign)
    with pytest.raises(DatasetError, match=r"scale|rescaled"):
        build_windows([DemoDataset.open(foreign)], 4, 0.0)


def test_what_rests_is_where_it_was_sent() -> None:
    episode = smooth_episode(1)
    assert np.median(resting(episode.agent_pos, episode.executed_action)) < 0.01
    assert np.median(resting(episode.agent_pos, 2 * episode.executed_action)) > 0.4
    assert len(resting(episode.agent_pos[:5], episode.executed_action[:5])) == 0


def poisoned(key: str, value: float) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        width = table[key].type.list_size
        values = table[key].combine_chunks().flatten().to_numpy().copy()
        values[5 * width] = value
        column = pa.FixedSizeListArray.from_arrays(pa.array(values), width)
        return table.set_column(table.column_names.index(key), key, column)

    return change


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("key", [STATE_KEY, "observation.state", "action", "executed_action"])
def test_numbers_that_are_none_are_named(key: str, value: float, foreign: Path) -> None:
    rewrite(foreign / DATA, poisoned(key, value))
    dataset = DemoDataset.open(foreign)
    with pytest.raises(DatasetError, match=rf"'{key}' holds NaN or inf in row 5"):
        dataset.load(0)
    with pytest.raises(DatasetError):
        build_windows([dataset], 4, 0.0)


def test_rows_in_another_order_and_of_another_type(foreign: Path) -> None:
    rewrite(foreign / DATA, lambda t: t.take([1, 0, *range(2, t.num_rows)]))
    with pytest.raises(DatasetError, match="in the order of frame_index"):
        DemoDataset.open(foreign).load(0)

    def doubled(table: pa.Table) -> pa.Table:
        kind = pa.list_(pa.float64(), 8)
        column = table["action"].combine_chunks().cast(kind)
        return table.set_column(table.column_names.index("action"), "action", column)

    rewrite(foreign / DATA, doubled)
    with pytest.raises(DatasetError, match=r"action is float64 \(8,\), not float32"):
        DemoDataset.open(foreign).load(1)


@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_instruction_is_refused(text: str, foreign: Path) -> None:
    rewrite(foreign / EPISODES, instruction(text))
    with pytest.raises(DatasetError, match="one instruction that is not empty"):
        DemoDataset.open(foreign)


def reencode(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Write a video again, every picture changed."""
    with av.open(str(path)) as container:
        pictures = [p.to_ndarray(format="rgb24") for p in container.decode(video=0)]
    frames = np.stack([change(picture) for picture in pictures[::2]])
    path.write_bytes(video_io.encode_rows(frames, len(pictures)))


@pytest.mark.parametrize(
    "change",
    [lambda p: p[..., ::-1], lambda p: p // 2, lambda p: 255 - p, lambda p: np.zeros_like(p)],
    ids=["BGR", "half", "negative", "black"],
)
def test_other_colours_are_refused(
    change: Callable[[np.ndarray], np.ndarray], foreign: Path
) -> None:
    reencode(foreign / VIDEO, change)
    with pytest.raises(DatasetError, match="mean colour"):
        DemoDataset.open(foreign).frames(0)


def test_resized_pictures_are_read_by_the_declared_size(foreign: Path) -> None:
    reencode(foreign / VIDEO, lambda p: np.repeat(np.repeat(p, 2, axis=0), 2, axis=1))
    with pytest.raises(DatasetError, match=r"pictures of 64 x 64, meta/info.json says 32 x 32"):
        DemoDataset.open(foreign).frames(0)
    info = json.loads((foreign / INFO).read_text())
    info["features"]["observation.images.front"]["shape"] = [64, 64, 3]
    (foreign / INFO).write_text(json.dumps(info))
    dataset = DemoDataset.open(foreign)
    assert dataset.frames(0).shape[1:] == (64, 64, 3)
    assert dataset.image_size == 64


# ---- JSON and tables of another shape, names that lead elsewhere --------------------------------


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (INFO, "[]"),
        (INFO, "null"),
        (INFO, '{"codebase_version": "v3.0", "fps": 50}'),
        (INFO, '{"codebase_version": "v3.0", "fps": NaN}'),
        (RECORD_FILE, "3"),
        (RECORD_FILE, '{"files": ["a"]}'),
        (RECORD_FILE, '{"sha256": {"meta/info.json": 5}}'),
        (STATS, "[]"),
        (STATS, '{"action": 3}'),
        (STATS, '{"observation.state": {"min": [0], "max": [0], "mean": [0], "std": [0]}}'),
        (STATS, "\ufeff{"),
    ],
)
def test_json_of_another_shape_is_an_error(name: str, content: str, foreign: Path) -> None:
    (foreign / name).write_text(content)
    with pytest.raises(DatasetError, match=Path(name).name):
        build_windows([DemoDataset.open(foreign)], 4, 0.0)


@pytest.mark.parametrize(
    "change",
    [
        {"features": 3},
        {"features": {"action": 3}},
        {"features": {"action": {"dtype": "float32", "shape": ["8"]}}},
        {"total_frames": -1},
        {"total_episodes": "9"},
        {"data_path": 3},
        {"data_path": "{a}"},
        {"data_path": "data/{chunk_index.__class__}.parquet"},
        {"data_path": "data/{chunk_index:99999999d}.parquet"},
        {"data_path": "/etc/passwd"},
        {"data_path": "../../{chunk_index}/{file_index}"},
        {"video_path": "videos/{video_key}/../../../x.mp4"},
        {"video_path": None},
        {"robot_type": 3},
    ],
    ids=str,
)
def test_info_of_another_shape_or_another_place(change: dict[str, Any], foreign: Path) -> None:
    info = json.loads((foreign / INFO).read_text())
    (foreign / INFO).write_text(json.dumps(info | change))
    with pytest.raises(DatasetError):
        DemoDataset.open(foreign)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("length", -3),
        ("seed", -1),
        ("seed", 1.5),
        ("success", "false"),
        ("task_name", 3),
        ("tasks", "catch"),
        ("episode_index", 0),
        ("data/chunk_index", None),
        ("videos/observation.images.front/from_timestamp", float("nan")),
        ("audio/observation.audio/file", "../../secret.flac"),
    ],
    ids=str,
)
def test_episodes_of_another_shape(column: str, value: object, foreign: Path) -> None:
    def change(table: pa.Table) -> pa.Table:
        values = pa.array([value] * table.num_rows)
        if column not in table.column_names:
            return table.append_column(column, values)
        return table.set_column(table.column_names.index(column), column, values)

    rewrite(foreign / EPISODES, change)
    with pytest.raises(DatasetError):
        DemoDataset.open(foreign)


def test_a_column_that_lacks_is_named(foreign: Path) -> None:
    rewrite(foreign / EPISODES, without("length"))
    with pytest.raises(DatasetError, match=r"file-000.parquet: 0.length: Field required"):
        DemoDataset.open(foreign)


def test_nothing_that_is_not_a_policys_is_called_an_observation(written: Path) -> None:
    """LeRobot takes every feature that starts with these words as input or output."""
    features = json.loads((written / INFO).read_text())["features"]
    taken = {key for key in features if key.startswith(("observation", "action"))}
    assert taken == {"observation.images.front", "observation.state", "action"}
