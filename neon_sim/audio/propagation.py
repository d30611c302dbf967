"""From where a sound is made to where it is heard: delay, distance, air, the shadow of a head.

A path is a short filter at a whole offset: a windowed sinc that carries the fraction of a
sample, 1/r, and a three-tap low-pass for the air. Nothing is heard before r/c.
"""

from __future__ import annotations

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
_STEPS = np.arange(-HALF_TAPS, HALF_TAPS + 1)
MIX = PAST + BLOCK + 2048 + 2 * HALF_TAPS + _SHADOW_TAPS  # samples ahead that a path may reach


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
    half = np.clip(offset - 1, 0, HALF_TAPS)[:, None]
    place = _STEPS - (delay - offset)[:, None]
    inside = np.abs(_STEPS) <= half
    window = 0.5 + 0.5 * np.cos(np.pi * np.clip(np.abs(place) / (half + 1.0), 0.0, 1.0))
    taps = np.where(inside, np.sinc(place) * window, 0.0)
    taps /= taps.sum(axis=1, keepdims=True) * np.maximum(distance_m, NEAREST_M)[:, None]
    return offset, _through_air(taps, distance_m, offset)


def _through_air(taps: np.ndarray, distance_m: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """(N, 33) -> (N, 35): taps ``(a, 1 - 2a, a)``, whose loss in dB grows as f squared."""
    a = (1.0 - 10.0 ** (-AIR_DB_M_4KHZ * distance_m / 20.0)) / 2.0
    a = np.where(offset > 0, a, 0.0)[:, None]
    out = np.pad((1.0 - 2.0 * a) * taps, ((0, 0), (1, 1)))
    out[:, :-2] += a * taps
    out[:, 2:] += a * taps
    return out


def shadowed(taps: np.ndarray, share: np.ndarray) -> np.ndarray:
    """(N, 35) -> (N, 58): each path with ``share`` (N,) in [0, 1] of it low-passed by the head."""
    out = np.pad(taps * (1.0 - share)[:, None], ((0, 0), (0, _SHADOW_TAPS - 1)))
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
