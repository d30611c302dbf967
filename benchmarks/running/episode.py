"""One episode while it runs: who plays it, what was commanded, how it went.

An episode that raises ends there and then; it becomes a row with the error's text.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from neon_sim.chunks import ChunkExecutor
from neon_sim.clock import CONTROL_DT_S
from neon_sim.errors import ConfigError

from ..runs.folder import Row
from ..runs.plan import Cell, PolicySpec, RunOptions, swaps_sound
from ..runs.scripted import SCRIPTED

OnStep = Callable[[Any], None]


@dataclass(frozen=True)
class Settings:
    """What every episode of a run has in common."""

    seed: int
    latency_steps: int
    options: RunOptions
    batch: int


@dataclass(frozen=True)
class Job:
    """Some episodes of one cell; what a worker gets at a time."""

    spec: PolicySpec
    cell: Cell
    episodes: tuple[int, ...]
    settings: Settings

    @property
    def latency_steps(self) -> int:
        """Control steps a chunk comes late: the policy's, else the run's."""
        own = self.spec.latency_steps
        return self.settings.latency_steps if own is None else own


@dataclass
class Episode:
    """One episode in one environment.

    Attributes:
        env: the environment; ``core`` is what it wraps.
        executor: turns chunks into actions.
        on_step: called with the environment after each control step.
        true_cue: under a condition that swaps the sound, the cue of the episode itself; what
            sounds is another one, and ``success_swapped`` goes by that.
        over: nothing more is to be done; ``row()`` is final.
    """

    env: Any
    job: Job
    index: int
    executor: ChunkExecutor
    on_step: OnStep | None = None
    initial_hash: str | None = None
    true_cue: Any = None
    success: bool = False
    success_final: bool = False
    success_swapped: bool = False
    progress: float = 0.0
    steps: int = 0
    over: bool = False
    error: str | None = None
    targets: list[np.ndarray] = field(default_factory=list)
    boundaries: list[int] = field(default_factory=list)
    wall_s: float = 0.0
    think_s: float = 0.0
    observe_s: float = 0.0
    looks: int = 0

    @property
    def core(self) -> Any:
        """The environment without wrappers."""
        return self.env.unwrapped

    def start(self) -> None:
        """Reset the environment; a reset that raises ends the episode."""
        began = time.perf_counter()
        try:
            self.env.reset(seed=self.job.settings.seed, options={"episode": self.index})
            self.initial_hash = self.core.initial_hash()
            if self.is_swapped:
                self._swap()
            self.executor.reset(self.core.hold_action())
        except Exception as error:
            self.fail(error)
        self.wall_s = time.perf_counter() - began

    @property
    def is_swapped(self) -> bool:
        """Whether another cue sounds than the episode's own."""
        return swaps_sound(self.job.cell.condition)

    def _swap(self) -> None:
        """Start the twin in which another cue sounds; it looks the same."""
        core = self.core
        self.true_cue = core.latent[core.CUE]
        others = [cue for cue in core.cues() if cue != self.true_cue]
        heard = others[int(core.rng("swap").integers(len(others)))]
        options = {"episode": self.index, "latent": {**core.latent, core.CUE: heard}}
        self.env.reset(seed=self.job.settings.seed, options=options)
        if core.initial_hash() != self.initial_hash:
            raise ConfigError(
                f"{core.CUE} must change nothing but the sound (got {heard!r} for "
                f"{self.true_cue!r}, and another first state or picture); mend the task: "
                f"neon-bench certify --task {self.job.cell.task} says where"
            )

    def fail(self, error: BaseException) -> None:
        """End the episode with an error."""
        self.error, self.over = error_text(error), True

    def advance(self, num_steps: int) -> None:
        """Go on by so many control steps, or to the end of the episode."""
        began = time.perf_counter()
        try:
            for _ in range(num_steps):
                self._step()
                if self.over:
                    break
        except Exception as error:
            self.fail(error)
        self.wall_s += time.perf_counter() - began

    def _step(self) -> None:
        action, boundary = self.executor.next()
        _, terminated, truncated, info = self.core.advance(action)
        self.core.count_limits()
        if boundary and self.targets:
            self.boundaries.append(self.steps)
        self.targets.append(action)
        self.steps += 1
        fits = bool(info["is_success"])
        if self.is_swapped:
            self.success_swapped = self.success_swapped or fits
            fits = bool(self.core.fits(self.true_cue))
        self.success_final = fits
        self.success = self.success or fits
        self.progress = max(self.progress, float(info["progress"]))
        self.over = bool(terminated or truncated)
        if self.on_step is not None:
            self.on_step(self.core)

    def spend(self, account: str, seconds: float) -> None:
        """Book wall time on ``observe_s`` or ``think_s``."""
        setattr(self, account, getattr(self, account) + seconds)
        self.wall_s += seconds

    def row(self) -> Row:
        """The finished episode as a row of ``episodes.jsonl``."""
        cell, failed = self.job.cell, self.error is not None
        jerk, jump = smoothness(self.targets, self.boundaries, self.core.joint_scale)
        looks = max(self.looks, 1)
        return {
            "task": cell.task,
            "policy": cell.policy,
            "condition": cell.condition,
            "train_seed": cell.train_seed,
            "seed": self.job.settings.seed,
            "episode": self.index,
            "initial_hash": self.initial_hash,
            "success": self.success and not failed,
            "success_final": self.success_final and not failed,
            "progress": self.progress,
            "steps": self.steps,
            "mean_jerk": jerk,
            "boundary_jump": jump,
            "latency_steps": self.job.latency_steps,
            "replan_steps": self.executor.replan_steps,
            "success_swapped": self.success_swapped and not failed if self.is_swapped else None,
            "limits": self.core.limits.some_joint() if self.steps else None,
            "error": self.error,
            "timing": {
                "wall_s": round(self.wall_s, 4),
                "inference_ms_mean": round(1e3 * self.think_s / looks, 3),
                "observe_ms_mean": round(1e3 * self.observe_s / looks, 3),
                "looks": self.looks,
            },
        }


