"""Log-mel energies of a second, pooled over its tenths: when something sounded, and what.

64 bands from 50 to 7800 Hz, 25 ms frames every 10 ms. Every tenth of a second is one token that
holds the mean of its frames and their maximum: a mean alone loses a click. Levels are physical
(nothing is normalised by the clip), since loudness tells distance and force.

Where there are several microphones a token also tells how the first and the last differ, which
is what a direction can be read from: level differences by band, and the generalised
cross-correlation with phase transform (Knapp & Carter 1976) at lags of -8 to 8 samples, which
covers two ears 16 cm apart (7.5 samples). With one microphone these are zero, so one head
listens with any array.
"""

from __future__ import annotations

import hashlib
from typing import Annotated

import numpy as np
import torch
from annotated_types import Interval
from torch import Tensor

from neon_sim.audio.pcm import RING_SAMPLES
from neon_sim.clock import AUDIO_HZ
from neon_sim.errors import ConfigError

from .base import check_rings

VERSION = 1  # of the numbers that come out
FRAME, HOP, FFT = 400, 160, 512  # samples
LOW_HZ, HIGH_HZ = 50.0, 7800.0
LOWEST_POWER = 1e-6  # -60 dB of full scale, the microphones' own noise
COHERENT_POWER = 1e-5  # cross-power well above that noise counts fully for the direction
MAX_LAG = 8  # samples
FIRST_FRAME = (RING_SAMPLES - FRAME) % HOP  # frames end with the newest sample
NUM_FRAMES = (RING_SAMPLES - FRAME) // HOP + 1
WINDOW_CHOICES = (1, 2, 4, 5, 10, 20, 25)


class LogMel:
    """Tokens of log-mel energies and of differences between microphones.

    Args:
        windows: tokens a second. bands: mel bands.

    Raises:
        ConfigError: windows that are not one of 1, 2, 4, 5, 10, 20, 25.
    """

    def __init__(
        self,
        windows: Annotated[int, Interval(ge=1, le=25)] = 10,
        bands: Annotated[int, Interval(ge=8, le=80)] = 64,
    ) -> None:
        if windows not in WINDOW_CHOICES:
            known = ", ".join(map(str, WINDOW_CHOICES))
            raise ConfigError(f"audio_args.windows must be one of {known} (got {windows})")
        self.num_tokens, self.bands = windows, bands
        self.feature_dim = 3 * self.bands + 2 * MAX_LAG + 1
        # of 100 frames a second the ring holds the newest 98
        per_window = 100 // self.num_tokens
        ends = NUM_FRAMES - per_window * np.arange(self.num_tokens)[::-1]
        self._starts = np.maximum(ends - per_window, 0)
        self._counts = (ends - self._starts).astype(np.float32)
        self._mel = mel_filters(self.bands)
        self._turn = np.exp(2j * np.pi / FFT * np.outer(np.arange(FFT // 2 + 1), _lags()))
        self._heard = (self._mel.sum(axis=1) > 0).astype(np.float32)

    def encode(self, audio: np.ndarray, sampling_rate: int = AUDIO_HZ) -> Tensor:
        """(B, C, 16000) -> (B, windows, 3 * bands + 17); see ``AudioEncoder``."""
        rows = check_rings(audio, sampling_rate)
        made = [self._row(row) for row in rows]
        shape = (self.num_tokens, self.feature_dim)
        return torch.from_numpy(np.stack(made) if made else np.zeros((0, *shape), np.float32))

    def fingerprint(self) -> str:
        """Of the settings; there are no weights."""
        text = f"log_mel {VERSION} {self.num_tokens} {self.bands}"
        return hashlib.sha256(text.encode()).hexdigest()

    def _row(self, audio: np.ndarray) -> np.ndarray:
        """(C, 16000) -> (windows, D) float32."""
        spectra = _spectra(audio)
        power = spectra.real**2 + spectra.imag**2
        levels = np.log(power.mean(axis=0) @ self._mel + LOWEST_POWER)
        peaks = np.maximum.reduceat(levels, self._starts, axis=0)
        parts = [self._mean(levels), peaks, *self._between(spectra, power)]
        return np.concatenate(parts, axis=1).astype(np.float32)

    def _mean(self, frames: np.ndarray) -> np.ndarray:
        """Means (windows, n) over the frames (98, n) of each window."""
        return np.add.reduceat(frames, self._starts, axis=0) / self._counts[:, None]

    def _between(self, spectra: np.ndarray, power: np.ndarray) -> list[np.ndarray]:
        """Level differences (windows, bands) and correlations (windows, 17) of an array."""
        if len(spectra) == 1:
            return [np.zeros((self.num_tokens, self.feature_dim - 2 * self.bands), np.float32)]
        first, last = (np.log(power[channel] @ self._mel + LOWEST_POWER) for channel in (0, -1))
        cross = self._mean(spectra[0] * spectra[-1].conj())
        weight = self._heard / (np.abs(cross) + COHERENT_POWER)
        total = (np.abs(cross) * weight).sum(axis=1, keepdims=True)
        return [self._mean(first - last), ((cross * weight) @ self._turn).real / (total + 1.0)]


def _lags() -> np.ndarray:
    return np.arange(-MAX_LAG, MAX_LAG + 1)


def _spectra(audio: np.ndarray) -> np.ndarray:
    """Spectra (C, 98, 257), scaled so that white noise of RMS r has the power r^2 everywhere."""
    window = np.hanning(FRAME + 1)[:-1].astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(audio, FRAME, axis=1)[:, FIRST_FRAME::HOP]
    scale = np.float32(1.0 / np.sqrt((window**2).sum()))
    return np.fft.rfft(frames * (window * scale), FFT, axis=2)


def mel_filters(bands: int) -> np.ndarray:
    """Triangles on the mel scale (257, bands) float32, each of sum 1.

    The scale is O'Shaughnessy's, 2595 log10(1 + f / 700).
    """
    top, bottom = (2595.0 * np.log10(1.0 + hz / 700.0) for hz in (HIGH_HZ, LOW_HZ))
    corners = 700.0 * (10.0 ** (np.linspace(bottom, top, bands + 2) / 2595.0) - 1.0)
    hz = np.arange(FFT // 2 + 1) * AUDIO_HZ / FFT
    low, centre, high = corners[:-2], corners[1:-1], corners[2:]
    rise = (hz[:, None] - low) / (centre - low)
    fall = (high - hz[:, None]) / (high - centre)
    triangles = np.maximum(np.minimum(rise, fall), 0.0)
    empty = np.flatnonzero(triangles.sum(axis=0) == 0)  # narrower than a bin: take the nearest
    triangles[np.abs(hz[:, None] - centre[empty]).argmin(axis=0), empty] = 1.0
    values: np.ndarray = (triangles / triangles.sum(axis=0)).astype(np.float32)
    return values
