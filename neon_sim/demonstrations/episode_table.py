"""Which episodes a dataset holds and where their rows, pictures and sound lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neon_sim.demonstrations.files import damaged
from neon_sim.demonstrations.layout import (
    AUDIO_KEY,
    FLOW_KEY,
    IDENTITY_COLUMNS,
    file_name,
    held,
    read_episode_rows,
    video_columns,
)
from neon_sim.errors import DatasetError
from neon_sim.registry import task_entry


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
        audio_rms: root mean square of that sound, where it was recorded.
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
    audio_rms: float | None = None
    flow_ticks: int = 0


@dataclass(frozen=True)
class Episode:
    """The rows of one episode, L control steps.

    Attributes:
        agent_pos: (L, P) float32 in [-1, 1], what the robot feels of its pose before each step.
        action: (L, A) float32 in [-1, 1], the expert's label for that state.
        executed_action: (L, A) float32, what the robot was sent instead; None where another tool
            left it out.
        environment_state: (L, 16) float32, the visible true positions; None likewise.
        description, task_name, seed, episode, success, source: as in ``EpisodeMeta``.
    """

    agent_pos: np.ndarray
    action: np.ndarray
    executed_action: np.ndarray | None
    environment_state: np.ndarray | None
    description: str
    task_name: str
    seed: int
    episode: int
    success: bool
    source: str


def read_episodes(root: Path, info: dict[str, Any], record: dict[str, Any]) -> list[EpisodeMeta]:
    """Every episode of a dataset, in order; the files that they name are there.

    Args:
        root: of the dataset. info: ``meta/info.json``. record: ``meta/neon_sim.json``, or empty.

    Raises:
        DatasetError: ``meta/episodes`` is damaged, or a file is missing or outside the folder.
    """
    rows = read_episode_rows(root, info)
    cameras = video_columns(info["features"])
    file_starts: dict[tuple[int, int], int] = {}
    episodes = [_episode_meta(row, info, cameras, file_starts) for row in rows]
    _check_files(root, record, episodes)
    return episodes


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
        videos[key] = (file_name(info, "video_path", video_key=key, **where), first)
    return EpisodeMeta(
        index=row["episode_index"],
        description=row["tasks"][0],
        length=row["length"],
        first_row=row["dataset_from_index"] - start,
        data_file=file_name(info, "data_path", chunk_index=place[0], file_index=place[1]),
        videos=videos,
        audio_file=row.get(f"audio/{AUDIO_KEY}/file") or "",
        audio_channels=tuple(row.get(f"audio/{AUDIO_KEY}/channels") or ()),
        audio_rms=row.get(f"audio/{AUDIO_KEY}/rms"),
        flow_ticks=row.get(f"flow/{FLOW_KEY}/ticks") or 0,
        **{name: row[name] for name in IDENTITY_COLUMNS},
    )


def _check_files(root: Path, record: dict[str, Any], episodes: list[EpisodeMeta]) -> None:
    """Hold the files that episodes name to the folder, and see that they are there."""
    names = {meta.data_file for meta in episodes}
    names |= {name for meta in episodes for name, _ in meta.videos.values()}
    sounds = {meta.audio_file for meta in episodes} - {""}
    for name in sorted(names | sounds):
        # where another tool joined datasets, sound was left behind: an error once it is asked for
        needed = name in names or name in record.get("files", {})
        if not held(root, name).exists() and needed:
            raise damaged(root / name, "no such file")


def choose_tasks(
    root: Path, episodes: list[EpisodeMeta], tasks: str | Sequence[str] | None
) -> list[EpisodeMeta]:
    """The episodes of some tasks, all for None.

    Raises:
        DatasetError: one is not among them. UnknownNameError: no such task.
    """
    if tasks is None:
        return episodes
    wanted = [task_entry(name).name for name in ([tasks] if isinstance(tasks, str) else tasks)]
    known = {meta.task_name for meta in episodes}
    for name in wanted:
        if name not in known:
            raise DatasetError(
                f"{root} holds no episode of {name!r}, only of {', '.join(sorted(known))}; make "
                f"one: python -m neon_sim.collect task={name} out=..."
            )
    return [meta for meta in episodes if meta.task_name in wanted]
