"""Clips for pretraining: pictures only, no actions, no labels, no simulator state.

Two sources are mixed: procedural scenes (``neon_sim.policies.pretraining.scenes``) and the task
scenes themselves with aimless arm motion, from seeds that no demonstration and no
evaluation uses. Frames are stored as one flat uint8 file, 0.08 s apart; the file is
filled by several processes, survives a kill (finished sequences are kept), and depends on
the configuration alone. Nothing but such clips is read: a folder of somebody else's files is
refused and left as it is.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar

import gymnasium
import numpy as np
from annotated_types import Interval

from neon_sim.clock import TICKS_PER_CAMERA, TICKS_PER_CONTROL, ticks_to_s
from neon_sim.errors import ConfigError, DatasetError
from neon_sim.files import locked, write_json, write_whole
from neon_sim.registry import TASKS, task_entry
from neon_sim.rules import Seed, hold_rules
from neon_sim.schema import checked, read_json
from neon_sim.seeding import keyed_rng
from neon_sim.simulation.gl import renderer_info

from .scenes import ProceduralScene

FRAME_TICKS = 2 * TICKS_PER_CAMERA  # 0.08 s
FRAME_DT_S = ticks_to_s(FRAME_TICKS)
PRETRAIN_SEED = 1_000_000  # task latents of pretraining: far from demonstrations and evaluation
PROCEDURAL = "procedural"
STEPS_PER_FRAME = FRAME_TICKS // TICKS_PER_CONTROL
AFTERMATH = 4  # frames
FORMAT_VERSION = 1
ALL_TASKS = ["all"]
# what a kill before the note is there may leave
OWN_TRACES = re.compile(r"\.lock(\.json)?$|\.(lock|config)\.json\.\d+\.tmp$")
NOTE, LENGTHS = "config.json", "lengths.i4"
FEWEST = 2  # sequences: one to learn from, one to be held out
ANEW = "delete the folder to draw the clips anew, or name another: data="
VIDEOS = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".gif")
Sequences = Annotated[int, Interval(ge=0, le=10**5)]


@dataclass
class ClipDataConfig:
    """What to draw.

    Attributes:
        procedural: sequences of procedural scenes.
        per_task: sequences of each task scene.
        counts: how many of single tasks instead, ``{arm_catch: 2000}``.
        tasks: task names; ``["all"]`` is every registered task of the arm.
        sequence_frames: frames of a sequence, 0.08 s apart.
        image_size: pixels per side.
        camera: camera of the task scenes.
        seed: of the scenes, >= 0.
    """

    PREFIX: ClassVar[str] = "clips."

    procedural: Sequences = 900
    per_task: Sequences = 500
    counts: dict[str, Sequences] = field(default_factory=dict)
    tasks: list[str] = field(default_factory=lambda: list(ALL_TASKS))
    sequence_frames: Annotated[int, Interval(ge=1, le=1000)] = 20
    image_size: Annotated[int, Interval(ge=16, le=1024)] = 96
    camera: str = "front"
    seed: Seed = 0

    def sources(self) -> list[str]:
        """Source of every sequence, interleaved so that any prefix holds the mixture."""
        if self.tasks == ALL_TASKS:
            entries = [entry for entry in TASKS.values() if entry.robot == "arm"]
        else:
            entries = [task_entry(name) for name in self.tasks]
        names = [entry.name for entry in entries]
        foreign = [entry.name for entry in entries if entry.robot != "arm"]
        if foreign:
            raise ConfigError(
                f"clips.tasks must be tasks of the arm, which wanders in them (got {foreign[0]}); "
                "leave it out"
            )
        unknown = set(self.counts) - set(names)
        if unknown:
            raise ConfigError(
                f"clips.counts must be of tasks of clips.tasks (got {sorted(unknown)}); name them "
                "there, or empty it: clips.counts={}"
            )
        counts = {PROCEDURAL: self.procedural, **dict.fromkeys(names, self.per_task)} | self.counts
        placed = [((i + 0.5) / n, name) for name, n in counts.items() for i in range(n)]
        if len(placed) < FEWEST:
            raise ConfigError(
                f"clips must be at least {FEWEST} sequences (got {len(placed)}); raise "
                "clips.procedural or clips.per_task"
            )
        return [name for _, name in sorted(placed)]

    def validate(self) -> None:
        """Hold the mixture to its rules, as ``sources`` says them.

        Raises:
            ConfigError: too few sequences, counts of other tasks, a task without an arm, or a
                ``per_task`` of no task.
            UnknownNameError: no such task.
        """
        hold_rules(self)
        if self.per_task and not self.tasks:
            raise ConfigError(
                f"clips.per_task must be 0 where clips.tasks names none (got {self.per_task}); "
                "name tasks, or all: clips.tasks=all"
            )
        self.sources()


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


def hold_camera(config: ClipDataConfig) -> None:
    """Refuse a camera that a task to draw does not have, before anything is drawn.

    Raises:
        UnknownNameError: names the cameras of that task.
    """
    if config.camera == ClipDataConfig.camera:
        return  # every task has it
    for task in sorted(set(config.sources()) - {PROCEDURAL}):
        env: Any = gymnasium.make(task_entry(task).env_id, cameras=()).unwrapped
        try:
            env.world.camera_id(config.camera)
        finally:
            env.close()


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
            drawn: np.ndarray = scenes[source].sequence(rng, config.sequence_frames).frames
            return drawn
        if source not in scenes:
            scenes[source] = AimlessArm(source, config)
        played: np.ndarray = scenes[source].sequence(index)
        return played

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
        lengths=np.memmap(folder / LENGTHS, dtype=np.int32, mode=mode, shape=(total,)),
    )


def halve(frames: np.ndarray) -> np.ndarray:
    """(L, H, W, 3) uint8 -> (L, H/2, W/2, 3) uint8: rounded means of 2 x 2 pixels."""
    length, height, width, _ = frames.shape
    blocks = frames.reshape(length, height // 2, 2, width // 2, 2, 3).astype(np.uint16)
    values: np.ndarray = ((blocks.sum(axis=(2, 4)) + 2) // 4).astype(np.uint8)
    return values


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
        ConfigError: the folder holds something else, or clips of another configuration; nothing
            is written into it.
        DatasetError: the clips in it are damaged, or a worker failed.
        RunError: another process draws into it, or it cannot be written.
        RendererError: nothing can draw here.
    """
    hold_folder(folder, config)
    if not (folder / LENGTHS).exists() or (_opened(folder, config).lengths == 0).any():
        renderer_info()  # what cannot draw is told here, in one line, and not by every worker
        with locked(folder):
            hold_folder(folder, config)  # whoever held it may have made it in the meantime
            _draw(folder, config, workers)
    return ClipStore(folder)


