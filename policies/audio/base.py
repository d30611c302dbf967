"""What every encoder of sound promises: one second in, tokens in order of time out, frozen.

A row is encoded on its own, with the same shapes every time, so that its tokens are the same
to the bit in every batch, and what the feature cache holds is what the live policy hears.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from torch import Tensor

from neon_sim.audio.pcm import RING_SAMPLES
from neon_sim.clock import AUDIO_HZ
from neon_sim.errors import ConfigError
from neon_sim.registry import AUDIO_ENCODERS


class AudioEncoder(Protocol):
    """A frozen encoder of sound. Making one reads no weight; the first use does.

    Attributes:
        num_tokens: S, in order of time, the newest last. feature_dim: D.
    """

    num_tokens: int
    feature_dim: int

    def encode(self, audio: np.ndarray, sampling_rate: int = AUDIO_HZ) -> Tensor:
        """Encode B rings of any number of microphones.

        Args:
            audio: (B, C, 16000) float32 in [-1, 1], newest sample last. sampling_rate: Hz.

        Returns:
            (B, S, D) float32.

        Raises:
            ConfigError: another rate, length or type, or values beyond [-1, 1].
        """
        ...

    def fingerprint(self) -> str:
        """Hex SHA-256 of weights and settings."""
        ...


def make_encoder(name: str, arguments: dict[str, float]) -> AudioEncoder:
    """An encoder by its registry name.

    Raises:
        ConfigError: an argument it does not take, or as it says.
    """
    encoder: AudioEncoder = AUDIO_ENCODERS.make(name, arguments)
    return encoder


def check_rings(audio: Any, sampling_rate: int) -> np.ndarray:
    """Hold sound to what encoders are made for: (B, C, 16000) floats in [-1, 1] at 16 kHz.

    Raises:
        ConfigError: names what is wrong, and the mend.
    """
    if sampling_rate != AUDIO_HZ:
        raise ConfigError(
            f"audio must be sampled at {AUDIO_HZ} Hz (got {sampling_rate} Hz); resample it, "
            "scipy.signal.resample_poly does"
        )
    array = np.asarray(audio)
    if array.ndim != 3 or not array.shape[1] or array.dtype.kind != "f":
        raise ConfigError(
            f"audio must be (rows, channels, {RING_SAMPLES}) float32 in [-1, 1] (got "
            f"{array.shape} {array.dtype}); divide 16-bit integers by 32768"
        )
    if array.shape[2] != RING_SAMPLES:
        raise ConfigError(
            f"audio must be one second, {RING_SAMPLES} samples at {AUDIO_HZ} Hz (got "
            f"{array.shape[2]}); resample it, or hand over the last second"
        )
    if not np.abs(array).max(initial=0.0) <= 1.0:  # also NaN
        peak = float(np.abs(array).max())
        raise ConfigError(f"audio must lie in [-1, 1] (got a peak of {peak:.4g}); scale it")
    return array.astype(np.float32, copy=False)
