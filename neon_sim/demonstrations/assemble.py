"""Joins finished episodes (``neon_sim.demonstrations.shards``) into the LeRobot v3 layout.

``assemble`` can be killed and called again: the shards go only after ``meta/`` has been
moved into place in one step.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from neon_sim.clock import CONTROL_HZ
from neon_sim.demonstrations.layout import (
    AUDIO_KEY,
    AUDIO_PATTERN,
    CODEBASE_VERSION,
    DATA_PATTERN,
    EPISODES_FOLDER,
    FLOW_KEY,
    FLOW_NAMES,
    IDENTITY_KEY,
    IDENTITY_NAMES,
    INFO_FILE,
    SCALAR_FEATURES,
    SHARDS_FOLDER,
    STATS_FILE,
    TASKS_FILE,
    VECTOR_KEYS,
    VIDEO_PATTERN,
    identity_numbers,
    vector_features,
)
from neon_sim.demonstrations.record import RECORD_FILE, sealed
from neon_sim.demonstrations.shards import Shard, read_shard
from neon_sim.demonstrations.statistics import feature_stats, from_lists, pool_stats, to_lists
from neon_sim.demonstrations.video_io import (
    CODEC_NAME,
    GOP_ROWS,
    PIX_FMT,
    PRESET,
    X265_PARAMS,
    Mp4Joiner,
)
from neon_sim.errors import DatasetError
from neon_sim.registry import TASKS
from neon_sim.robots import ROBOTS

BUILD_FOLDER = ".assembling"
CHUNK_FILES = 1000
DATA_FILE_MB = 100
VIDEO_FILE_MB = 200
# lerobot compares a picture's time with the row's in float32 to 1e-4 s, which fails in
# files longer than 1024 s; a new file starts before that.
MAX_VIDEO_ROWS = 1000 * CONTROL_HZ
MAX_DATA_ROWS = 400_000  # about 90 MB


def assemble(root: Path, shards: Iterable[Path], provenance: dict[str, Any]) -> dict[str, Any]:
    """Join shards into a LeRobot v3 dataset at ``root`` and remove them.

    Args:
        root: the dataset's folder, holding only ``.shards``.
        shards: shard files in the order the episodes shall have.
        provenance: JSON values for ``meta/neon_sim.json``; hashes and sizes are added.

    Returns:
        The dataset's ``info.json``.

    Raises:
        DatasetError: a damaged shard, or none at all. OSError: disk full; the shards stay.
    """
    build = root / BUILD_FOLDER
    shutil.rmtree(build, ignore_errors=True)
    assembler = _Assembler(build)
    try:
        for path in shards:
            assembler.add(read_shard(path))
        info = assembler.finish(provenance)
    except BaseException:
        assembler.abort()
        raise
    for name in ("data", "videos", "audio", "meta"):  # meta last: its presence says "finished"
        shutil.rmtree(root / name, ignore_errors=True)
        if (build / name).exists():
            os.replace(build / name, root / name)
    shutil.rmtree(build, ignore_errors=True)
    shutil.rmtree(root / SHARDS_FOLDER, ignore_errors=True)
    return info


def _next_place(place: tuple[int, int]) -> tuple[int, int]:
    chunk, file = place
    return (chunk, file + 1) if file + 1 < CHUNK_FILES else (chunk + 1, 0)


class _VideoTrack:
    """The files of one camera; a new one starts when the last is too long or too large."""

    def __init__(self, build: Path, key: str) -> None:
        self.build, self.key = build, key
        self.place = (0, 0)
        self._bytes = 0
        self._joiner = self._start()

    def _start(self) -> Mp4Joiner:
        name = VIDEO_PATTERN.format(
            video_key=self.key, chunk_index=self.place[0], file_index=self.place[1]
        )
        path = self.build / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return Mp4Joiner(path, CONTROL_HZ)

    def add(self, video: bytes, length: int) -> dict[str, Any]:
        """Append an episode; returns its columns of ``meta/episodes``."""
        rows, size = self._joiner.num_rows + length, self._bytes + len(video)
        if self._joiner.num_rows and (rows > MAX_VIDEO_ROWS or size > VIDEO_FILE_MB * 2**20):
            self._joiner.close()
            self.place, self._bytes = _next_place(self.place), 0
            self._joiner = self._start()
        start = self._joiner.num_rows
        self._joiner.append(video, length)
        self._bytes += len(video)
        return {
            f"videos/{self.key}/chunk_index": self.place[0],
            f"videos/{self.key}/file_index": self.place[1],
            f"videos/{self.key}/from_timestamp": start / CONTROL_HZ,
            f"videos/{self.key}/to_timestamp": (start + length) / CONTROL_HZ,
        }

    def close(self) -> None:
        self._joiner.close()


class _Assembler:
    """Builds ``data``, ``videos`` and ``meta`` below one folder, episode by episode."""

    def __init__(self, build: Path) -> None:
        self.build = build
        self.rows: list[dict[str, Any]] = []
        self.tasks: dict[str, int] = {}
        self.num_frames = 0
        self.image_size, self.action_dim = (0, 0), 0
        self.robot, self.has_flow = ROBOTS["arm"], False
        self._hash = hashlib.sha256()
        self._tracks: dict[str, _VideoTrack] = {}
        self._data: pq.ParquetWriter | None = None
        self._place = (0, 0)
        self._file_rows = 0

    def add(self, shard: Shard) -> None:
        """Append one episode."""
        index, length = len(self.rows), shard.length
        self._check_robot(shard, index)
        task = self.tasks.setdefault(shard.identity.description, len(self.tasks))
        self.image_size, self.has_flow = shard.image_size, FLOW_KEY in shard.columns
        columns = shard.columns | {
            "timestamp": (np.arange(length) / CONTROL_HZ).astype(np.float32),
            "frame_index": np.arange(length),
            "episode_index": np.full(length, index),
            "index": np.arange(self.num_frames, self.num_frames + length),
            "task_index": np.full(length, task),
            IDENTITY_KEY: np.tile(_identity(shard), (length, 1)),
        }
        self._write_rows(columns)
        stats = shard.stats | to_lists(
            {
                key: feature_stats(columns[key])
                for key in (*SCALAR_FEATURES, IDENTITY_KEY)
                if key not in shard.stats
            }
        )
        place = {
            "data/chunk_index": self._place[0],
            "data/file_index": self._place[1],
            "dataset_from_index": self.num_frames,
            "dataset_to_index": self.num_frames + length,
        }
        for key, video in shard.videos.items():
            if key not in self._tracks:
                self._tracks[key] = _VideoTrack(self.build, key)
            place |= self._tracks[key].add(video, length)
        place |= self._write_audio(shard, index)
        if shard.flow_ticks:
            place[f"flow/{FLOW_KEY}/ticks"] = shard.flow_ticks
        self.rows.append(self._episode_row(shard, index, place, stats))
        self.num_frames += length
        self._hash.update(shard.content_hash.encode())

    def _write_audio(self, shard: Shard, index: int) -> dict[str, Any]:
        """Put an episode's sound beside the videos; returns its columns of ``meta/episodes``.

        Not a feature of ``info.json``: lerobot knows no sound and would refuse it.
        """
        if not shard.audio:
            return {}
        chunk, key = index // CHUNK_FILES, AUDIO_KEY
        name = AUDIO_PATTERN.format(key=key, chunk_index=chunk, episode_index=index)
        path = self.build / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(shard.audio)
        return {
            f"audio/{key}/file": name,
            f"audio/{key}/channels": list(shard.audio_channels),
            f"audio/{key}/rms": shard.audio_rms,
        }

    def _check_robot(self, shard: Shard, index: int) -> None:
        """Hold all episodes to one robot and one length of action."""
        name, dim = shard.identity.task_name, shard.columns["action"].shape[1]
        robot = ROBOTS[TASKS[name].robot] if name in TASKS else ROBOTS["arm"]
        if index and (robot, dim) != (self.robot, self.action_dim):
            raise DatasetError(
                f"a dataset holds one robot: {name} is {dim} numbers of {robot.dataset_type}, the "
                f"episodes before it {self.action_dim} of {self.robot.dataset_type}; collect them "
                "into two folders"
            )
        self.robot, self.action_dim = robot, dim

    @staticmethod
    def _episode_row(
        shard: Shard, index: int, place: dict[str, Any], stats: dict[str, dict[str, Any]]
    ) -> dict[str, Any]:
        identity = asdict(shard.identity)
        row = {"episode_index": index, "tasks": [identity.pop("description")]}
        row |= {"length": shard.length} | place | identity
        row |= {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0}
        return row | {
            f"stats/{feature}/{key}": value
            for feature, values in stats.items()
            for key, value in values.items()
        }

    def _write_rows(self, columns: dict[str, np.ndarray]) -> None:
        length = len(columns["index"])
        if self._data is not None and self._file_rows + length > MAX_DATA_ROWS:
            self._data.close()
            self._data, self._file_rows, self._place = None, 0, _next_place(self._place)
        table = rows_table(columns)
        if self._data is None:
            name = DATA_PATTERN.format(chunk_index=self._place[0], file_index=self._place[1])
            path = self.build / name
            path.parent.mkdir(parents=True, exist_ok=True)
            self._data = pq.ParquetWriter(path, table.schema, compression="snappy")
        self._data.write_table(table)  # one row group an episode, as lerobot does
        self._file_rows += length

    def abort(self) -> None:
        """Close what is open and drop the half-built folder."""
        with contextlib.suppress(Exception):
            self._close()
        shutil.rmtree(self.build, ignore_errors=True)

    def _close(self) -> None:
        if self._data is not None:
            self._data.close()
        for track in self._tracks.values():
            track.close()

    def finish(self, provenance: dict[str, Any]) -> dict[str, Any]:
        """Write ``meta``; returns ``info.json``."""
        if not self.rows:
            raise DatasetError(f"no episode to put into {self.build.parent}")
        self._close()
        episodes = self.build / EPISODES_FOLDER / "chunk-000" / "file-000.parquet"
        episodes.parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(self._even_rows()), episodes)
        pq.write_table(tasks_table(self.tasks), self.build / TASKS_FILE)
        parts = [_row_stats(row) for row in self.rows]
        pooled = {key: pool_stats([part[key] for part in parts]) for key in parts[0]}
        _write_json(self.build / STATS_FILE, to_lists(pooled))
        info = self._info()
        _write_json(self.build / INFO_FILE, info)
        described = provenance | {"content_hash": self._hash.hexdigest()}
        _write_json(self.build / RECORD_FILE, sealed(self.build, described))
        return info

    def _even_rows(self) -> list[dict[str, Any]]:
        """Every row with the columns of all: an episode without sound among others has none."""
        keys = dict.fromkeys(key for row in self.rows for key in row)
        return [{key: row.get(key) for key in keys} for row in self.rows]

    def _info(self) -> dict[str, Any]:
        return {
            "codebase_version": CODEBASE_VERSION,
            "robot_type": self.robot.dataset_type,
            "total_episodes": len(self.rows),
            "total_frames": self.num_frames,
            "total_tasks": len(self.tasks),
            "chunks_size": CHUNK_FILES,
            "data_files_size_in_mb": DATA_FILE_MB,
            "video_files_size_in_mb": VIDEO_FILE_MB,
            "fps": CONTROL_HZ,
            "splits": {"train": f"0:{len(self.rows)}"},
            "data_path": DATA_PATTERN,
            "video_path": VIDEO_PATTERN,
            "features": features(
                list(self._tracks),
                self.image_size,
                vector_features(self.robot, self.action_dim)
                | ({FLOW_KEY: FLOW_NAMES} if self.has_flow else {}),
            ),
        }


def features(
    video_keys: list[str], image_size: tuple[int, int], vector_names: dict[str, list[str]]
) -> dict[str, Any]:
    """The ``features`` of ``info.json``, in LeRobot's words."""
    height, width = image_size
    video = {
        "video.height": height,
        "video.width": width,
        "video.codec": CODEC_NAME,
        "video.pix_fmt": PIX_FMT,
        "video.fps": CONTROL_HZ,
        "video.channels": 3,
        "video.g": GOP_ROWS,  # with the next two what lerobot's tools encode again with
        "video.preset": PRESET,
        "video.extra_options": {"x265-params": X265_PARAMS},
        "has_audio": False,
        "is_depth_map": False,
    }
    names = ["height", "width", "channels"]
    cameras = {
        key: {"dtype": "video", "shape": [height, width, 3], "names": names, "info": dict(video)}
        for key in video_keys
    }
    vectors = {
        key: {"dtype": "float32", "shape": [len(parts)], "names": parts}
        for key, parts in vector_names.items()
    }
    scalars = {
        key: {"dtype": dtype, "shape": [1], "names": None} for key, dtype in SCALAR_FEATURES.items()
    }
    identity = {"dtype": "int64", "shape": [len(IDENTITY_NAMES)], "names": [*IDENTITY_NAMES]}
    return cameras | vectors | {IDENTITY_KEY: identity} | scalars


