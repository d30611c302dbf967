"""Demonstrations on disk: a LeRobot v3.0 dataset, and the reader that training uses.

The layout is that of ``lerobot`` 0.6 (``lerobot.datasets.LeRobotDataset`` opens it, see
docs/DATASETS.md); this reader needs only pyarrow and PyAV, decodes each camera frame
once although a row exists for every control step, and says what is wrong with a dataset
before training starts. Row r of an episode is the state before control step r (physics
tick ``10 * r``) with the expert's label for that state.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from neon_sim.audio.pcm import RING_SAMPLES, STEP_SAMPLES, from_pcm, read_flac
from neon_sim.clock import CONTROL_HZ, TICKS_PER_CONTROL, ticks_to_s
from neon_sim.demonstrations.episode_table import Episode, EpisodeMeta, choose_tasks, read_episodes
from neon_sim.demonstrations.files import damaged, read_table, to_numpy
from neon_sim.demonstrations.layout import (
    ACTION_KEY,
    EXECUTED_KEY,
    FLOW_KEY,
    POSE_KEY,
    STATE_KEY,
    VECTOR_KEYS,
    find_dataset,
    held,
    read_info,
    stored_as,
    video_columns,
    video_key,
)
from neon_sim.demonstrations.record import CHECK, read_record, verify
from neon_sim.demonstrations.values import (
    check_loudness,
    check_pictures,
    check_rows,
    check_statistics,
    picture_means,
)
from neon_sim.demonstrations.video_io import PIX_FMT, ROWS_PER_FRAME, VideoFiles
from neon_sim.errors import DatasetError


class DemoDataset:
    """Reads a dataset that ``neon_sim.collect`` wrote. Make one with ``DemoDataset.open``.

    Picklable and safe to use in worker processes.

    Attributes:
        root: its folder. info: ``meta/info.json``. provenance: ``meta/neon_sim.json`` (config,
            versions, renderer, commit, hashes; empty where another tool wrote the set).
        episodes: what it holds, in order, after the choice of tasks.
    """

    def __init__(
        self, root: Path, info: dict[str, Any], provenance: dict[str, Any], rows: list[EpisodeMeta]
    ) -> None:
        self.root, self.info, self.provenance, self.episodes = root, info, provenance, rows
        self._videos = VideoFiles()
        self._columns: dict[str, dict[str, np.ndarray]] = {}
        self._content_hash = str(provenance.get("content_hash", ""))
        self._picture_means: dict[str, np.ndarray] = {}

    @classmethod
    def open(cls, path: str | Path, tasks: str | Sequence[str] | None = None) -> DemoDataset:
        """Open and check a dataset. Every file is read once and held to its recorded hash.

        Args:
            path: its folder.
            tasks: keep only episodes of these tasks (registry names); all by default.

        Raises:
            DatasetError: nothing there, unfinished, truncated, other bytes than were written,
                another format or task version, or no episode of a task that was asked for. The
                message names file and mend.
            UnknownNameError: a task that no registry knows.
        """
        root = Path(path)
        find_dataset(root)
        verify(root, read_record(root))
        return cls.open_unverified(root, tasks)

    @classmethod
    def open_unverified(
        cls, path: str | Path, tasks: str | Sequence[str] | None = None
    ) -> DemoDataset:
        """``open`` without looking at hashes and sizes, for what was edited on purpose.

        Raises:
            DatasetError: as ``open``, but for bytes that were changed.
        """
        root = Path(path)
        find_dataset(root)
        info, record = read_info(root), read_record(root)
        episodes = read_episodes(root, info, record)
        return cls(root, info, record, choose_tasks(root, episodes, tasks))

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
        """Pixels per side of the front camera (its height, where it is not square)."""
        return self.image_shape()[0]

    @property
    def has_state(self) -> bool:
        """Whether the rows hold the true positions."""
        return stored_as(self.info["features"], STATE_KEY) is not None

    @property
    def content_hash(self) -> str:
        """Hex SHA-256 over every episode's identity, arrays and frames.

        Of the bytes of data and video files where another tool (lerobot's merge) wrote the set.
        """
        if not self._content_hash:
            self._content_hash = hash_of_bytes(self.root)
        return self._content_hash

    @property
    def notes(self) -> list[str]:
        """What a user should know of where the data come from; empty for most."""
        notes = [f"{self.root}: {edit}" for edit in self.provenance.get("edits", [])]
        if "sha256" not in self.provenance:
            why = "from before hashes were recorded" if self.provenance else "of another tool"
            notes.append(
                f"{self.root} is {why}: damage cannot be told from data; look through it and "
                f"record it as it is: {CHECK} {shlex.quote(f'data={self.root}')} accept=true"
            )
        names = sorted({name for meta in self.episodes for name, _ in meta.videos.values()})
        formats = {self._videos.pixel_format(self.root / name) for name in names[:1]}
        if lossy := formats - {PIX_FMT}:
            notes.append(
                f"{self.root} holds pictures coded with loss ({', '.join(lossy)}): a policy learns "
                "from others than the simulator draws"
            )
        return notes

    def image_shape(self, camera: str = "front") -> tuple[int, int]:
        """Height and width of a camera's frames, as ``info.json`` says.

        Raises:
            DatasetError: no such camera.
        """
        key = video_key(camera)
        if key not in self.info["features"]:
            raise self._no_camera(camera)
        height, width, _ = self.info["features"][key]["shape"]
        return height, width

    def _no_camera(self, camera: str) -> DatasetError:
        known = ", ".join(video_columns(self.info["features"])) or "none"
        return DatasetError(
            f"{self.root} has no camera {camera!r}; it has {known}. Collect it again into a new "
            "folder, or take a policy that does not look"
        )

    def load(self, i: int) -> Episode:
        """Rows of episode ``i`` of ``episodes``.

        Raises:
            DatasetError: its data file is damaged or too short, or a number in it is none,
                outside its range, or in another order.
        """
        meta = self.episodes[i]
        columns = self._read_data(meta.data_file)
        rows = slice(meta.first_row, meta.first_row + meta.length)
        chosen = {key: values[rows] for key, values in columns.items()}
        index = chosen["episode_index"]
        if len(index) < meta.length or not np.all(index == meta.index):
            raise damaged(self.root / meta.data_file, f"rows of episode {meta.index} are missing")
        check_rows(f"{self.root}: episode {meta.index} ({meta.task_name})", chosen)
        return Episode(
            agent_pos=chosen[POSE_KEY],
            action=chosen[ACTION_KEY],
            executed_action=chosen.get(EXECUTED_KEY),
            environment_state=chosen.get(STATE_KEY),
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
            DatasetError: no such camera, a video that is damaged or too short, or pictures of
                another size or other colours than ``meta`` says.
        """
        meta, shape = self.episodes[i], self.image_shape(camera)
        key = video_key(camera)
        name, first = meta.videos[key]
        frames = self._videos.read(
            self.root / name, first, meta.length, fps=CONTROL_HZ, every=ROWS_PER_FRAME
        )
        if key not in self._picture_means:
            self._picture_means[key] = picture_means(self.root, key)
        means = self._picture_means[key]
        check_pictures(
            f"{self.root / name}: episode {meta.index}",
            frames,
            shape,
            means[meta.index] if len(means) else None,
        )
        return frames

    def sound(self, i: int) -> np.ndarray:
        """What was heard in episode ``i`` of ``episodes``, to the bit.

        Returns:
            (C, 16000 + 320 * L) float32 in [-1, 1): the second before the episode, then 320
            samples a row; ``neon_sim.audio.pcm.rings`` cuts out what a policy hears at a row.

        Raises:
            DatasetError: no sound was recorded, or its file is missing, damaged, or not as loud
                or of as many channels as ``meta`` says.
            MissingPackageError: soundfile is not installed.
        """
        meta = self.episodes[i]
        if not meta.audio_file:
            raise no_sound(self.root, meta.task_name)
        path = held(self.root, meta.audio_file)
        samples = read_flac(path, RING_SAMPLES + STEP_SAMPLES * meta.length)
        check_loudness(path, samples, len(meta.audio_channels), meta.audio_rms)
        return from_pcm(samples)

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
        cells: np.ndarray = self.flow_rows(i)[tick // TICKS_PER_CONTROL].reshape(-1, 2)
        return cells

    def flow_rows(self, i: int) -> np.ndarray:
        """Exact flow (L, 72) float32 of episode ``i`` of ``episodes``, by row.

        Raises:
            DatasetError: it was not recorded, or is not finite.
        """
        meta = self.episodes[i]
        columns = self._read_data(meta.data_file, FLOW_KEY)
        if FLOW_KEY not in columns:
            raise no_flow(self.root, meta.task_name)
        rows = columns[FLOW_KEY][meta.first_row : meta.first_row + meta.length]
        if not np.isfinite(rows).all():
            raise damaged(self.root / meta.data_file, f"flow of episode {meta.index} is no number")
        return rows

    def column(self, i: int, key: str, dtype: type) -> np.ndarray | None:
        """A column of one number a row (L,) of episode ``i``; None where the dataset lacks it.

        Raises:
            DatasetError: its data file is damaged, or the numbers are of another type.
        """
        meta = self.episodes[i]
        if key not in self.info["features"]:
            return None
        columns = self._columns.setdefault(meta.data_file, {})
        if key not in columns:
            columns[key] = self._column(meta.data_file, key, (), dtype)
        return columns[key][meta.first_row : meta.first_row + meta.length]

    def check_statistics(self, keys: Sequence[str] = VECTOR_KEYS) -> None:
        """Hold all rows to ``meta/stats.json``, which a file that was rescaled breaks.

        Says nothing of a choice of tasks, for which no statistics are kept.

        Args:
            keys: features to look at; those that the dataset lacks are left out.

        Raises:
            DatasetError: names the feature and the number that differs.
        """
        features = self.info["features"]
        names = {key: name for key in keys if (name := stored_as(features, key)) is not None}
        if self.num_rows == self.info["total_frames"]:
            files = sorted({meta.data_file for meta in self.episodes})
            parts = [self._read_data(name, *names) for name in files]
            check_statistics(self.root, {k: [part[k] for part in parts] for k in names}, names)

    def _read_data(self, name: str, *more: str) -> dict[str, np.ndarray]:
        """Columns of a data file by today's names; those that it lacks are left out."""
        columns = self._columns.setdefault(name, {})
        features = self.info["features"]
        for key in (*VECTOR_KEYS, *more):
            stored = stored_as(features, key)
            if stored is not None and key not in columns:
                width = features[stored]["shape"][0]
                columns[key] = self._column(name, stored, (width,), np.float32)
        for key in ("episode_index", "frame_index"):
            if key not in columns:
                columns[key] = self._column(name, key, (), np.int64)
        return columns

    def _column(self, name: str, key: str, shape: tuple[int, ...], dtype: type) -> np.ndarray:
        values = to_numpy(self.root / name, key, read_table(self.root / name, [key]))
        if values.dtype != dtype or values.shape[1:] != shape:
            raise damaged(
                self.root / name,
                f"{key} is {values.dtype} {values.shape[1:]}, not {np.dtype(dtype)} {shape}",
            )
        return values

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_columns": {}}


def hash_of_bytes(root: Path) -> str:
    """Hex SHA-256 over the data, video and sound files of a dataset."""
    digest = hashlib.sha256()
    for path in sorted(
        p for name in ("data", "videos", "audio") for p in root.glob(f"{name}/**/*")
    ):
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()


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


def no_state(root: Path, task: str) -> DatasetError:
    """The error for a dataset that an oracle cannot use."""
    return DatasetError(
        f"{root} holds {task} without {STATE_KEY!r}, and the policy is told true positions; "
        f"collect it again (python -m neon_sim.collect task={task} out=...), or choose another "
        "condition"
    )
