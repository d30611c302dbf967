"""Clips for pretraining: pictures only, no actions, no labels, no simulator state.

Two sources are mixed: procedural scenes (``neon_sim.pretrain_scenes``) and the task
scenes themselves with aimless arm motion, from seeds that no demonstration and no
evaluation uses. Frames are stored as one flat uint8 file, 0.08 s apart; the file is
filled by several processes, survives a kill (finished sequences are kept), and depends on
the configuration alone.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from neon_sim.clock import TICKS_PER_CAMERA, TICKS_PER_CONTROL, ticks_to_s
from neon_sim.errors import ConfigError, DatasetError
from neon_sim.pretrain_scenes import ProceduralScene
from neon_sim.registry import TASKS, task_entry
from neon_sim.seeding import keyed_rng

FRAME_TICKS = 2 * TICKS_PER_CAMERA  # 0.08 s
FRAME_DT_S = ticks_to_s(FRAME_TICKS)
PRETRAIN_SEED = 1_000_000  # task latents of pretraining: far from demonstrations and evaluation
PROCEDURAL = "procedural"
STEPS_PER_FRAME = FRAME_TICKS // TICKS_PER_CONTROL
AFTERMATH = 4  # frames
FORMAT_VERSION = 1


@dataclass
class ClipDataConfig:
    """What to draw.

    Attributes:
        procedural: sequences of procedural scenes.
        per_task: sequences of each task scene.
        counts: how many of single tasks instead, ``{arm_catch: 2000}``.
        tasks: task names; ``["all"]`` is every registered task.
        sequence_frames: frames of a sequence, 0.08 s apart.
        image_size: pixels per side.
        camera: camera of the task scenes.
        seed: of the scenes, >= 0.
    """

    procedural: int = 900
    per_task: int = 500
    counts: dict[str, int] = field(default_factory=dict)
    tasks: list[str] = field(default_factory=lambda: ["all"])
    sequence_frames: int = 20
    image_size: int = 96
    camera: str = "front"
    seed: int = 0

    def sources(self) -> list[str]:
        """Source of every sequence, interleaved so that any prefix holds the mixture."""
        if self.tasks == ["all"]:  # of the arm, which ``AimlessArm`` moves
            names = [entry.name for entry in TASKS.values() if entry.robot == "arm"]
        else:
            names = [task_entry(name).name for name in self.tasks]
        unknown = set(self.counts) - set(names)
        if unknown:
            raise ConfigError(f"clips.counts names {sorted(unknown)}, which clips.tasks does not")
        counts = {PROCEDURAL: self.procedural, **dict.fromkeys(names, self.per_task)} | self.counts
        placed = [((i + 0.5) / n, name) for name, n in counts.items() for i in range(n)]
        return [name for _, name in sorted(placed)]


class AimlessArm:
    """Renders a task scene while its arm wanders between random joint targets.

    Half of the episodes leave the arm where it is, so that what else moves is seen
    moving alone. Half of the sequences begin at the start of an episode, the others
    anywhere; an episode that ends is watched for ``AFTERMATH`` frames more.
    """

    def __init__(self, task: str, config: ClipDataConfig) -> None:
        self._config, self._task = config, task
        self._env: Any = gymnasium.make(
            task_entry(task).env_id, cameras=(), image_size=config.image_size
        ).unwrapped

    def sequence(self, index: int) -> np.ndarray:
        """Frames of one sequence: (L, H, W, 3) uint8, at most the wanted length."""
        config, env = self._config, self._env
        rng = keyed_rng("pretrain", self._task, config.seed, index)
        env.reset(seed=PRETRAIN_SEED + config.seed, options={"episode": index})
        steps = int(env.EPISODE_STEPS)
        span = config.sequence_frames * STEPS_PER_FRAME
        first = int(rng.integers(0, max(steps - span, 0) + 1)) if rng.uniform() < 0.5 else 0
        last = first + span - 1
        for action in aimless_actions(rng, env.agent_pos(), last):
            _, terminated, truncated, _ = env.advance(action, past_end=True)
            if terminated or truncated:
                last = min(last, env.control_step + AFTERMATH * STEPS_PER_FRAME)
            if env.control_step >= last:
                break
        end = env.tick - env.tick % FRAME_TICKS
        backwards = range(end, max(first * TICKS_PER_CONTROL, 0) - 1, -FRAME_TICKS)
        ticks = backwards[: config.sequence_frames][::-1]
        return np.stack([env.frame(config.camera, tick, config.image_size) for tick in ticks])


def aimless_actions(
    rng: np.random.Generator, start: np.ndarray, steps: int
) -> Iterator[np.ndarray]:
    """Random joint targets around a start pose, each held for 0.2 to 1 s.

    Args:
        start: (8,) scaled joint positions and gripper, in [-1, 1].

    Yields:
        (8,) float32 actions in [-1, 1].
    """
    start = np.clip(np.asarray(start, dtype=np.float64), -1, 1)
    reach = float(rng.choice([0.0, 0.03, 0.08, 0.16], p=[0.5, 0.2, 0.15, 0.15]))
    target, left = start, int(rng.integers(0, 25))
    for _ in range(steps):
        if left <= 0:
            target = np.clip(start + reach * rng.normal(size=start.shape), -1, 1)
            target[-1] = rng.uniform(-1, 1) if reach else start[-1]
            left = int(rng.integers(10, 50))
        left -= 1
        yield target.astype(np.float32)


def _renderers(config: ClipDataConfig) -> Callable[[str, int], np.ndarray]:
    """Make the function that draws sequence ``index`` of a source."""
    scenes: dict[str, Any] = {}

    def render(source: str, index: int) -> np.ndarray:
        if source == PROCEDURAL:
            if source not in scenes:
                scenes[source] = ProceduralScene(config.image_size, FRAME_DT_S)
            rng = keyed_rng("pretrain", source, config.seed, index)
            return scenes[source].sequence(rng, config.sequence_frames).frames
        if source not in scenes:
            scenes[source] = AimlessArm(source, config)
        return scenes[source].sequence(index)

    return render


@dataclass(frozen=True)
class _Files:
    """The open files: frames (N, L, H, W, 3), their 2 x 2 means, and lengths (N,)."""

    frames: np.memmap
    halves: np.memmap
    lengths: np.memmap


def _open(folder: Path, config: ClipDataConfig, mode: Any) -> _Files:
    total, length, size = len(config.sources()), config.sequence_frames, config.image_size
    full, half = (total, length, size, size, 3), (total, length, size // 2, size // 2, 3)
    return _Files(
        frames=np.memmap(folder / "frames.u8", dtype=np.uint8, mode=mode, shape=full),
        halves=np.memmap(folder / "halves.u8", dtype=np.uint8, mode=mode, shape=half),
        lengths=np.memmap(folder / "lengths.i4", dtype=np.int32, mode=mode, shape=(total,)),
    )


def halve(frames: np.ndarray) -> np.ndarray:
    """(L, H, W, 3) uint8 -> (L, H/2, W/2, 3) uint8: rounded means of 2 x 2 pixels."""
    length, height, width, _ = frames.shape
    blocks = frames.reshape(length, height // 2, 2, width // 2, 2, 3).astype(np.uint16)
    return ((blocks.sum(axis=(2, 4)) + 2) // 4).astype(np.uint8)


def _work(folder: Path, config: ClipDataConfig, worker: int, workers: int) -> None:
    """Draw every ``workers``-th missing sequence; a length > 0 marks a finished one."""
    files = _open(folder, config, "r+")
    render, sources = _renderers(config), config.sources()
    for index in range(worker, len(sources), workers):
        if files.lengths[index] == 0:
            drawn = render(sources[index], index)
            files.frames[index, : len(drawn)] = drawn
            files.halves[index, : len(drawn)] = halve(drawn)
            files.lengths[index] = len(drawn)


def _watch(lengths: np.memmap, processes: list[Any]) -> None:
    """Print count, rate and end time until every process has ended."""
    began, start, shown = time.monotonic(), int((lengths > 0).sum()), 0.0
    while any(process.is_alive() for process in processes):
        time.sleep(0.2)
        if time.monotonic() - shown > 5:
            shown = time.monotonic()
            done = int((lengths > 0).sum())
            rate = (done - start) / (shown - began)
            left = f"{(len(lengths) - done) / rate:.0f} s left" if rate else ""
            print(f"clips {done}/{len(lengths)}  {rate:.1f} sequences/s  {left}")


def make_clips(folder: Path, config: ClipDataConfig, workers: int = 2) -> ClipStore:
    """Draw the sequences into ``folder``, or open it when they are all there.

    Args:
        folder: created when missing; a half-made one of the same configuration is completed.
        config: what to draw.
        workers: processes.

    Raises:
        ConfigError: the folder holds clips of another configuration.
        DatasetError: a worker failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {"version": FORMAT_VERSION, **asdict(config)}
    note = folder / "config.json"
    if note.exists() and json.loads(note.read_text()) != wanted:
        raise ConfigError(f"{folder} holds clips of another configuration; choose another data=")
    if not note.exists():
        _open(folder, config, "w+")
        note.write_text(json.dumps(wanted, indent=1))
    lengths = _open(folder, config, "r").lengths
    if (lengths == 0).any():
        context = multiprocessing.get_context("spawn")
        jobs = [(folder, config, worker, workers) for worker in range(workers)]
        processes = [context.Process(target=_work, args=job) for job in jobs]
        for process in processes:
            process.start()
        _watch(lengths, processes)
        if any(process.exitcode for process in processes) or (lengths == 0).any():
            raise DatasetError(f"drawing clips into {folder} failed; run again to complete it")
    return ClipStore(folder)


