"""The feature cache: every window goes through the frozen backbone once.

One folder a dataset, tower and clip, named by a hash of all that its content depends on.
Rows are appended episode by episode and the file that declares it whole is written last,
so a killed run continues where it was and a half-written cache is never mistaken for one. That
file also holds the hashes of the others, so that a damaged cache is not trained on.
An encoder that looks at frames on their own stores each camera frame once, whatever number
of clips it is in. What an encoder of sound makes has a folder of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor
from tqdm import tqdm

from neon_sim.audio.pcm import rings
from neon_sim.clock import TICKS_PER_CAMERA, TICKS_PER_CONTROL
from neon_sim.demonstrations.dataset import DemoDataset
from neon_sim.demonstrations.record import file_sha256
from neon_sim.demonstrations.windows import window_steps
from neon_sim.errors import DatasetError
from neon_sim.files import write_json
from neon_sim.observation.batch import ClipBatch
from neon_sim.observation.clips import ClipPlan, clip_flow, plan_clip, stretched
from neon_sim.observation.conditions import sight_of
from neon_sim.registry import clip_span_s
from neon_sim.schema import read_json

FORMAT = 2
META_FILE, HIDDEN_FILE, MASK_FILE = "meta.json", "hidden.bin", "mask.bin"
PROGRESS_FILE, LOCK_FILE = "progress.json", "lock"
ENCODE_ROWS = 64  # rows a call of the backbone
SPARE_BYTES = 64 << 20
PROGRESS_S = 2.0  # a kill loses the work of so many seconds


@dataclass(frozen=True)
class Progress:
    """How much of an unfinished cache is whole."""

    episodes: int = 0
    rows: int = 0


@dataclass(frozen=True)
class CacheMeta:
    """What a finished cache says of itself; ``sha256`` by file, empty in those from before."""

    rows: int
    shape: tuple[int, int]
    dtype: str
    format: int
    sha256: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class EpisodeLayout:
    """Which stored rows the windows of one episode read.

    Attributes:
        steps: (n,) control steps. plans: one clip a window.
        frames: (m,) camera frames to encode where each is encoded on its own, else empty.
        index: (n, F) rows, counted from the episode's first. mask: (n, F) bool, padding.
        time_s: (n, F) ages.
    """

    steps: np.ndarray
    plans: list[ClipPlan]
    frames: np.ndarray
    index: np.ndarray
    mask: np.ndarray
    time_s: np.ndarray

    @property
    def num_rows(self) -> int:
        """Stored rows of this episode."""
        return len(self.frames) if len(self.frames) else self.index.size


def episode_layout(
    tower: Any, length: int, stride: int, episode: int = 0, span_s: float = 0.0
) -> EpisodeLayout:
    """Lay out the windows of an episode of ``length`` control steps for a tower.

    ``span_s`` is what the task's clips have to reach back (``TaskEntry.clip_span_s``).
    """
    steps = window_steps(length, stride, episode)
    clip = stretched(tower.clip, span_s)
    plans = [plan_clip(clip, int(step) * TICKS_PER_CONTROL) for step in steps]
    ages = np.stack([plan.time_s for plan in plans])
    if not tower.per_frame:
        shape = (len(plans), tower.num_frames)
        return EpisodeLayout(
            steps=steps,
            plans=plans,
            frames=np.empty(0, dtype=np.int64),
            index=np.arange(shape[0] * shape[1]).reshape(shape),
            mask=np.ones(shape, dtype=bool),
            time_s=tower.times(ages).numpy(),
        )
    last = slice(-tower.num_frames, None)
    wanted = np.stack([plan.ticks[last] for plan in plans]) // TICKS_PER_CAMERA
    frames, index = np.unique(wanted, return_inverse=True)
    return EpisodeLayout(
        steps=steps,
        plans=plans,
        frames=frames,
        index=index.reshape(wanted.shape),
        mask=np.stack([plan.mask[last] for plan in plans]),
        time_s=ages[:, last],
    )


def cache_key(dataset: DemoDataset, tower: Any, stride: int) -> str:
    """Hash of everything the content of a cache depends on."""
    sight = asdict(sight_of(tower.condition))  # conditions that look alike share their features
    if not tower.hears:
        del sight["sound"]
    identity = [
        FORMAT,
        tower.fingerprint(),
        sight,
        asdict(tower.clip),
        tower.connector_key,
        str(tower.storage),
        stride,
        dataset.content_hash or str(dataset.root.resolve()),
        [
            [
                *(m.task_name, m.version, m.seed, m.episode, m.source, m.length, m.initial_hash),
                m.description,
            ]
            for m in dataset.episodes
        ],
    ]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:24]


def encode_episode(
    dataset: DemoDataset, number: int, tower: Any, layout: EpisodeLayout
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Encode an episode in blocks of rows: hidden (m, S, D) and mask (m, S).

    Raises:
        DatasetError: the dataset's images are not of the clip's size, or it holds no sound, or no
            flow over the time between the clip's frames.
    """
    episode = dataset.load(number)
    frames = dataset.frames(number, tower.clip.camera) if "video" in tower.needs else None
    sound = dataset.sound(number) if tower.hears else None
    between = partial(dataset.flow, number)
    size = tower.clip.image_size
    if frames is not None and frames.shape[1:3] != (size, size):
        found = " x ".join(str(side) for side in dict.fromkeys(frames.shape[1:3]))
        raise DatasetError(
            f"{dataset.root} holds images of {found} pixels, the policy's clip asks for {size}; "
            f"collect with image_size={size}, or train with policy.clip.image_size={found}"
        )
    count = len(layout.frames) if tower.per_frame else len(layout.plans)
    for start in range(0, count, ENCODE_ROWS):
        part = slice(start, min(start + ENCODE_ROWS, count))
        if tower.per_frame:
            batch = _frame_batch(episode, frames, layout, part)
        else:
            batch = _clip_batch(episode, frames, sound, layout, part)
            if "flow" in tower.needs:
                flows = [clip_flow(plan, between) for plan in layout.plans[part]]
                batch = replace(batch, flow=np.stack(flows))
        encoded = tower.encode(batch)
        yield encoded.hidden.flatten(0, 1).numpy(), encoded.mask.flatten(0, 1).numpy()


