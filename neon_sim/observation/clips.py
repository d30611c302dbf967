"""Clips: which past camera frames a policy gets to see, chosen by timestamp.

A clip is ``T`` camera frames of the last ``(T - 1) / fps`` seconds, oldest first. It
always holds the newest frame, and the oldest of the window once the episode is that old.
Before, the places that lie ahead of the episode's start are padding: they repeat the
first frame so that shapes stay fixed, and ``mask`` is False there. The same function
serves the live runner, the Gymnasium wrapper and training from a dataset.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Interval

from neon_sim.clock import (
    CAMERA_HZ,
    TICKS_PER_CAMERA,
    TICKS_PER_CONTROL,
    latest_camera_tick,
    s_to_ticks,
    ticks_to_s,
)
from neon_sim.errors import unknown_name
from neon_sim.rules import hold_rules

FLOW_SIDE = 6  # cells of exact flow a side, the grid of ``neon_tiny``'s tokens


@dataclass(frozen=True)
class ClipPlan:
    """Which frames make up one clip.

    Attributes:
        ticks: (T,) int64 physics ticks of camera frames, ascending, each a multiple of
            ``TICKS_PER_CAMERA``; padding repeats the episode's first frame.
        mask: (T,) bool, False where the place is padding.
        time_s: (T,) float32 ages in seconds at the look, <= 0, last 0.
    """

    ticks: np.ndarray
    mask: np.ndarray
    time_s: np.ndarray


def uniform_ages(config: ClipConfig) -> np.ndarray:
    """Ages at equal distances of ``1 / fps``, rounded to camera frames.

    Returns:
        (T,) int64 ages in ticks, descending to 0, multiples of ``TICKS_PER_CAMERA``.
    """
    step = s_to_ticks(1.0 / config.fps)
    ages = np.arange(config.num_frames - 1, -1, -1) * step
    return np.round(ages / TICKS_PER_CAMERA).astype(np.int64) * TICKS_PER_CAMERA


def log_ages(config: ClipConfig) -> np.ndarray:
    """Ages that double: dense near now, and reaching as far back as ``uniform`` does.

    Returns:
        (T,) int64 ages in ticks, strictly descending to 0.
    """
    span = int(uniform_ages(config)[0]) // TICKS_PER_CAMERA
    # from the far end, so that a clip of two frames holds the oldest of the window
    spread = np.geomspace(max(span, 1), 1, config.num_frames - 1)[::-1]
    ages = np.round(spread).astype(np.int64)
    for index in range(1, len(ages)):  # rounding may collide near now
        ages[index] = max(ages[index], ages[index - 1] + 1)
    return np.concatenate([ages[::-1], [0]]) * TICKS_PER_CAMERA


FIXED = "fixed"  # uniform, and never stretched
SAMPLERS: dict[str, Callable[[ClipConfig], np.ndarray]] = {
    "uniform": uniform_ages,
    "log": log_ages,
    FIXED: uniform_ages,
}


def stretched(config: ClipConfig, span_s: float) -> ClipConfig:
    """The clip that a task shows which needs ``span_s`` seconds of the past.

    As many frames, further apart (``fps = (T - 1) / span_s``). A clip that reaches back that
    far anyway stays as it is, and so does one of the sampler ``fixed`` or of a single frame.
    """
    if config.sampler == FIXED or config.num_frames == 1 or clip_span_s(config) >= span_s:
        return config
    return replace(config, fps=(config.num_frames - 1) / span_s)


def plan_clip(config: ClipConfig, tick: int) -> ClipPlan:
    """Choose the frames of the clip that a policy sees at physics tick ``tick``.

    Args:
        config: number of frames, target rate, sampler, steps between looks.
        tick: physics ticks since the episode's start, >= 0.

    Raises:
        UnknownNameError: no such sampler.
        ValueError: ``tick`` is negative.
    """
    if config.sampler not in SAMPLERS:
        raise unknown_name("clip sampler", config.sampler, SAMPLERS)
    if tick < 0:
        raise ValueError(f"tick must be >= 0 (got {tick})")
    newest = latest_camera_tick(tick - tick % (config.refresh_steps * TICKS_PER_CONTROL))
    wanted = newest - SAMPLERS[config.sampler](config)
    ticks = np.maximum(wanted, 0)
    time_s = np.array([ticks_to_s(int(t) - newest) for t in ticks], dtype=np.float32)
    return ClipPlan(ticks=ticks, mask=wanted >= 0, time_s=time_s)


def clip_spacing(config: ClipConfig) -> int:
    """Ticks between the newest frame of a clip and the one before; 0 for a single frame."""
    return int(-np.diff(SAMPLERS[config.sampler](config)[-2:]).sum())


def clip_flow(plan: ClipPlan, between: Callable[[int, int], np.ndarray]) -> np.ndarray:
    """How each frame of a clip moved since the clip's frame before.

    Args:
        plan: of the clip. between: (tick, earlier tick) -> flow (36, 2) float32.

    Returns:
        (T, 36, 2) float32; zero for the first frame and where one of the two is padding.
    """
    flow = np.zeros((len(plan.ticks), FLOW_SIDE**2, 2), dtype=np.float32)
    for place in np.flatnonzero(plan.mask[:-1]) + 1:  # padding comes first
        flow[place] = between(int(plan.ticks[place]), int(plan.ticks[place - 1]))
    return flow


def clip_span_s(config: ClipConfig) -> float:
    """Seconds between the oldest and the newest frame of a full clip."""
    return ticks_to_s(int(SAMPLERS[config.sampler](config)[0]))


MAX_CLIP_FRAMES = 64


@dataclass
class ClipConfig:
    """How a policy samples the camera's past.

    Attributes:
        num_frames: T, 1 to 64.
        fps: target frames per second, at most the camera's 25.
        sampler: a name of ``neon_sim.observation.clips.SAMPLERS``.
        camera: observation camera.
        image_size: pixels per side of the square image.
        refresh_steps: control steps between two looks, 1 to 500. Between them the clip stays
            that of the last look, as in two-system policies, whose slow system sees while the
            fast one acts on what it saw and on fresh proprioception.
    """

    PREFIX: ClassVar[str] = "clip."

    num_frames: Annotated[int, Interval(ge=1, le=MAX_CLIP_FRAMES)] = 8
    fps: Annotated[float, Interval(ge=1e-3, le=CAMERA_HZ)] = 12.5
    sampler: str = "uniform"
    camera: str = "front"
    image_size: Annotated[int, Interval(ge=1, le=4096)] = 96
    refresh_steps: Annotated[int, Interval(ge=1, le=500)] = 1

    def validate(self) -> None:
        """Hold the rules of the docstring.

        Raises:
            ConfigError: a value outside its rule. UnknownNameError: no such sampler.
        """
        from neon_sim.observation.clips import SAMPLERS

        hold_rules(self)
        if self.sampler not in SAMPLERS:
            raise unknown_name("clip sampler", self.sampler, SAMPLERS)
