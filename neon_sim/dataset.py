"""Demonstrations on disk: a LeRobot v3.0 dataset, and the reader that training uses.

The layout is that of ``lerobot`` 0.6 (``lerobot.datasets.LeRobotDataset`` opens it, see
docs/DATASETS.md); this reader needs only pyarrow and PyAV, decodes each camera frame
once although a row exists for every control step, and says what is wrong with a dataset
before training starts. Row r of an episode is the state before control step r (physics
tick ``10 * r``) with the expert's label for that state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neon_sim.audio.pcm import RING_SAMPLES, STEP_SAMPLES, from_pcm, read_flac
from neon_sim.clips import FLOW_SIDE
from neon_sim.clock import CONTROL_HZ, TICKS_PER_CONTROL, ticks_to_s
from neon_sim.dataset_files import column_names, damaged, read_json, read_table, to_numpy
from neon_sim.errors import DatasetError
from neon_sim.registry import TASKS, task_entry
from neon_sim.robots import ROBOTS, Robot
from neon_sim.video_io import ROWS_PER_FRAME, VideoFiles

CODEBASE_VERSION = "v3.0"
INFO_FILE = "meta/info.json"
STATS_FILE = "meta/stats.json"
TASKS_FILE = "meta/tasks.parquet"
PROVENANCE_FILE = "meta/neon_sim.json"
EPISODES_FOLDER = "meta/episodes"
FILE_PATTERN = "chunk-{chunk_index:03d}/file-{file_index:03d}"
DATA_PATTERN = f"data/{FILE_PATTERN}.parquet"
AUDIO_KEY = "observation.audio"
AUDIO_PATTERN = "audio/{key}/chunk-{chunk_index:03d}/episode-{episode_index:06d}.flac"
VIDEO_PATTERN = f"videos/{{video_key}}/{FILE_PATTERN}.mp4"
SHARDS_FOLDER = ".shards"

FLOW_KEY = "observation.flow"
FLOW_NAMES = [f"{axis}{cell}" for cell in range(FLOW_SIDE**2) for axis in "xy"]

STATE_NAMES = [f"state{i}" for i in range(16)]
VECTOR_KEYS = (
    "observation.state",
    "observation.environment_state",
    "action",
    "executed_action",
)
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


@dataclass(frozen=True)
class EpisodeMeta:
    """One line of ``meta/episodes``: which episode this is and where its rows lie.

    Attributes:
        index: position in the dataset (LeRobot's ``episode_index``).
        task_name: registry name. version: of the task.
        seed, episode: the bench's identity of the episode.
        source: ``"expert"``, ``"noisy"``, ``"delayed"`` or ``"dagger:<policy>"``: who moved the
            arm. The labels are the expert's in every case.
        success: whether the episode ended in success.
        initial_hash: of the initial state and first frame.
        description: the instruction.
        length: L, number of rows (control steps).
        first_row: row of ``data_file`` where it starts.
        data_file: path below the root.
        videos: camera feature -> (path below the root, first picture).
        audio_file: path of its sound below the root; empty where none was recorded.
        audio_channels: a name a channel, such as ``"mono"`` or ``"head_stereo.0"``.
        flow_ticks: physics ticks over which its exact flow is measured; 0 where it has none.
    """

    index: int
    task_name: str
    version: int
    seed: int
    episode: int
    source: str
    success: bool
    initial_hash: str
    description: str
    length: int
    first_row: int
    data_file: str
    videos: dict[str, tuple[str, int]]
    audio_file: str = ""
    audio_channels: tuple[str, ...] = ()
    flow_ticks: int = 0


@dataclass(frozen=True)
class Episode:
    """The rows of one episode, L control steps.

    Attributes:
        agent_pos: (L, P) float32 in [-1, 1], what the robot feels of its pose before each step.
        action: (L, A) float32 in [-1, 1], the expert's label for that state.
        executed_action: (L, A) float32, what the robot was sent instead.
        environment_state: (L, 16) float32, the visible true positions.
        description, task_name, seed, episode, success, source: as in ``EpisodeMeta``.
    """

    agent_pos: np.ndarray
    action: np.ndarray
    executed_action: np.ndarray
    environment_state: np.ndarray
    description: str
    task_name: str
    seed: int
    episode: int
    success: bool
    source: str


class DemoDataset:
    """Reads a dataset that ``neon_sim.collect`` wrote. Make one with ``DemoDataset.open``.

    Picklable and safe to use in worker processes.

    Attributes:
        root: its folder. info: ``meta/info.json``. provenance: ``meta/neon_sim.json`` (config,
            versions, renderer, commit, content hash; empty where another tool wrote the set).
        episodes: what it holds, in order, after the choice of tasks.
    """

    def __init__(
        self, root: Path, info: dict[str, Any], provenance: dict[str, Any], rows: list[EpisodeMeta]
    ) -> None:
        self.root, self.info, self.provenance, self.episodes = root, info, provenance, rows
        self._videos = VideoFiles()
        self._columns: dict[str, dict[str, np.ndarray]] = {}

    @classmethod
    def open(cls, path: str | Path, tasks: str | Sequence[str] | None = None) -> DemoDataset:
        """Open and check a dataset.

        Args:
            path: its folder.
            tasks: keep only episodes of these tasks (registry names); all by default.

        Raises:
            DatasetError: nothing there, unfinished, truncated, another format or task version,
                or no episode of a task that was asked for. The message names file and mend.
            UnknownNameError: a task that no registry knows.
        """
        root = Path(path)
        info = _read_info(root)
        provenance = _read_provenance(root)
        _check_features(root, info)
        episodes = _read_episodes(root, info)
        _check_files(root, provenance, episodes)
        _check_versions(root, episodes)
        return cls(root, info, provenance, _choose_tasks(root, episodes, tasks))

    @property
    def num_episodes(self) -> int:
        """Number of episodes after the choice of tasks."""
        return len(self.episodes)

    @property
    def num_rows(self) -> int:
        """Control steps over all these episodes."""
        return sum(meta.length for meta in self.episodes)

    @property
    def task_names(self) -> list[str]:
        """Registry names of the tasks these episodes are of, sorted."""
        return sorted({meta.task_name for meta in self.episodes})

    @property
    def image_size(self) -> int:
        """Pixels per side of the front camera."""
        return int(self.info["features"][video_key("front")]["shape"][0])

    @property
    def content_hash(self) -> str:
        """Hex SHA-256 over every episode's identity, arrays and frames.

        Of the bytes of data and video files where another tool (lerobot's merge) wrote the set.
        """
        if "content_hash" in self.provenance:
            return str(self.provenance["content_hash"])
        digest = hashlib.sha256()
        folders = ("data", "videos", "audio")
        for path in sorted(p for name in folders for p in self.root.glob(f"{name}/**/*")):
            if path.is_file():
                digest.update(path.read_bytes())
        return digest.hexdigest()

    def load(self, i: int) -> Episode:
        """Rows of episode ``i`` of ``episodes``.

        Raises:
            DatasetError: its data file is damaged or too short.
        """
        meta = self.episodes[i]
        columns = self._read_data(meta.data_file)
        rows = slice(meta.first_row, meta.first_row + meta.length)
        if not np.all(columns["episode_index"][rows] == meta.index) or (
            rows.stop > len(columns["episode_index"])
        ):
            raise damaged(self.root / meta.data_file, f"rows of episode {meta.index} are missing")
        return Episode(
            agent_pos=columns["observation.state"][rows],
            action=columns["action"][rows],
            executed_action=columns["executed_action"][rows],
            environment_state=columns["observation.environment_state"][rows],
            description=meta.description,
            task_name=meta.task_name,
            seed=meta.seed,
            episode=meta.episode,
            success=meta.success,
            source=meta.source,
        )

    def frames(self, i: int, camera: str = "front") -> np.ndarray:
        """Camera frames of episode ``i`` of ``episodes``, each once.

        Returns:
            (F, H, W, 3) uint8, frame j as drawn at physics tick ``20 * j``; F = ceil(L / 2).

        Raises:
            DatasetError: no such camera, or a video that is damaged or too short.
        """
        meta = self.episodes[i]
        key = video_key(camera)
        if key not in meta.videos:
            known = ", ".join(meta.videos)
            raise DatasetError(f"{self.root} has no camera {camera!r}; it has {known}")
        name, first = meta.videos[key]
        return self._videos.read(
            self.root / name, first, meta.length, fps=CONTROL_HZ, every=ROWS_PER_FRAME
        )

    def sound(self, i: int) -> np.ndarray:
        """What was heard in episode ``i`` of ``episodes``, to the bit.

        Returns:
            (C, 16000 + 320 * L) float32 in [-1, 1): the second before the episode, then 320
            samples a row; ``neon_sim.audio.pcm.rings`` cuts out what a policy hears at a row.

        Raises:
            DatasetError: no sound was recorded, or its file is missing or damaged.
            MissingPackageError: soundfile is not installed.
        """
        meta = self.episodes[i]
        if not meta.audio_file:
            raise no_sound(self.root, meta.task_name)
        path = self.root / meta.audio_file
        return from_pcm(read_flac(path, RING_SAMPLES + STEP_SAMPLES * meta.length))

    def flow(self, i: int, tick: int, before: int) -> np.ndarray:
        """Exact flow of a camera frame of episode ``i`` of ``episodes`` since an earlier one.

        Args:
            tick, before: physics ticks of the two frames.

        Returns:
            (36, 2) float32 cells, as ``World.flow`` gave it, to the bit.

        Raises:
            DatasetError: no flow was recorded, or not over this time.
        """
        meta = self.episodes[i]
        if not meta.flow_ticks:
            raise no_flow(self.root, meta.task_name)
        if tick - before != meta.flow_ticks:
            raise DatasetError(
                f"{self.root} holds the flow of {meta.task_name} over "
                f"{ticks_to_s(meta.flow_ticks):g} s, the policy's clip asks for "
                f"{ticks_to_s(tick - before):g} s; use clip.fps=12.5 clip.sampler=uniform"
            )
        rows = self._read_data(meta.data_file, FLOW_KEY)[FLOW_KEY]
        row = meta.first_row + tick // TICKS_PER_CONTROL
        return rows[row].reshape(-1, 2)

    def _read_data(self, name: str, *more: str) -> dict[str, np.ndarray]:
        columns = self._columns.setdefault(name, {})
        wanted = [key for key in (*VECTOR_KEYS, "episode_index", *more) if key not in columns]
        if wanted:
            table = read_table(self.root / name, wanted)
            columns |= {key: to_numpy(table[key]) for key in wanted}
        return columns

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_columns": {}}


def no_sound(root: Path, task: str) -> DatasetError:
    """The error for a dataset that a listening policy cannot use."""
    return DatasetError(
        f"{root} holds {task} without sound, and the policy listens; collect it with microphones "
        f"(python -m neon_sim.collect task={task} microphones=mono out=...), train under "
        "condition=muted, or take a policy that does not listen (audio=none)"
    )


def no_flow(root: Path, task: str) -> DatasetError:
    """The error for a dataset that a policy which is told exact flow cannot use."""
    return DatasetError(
        f"{root} holds {task} without exact flow, and the policy is told it; collect it with flow "
        f"(python -m neon_sim.collect task={task} flow=true out=...), or take a policy that "
        "estimates motion (mech_two_stream)"
    )


def _read_info(root: Path) -> dict[str, Any]:
    if not (root / INFO_FILE).exists():
        if (root / SHARDS_FOLDER).is_dir():
            raise DatasetError(f"{root} is unfinished; run the same collect command again")
        raise DatasetError(
            f"no dataset at {root} ({INFO_FILE} is missing); make one: "
            f"python -m neon_sim.collect task=arm_catch episodes=200 out={root}"
        )
    info = read_json(root / INFO_FILE)
    version = info.get("codebase_version")
    if version != CODEBASE_VERSION:
        raise DatasetError(
            f"{root / INFO_FILE}: codebase_version must be {CODEBASE_VERSION!r} (got {version!r}); "
            "convert it with lerobot's conversion script or collect it again into a new folder"
        )
    if info.get("fps") != CONTROL_HZ:
        raise DatasetError(
            f"{root / INFO_FILE}: fps must be {CONTROL_HZ} (got {info.get('fps')}); collect it "
            "again into a new folder"
        )
    return info


def _read_provenance(root: Path) -> dict[str, Any]:
    path = root / PROVENANCE_FILE
    return read_json(path) if path.exists() else {}


def _check_features(root: Path, info: dict[str, Any]) -> None:
    features = info.get("features", {})
    types = {robot.dataset_type: robot for robot in ROBOTS.values()}
    robot = types.get(info.get("robot_type", ""), ROBOTS["arm"])
    shape = features.get("action", {}).get("shape")
    dims = [dim for dim in robot.action_dims if shape == [dim]] or robot.action_dims
    wanted = {key: [len(names)] for key, names in vector_features(robot, dims[0]).items()}
    for key, shape in wanted.items():
        found = features.get(key, {}).get("shape")
        if found != shape:
            raise DatasetError(
                f"{root / INFO_FILE}: feature {key!r} must have shape {shape} (got {found}); this "
                "is no dataset of neon_sim.collect, or one of another robot"
            )


def _video_columns(features: dict[str, Any]) -> list[str]:
    return [key for key, feature in features.items() if feature["dtype"] == "video"]


def _read_episodes(root: Path, info: dict[str, Any]) -> list[EpisodeMeta]:
    paths = sorted((root / EPISODES_FOLDER).glob("*/*.parquet"))
    if not paths:
        raise damaged(root / EPISODES_FOLDER, "no episode file")
    cameras = _video_columns(info["features"])
    rows: list[dict[str, Any]] = []
    for path in paths:
        kept = [name for name in column_names(path) if not name.startswith("stats/")]
        lacking = [name for name in IDENTITY_COLUMNS if name not in kept]
        if lacking:
            raise DatasetError(
                f"{path} lacks the column {lacking[0]!r}, which identifies an episode of the "
                "bench; collect the dataset with python -m neon_sim.collect"
            )
        rows += read_table(path, kept).to_pylist()
    rows.sort(key=lambda row: row["episode_index"])
    counted = len(rows), sum(row["length"] for row in rows)
    promised = info.get("total_episodes"), info.get("total_frames")
    if counted != promised:
        raise damaged(
            paths[-1],
            f"{counted[0]} episodes of {counted[1]} rows, {INFO_FILE} says {promised[0]} of "
            f"{promised[1]}",
        )
    file_starts: dict[tuple[int, int], int] = {}
    return [_episode_meta(row, info, cameras, file_starts) for row in rows]


def _episode_meta(
    row: dict[str, Any],
    info: dict[str, Any],
    cameras: list[str],
    file_starts: dict[tuple[int, int], int],
) -> EpisodeMeta:
    place = row["data/chunk_index"], row["data/file_index"]
    start = file_starts.setdefault(place, row["dataset_from_index"])
    videos = {}
    for key in cameras:
        where = {name: row[f"videos/{key}/{name}"] for name in ("chunk_index", "file_index")}
        first = round(row[f"videos/{key}/from_timestamp"] * info["fps"])
        videos[key] = (info["video_path"].format(video_key=key, **where), first)
    return EpisodeMeta(
        index=row["episode_index"],
        description=row["tasks"][0],
        length=row["length"],
        first_row=row["dataset_from_index"] - start,
        data_file=info["data_path"].format(chunk_index=place[0], file_index=place[1]),
        videos=videos,
        audio_file=row.get(f"audio/{AUDIO_KEY}/file") or "",
        audio_channels=tuple(row.get(f"audio/{AUDIO_KEY}/channels") or ()),
        flow_ticks=row.get(f"flow/{FLOW_KEY}/ticks") or 0,
        **{name: row[name] for name in IDENTITY_COLUMNS},
    )


def _check_files(root: Path, provenance: dict[str, Any], episodes: list[EpisodeMeta]) -> None:
    sizes: dict[str, int] = provenance.get("files", {})
    names = {meta.data_file for meta in episodes}
    names |= {name for meta in episodes for name, _ in meta.videos.values()}
    # where another tool joined datasets, sound was left behind: an error once it is asked for
    names |= {meta.audio_file for meta in episodes} & set(sizes)
    for name in sorted(names):
        path = root / name
        if not path.exists():
            raise damaged(path, "no such file")
        size = path.stat().st_size
        if size != sizes.get(name, size):
            raise damaged(path, f"{size} bytes, {PROVENANCE_FILE} says {sizes[name]}")


def _check_versions(root: Path, episodes: list[EpisodeMeta]) -> None:
    for name, version in sorted({(meta.task_name, meta.version) for meta in episodes}):
        if name in TASKS and TASKS[name].version != version:
            raise DatasetError(
                f"{root} holds {name} in version {version}, this installation has version "
                f"{TASKS[name].version}; collect it again into a new folder"
            )


def _choose_tasks(
    root: Path, episodes: list[EpisodeMeta], tasks: str | Sequence[str] | None
) -> list[EpisodeMeta]:
    if tasks is None:
        return episodes
    wanted = [task_entry(name).name for name in ([tasks] if isinstance(tasks, str) else tasks)]
    held = {meta.task_name for meta in episodes}
    for name in wanted:
        if name not in held:
            raise DatasetError(
                f"{root} holds no episode of {name!r}, only of {', '.join(sorted(held))}; make "
                f"one: python -m neon_sim.collect task={name} out=..."
            )
    return [meta for meta in episodes if meta.task_name in wanted]
