"""Check one input of a foundation backbone: frames, times, text and sound."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn import functional

from neon_sim.errors import ConfigError
from neon_sim.rules import is_text, shown

from ..weights.opening import first_line

if TYPE_CHECKING:
    from PIL.Image import Image

Item = TypeVar("Item")
Picture: TypeAlias = "Image | np.ndarray | Tensor"  # one frame, ``FRAME_RULE``
Pictures: TypeAlias = "Sequence[Picture] | np.ndarray | Tensor"  # one by one, or (T, H, W, 3)
Sound: TypeAlias = "np.ndarray | Tensor"  # ``AUDIO_RULE``

AUDIO_HZ = 16_000
MIN_AUDIO_S = 0.1
MAX_CLIP_S = 86_400  # seconds that a clip may span, one day
FRAME_RULE = "(height, width, 3) uint8 RGB"
AUDIO_RULE = "(samples,) or (channels, samples) float32 in [-1, 1]"


@dataclass(frozen=True)
class Sight:
    """The checked input of one row.

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
    """Mean seconds between frames; ``1 / fps`` where no times are known."""
    steps = np.diff(time_s)
    steps = steps[steps > 0]  # a frame that is repeated to fill a place has no time of its own
    return float(steps.mean()) if len(steps) else 1.0 / fps


def frame_times_s(time_s: np.ndarray, fps: float) -> np.ndarray:
    """The times (T,) since the first frame, s; multiples of ``1 / fps`` where none are known."""
    if len(time_s) > 1 and time_s[-1] > time_s[0]:
        return np.asarray(time_s - time_s[0], dtype=np.float64)
    return np.arange(len(time_s)) / fps


def listed_frames(name: str, frames: Pictures) -> list[Picture]:
    """Images or clip frames one by one, from a list or from one array (T, H, W, 3).

    Raises:
        ConfigError: one picture, a batch of clips, or no pictures; ``name`` is what it is called.
    """
    shape = getattr(frames, "shape", None)
    if shape is not None and len(shape) != 4:
        raise ConfigError(
            f"{name} must be a list of {FRAME_RULE}, or one array (frames, height, width, 3) (got "
            f"an array of {tuple(shape)}); put one picture into a list, [image], and give several "
            "clips to encode_batch"
        )
    return listed(name, frames)


def check_frames(frames: Iterable[Picture], *, max_frames: int, image_size: int) -> np.ndarray:
    """Images or clip frames (PIL, arrays or tensors) as (T, H, W, 3) uint8.

    Raises:
        ConfigError: no frame, too many, of different sizes, no uint8 RGB, empty, or larger than
            ``image_size``.
    """
    arrays = [_array("a frame", frame, FRAME_RULE) for frame in frames]
    if not 1 <= len(arrays) <= max_frames:
        raise ConfigError(
            f"a clip must have 1 to max_frames={max_frames} frames (got {len(arrays)}); sample "
            "fewer frames, or raise max_frames"
        )
    for array in arrays:
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
            raise ConfigError(
                f"a frame must be {FRAME_RULE} (got {array.shape} {array.dtype}); "
                "convert it first, PIL: image.convert('RGB')"
            )
    sizes = {array.shape[:2] for array in arrays}
    if len(sizes) > 1:
        raise ConfigError(f"frames of a clip must have one size (got {sorted(sizes)}); resize them")
    smallest, largest = min(arrays[0].shape), max(arrays[0].shape[:2])
    if not smallest:
        raise ConfigError(
            f"a frame must have at least one pixel a side (got {arrays[0].shape}); look at what "
            "the camera gave"
        )
    if largest > image_size:
        raise ConfigError(
            f"a frame must be at most image_size={image_size} pixels a side (got {largest}); "
            "resize it, or raise image_size"
        )
    return np.stack(arrays)


def listed(name: str, values: Iterable[Item]) -> list[Item]:
    """Values of a sequence, array or generator, in order.

    Raises:
        ConfigError: one thing and no sequence of them; ``name`` is what it is called.
    """
    if not isinstance(values, str | bytes | Mapping | Set) and hasattr(values, "__iter__"):
        with suppress(TypeError):  # an array without dimensions
            return list(values)
    raise ConfigError(
        f"{name} must be a list (got {shown(values)}, a {type(values).__name__}); put one thing "
        "into a list: [it]"
    )


