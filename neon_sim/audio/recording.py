"""Recorded sounds from lossless FLAC files: spoken words and whatever cannot be computed."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

import av
import numpy as np

from neon_sim.clock import AUDIO_HZ
from neon_sim.errors import ConfigError


@lru_cache(maxsize=256)
def load_flac(path: str, sha256: str | None = None) -> np.ndarray:
    """Read a recording.

    Args:
        path: a FLAC file, 16 kHz, one channel.
        sha256: hex digest the file must have; not looked at when absent.

    Returns:
        (n,) float64 in [-1, 1], read-only.

    Raises:
        ConfigError: no such file, another digest, another rate or several channels.
    """
    file = Path(path)
    if not file.is_file():
        raise ConfigError(f"recording must be a FLAC file (got {path!r}, which does not exist)")
    if sha256 is not None:
        found = hashlib.sha256(file.read_bytes()).hexdigest()
        if found != sha256:
            raise ConfigError(f"{path}: sha256 must be {sha256} (got {found}); fetch it again")
    with av.open(path) as container:
        stream = container.streams.audio[0]
        rate, channels = stream.rate, stream.channels
        if (rate, channels) != (AUDIO_HZ, 1):
            raise ConfigError(
                f"{path} must have {AUDIO_HZ} Hz and 1 channel (got {rate} Hz, {channels}); "
                f"convert it: ffmpeg -i IN -ar {AUDIO_HZ} -ac 1 OUT.flac"
            )
        frames = [frame.to_ndarray().reshape(-1) for frame in container.decode(stream)]
    samples = np.concatenate(frames)
    bits = 8 * samples.dtype.itemsize
    scale = float(2 ** (bits - 1)) if samples.dtype.kind == "i" else 1.0
    samples = samples.astype(np.float64) / scale
    samples.flags.writeable = False
    return samples
