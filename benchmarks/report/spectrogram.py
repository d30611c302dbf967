"""Spectrograms for people: power over time and pitch, as a picture in an SVG with axes."""

from __future__ import annotations

import base64
import itertools

import numpy as np

from neon_sim.clock import AUDIO_HZ

from ..film.media import encode_image
from .markup import Html, tag

WINDOW, HOP, BINS = 512, 80, 1024  # samples: 32 ms, 5 ms; of the padded transform
LOW_HZ, HIGH_HZ, ROWS = 60.0, 8000.0, 144
QUIET_DB, LOUD_DB = -88.0, -25.0  # of the picture, dB of full scale
TICKS_HZ = (250, 500, 1000, 2000, 4000, 8000)
# Dark to light, about even in lightness: night blue, violet, red, orange, pale yellow.
RAMP = np.array(
    [(8, 10, 40), (62, 20, 110), (150, 38, 110), (225, 85, 60), (250, 165, 60), (255, 245, 190)]
)
LEFT, TOP, BOTTOM, HEIGHT, WIDTH = 56, 24, 40, 150, 640


def power_db(samples: np.ndarray) -> np.ndarray:
    """Power over pitch and time.

    Args:
        samples: (n,) in [-1, 1] at 16 kHz.

    Returns:
        (144, F) float64, dB of a sine of full scale; rows from 8 kHz down to 60 Hz, evenly by
        mel (O'Shaughnessy, "Speech Communication", 1987), a column every 5 ms.
    """
    window = np.hanning(WINDOW)
    padded = np.pad(samples.astype(np.float64), WINDOW // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    bins = np.abs(np.fft.rfft(frames * window, BINS, axis=1)) * (2.0 / window.sum())
    edges = pitches(ROWS + 1) * (BINS / AUDIO_HZ)
    rows = [_strongest(bins, low, high) for high, low in itertools.pairwise(edges)]
    level: np.ndarray = np.log10(np.maximum(np.stack(rows), 1e-7))
    return 20.0 * level


def _strongest(bins: np.ndarray, low: float, high: float) -> np.ndarray:
    """Largest amplitude between two places (bins, may be fractions) of each frame."""
    first = int(np.floor(low))
    last = max(int(np.ceil(high)), first + 1)
    strongest: np.ndarray = bins[:, first : last + 1].max(axis=1)
    return strongest


def pitches(count: int) -> np.ndarray:
    """(count,) Hz from 8 kHz down to 60 Hz, evenly by mel."""
    ends = 2595.0 * np.log10(1.0 + np.array([HIGH_HZ, LOW_HZ]) / 700.0)
    mels: np.ndarray = np.linspace(ends[0], ends[1], count)
    return 700.0 * (10.0 ** (mels / 2595.0) - 1.0)


def picture(samples: np.ndarray) -> np.ndarray:
    """(144, F, 3) uint8 of (n,) samples."""
    level = (power_db(samples) - QUIET_DB) / (LOUD_DB - QUIET_DB)
    place = np.clip(level, 0.0, 1.0) * (len(RAMP) - 1)
    parts = [np.interp(place, np.arange(len(RAMP)), RAMP[:, channel]) for channel in range(3)]
    drawn: np.ndarray = np.rint(np.stack(parts, axis=-1))
    return drawn.astype(np.uint8)


def spectrogram(samples: np.ndarray, title: str) -> Html:
    """A picture with its title and axes; ``class="head"`` is a line that a script may move.

    Args:
        samples: (n,) in [-1, 1] as heard. title: what sounds, and at which microphone.
    """
    duration_s = len(samples) / AUDIO_HZ
    data = base64.b64encode(encode_image(picture(samples), "png")).decode()
    image = tag(
        "image",
        href=f"data:image/png;base64,{data}",
        x=LEFT,
        y=TOP,
        width=WIDTH,
        height=HEIGHT,
        preserveAspectRatio="none",
    )
    head = tag("path", d=f"M{LEFT} {TOP}V{TOP + HEIGHT}", class_="head")
    return tag(
        "svg",
        tag("text", title, x=LEFT, y=TOP - 8, class_="name"),
        image,
        *_pitch_axis(),
        *_time_axis(duration_s),
        head,
        viewBox=f"0 0 {LEFT + WIDTH + 12} {TOP + HEIGHT + BOTTOM}",
        role="img",
        aria_label=f"Spectrogram of {title}",
        class_="spectrogram",
        data_seconds=f"{duration_s:.3f}",
        data_left=LEFT,
        data_width=WIDTH,
    )


def _pitch_axis() -> list[Html]:
    scale = pitches(ROWS + 1)[::-1]
    parts = []
    for hz in TICKS_HZ:
        share = float(np.interp(hz, scale, np.linspace(0.0, 1.0, len(scale))))
        y = TOP + HEIGHT * (1.0 - share)
        parts.append(tag("path", d=f"M{LEFT - 4} {y:.1f}h4", class_="zero"))
        parts.append(
            tag("text", f"{hz / 1000:g}", x=LEFT - 7, y=f"{y + 4:.1f}", class_="tick",
                text_anchor="end")
        )  # fmt: skip
    turned = f"rotate(-90 14 {TOP + HEIGHT / 2:g})"
    what = tag(
        "text", "frequency, kHz", x=14, y=f"{TOP + HEIGHT / 2:g}", class_="tick",
        text_anchor="middle", transform=turned,
    )  # fmt: skip
    return [*parts, what]


def _time_axis(duration_s: float) -> list[Html]:
    step = 0.5 if duration_s <= 6 else 1.0
    parts = []
    for index in range(int(duration_s / step) + 1):
        x, y = LEFT + WIDTH * index * step / duration_s, TOP + HEIGHT
        parts.append(tag("path", d=f"M{x:.1f} {y}v4", class_="zero"))
        name = f"{index * step:g}"
        parts.append(tag("text", name, x=f"{x:.1f}", y=y + 18, class_="tick", text_anchor="middle"))
    middle, below = LEFT + WIDTH / 2, TOP + HEIGHT + 34
    what = tag("text", "time, s", x=f"{middle:g}", y=below, class_="tick", text_anchor="middle")
    return [*parts, what]