def _draw(folder: Path, config: ClipDataConfig, workers: int) -> None:
    """Draw what is missing in a folder that is held.

    Raises:
        DatasetError: a worker failed.
    """
    if not (folder / NOTE).exists():
        write_json(folder / NOTE, {"version": FORMAT_VERSION, **asdict(config)})
    if not (folder / LENGTHS).exists():  # it is made last
        _open(folder, config, "w+")
    lengths = _opened(folder, config).lengths
    context = multiprocessing.get_context("spawn")
    jobs = [(folder, config, worker, workers) for worker in range(workers)]
    processes = [context.Process(target=_work, args=job) for job in jobs]
    for process in processes:
        process.start()
    _watch(lengths, processes)
    if any(process.exitcode for process in processes) or (lengths == 0).any():
        raise DatasetError(f"drawing clips into {folder} failed; run again to complete it")


def hold_folder(folder: Path, config: ClipDataConfig) -> None:
    """Hold the folder of ``data=`` to one that is new, empty, or holds just these clips.

    Raises:
        ConfigError: it holds something else, or clips of another configuration.
        DatasetError: the note of its clips is damaged.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ConfigError(f"data must be a folder (got {folder}, a file); name another: data=")
    if (folder / NOTE).exists():
        wanted = {"version": FORMAT_VERSION, **asdict(config)}
        if _read_note(folder) != wanted:
            raise ConfigError(
                f"{folder} holds clips of another configuration; choose another data="
            )
        return
    others = sorted(path.name for path in folder.iterdir() if not OWN_TRACES.match(path.name))
    if not others:
        return
    videos = [name for name in others if name.lower().endswith(VIDEOS)]
    unread = f"; videos such as {videos[0]} are not read, clips are drawn" if videos else ""
    raise ConfigError(
        f"data must be a new or empty folder, or one that pretrain made (got {folder}, which "
        f"holds {others[0]}{unread}); name another: data="
    )


def _read_note(folder: Path) -> dict[str, Any]:
    """What the note of a folder of clips says.

    Raises:
        ConfigError: it is the ``config.json`` of something else.
        DatasetError: it is no JSON, or a value of it is of another type.
    """
    path = folder / NOTE
    stored = read_json(path, dict[str, Any], DatasetError, ANEW)
    if set(stored) != {"version", *(item.name for item in fields(ClipDataConfig))}:
        raise ConfigError(
            f"data must be a new or empty folder, or one that pretrain made (got {folder}, whose "
            f"{NOTE} is of something else); name another: data="
        )
    if stored["version"] != FORMAT_VERSION:
        raise DatasetError(f"{folder} holds clips of another version; {ANEW}")
    told = {name: value for name, value in stored.items() if name != "version"}
    checked(told, ClipDataConfig, str(path), DatasetError, ANEW)
    return stored


def _opened(folder: Path, config: ClipDataConfig) -> _Files:
    """The files of a folder, to be read.

    Raises:
        DatasetError: one is missing or shorter than the note says.
    """
    try:
        files = _open(folder, config, "r")
    except (OSError, ValueError) as error:
        raise DatasetError(f"{folder} is truncated ({error}); {ANEW}") from error
    longest = config.sequence_frames
    if (files.lengths < 0).any() or (files.lengths > longest).any():
        raise DatasetError(f"{folder / LENGTHS} is damaged: a length beyond {longest}; {ANEW}")
    return files


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
        if not (folder / NOTE).is_file():
            raise DatasetError(f"no clips in {folder}; python -m neon_sim.pretrain makes them")
        stored = _read_note(folder)
        del stored["version"]
        self.folder, self.config = folder, ClipDataConfig(**stored)
        files = _opened(folder, self.config)
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
            write_whole(note, digest.hexdigest())
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
