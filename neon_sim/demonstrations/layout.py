"""What a dataset's ``meta`` must look like, and where the files it names may lie.

Everything here was read from disk and may be damaged, edited by hand or made by another tool:
each value is held to a type before anything believes it, and no name leads out of the folder.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Annotated, Any, NotRequired

import numpy as np
from pydantic import Field
from typing_extensions import TypedDict

from neon_sim.clock import CONTROL_HZ
from neon_sim.demonstrations.files import column_names, damaged, read_table, to_numpy
from neon_sim.errors import DatasetError
from neon_sim.files import inside
from neon_sim.observation.clips import FLOW_SIDE
from neon_sim.registry import TASKS
from neon_sim.robots import ROBOTS, Robot
from neon_sim.schema import checked, read_json
from neon_sim.seeding import key_of

CODEBASE_VERSION = "v3.0"
INFO_FILE = "meta/info.json"
STATS_FILE = "meta/stats.json"
TASKS_FILE = "meta/tasks.parquet"
EPISODES_FOLDER = "meta/episodes"
SHARDS_FOLDER = ".shards"
FILE_PATTERN = "chunk-{chunk_index:03d}/file-{file_index:03d}"
DATA_PATTERN = f"data/{FILE_PATTERN}.parquet"
VIDEO_PATTERN = f"videos/{{video_key}}/{FILE_PATTERN}.mp4"
AUDIO_KEY = "observation.audio"
AUDIO_PATTERN = "audio/{key}/chunk-{chunk_index:03d}/episode-{episode_index:06d}.flac"

# LeRobot trains on every feature whose name starts with ``observation``: nothing that a policy
# must not see may be called so.
STATE_KEY = "privileged.environment_state"
FLOW_KEY = "privileged.flow"
FORMER_KEYS = {STATE_KEY: "observation.environment_state", FLOW_KEY: "observation.flow"}
FLOW_NAMES = [f"{axis}{cell}" for cell in range(FLOW_SIDE**2) for axis in "xy"]

STATE_NAMES = [f"state{i}" for i in range(16)]
POSE_KEY, ACTION_KEY, EXECUTED_KEY = "observation.state", "action", "executed_action"
VECTOR_KEYS = (POSE_KEY, STATE_KEY, ACTION_KEY, EXECUTED_KEY)
SPARE_KEYS = (STATE_KEY, EXECUTED_KEY)  # what a dataset may lack (lerobot's remove_feature)
SCALAR_FEATURES = {
    "next.done": "bool",
    "next.success": "bool",
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}
IDENTITY_COLUMNS = ("task_name", "version", "seed", "episode", "source", "success", "initial_hash")

# The identity once more, in every row: lerobot's ``delete_episodes`` and ``split_dataset`` keep the
# features of rows and drop the columns of ``meta/episodes`` that they do not know.
IDENTITY_KEY = "bench.episode"
IDENTITY_NAMES = ("task", "version", "seed", "episode", "source", "initial_hash", "flow_ticks")
SOURCES = ("expert", "noisy", "delayed", "dagger")

MEND = "copy the dataset again or collect it again into a new folder"
Count = Annotated[int, Field(ge=0)]
Name = Annotated[str, Field(min_length=1)]


class Feature(TypedDict):
    """One feature of ``info.json``."""

    dtype: Name
    shape: list[Count]
    names: NotRequired[Any]
    info: NotRequired[dict[str, Any] | None]


class Info(TypedDict):
    """``meta/info.json``, as far as it is read."""

    codebase_version: str
    robot_type: NotRequired[str | None]
    total_episodes: Count
    total_frames: Count
    fps: Count
    data_path: Name
    video_path: NotRequired[str | None]
    features: dict[str, Feature]


EpisodeRow = TypedDict(  # AUDIO_KEY and FLOW_KEY are spelt out: type checkers want literals
    "EpisodeRow",
    {
        "episode_index": Count,
        "tasks": Annotated[list[str], Field(min_length=1)],
        "length": Annotated[int, Field(ge=1)],
        "data/chunk_index": Count,
        "data/file_index": Count,
        "dataset_from_index": Count,
        "task_name": Name,
        "version": Count,
        "seed": Count,
        "episode": Count,
        "source": Name,
        "success": bool,
        "initial_hash": str,
        "audio/observation.audio/file": NotRequired[str | None],
        "audio/observation.audio/channels": NotRequired[list[str] | None],
        "audio/observation.audio/rms": NotRequired[Annotated[float, Field(ge=0)] | None],
        "flow/privileged.flow/ticks": NotRequired[Count | None],
    },
)


class VideoPlace(TypedDict):
    """Where an episode lies in the files of one camera."""

    chunk_index: Count
    file_index: Count
    from_timestamp: Annotated[float, Field(ge=0)]


def vector_features(robot: Robot, action_dim: int) -> dict[str, list[str]]:
    """Names of the columns of each vector feature of a robot whose actions have that length.

    Raises:
        ConfigError: the robot takes no action of that length.
    """
    action = list(robot.action(action_dim))
    return dict(zip(VECTOR_KEYS, (list(robot.state), STATE_NAMES, action, action), strict=True))


def video_key(camera: str) -> str:
    """LeRobot's name of a camera's feature."""
    return f"observation.images.{camera}"


def video_columns(features: dict[str, Feature]) -> list[str]:
    """Names of the features that are videos."""
    return [key for key, feature in features.items() if feature["dtype"] == "video"]


def stored_as(features: dict[str, Feature], key: str) -> str | None:
    """What a dataset calls a feature: by its name, by its name from before, or not at all."""
    names = (key, FORMER_KEYS.get(key, key))
    return next((name for name in names if name in features), None)


_PATTERN = re.compile(r"(?:\{(?:video_key|chunk_index|file_index)(?::0?\d?d)?\}|[^{}])+")


def file_name(info: dict[str, Any], path: str, **values: Any) -> str:
    """Fill ``data_path`` or ``video_path`` of ``info.json``; ``held`` must still look at it.

    Raises:
        DatasetError: it is no pattern of chunk, file and camera.
    """
    pattern = info.get(path) or ""
    try:
        if not _PATTERN.fullmatch(pattern):
            raise ValueError("only these three stand in braces")
        return pattern.format(**values)
    except (KeyError, ValueError) as error:
        raise DatasetError(
            f"{INFO_FILE}: {path} must be a path of {{video_key}}, {{chunk_index:03d}} and "
            f"{{file_index:03d}} (got {pattern!r}: {error}); {MEND}"
        ) from error


def held(root: Path, name: str) -> Path:
    """The path of a file that a dataset names.

    Raises:
        DatasetError: it lies outside the dataset's folder.
    """
    return inside(root, name, DatasetError, "a dataset holds all its files: do not trust this one")


# ---- reading ----------------------------------------------------------------------------------


def find_dataset(root: Path) -> None:
    """Raise ``DatasetError`` unless a finished dataset lies there."""
    if (root / INFO_FILE).exists():
        return
    if (root / SHARDS_FOLDER).is_dir():
        raise DatasetError(f"{root} is unfinished; run the same collect command again")
    raise DatasetError(
        f"no dataset at {root} ({INFO_FILE} is missing); make one: "
        f"python -m neon_sim.collect task=arm_catch episodes=200 {shlex.quote(f'out={root}')}"
    )


def read_info(root: Path) -> dict[str, Any]:
    """``meta/info.json``, with all that it holds.

    Raises:
        DatasetError: of another version, rate or shape.
    """
    path = root / INFO_FILE
    info = read_json(path, dict[str, Any], DatasetError, f"the file is damaged: {MEND}")
    version = info.get("codebase_version")
    if version != CODEBASE_VERSION:
        raise DatasetError(
            f"{path}: codebase_version must be {CODEBASE_VERSION!r} (got {version!r}); "
            "convert it with lerobot's conversion script or collect it again into a new folder"
        )
    if info.get("fps") != CONTROL_HZ:
        raise DatasetError(
            f"{path}: fps must be {CONTROL_HZ} (got {info.get('fps')}); collect it again into a "
            "new folder"
        )
    checked(info, Info, str(path), DatasetError, MEND)
    _check_features(root, info)
    return info


def robot_of(info: dict[str, Any]) -> Robot:
    """The robot that a dataset was recorded on."""
    types = {robot.dataset_type: robot for robot in ROBOTS.values()}
    return types.get(info.get("robot_type") or "", ROBOTS["arm"])


def _check_features(root: Path, info: dict[str, Any]) -> None:
    features, robot = info["features"], robot_of(info)
    shape = features.get(ACTION_KEY, {}).get("shape")
    dims = [dim for dim in robot.action_dims if shape == [dim]] or robot.action_dims
    for key, names in vector_features(robot, dims[0]).items():
        stored = stored_as(features, key)
        if stored is None and key in SPARE_KEYS:
            continue
        found = features[stored] if stored else {}
        where = f"{root / INFO_FILE}: feature {key!r} must"
        mend = "this is no dataset of neon_sim.collect, or one of another robot"
        if found.get("shape") != [len(names)]:
            raise DatasetError(
                f"{where} have shape {[len(names)]} (got {found.get('shape')}); {mend}"
            )
        if found["dtype"] != "float32":
            raise DatasetError(f"{where} be float32 (got {found['dtype']}); {mend}")
        if found.get("names") not in (None, names):
            raise DatasetError(
                f"{where} hold {names}, in this order (got {found['names']}); {mend}"
            )
    for key in video_columns(features):
        if len(features[key]["shape"]) != 3 or features[key]["shape"][2] != 3:
            raise DatasetError(
                f"{root / INFO_FILE}: feature {key!r} must be (height, width, 3) (got "
                f"{features[key]['shape']}); {MEND}"
            )


def read_episode_rows(root: Path, info: dict[str, Any]) -> list[dict[str, Any]]:
    """The lines of ``meta/episodes`` without statistics, in the order of the episodes.

    Raises:
        DatasetError: a file is missing or damaged, a column lacks or has another type, or the
            counts are not those of ``info.json``.
    """
    paths = sorted((root / EPISODES_FOLDER).glob("*/*.parquet"))
    if not paths:
        raise damaged(root / EPISODES_FOLDER, "no episode file")
    rows: list[dict[str, Any]] = []
    for path in paths:
        kept = [name for name in column_names(path) if not name.startswith("stats/")]
        lacking = [name for name in IDENTITY_COLUMNS if name not in kept]
        if lacking and IDENTITY_KEY not in info["features"]:
            raise DatasetError(
                f"{path} lacks the column {lacking[0]!r}, which identifies an episode of the "
                "bench; collect the dataset with python -m neon_sim.collect"
            )
        found = [_present_names(row) for row in read_table(path, kept).to_pylist()]
        if lacking:
            found = restored(root, info, found)
        checked(found, list[EpisodeRow], str(path), DatasetError, MEND)
        for key in video_columns(info["features"]):
            places = [_video_place(row, key) for row in found]
            checked(places, list[VideoPlace], f"{path}: videos/{key}", DatasetError, MEND)
        rows += found
    rows.sort(key=lambda row: row["episode_index"])
    counted = len(rows), sum(row["length"] for row in rows)
    promised = info["total_episodes"], info["total_frames"]
    if counted != promised or [row["episode_index"] for row in rows] != list(range(len(rows))):
        raise damaged(
            paths[-1],
            f"{counted[0]} episodes of {counted[1]} rows, {INFO_FILE} says {promised[0]} of "
            f"{promised[1]}, numbered from 0",
        )
    _check_tasks(root, info, rows)
    return rows


def identity_numbers(row: dict[str, Any]) -> list[int]:
    """The identity of an episode as the rows hold it.

    Args:
        row: the values of ``IDENTITY_COLUMNS``, and ``flow_ticks``.

    Returns:
        As many numbers as ``IDENTITY_NAMES``; names and hashes as 63 bits.
    """
    source = str(row["source"]).partition(":")[0]
    return [
        key_of(row["task_name"]) >> 1,
        row["version"],
        row["seed"],
        row["episode"],
        SOURCES.index(source) if source in SOURCES else len(SOURCES),
        key_of(row["initial_hash"]) >> 1,
        row["flow_ticks"],
    ]


def restored(root: Path, info: dict[str, Any], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Lines of ``meta/episodes`` whose identity another tool dropped, with what the rows say.

    Raises:
        DatasetError: the rows are damaged, or of a task that this installation does not know.
    """
    tasks = {key_of(name) >> 1: name for name in TASKS}
    tables: dict[str, tuple[np.ndarray, np.ndarray, int]] = {}
    whole = []
    for row in rows:
        place = row["data/chunk_index"], row["data/file_index"]
        name = file_name(info, "data_path", chunk_index=place[0], file_index=place[1])
        if name not in tables:
            path = held(root, name)
            table = read_table(path, [IDENTITY_KEY, "next.success", "index"])
            index = to_numpy(path, "index", table)
            success = to_numpy(path, "next.success", table)
            tables[name] = (
                to_numpy(path, IDENTITY_KEY, table),
                success,
                int(index.min()) if len(index) else 0,
            )
        numbers, success, start = tables[name]
        first = row["dataset_from_index"] - start
        chosen = numbers[first : first + row["length"]]
        if len(chosen) != row["length"] or (chosen != chosen[0]).any():
            raise damaged(root / name, f"{IDENTITY_KEY} changes within an episode")
        values = dict(zip(IDENTITY_NAMES, chosen[0].tolist(), strict=True))
        if values["task"] not in tasks:
            raise DatasetError(
                f"{root}: episode {row['episode_index']} is of a task that this installation does "
                "not know; install the package that registers it"
            )
        whole.append(
            row
            | {name: values[name] for name in ("version", "seed", "episode")}
            | {
                "task_name": tasks[values["task"]],
                "source": [*SOURCES, "unknown"][min(values["source"], len(SOURCES))],
                "success": bool(success[first + row["length"] - 1]),
                "initial_hash": f"{values['initial_hash']:016x}",
                f"flow/{FLOW_KEY}/ticks": values["flow_ticks"],
            }
        )
    return whole


