"""Sound as 16-bit numbers: what microphones deliver, and what datasets keep without loss.

A microphone's samples are whole multiples of 1 / 32768, as a Unitree G1 streams them (16 kHz,
16 bit, its public SDK). So FLAC files hold to the bit what a policy heard, and what it is
trained on is what it gets. An episode's recording begins with the second before it: the ring
that a policy hears at control step k is samples ``320 * k`` to ``320 * k + 16000``.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from neon_sim.clock import AUDIO_HZ, AUDIO_SAMPLES_PER_TICK, TICKS_PER_CONTROL
from neon_sim.errors import DatasetError, install_extra, require_package

FULL_SCALE = 32768.0
MAX_CHANNELS = 8  # of a FLAC file
RING_SAMPLES = AUDIO_HZ  # 1 s: a chunk of 0.32 s and any latency, so no cue is ever missed
STEP_SAMPLES = AUDIO_SAMPLES_PER_TICK * TICKS_PER_CONTROL  # 320


def quantised(samples: np.ndarray) -> np.ndarray:
    """Samples as a 16-bit converter delivers them: the nearest of k / 32768, clipped to them."""
    return np.clip(np.rint(samples * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1) / FULL_SCALE


def to_pcm(samples: np.ndarray) -> np.ndarray:
    """Quantised samples (C, n) in [-1, 1) as int16; exact.

    Raises:
        ValueError: a sample is no multiple of 1 / 32768: it comes from no microphone.
    """
    scaled = np.asarray(samples, dtype=np.float64) * FULL_SCALE
    whole = np.rint(scaled)
    if not np.array_equal(whole, scaled) or np.abs(whole + 0.5).max(initial=0.0) > FULL_SCALE:
        raise ValueError("samples must be multiples of 1 / 32768 in [-1, 1); quantise them first")
    return whole.astype(np.int16)


def from_pcm(samples: np.ndarray) -> np.ndarray:
    """Inverse of ``to_pcm``: int16 -> float32, exact."""
    return samples.astype(np.float32) / np.float32(FULL_SCALE)


def rings(samples: np.ndarray, steps: Sequence[int] | np.ndarray) -> np.ndarray:
    """What was heard at some control steps.

    Args:
        samples: (C, 16000 + 320 * L) of an episode, as recorded. steps: (n,) control steps.

    Returns:
        (n, C, 16000), newest sample last.
    """
    starts = np.asarray(steps, dtype=np.int64) * STEP_SAMPLES
    return np.stack([samples[:, start : start + RING_SAMPLES] for start in starts])


def encode_flac(samples: np.ndarray) -> bytes:
    """A FLAC file of int16 (C, n), 16 kHz.

    Raises:
        ValueError: another type or shape. MissingPackageError: soundfile is not installed.
    """
    if samples.dtype != np.int16 or samples.ndim != 2 or not 1 <= len(samples) <= MAX_CHANNELS:
        raise ValueError(
            f"samples must be (1 to {MAX_CHANNELS}, n) int16 (got {samples.shape} {samples.dtype})"
        )
    buffer = io.BytesIO()
    _soundfile().write(buffer, samples.T, AUDIO_HZ, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def read_flac(path: Path, num_samples: int) -> np.ndarray:
    """int16 (C, n) of a file of ``encode_flac``.

    Raises:
        DatasetError: it is missing, damaged, of another rate or length.
        MissingPackageError: soundfile is not installed.
    """
    library = _soundfile()
    try:
        samples, rate = library.read(str(path), dtype="int16", always_2d=True)
    except (library.SoundFileError, OSError) as error:
        raise _damaged(path, str(error)) from error
    if (rate, len(samples)) != (AUDIO_HZ, num_samples):
        found = f"{len(samples)} samples at {rate} Hz"
        raise _damaged(path, f"{found}, must be {num_samples} at {AUDIO_HZ} Hz")
    return np.ascontiguousarray(samples.T)


def _damaged(path: Path, why: str) -> DatasetError:
    return DatasetError(
        f"{path} is missing, truncated or damaged ({why}); copy the dataset again or collect it "
        "again into a new folder"
    )


def _soundfile() -> Any:
    return require_package(
        "soundfile",
        why="Sound in datasets",
        install=install_extra("sound"),
    )
