"""One input of a foundation backbone, checked: what a model is asked to look at, read and hear."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from neon_sim.errors import ConfigError

AUDIO_HZ = 16_000
MIN_AUDIO_S = 0.1


@dataclass(frozen=True)
class Sight:
    """What one row shows a model.

    Attributes:
        frames: (T, H, W, 3) uint8, oldest first, real frames only; T is 0 where nothing is seen
            and a model that can do without it hears or reads.
        time_s: (T,) seconds since the first frame, ascending (all zero: no times are known);
            where nothing is seen, of the frames that the sound would have spanned.
        text: instruction, may be empty.
        audio: (L,) float32 in [-1, 1] at 16 kHz, or None.
        is_image: a still image and no clip.
    """

    frames: np.ndarray
    time_s: np.ndarray
    text: str = ""
    audio: np.ndarray | None = None
    is_image: bool = False


def frame_interval_s(time_s: np.ndarray, fps: float) -> float:
    """Mean seconds between frames; ``1 / fps`` where the times do not tell."""
    steps = np.diff(time_s)
    steps = steps[steps > 0]  # a frame that is repeated to fill a place has no time of its own
    return float(steps.mean()) if len(steps) else 1.0 / fps


def frame_times_s(time_s: np.ndarray, fps: float) -> np.ndarray:
    """The times (T,) themselves, or multiples of ``1 / fps`` where they do not tell."""
    if len(time_s) > 1 and time_s[-1] > time_s[0]:
        return np.asarray(time_s - time_s[0], dtype=np.float64)
    return np.arange(len(time_s)) / fps


def check_frames(frames: Any, *, max_frames: int, image_size: int) -> np.ndarray:
    """Images or clip frames (PIL or arrays) as (T, H, W, 3) uint8.

    Raises:
        ConfigError: no frame, too many, of different sizes, no uint8 RGB, or larger than
            ``image_size``.
    """
    arrays = [np.asarray(frame) for frame in frames]
    if not 1 <= len(arrays) <= max_frames:
        raise ConfigError(
            f"a clip must have 1 to max_frames={max_frames} frames (got {len(arrays)}); sample "
            "fewer frames, or raise max_frames"
        )
    for array in arrays:
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
            raise ConfigError(
                f"a frame must be (height, width, 3) uint8 RGB (got {array.shape} {array.dtype}); "
                "convert it first, PIL: image.convert('RGB')"
            )
    sizes = {array.shape[:2] for array in arrays}
    if len(sizes) > 1:
        raise ConfigError(f"frames of a clip must have one size (got {sorted(sizes)}); resize them")
    largest = max(arrays[0].shape[:2])
    if largest > image_size:
        raise ConfigError(
            f"a frame must be at most image_size={image_size} pixels a side (got {largest}); "
            "resize it, or raise image_size"
        )
    return np.stack(arrays)


def check_text(text: Any) -> str:
    """An instruction, empty for None.

    Raises:
        ConfigError: no ``str``.
    """
    if text is None or isinstance(text, str):
        return text or ""
    raise ConfigError(
        f"text must be one instruction, a str (got {text!r}, a {type(text).__name__}); several "
        "are several rows: encode_batch([BackboneInput(..., text=...), ...])"
    )


def check_audio(audio: Any, sampling_rate: int = AUDIO_HZ) -> np.ndarray:
    """Sound (L,) or (C, L) as mono float32 (L,).

    Raises:
        ConfigError: another rate than 16 kHz, integers, samples before channels, values outside
            [-1, 1], or too short.
    """
    array = np.asarray(audio)
    if sampling_rate != AUDIO_HZ:
        raise ConfigError(
            f"audio must be sampled at {AUDIO_HZ} Hz (got {sampling_rate} Hz); resample it, "
            "scipy.signal.resample_poly does"
        )
    if array.ndim not in (1, 2) or array.dtype.kind != "f":
        raise ConfigError(
            f"audio must be (samples,) or (channels, samples) float32 in [-1, 1] (got "
            f"{array.shape} {array.dtype}); divide 16-bit integers by 32768"
        )
    if array.ndim == 2 and array.shape[0] > array.shape[1]:
        raise ConfigError(
            f"audio must be (L,) or (C, L), channels before samples (got {array.shape}, "
            f"{array.shape[0]} channels of {array.shape[1]} samples); turn it round: audio.T"
        )
    mono = array.mean(axis=0) if array.ndim == 2 else array
    peak = float(np.abs(mono).max(initial=0.0))
    if not peak <= 1.0 + 1e-4:
        raise ConfigError(f"audio must lie in [-1, 1] (got a peak of {peak:.4g}); scale it")
    if len(mono) < MIN_AUDIO_S * AUDIO_HZ:
        raise ConfigError(
            f"audio must last at least {MIN_AUDIO_S} s (got {len(mono) / AUDIO_HZ:.3f} s)"
        )
    return np.ascontiguousarray(mono, dtype=np.float32)


def resize_frames(frames: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bicubic, antialiased: (T, H, W, 3) uint8 -> (T, height, width, 3) uint8."""
    if frames.shape[1:3] == (height, width):
        return frames
    x = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float()
    x = functional.interpolate(x, (height, width), mode="bicubic", antialias=True)
    return x.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def fitted_size(height: int, width: int, longest: int, multiple: int) -> tuple[int, int]:
    """Sides scaled so that the longer is ``longest``, both multiples of ``multiple``."""
    scale = longest / max(height, width)
    sides = (max(round(side * scale / multiple), 1) * multiple for side in (height, width))
    high, wide = sides
    return high, wide