def lost_row(job: Job, index: int, error: str) -> Row:
    """The row of an episode that no process survived."""
    own = SCRIPTED[job.spec.base] if job.spec.kind == "scripted" else job.spec.config
    return {
        "task": job.cell.task,
        "policy": job.cell.policy,
        "condition": job.cell.condition,
        "train_seed": job.cell.train_seed,
        "seed": job.settings.seed,
        "episode": index,
        "initial_hash": None,
        "success": False,
        "success_final": False,
        "progress": 0.0,
        "steps": 0,
        "mean_jerk": 0.0,
        "boundary_jump": 0.0,
        "latency_steps": job.latency_steps,
        "replan_steps": job.spec.replan_steps or own.replan_steps,
        "success_swapped": False if swaps_sound(job.cell.condition) else None,
        "limits": None,
        "error": error,
        "timing": {"wall_s": 0.0, "inference_ms_mean": 0.0, "observe_ms_mean": 0.0, "looks": 0},
    }


def error_text(error: BaseException) -> str:
    """What a row says about an error: kind, message, and the line that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())}{place}"


def smoothness(
    targets: Sequence[np.ndarray], boundaries: Sequence[int], scale: np.ndarray
) -> tuple[float, float]:
    """Mean jerk of the commanded joint path, and mean jump where chunks join.

    With q_t the commanded joint angles in rad at control step t and dt = 20 ms:
    ``mean_jerk`` is the mean over t and the joints of
    ``|q_{t+3} - 3 q_{t+2} + 3 q_{t+1} - q_t| / dt^3`` (rad/s^3; 0 for fewer than 4 steps);
    ``boundary_jump`` is the mean over the steps t at which a new chunk takes over, and the
    joints, of ``|q_t - q_{t-1}|`` (rad; 0 without any).

    Args:
        targets: actions (A,) in [-1, 1], one a control step.
        boundaries: steps at which a later chunk took over, >= 1.
        scale: (J,) rad a unit of action, of its first J numbers, the joints.
    """
    if len(targets) == 0:
        return 0.0, 0.0
    path = np.asarray(targets, dtype=np.float64)[:, : len(scale)] * scale
    jerk = np.abs(np.diff(path, n=3, axis=0)).mean() / CONTROL_DT_S**3 if len(path) > 3 else 0.0
    moves = np.abs(np.diff(path, axis=0)).mean(axis=1)
    jump = moves[np.asarray(boundaries) - 1].mean() if boundaries else 0.0
    return float(jerk), float(jump)