def _present_names(row: dict[str, Any]) -> dict[str, Any]:
    """A line with the names of today."""
    old, new = (f"flow/{key}/ticks" for key in (FORMER_KEYS[FLOW_KEY], FLOW_KEY))
    return {(new if name == old else name): value for name, value in row.items()}


def _video_place(row: dict[str, Any], key: str) -> dict[str, Any]:
    return {
        name: row[f"videos/{key}/{name}"]
        for name in ("chunk_index", "file_index", "from_timestamp")
        if f"videos/{key}/{name}" in row
    }


def _check_tasks(root: Path, info: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Hold every episode to one instruction, and to the tasks of this installation."""
    robot = robot_of(info)
    for row in rows:
        name, where = row["task_name"], f"{root}: episode {row['episode_index']}"
        if len(row["tasks"]) != 1 or not row["tasks"][0].strip():
            raise DatasetError(
                f"{where} must have one instruction that is not empty (got {row['tasks']}); set it "
                "with lerobot's modify_tasks, or collect the dataset again into a new folder"
            )
        if name not in TASKS:
            continue
        if TASKS[name].version != row["version"]:
            raise DatasetError(
                f"{root} holds {name} in version {row['version']}, this installation has version "
                f"{TASKS[name].version}; collect it again into a new folder"
            )
        if ROBOTS[TASKS[name].robot] != robot:
            raise DatasetError(
                f"{where} is of {name}, a task of {ROBOTS[TASKS[name].robot].dataset_type}, and "
                f"{INFO_FILE} says robot_type {info.get('robot_type')!r}; {MEND}"
            )
