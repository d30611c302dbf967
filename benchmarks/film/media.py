"""Pictures and sound of an episode for people: kept small, loud enough, in files browsers play.

What a policy hears is quiet, for its level tells how far a source is. A track is made louder as a
whole, so within it everything keeps its level; tracks of two episodes cannot be compared by ear.
"""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from neon_sim.clock import AUDIO_HZ, CAMERA_HZ

MAX_BYTES = 150_000  # of one video
QUALITIES = (20, 24, 28, 32, 36, 40)  # x264 crf, tried until the video is small enough
PIXELS = {"mjpeg": "yuvj420p", "png": "rgb24"}
PEAK = 0.9  # of full scale
MAX_GAIN = 10.0 ** (30.0 / 20.0)  # a silent room stays quiet: its noise is at -60 dB
LAYOUTS = {1: "mono", 2: "stereo"}
AAC_BITS_PER_CHANNEL = 48_000


# ---- pictures ---------------------------------------------------------------------------


def encode_video(frames: np.ndarray, crf: int, sound: np.ndarray | None = None) -> bytes:
    """(F, H, W, 3) uint8 as an MP4 (H.264, yuv420p, 25 pictures a second) for browsers.

    Datasets are stored without loss (``neon_sim.demonstrations.video_io``); this one is for the
    eye.

    Args:
        frames: the pictures. crf: x264's quality, lower is better.
        sound: (1 or 2, n) int16 at 16 kHz from the first picture on, as AAC; None for silence.
    """
    buffer = io.BytesIO()
    coding = {"crf": str(crf), "preset": "medium", "threads": "1"}
    with av.open(buffer, "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", rate=CAMERA_HZ, options=coding)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        track = None if sound is None else add_track(container, len(sound))
        for image in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
        if sound is not None:
            write_track(container, track, sound)
    return buffer.getvalue()


def small_video(frames: np.ndarray, sound: np.ndarray | None = None) -> bytes:
    """The best quality of ``QUALITIES`` that fits into ``MAX_BYTES`` (or the last of them).

    Sound is neither worse for it nor counted.
    """
    data = b""
    for crf in QUALITIES:
        data = encode_video(frames, crf)
        if len(data) <= MAX_BYTES:
            break
    return data if sound is None else encode_video(frames, crf, sound)


def encode_image(image: np.ndarray, codec: str) -> bytes:
    """One (H, W, 3) uint8 picture, as JPEG (``mjpeg``) or without loss (``png``)."""
    coder: Any = av.CodecContext.create(codec, "w")
    coder.height, coder.width = image.shape[:2]
    coder.pix_fmt, coder.time_base = PIXELS[codec], Fraction(1, CAMERA_HZ)
    if codec == "mjpeg":
        coder.options = {"q:v": "5"}
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    packets = [*coder.encode(frame.reformat(format=PIXELS[codec])), *coder.encode(None)]
    return b"".join(bytes(packet) for packet in packets)


# ---- sound ------------------------------------------------------------------------------


class Recorder:
    """Keeps what the microphones of an environment hear; ``hear`` is a worker's ``on_step``."""

    def __init__(self) -> None:
        self._blocks: list[np.ndarray] = []

    def hear(self, core: Any) -> None:
        """Keep the last control step of an environment; nothing where it has no microphones."""
        if core.sound is not None:
            self._blocks.append(core.sound.newest())

    def samples(self) -> np.ndarray | None:
        """(C, n) float32 since the episode began, or None when nothing could be heard."""
        return np.concatenate(self._blocks, axis=1) if self._blocks else None


def gain_for(samples: np.ndarray) -> float:
    """Factor that makes the loudest of some samples loud, but no more than by 30 dB."""
    loudest = float(np.abs(samples).max(initial=0.0))
    return min(PEAK / loudest, MAX_GAIN) if loudest else 1.0


def for_ears(samples: np.ndarray, gain: float | None = None) -> np.ndarray:
    """One channel, or left and right, of microphones.

    Args:
        samples: (C, n); of more than two channels the outer ones are taken, which the arrays
            of ``neon_sim.audio.microphones`` name from left to right.
        gain: factor; ``gain_for`` these samples when absent.

    Returns:
        (1 or 2, n) int16.
    """
    chosen = samples if len(samples) < 3 else samples[[0, -1]]
    loud = chosen * (gain_for(chosen) if gain is None else gain)
    return np.rint(np.clip(loud, -1.0, 1.0) * 32767.0).astype(np.int16)


def add_track(container: Any, channels: int, codec: str = "aac") -> Any:
    """An audio stream for ``write_track`` in a container that is being written."""
    stream = container.add_stream(codec, rate=AUDIO_HZ)
    stream.layout = LAYOUTS[channels]
    if codec == "aac":
        stream.bit_rate = AAC_BITS_PER_CHANNEL * channels
    return stream


def write_track(container: Any, stream: Any, sound: np.ndarray) -> None:
    """Encode (1 or 2, n) int16 from the beginning of the file."""
    packed = np.ascontiguousarray(sound.T).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(packed, format="s16", layout=LAYOUTS[len(sound)])
    frame.sample_rate, frame.pts, frame.time_base = AUDIO_HZ, 0, Fraction(1, AUDIO_HZ)
    resampler = av.AudioResampler(stream.format, stream.layout, AUDIO_HZ, stream.frame_size or None)
    for part in [*resampler.resample(frame), *resampler.resample(None)]:
        container.mux(stream.encode(part))
    container.mux(stream.encode(None))


def encode_flac(sound: np.ndarray) -> bytes:
    """(1 or 2, n) int16 as a FLAC file, which every browser plays."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="flac") as container:
        stream = add_track(container, len(sound), "flac")
        write_track(container, stream, sound)
    return buffer.getvalue()


def has_sound(path: Path) -> bool:
    """Whether a video file has a sound track."""
    with av.open(str(path)) as container:
        return bool(container.streams.audio)
