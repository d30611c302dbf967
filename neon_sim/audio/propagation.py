"""From where a sound is made to where it is heard: delay, distance, air, the shadow of a head.

A path is a short filter at a whole offset: a windowed sinc that carries the fraction of a
sample, 1/r, and a three-tap low-pass for the air. Nothing is heard before r/c.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from neon_sim.audio.modal import BLOCK
from neon_sim.audio.sources import SPEED_OF_SOUND
from neon_sim.clock import AUDIO_HZ

NEAREST_M = 0.1  # 1/r grows no further
FARTHEST_M = 40.0  # beyond it nothing is heard
HALF_TAPS = 16
PAST = HALF_TAPS + 1  # taps before the whole offset, one of them the air's
# Air at 20 C and 70 % humidity swallows 22.9 dB/km at 4 kHz (ISO 9613-2, table 2).
AIR_DB_M_4KHZ = 0.0229
SHADOW_HZ = 1500.0  # one-pole low-pass of the ear that looks away
_SHADOW_TAPS = 24
_SHADOW_POLE = float(np.exp(-2.0 * np.pi * SHADOW_HZ / AUDIO_HZ))
_SHADOW = (1.0 - _SHADOW_POLE) * _SHADOW_POLE ** np.arange(_SHADOW_TAPS)
_PHASES = 512  # fractions of a sample that the table knows: 0.12 us apart
MIX = PAST + BLOCK + 2048 + 2 * HALF_TAPS + _SHADOW_TAPS  # samples ahead that a path may reach


def _sinc(half: int) -> np.ndarray:
    """(513, 33) windowed sincs of ``half`` taps a side, delayed by -1/2 to 1/2 a sample."""
    steps = np.arange(-HALF_TAPS, HALF_TAPS + 1)
    place = steps - np.linspace(-0.5, 0.5, _PHASES + 1)[:, None]
    window = 0.5 + 0.5 * np.cos(np.pi * np.clip(np.abs(place) / (half + 1.0), 0.0, 1.0))
    taps = np.where(np.abs(steps) <= half, np.sinc(place) * window, 0.0)
    return np.asarray(taps / taps.sum(axis=1, keepdims=True))


@lru_cache(maxsize=1)
def _sincs() -> np.ndarray:
    """(17, 513, 33): one table for every width, because near sources leave room for few taps."""
    return np.stack([_sinc(half) for half in range(HALF_TAPS + 1)])


def paths(distance_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Filters of direct paths.

    Args:
        distance_m: (N,) >= 0.

    Returns:
        whole offsets (N,) int and taps (N, 35) float64; tap ``k`` acts ``offset + k - 17``
        samples later, and taps that would act before the sound was made are 0.
    """
    delay = distance_m * (AUDIO_HZ / SPEED_OF_SOUND)
    offset = np.rint(delay).astype(int)
    phase = np.rint((delay - offset + 0.5) * _PHASES).astype(int)
    half = np.minimum(np.maximum(offset - 1, 0), HALF_TAPS)
    taps = _sincs()[half, phase] / np.maximum(distance_m, NEAREST_M)[:, None]
    # Through air: (a, 1 - 2a, a), whose loss in dB grows as f squared.
    a = (0.5 - 0.5 * 10.0 ** (-AIR_DB_M_4KHZ / 20.0 * distance_m))[:, None]
    a[offset == 0] = 0.0
    out = np.zeros((len(taps), taps.shape[1] + 2))
    out[:, 1:-1] = (1.0 - 2.0 * a) * taps
    taps *= a
    out[:, :-2] += taps
    out[:, 2:] += taps
    return offset, out


def shadowed(taps: np.ndarray, share: np.ndarray) -> np.ndarray:
    """(N, 35) -> (N, 58): each path with ``share`` (N,) in [0, 1] of it low-passed by the head."""
    out = np.zeros((len(taps), taps.shape[1] + _SHADOW_TAPS - 1))
    out[:, : taps.shape[1]] = taps * (1.0 - share)[:, None]
    for row, (path, part) in enumerate(zip(taps, share.tolist(), strict=True)):
        if part:
            out[row] += part * np.convolve(path, _SHADOW)
    return out


def lay(mix: np.ndarray, block: np.ndarray, offset: np.ndarray, taps: np.ndarray) -> None:
    """Add a source's block, through one path a channel, to what will be heard.

    Args:
        mix: (C, MIX) float64; column ``PAST`` is the block's first sample.
        block: (320,). offset, taps: (C,), (C, T) of ``paths``.
    """
    for row, start, path in zip(mix, offset.tolist(), taps, strict=True):
        row[start : start + BLOCK + len(path) - 1] += np.convolve(block, path)