def _frame_batch(episode: Any, frames: Any, layout: EpisodeLayout, part: slice) -> ClipBatch:
    """Single frames as clips of one."""
    chosen = layout.frames[part]
    return ClipBatch(
        video=frames[chosen][:, None],
        mask=np.ones((len(chosen), 1), dtype=bool),
        time_s=np.zeros((len(chosen), 1), dtype=np.float32),
        state=None,
        agent_pos=episode.agent_pos[chosen * (TICKS_PER_CAMERA // TICKS_PER_CONTROL)],
        text=[episode.description] * len(chosen),
    )


def _clip_batch(
    episode: Any, frames: Any, sound: Any, layout: EpisodeLayout, part: slice
) -> ClipBatch:
    """The clips of some windows, as the live policy would have got them."""
    plans, state = layout.plans[part], episode.environment_state
    ticks = np.stack([plan.ticks for plan in plans])
    return ClipBatch(
        video=None if frames is None else frames[ticks // TICKS_PER_CAMERA],
        mask=np.stack([plan.mask for plan in plans]),
        time_s=np.stack([plan.time_s for plan in plans]),
        state=None if state is None else state[ticks // TICKS_PER_CONTROL],
        agent_pos=episode.agent_pos[layout.steps[part]],
        text=[episode.description] * len(plans),
        audio=None if sound is None else rings(sound, layout.steps[part]),
    )


class _Writer:
    """Appends rows to the cache's two files and remembers how many episodes are whole.

    Args:
        folder: of the cache. row_bytes: of a hidden row and of a mask row.
        rows: stored rows of each episode, in order.
    """

    def __init__(self, folder: Path, row_bytes: tuple[int, int], rows: list[int]) -> None:
        self.folder, self._saved = folder, time.monotonic()
        start = _whole_part(folder, row_bytes, rows)
        self.episodes, self.rows = start.episodes, start.rows
        self.files: list[BinaryIO] = []
        for name, size in zip((HIDDEN_FILE, MASK_FILE), row_bytes, strict=True):
            file = open(folder / name, "r+b" if (folder / name).exists() else "w+b")  # noqa: SIM115
            file.truncate(self.rows * size)
            file.seek(0, os.SEEK_END)
            self.files.append(file)

    def append(self, hidden: np.ndarray, mask: np.ndarray) -> None:
        """Write some rows of the episode in hand."""
        for file, rows in zip(self.files, (hidden, mask), strict=True):
            file.write(np.ascontiguousarray(rows).tobytes())

    def end_episode(self, rows: int) -> None:
        """Declare the episode in hand whole."""
        for file in self.files:
            file.flush()
        self.episodes, self.rows = self.episodes + 1, self.rows + rows
        if time.monotonic() - self._saved > PROGRESS_S:
            self._save()

    def _save(self) -> None:
        write_json(self.folder / PROGRESS_FILE, asdict(Progress(self.episodes, self.rows)))
        self._saved = time.monotonic()

    def close(self) -> None:
        """Close the files and say how far they are whole."""
        for file in self.files:
            file.close()
        self._save()


def _whole_part(folder: Path, row_bytes: tuple[int, int], rows: list[int]) -> Progress:
    """How much of a begun cache can be kept: nothing, where a file is not what it must be."""
    path = folder / PROGRESS_FILE
    if not path.exists():
        return Progress()
    try:
        found = read_json(path, Progress, DatasetError, "")
        sizes = [(folder / name).stat().st_size for name in (HIDDEN_FILE, MASK_FILE)]
    except (DatasetError, OSError):
        return Progress()
    fits = 0 <= found.episodes <= len(rows) and found.rows == sum(rows[: found.episodes])
    long_enough = all(
        size >= found.rows * each for size, each in zip(sizes, row_bytes, strict=True)
    )
    return found if fits and long_enough else Progress()


def build_cache(
    dataset: DemoDataset, tower: Any, stride: int, root: Path, progress: bool = True
) -> tuple[Path, list[EpisodeLayout]]:
    """Make sure the features of a dataset lie on disk.

    Args:
        dataset: demonstrations. tower: what to encode with. stride: control steps between
            windows. root: folder of all caches. progress: whether to show a bar.

    Returns:
        The cache's folder and the layout of every episode.

    Raises:
        DatasetError: unfit images, or no space on the disk.
    """
    layouts = [
        episode_layout(tower, meta.length, stride, meta.episode, clip_span_s(meta.task_name))
        for meta in dataset.episodes
    ]
    folder = root / cache_key(dataset, tower, stride)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / LOCK_FILE):  # waits: the other run makes what this one needs
        if not (folder / META_FILE).exists():
            try:
                _encode_all(dataset, tower, layouts, folder, progress)
            except OSError as error:
                raise DatasetError(
                    f"cannot write features to {folder} ({error}); free some space or give "
                    "cache=DIR on another disk, then run the same command again"
                ) from error
    return folder, layouts


def _encode_all(
    dataset: DemoDataset, tower: Any, layouts: list[EpisodeLayout], folder: Path, progress: bool
) -> None:
    shape = (tower.tokens_per_frame, tower.feature_dim)
    size = torch.empty((), dtype=tower.storage).element_size()
    row_bytes = (shape[0] * shape[1] * size, shape[0])
    writer = _Writer(folder, row_bytes, [layout.num_rows for layout in layouts])
    todo = sum(layout.num_rows for layout in layouts[writer.episodes :])
    free = shutil.disk_usage(folder).free
    if free < todo * sum(row_bytes) + SPARE_BYTES:
        raise DatasetError(
            f"features need {todo * sum(row_bytes) >> 20} MB at {folder}, {free >> 20} MB are "
            "free; free some space or give cache=DIR on another disk"
        )
    bar = tqdm(
        total=len(layouts),
        initial=writer.episodes,
        desc=f"encode {dataset.root.name} ({tower.name})",
        unit="ep",
        disable=not progress,
    )
    try:
        for number in range(writer.episodes, len(layouts)):
            for hidden, mask in encode_episode(dataset, number, tower, layouts[number]):
                writer.append(hidden, mask)
            writer.end_episode(layouts[number].num_rows)
            bar.update()
    finally:
        writer.close()
        bar.close()
    hashes = {name: file_sha256(folder / name) for name in (HIDDEN_FILE, MASK_FILE)}
    meta = CacheMeta(writer.rows, shape, str(tower.storage), FORMAT, hashes)
    write_json(folder / META_FILE, asdict(meta))


class FeatureTable:
    """Features of all windows of several datasets, in RAM when they fit.

    Args:
        datasets: demonstrations, in the order of the windows. tower: the frozen half.
        stride: control steps between windows. root: folder of all caches.
        ram_bytes: up to which features are read into memory. progress: whether to show bars.

    Raises:
        DatasetError: a damaged cache, unfit images, or no space on the disk.
    """

    def __init__(
        self,
        datasets: Sequence[DemoDataset],
        tower: Any,
        stride: int,
        root: Path,
        ram_bytes: float = 4e9,
        progress: bool = True,
    ) -> None:
        built = [build_cache(dataset, tower, stride, root, progress) for dataset in datasets]
        self.shape = (tower.tokens_per_frame, tower.feature_dim)
        layouts = [layout for _, part in built for layout in part]
        starts = np.cumsum([0, *(layout.num_rows for layout in layouts)])
        index = [layout.index + s for layout, s in zip(layouts, starts[:-1], strict=True)]
        self.index = np.concatenate(index)
        self.frame_mask = torch.from_numpy(np.concatenate([item.mask for item in layouts]))
        self.time_s = torch.from_numpy(np.concatenate([item.time_s for item in layouts]))
        folders = [folder for folder, _ in built]
        dtype = torch.empty((), dtype=tower.storage).numpy().dtype
        size = int(starts[-1]) * self.shape[0] * self.shape[1] * dtype.itemsize
        self.in_ram = size <= ram_bytes
        self._hidden = _open_parts(folders, HIDDEN_FILE, self.shape, dtype, self.in_ram)
        self._mask = _open_parts(folders, MASK_FILE, self.shape[:1], np.dtype(bool), True)
        self._starts = np.cumsum([0, *(len(part) for part in self._hidden)])
        if self._starts[-1] != starts[-1]:
            raise DatasetError(f"the feature cache in {root} is damaged; delete it and run again")
        self.all_real = bool(self.frame_mask.all() and all(part.all() for part in self._mask))

    def __len__(self) -> int:
        return len(self.index)

    def gather(self, windows: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """Features of some windows: hidden (b, F, S, D), mask (b, F, S), ages (b, F)."""
        index = self.index[windows]
        hidden = self._take(self._hidden, index)
        time_s = self.time_s[torch.from_numpy(windows)]
        if self.all_real:
            return hidden, torch.ones(hidden.shape[:3], dtype=torch.bool), time_s
        mask = self._take(self._mask, index)
        frames = self.frame_mask[torch.from_numpy(windows)]
        return hidden, mask & frames.unsqueeze(2), time_s

    def _take(self, parts: list[Tensor], index: np.ndarray) -> Tensor:
        """Rows of the joined parts: index (b, F) -> (b, F, ...)."""
        flat = index.reshape(-1)
        if self.in_ram or parts is self._mask:
            return parts[0][torch.from_numpy(flat)].reshape(*index.shape, *parts[0].shape[1:])
        out = torch.empty(len(flat), *parts[0].shape[1:], dtype=parts[0].dtype)
        order = np.argsort(flat, kind="stable")  # disks like ascending reads
        bounds = np.searchsorted(flat[order], self._starts)
        for part, start, low, high in zip(
            parts, self._starts, bounds[:-1], bounds[1:], strict=False
        ):
            rows = order[low:high]
            out[torch.from_numpy(rows)] = part[torch.from_numpy(flat[rows] - start)]
        return out.reshape(*index.shape, *out.shape[1:])


def _open_parts(
    folders: list[Path], name: str, shape: tuple[int, ...], dtype: np.dtype, in_ram: bool
) -> list[Tensor]:
    """One tensor a folder, read or mapped; one in all when read."""
    per_row = int(np.prod(shape)) * dtype.itemsize
    rows = []
    for folder in folders:
        again = f"delete {folder} and run again"
        meta = read_json(folder / META_FILE, CacheMeta, DatasetError, again)
        rows.append(meta.rows)
        size = (folder / name).stat().st_size if (folder / name).is_file() else 0
        if size != meta.rows * per_row:
            raise DatasetError(
                f"{folder / name} must be {meta.rows * per_row} bytes (got {size}); {again}"
            )
        if name in meta.sha256 and file_sha256(folder / name) != meta.sha256[name]:
            raise DatasetError(
                f"{folder / name} is damaged: its bytes are not what was written; {again}"
            )
    if not in_ram:
        with warnings.catch_warnings():  # a read-only map: nobody writes to it
            warnings.simplefilter("ignore", UserWarning)
            maps = [np.memmap(f / name, dtype=dtype, mode="r") for f in folders]
            return [torch.from_numpy(m.reshape(-1, *shape)) for m in maps]
    joined = np.empty((sum(rows), *shape), dtype=dtype)
    start = 0
    for folder, count in zip(folders, rows, strict=True):
        with open(folder / name, "rb") as file:
            file.readinto(joined[start : start + count].reshape(-1).data.cast("B"))
        start += count
    return [torch.from_numpy(joined)]