def _array(name: str, value: Picture | ArrayLike, rule: str) -> np.ndarray:
    """Convert an input to an array.

    Raises:
        ConfigError: lists of unequal lengths, or a tensor that is elsewhere or has a gradient.
    """
    try:
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"{name} must be {rule} (got a {type(value).__name__} that makes no array: "
            f"{first_line(error)}); of a tensor give tensor.detach().cpu().numpy()"
        ) from error


def check_times(time_s: ArrayLike, count: int) -> np.ndarray:
    """Times of the frames of a clip as (T,) float64 seconds since the first.

    Args:
        time_s: ascending seconds on any clock. count: T.

    Raises:
        ConfigError: another number of them, no finite number, descending, or a clip longer than a
            day.
    """
    times = _array("time_s", time_s, f"{count} ascending seconds")
    fits = times.shape == (count,) and times.dtype.kind in "iuf"
    since = times.astype(np.float64) if fits else np.zeros(0)
    with np.errstate(over="ignore", invalid="ignore"):
        since = since - since[:1]
        fits = fits and bool(np.isfinite(since).all()) and not (np.diff(since) < 0).any()
    if not fits or since[-1] > MAX_CLIP_S:
        raise ConfigError(
            f"time_s must be {count} ascending seconds, one a frame and each a finite number, "
            f"within {MAX_CLIP_S} s (got {shown(time_s)}); leave it out where times are not known"
        )
    return since


def check_text(text: str | None) -> str:
    """An instruction, empty for None.

    Raises:
        ConfigError: no ``str``, or one with NUL or with bytes that are no UTF-8.
    """
    if text is None or (isinstance(text, str) and is_text(text)):
        return text or ""
    if isinstance(text, str):
        raise ConfigError(
            f"text must be without NUL, in UTF-8 (got {shown(text)}); decode it with the encoding "
            "that it was written in"
        )
    raise ConfigError(
        f"text must be one instruction, a str (got {shown(text)}, a {type(text).__name__}); "
        "several are several rows: encode_batch([BackboneInput(..., text=...), ...])"
    )


def check_rate(sampling_rate: float) -> None:
    """Check the sampling rate of sound, also where no sound is given.

    Raises:
        ConfigError: another rate than 16 kHz, or no number.
    """
    is_number = isinstance(sampling_rate, numbers.Real) and not isinstance(sampling_rate, bool)
    if not is_number or sampling_rate != AUDIO_HZ:
        raise ConfigError(
            f"sampling_rate: audio must be sampled at {AUDIO_HZ} Hz (got {shown(sampling_rate)} "
            "Hz); resample it, scipy.signal.resample_poly does"
        )


def check_audio(audio: Sound) -> np.ndarray:
    """Sound (L,) or (C, L) at 16 kHz as mono float32 (L,).

    Raises:
        ConfigError: integers, samples before channels, values outside [-1, 1] in any channel, or
            too short.
    """
    array = _array("audio", audio, AUDIO_RULE)
    if array.ndim not in (1, 2) or array.dtype.kind != "f" or array.shape[0] == 0 < array.shape[-1]:
        raise ConfigError(
            f"audio must be {AUDIO_RULE} (got {array.shape} {array.dtype}); divide 16-bit integers "
            "by 32768"
        )
    if array.ndim == 2 and array.shape[0] > array.shape[1]:
        raise ConfigError(
            f"audio must be (L,) or (C, L), channels before samples (got {array.shape}, "
            f"{array.shape[0]} channels of {array.shape[1]} samples); turn it round: audio.T"
        )
    peak = float(np.abs(array).max(initial=0.0))
    if not peak <= 1.0 + 1e-4:
        raise ConfigError(
            f"audio must be finite numbers in [-1, 1] (got a peak of {peak:.4g}); "
            + ("scale it" if np.isfinite(peak) else "mend what recorded it")
        )
    mono = array.mean(axis=0) if array.ndim == 2 else array
    if len(mono) < MIN_AUDIO_S * AUDIO_HZ:
        raise ConfigError(
            f"audio must last at least {MIN_AUDIO_S} s (got {len(mono) / AUDIO_HZ:.3f} s); record "
            "longer, or leave it out"
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