def _identity(shard: Shard) -> np.ndarray:
    """(7,) int64, which episode it is."""
    numbers = identity_numbers(asdict(shard.identity) | {"flow_ticks": shard.flow_ticks})
    return np.array(numbers, dtype=np.int64)


def rows_table(columns: dict[str, np.ndarray]) -> pa.Table:
    """Arrow table of one episode's rows, in the order of ``features``."""
    arrays: dict[str, pa.Array] = {}
    for key in (key for key in (*VECTOR_KEYS, FLOW_KEY, IDENTITY_KEY) if key in columns):
        kind = pa.int64() if key == IDENTITY_KEY else pa.float32()
        flat = pa.array(columns[key].reshape(-1), kind)
        arrays[key] = pa.FixedSizeListArray.from_arrays(flat, columns[key].shape[1])
    for key, dtype in SCALAR_FEATURES.items():
        kind = pa.bool_() if dtype == "bool" else pa.type_for_alias(dtype)
        arrays[key] = pa.array(columns[key], kind)
    return pa.table(arrays)


def tasks_table(tasks: dict[str, int]) -> pa.Table:
    """``meta/tasks.parquet``: pandas shall read the instruction back as the index ``task``."""
    table = pa.table({"task_index": list(tasks.values()), "task": list(tasks)})

    def column(name: str, kind: str, numpy_kind: str) -> dict[str, Any]:
        keys = {"name": name, "field_name": name, "metadata": None}
        return keys | {"pandas_type": kind, "numpy_type": numpy_kind}

    pandas = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [column("task_index", "int64", "int64"), column("task", "unicode", "object")],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.0.0",
    }
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})


def _row_stats(row: dict[str, Any]) -> dict[str, Any]:
    nested: dict[str, dict[str, Any]] = {}
    for name, value in _stats_items(row):
        feature, _, key = name.rpartition("/")
        nested.setdefault(feature, {})[key] = value
    return from_lists(nested)


def _stats_items(row: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in row.items():
        if name.startswith("stats/"):
            yield name.removeprefix("stats/"), value


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n")