@dataclass(frozen=True)
class ClipBatchSource:
    """One training batch.

    Attributes:
        video: (B, T, H, W, 3) uint8, last frame now.
        mask: (B, T) bool, False where the frame is padding.
        targets: (B, K, H/2, W/2, 3) uint8 half-size frames at the asked offsets.
        valid: (B, K) bool, False where no such frame exists or was shown.
    """

    video: np.ndarray
    mask: np.ndarray
    targets: np.ndarray
    valid: np.ndarray


class ClipStore:
    """Finished sequences, and windows drawn from them.

    Raises:
        DatasetError: the folder is missing, truncated or unfinished.
    """

    def __init__(self, folder: Path) -> None:
        note = folder / "config.json"
        if not note.is_file():
            raise DatasetError(f"no clips in {folder}; python -m neon_sim.pretrain makes them")
        stored = json.loads(note.read_text())
        if stored.pop("version") != FORMAT_VERSION:
            raise DatasetError(f"{folder} holds clips of another version")
        self.folder, self.config = folder, ClipDataConfig(**stored)
        try:
            files = _open(folder, self.config, "r")
        except ValueError as error:
            raise DatasetError(f"{folder} is truncated ({error})") from error
        self.frames, self.halves, self.lengths = files.frames, files.halves, files.lengths
        if (self.lengths == 0).any():
            raise DatasetError(f"{folder} is unfinished; python -m neon_sim.pretrain completes it")

    def sha256(self) -> str:
        """Hash of every frame and length (kept beside the data once computed)."""
        note = self.folder / "sha256.txt"
        if not note.exists():
            digest = hashlib.sha256(self.lengths.tobytes())
            for sequence in self.frames:
                digest.update(sequence)
            note.write_text(digest.hexdigest())
        return note.read_text()

    def batch(
        self,
        rng: np.random.Generator,
        size: int,
        num_frames: int,
        offsets: tuple[int, ...],
        sequences: np.ndarray | None = None,
    ) -> ClipBatchSource:
        """Draw windows.

        Args:
            rng: decides everything.
            size: B.
            num_frames: T.
            offsets: K frame offsets from now (negative: past), in frames of 0.08 s.
            sequences: indices to draw from; all when None.
        """
        pool = np.arange(len(self.lengths)) if sequences is None else sequences
        chosen = rng.choice(pool, size=size)
        length = self.lengths[chosen]
        now = np.floor(rng.uniform(size=size) * (length - 1)).astype(np.int64)
        past = now[:, None] + np.arange(1 - num_frames, 1)
        seen = np.where(rng.uniform(size=size) < 0.1, rng.integers(1, num_frames + 1, size), 99)
        mask = (past >= 0) & (np.arange(num_frames, 0, -1) <= seen[:, None])
        future = now[:, None] + np.asarray(offsets)
        first_seen = np.maximum(now - np.minimum(seen, num_frames) + 1, 0)
        valid = (future >= first_seen[:, None]) & (future < length[:, None])
        rows = chosen[:, None]
        return ClipBatchSource(
            video=self.frames[rows, np.maximum(past, 0)],
            mask=mask,
            targets=self.halves[rows, np.clip(future, 0, length[:, None] - 1)],
            valid=valid,
        )
