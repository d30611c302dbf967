"""Finished episodes as single files: there whole, or not at all.

A rollout hands a ``RecordedEpisode`` to ``write_shard``; a killed run loses only the
episode it was in. ``neon_sim.demonstrations.assemble`` joins the shards into a dataset.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neon_sim.audio.pcm import encode_flac
from neon_sim.demonstrations.layout import (
    ACTION_KEY,
    EXECUTED_KEY,
    FLOW_KEY,
    POSE_KEY,
    SHARDS_FOLDER,
    STATE_KEY,
    video_key,
)
from neon_sim.demonstrations.statistics import feature_stats, image_stats, to_lists
from neon_sim.demonstrations.values import loudness
from neon_sim.demonstrations.video_io import ROWS_PER_FRAME, encode_rows
from neon_sim.errors import DatasetError
from neon_sim.schema import checked, parse_json

FORMAT = 2  # 1 was H.264, with privileged features under other names

_ARRAYS = ("agent_pos", "environment_state", "action", "executed_action", "success")
_COLUMN, _VIDEO, _AUDIO = "column:", "video:", "audio"


@dataclass(frozen=True)
class EpisodeIdentity:
    """Which episode it is; the fields of ``neon_sim.demonstrations.dataset.EpisodeMeta`` of the
    same name."""

    task_name: str
    version: int
    seed: int
    episode: int
    source: str
    success: bool
    initial_hash: str
    description: str


@dataclass(frozen=True)
class RecordedEpisode:
    """What a rollout hands to the writer: L control steps, F = ceil(L / 2) camera frames.

    Attributes:
        identity: which episode.
        agent_pos: (L, 8), environment_state: (L, 16), action: (L, 8), executed_action: (L, 8);
            float32, before each step.
        success: (L,) bool after each step.
        frames: camera -> (F, H, W, 3) uint8.
        audio: (C, 16000 + 320 * L) int16, the second before the episode and all of it, or None.
        audio_channels: C names.
        flow: (F, 36, 2) float32 exact flow since the frame ``flow_ticks`` before, or None.
    """

    identity: EpisodeIdentity
    agent_pos: np.ndarray
    environment_state: np.ndarray
    action: np.ndarray
    executed_action: np.ndarray
    success: np.ndarray
    frames: dict[str, np.ndarray]
    audio: np.ndarray | None = None
    audio_channels: tuple[str, ...] = ()
    flow: np.ndarray | None = None
    flow_ticks: int = 0

    def content_hash(self) -> str:
        """Hex SHA-256 over identity, arrays, frames, sound and flow."""
        digest = hashlib.sha256(json.dumps(asdict(self.identity), sort_keys=True).encode())
        for name in _ARRAYS:
            digest.update(np.ascontiguousarray(getattr(self, name)).tobytes())
        for camera, frames in sorted(self.frames.items()):
            digest.update(camera.encode() + np.ascontiguousarray(frames).tobytes())
        if self.audio is not None:
            digest.update(",".join(self.audio_channels).encode() + self.audio.tobytes())
        if self.flow is not None:
            digest.update(f"flow {self.flow_ticks}".encode() + self.flow.tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class ShardHead:
    """What a shard file says of itself; fields as of ``Shard``."""

    format: int
    identity: EpisodeIdentity
    content_hash: str
    stats: dict[str, dict[str, Any]]
    image_size: tuple[int, int]
    flow_ticks: int = 0
    audio_channels: tuple[str, ...] = ()
    audio_rms: float | None = None


@dataclass(frozen=True)
class Shard:
    """A finished episode read back from its shard file; ``audio`` is FLAC, empty for none."""

    identity: EpisodeIdentity
    content_hash: str
    stats: dict[str, dict[str, Any]]
    image_size: tuple[int, int]
    columns: dict[str, np.ndarray]
    videos: dict[str, bytes]
    audio: bytes = b""
    audio_channels: tuple[str, ...] = ()
    audio_rms: float | None = None
    flow_ticks: int = 0

    @property
    def length(self) -> int:
        """Number of rows."""
        return len(self.columns["action"])


def shard_path(root: Path, index: int) -> Path:
    """Where episode ``index`` of a collection is kept until the dataset is assembled."""
    return root / SHARDS_FOLDER / f"{index:07d}.npz"


def write_shard(path: Path, episode: RecordedEpisode) -> None:
    """Write an episode so that its file is there completely or not at all.

    Raises:
        OSError: the disk is full or not writable; nothing is left behind.
        MissingPackageError: there is sound, and soundfile is not installed.
    """
    length = len(episode.action)
    success = np.asarray(episode.success, dtype=bool)
    columns = {
        POSE_KEY: episode.agent_pos.astype(np.float32),
        STATE_KEY: episode.environment_state.astype(np.float32),
        ACTION_KEY: episode.action.astype(np.float32),
        EXECUTED_KEY: episode.executed_action.astype(np.float32),
        "next.done": np.arange(length) == length - 1,
        "next.success": success,
    }
    if episode.flow is not None:
        by_row = np.repeat(episode.flow, ROWS_PER_FRAME, axis=0)[:length]
        columns[FLOW_KEY] = by_row.reshape(length, -1)
    stats = {key: feature_stats(values) for key, values in columns.items()}
    stats |= {video_key(camera): image_stats(f) for camera, f in episode.frames.items()}
    head: dict[str, Any] = {
        "format": FORMAT,
        "identity": asdict(episode.identity),
        "content_hash": episode.content_hash(),
        "stats": to_lists(stats),
        "image_size": next(iter(episode.frames.values())).shape[1:3],
        "flow_ticks": episode.flow_ticks,
    }
    arrays = {_COLUMN + key: values for key, values in columns.items()}
    for camera, frames in episode.frames.items():
        video = encode_rows(frames, length)
        arrays[_VIDEO + video_key(camera)] = np.frombuffer(video, np.uint8)
    if episode.audio is not None:
        head["audio_channels"] = list(episode.audio_channels)
        head["audio_rms"] = loudness(episode.audio)
        arrays[_AUDIO] = np.frombuffer(encode_flac(episode.audio), np.uint8)
    arrays["head"] = np.frombuffer(json.dumps(head).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_atomic(path, buffer.getvalue())


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file under a temporary name and move it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "wb") as file:
            file.write(content)
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


def read_shard(path: Path) -> Shard:
    """Read one shard (its CRCs are checked).

    Raises:
        DatasetError: the file is damaged, or of another version of neon_sim.
    """
    mend = "delete it and run the same collect command again"
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        said = parse_json(arrays["head"].tobytes())
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DatasetError(f"{path} is damaged ({error}); {mend}") from error
    found = said.get("format", 1) if isinstance(said, dict) else said
    if found != FORMAT:
        raise DatasetError(f"{path} must be of format {FORMAT} (got {found!r}); {mend}")
    head = checked(said, ShardHead, str(path), DatasetError, mend)
    columns = {k.removeprefix(_COLUMN): v for k, v in arrays.items() if k.startswith(_COLUMN)}
    if lacking := {POSE_KEY, STATE_KEY, ACTION_KEY, EXECUTED_KEY} - set(columns):
        raise DatasetError(f"{path} lacks {min(lacking)!r}; {mend}")
    return Shard(
        identity=head.identity,
        content_hash=head.content_hash,
        stats=head.stats,
        image_size=head.image_size,
        columns=columns,
        videos={
            key.removeprefix(_VIDEO): arrays[key].tobytes()
            for key in arrays
            if key.startswith(_VIDEO)
        },
        audio=arrays[_AUDIO].tobytes() if _AUDIO in arrays else b"",
        audio_channels=head.audio_channels,
        audio_rms=head.audio_rms,
        flow_ticks=head.flow_ticks,
    )
