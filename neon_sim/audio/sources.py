"""What can be emitted: beeps, ring tones, alarms, clicks, noise, rattles, pouring, recordings.

A source says what it is (frozen, by value); ``voice(rng)`` makes the thing that sounds, once an
emission. Levels are dB of full scale (RMS while it sounds) heard at 1 m without a room.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

import numpy as np
from scipy.signal import lfilter

from neon_sim.audio.friction import band_pass
from neon_sim.audio.materials import Modes, modes_of
from neon_sim.audio.modal import BLOCK, MIN_BLOW_S, Resonator, half_sine
from neon_sim.audio.recording import load_flac
from neon_sim.clock import AUDIO_HZ

SPEED_OF_SOUND = 343.0  # m/s, dry air at 20 C
FADE_S = 0.005
FLICKER = ([np.sqrt(1.0 - 0.99**2)], [1.0, -0.99])  # one pole, some 25 Hz wide, of power 1


class Voice(Protocol):
    """One emission under way; picklable."""

    def block(self, start: int, count: int, acceleration: float) -> np.ndarray | None:
        """The next samples.

        Args:
            start: samples since the emission began.
            count: how many; calls follow each other without a gap.
            acceleration: of the body the source sits on over the control step, m/s^2.

        Returns:
            (count,) float64 at 1 m; None when it is over.
        """


class Source(Protocol):
    """Something that can be emitted."""

    def voice(self, rng: np.random.Generator) -> Voice:
        """Begin an emission; ``rng`` is its own."""


def at_level(samples: np.ndarray, level_db: float) -> np.ndarray:
    """Samples scaled to an RMS of ``level_db`` over those that are not zero; silence stays."""
    power = float(np.mean(np.square(samples[samples != 0.0]))) if samples.any() else 0.0
    return samples * (10.0 ** (level_db / 20.0) / np.sqrt(power)) if power else samples


def faded(samples: np.ndarray) -> np.ndarray:
    """Raised-cosine ramps of 5 ms at both ends, so that a tone starts without a click."""
    count = min(round(FADE_S * AUDIO_HZ), len(samples) // 2)
    ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(count) + 0.5) / max(count, 1))
    shaped = samples.copy()
    shaped[:count] *= ramp
    shaped[len(shaped) - count :] *= ramp[::-1]
    return shaped


def _times(duration_s: float) -> np.ndarray:
    return np.arange(round(duration_s * AUDIO_HZ)) / AUDIO_HZ


@dataclass
class Playback:
    """A voice that plays samples, once or round and round.

    Attributes:
        samples: (n,) float64. loop: whether it starts again.
    """

    samples: np.ndarray
    loop: bool = False

    def block(self, start: int, count: int, acceleration: float) -> np.ndarray | None:
        """See ``Voice``."""
        del acceleration
        length = len(self.samples)
        if self.loop:
            return self.samples[(start + np.arange(count)) % length]
        if start >= length:
            return None
        part = self.samples[start : start + count]
        return part if len(part) == count else np.pad(part, (0, count - len(part)))


@dataclass(frozen=True)
class Beep:
    """One pure tone. Hz, s, dB."""

    hz: float = 1000.0
    duration_s: float = 0.15
    level_db: float = -30.0

    def voice(self, rng: np.random.Generator) -> Playback:
        """See ``Source``."""
        del rng
        tone = np.sin(2.0 * np.pi * self.hz * _times(self.duration_s))
        return Playback(at_level(faded(tone), self.level_db))


@dataclass(frozen=True)
class Click:
    """A latch: a blow on a small piece. Which material, how large (m), its peak (dB)."""

    material: str = "metal"
    size_m: float = 0.02
    level_db: float = -25.0

    def voice(self, rng: np.random.Generator) -> Playback:
        """See ``Source``."""
        del rng
        body = Resonator(modes_of(self.material, self.size_m, "click"))
        blocks = [body.drive(half_sine(1.0, 0.0, MIN_BLOW_S)[1])]
        while (ring := body.ring()) is not None:
            blocks.append(ring)
        loudest = float(np.abs(blocks[0]).max())
        return Playback(np.concatenate(blocks) * (10.0 ** (self.level_db / 20.0) / loudest))


@dataclass(frozen=True)
class RingTone:
    """A telephone: two tones, beaten 20 times a second, on and off. Hz, s, dB."""

    hz: tuple[float, float] = (440.0, 480.0)
    beat_hz: float = 20.0
    on_s: float = 0.6
    off_s: float = 0.2
    level_db: float = -30.0

    def voice(self, rng: np.random.Generator) -> Playback:
        """Rings on until stopped, from the start of a ring."""
        del rng
        time = _times(self.on_s)
        tones = sum(np.sin(2.0 * np.pi * hz * time) for hz in self.hz)
        beat = 0.6 - 0.4 * np.cos(2.0 * np.pi * self.beat_hz * time)
        ring = at_level(faded(np.asarray(tones * beat)), self.level_db)
        return Playback(np.append(ring, np.zeros(len(_times(self.off_s)))), loop=True)


@dataclass(frozen=True)
class Alarm:
    """Two tones by turns, until stopped. Hz, s a tone, dB."""

    hz: tuple[float, float] = (800.0, 1100.0)
    tone_s: float = 0.25
    level_db: float = -25.0

    def voice(self, rng: np.random.Generator) -> Playback:
        """See ``Source``."""
        del rng
        tones = [faded(np.sin(2.0 * np.pi * hz * _times(self.tone_s))) for hz in self.hz]
        return Playback(at_level(np.concatenate(tones), self.level_db), loop=True)


@dataclass(frozen=True)
class Recording:
    """A FLAC file of 16 kHz mono, once. Path, digest to check, level in dB (None: as it is)."""

    path: str
    sha256: str | None = None
    level_db: float | None = -23.0

    def voice(self, rng: np.random.Generator) -> Playback:
        """See ``Source`` and ``load_flac``'s errors."""
        del rng
        samples = load_flac(self.path, self.sha256)
        return Playback(samples if self.level_db is None else at_level(samples, self.level_db))


@dataclass(frozen=True)
class Noise:
    """A band of noise that goes on until stopped: a fan. Centre in Hz, dB."""

    centre_hz: float = 300.0
    level_db: float = -55.0

    def voice(self, rng: np.random.Generator) -> Voice:
        """See ``Source``."""
        return _NoiseVoice(self, rng)


@lru_cache(maxsize=64)
def band_rms(centre_hz: float) -> float:
    """RMS of white noise of variance 1 after ``band_pass``: the norm of its response."""
    impulse = np.zeros(8192)
    impulse[0] = 1.0
    return float(np.linalg.norm(lfilter(*band_pass(centre_hz), impulse)))


@dataclass
class _NoiseVoice:
    source: Noise
    rng: np.random.Generator
    memory: np.ndarray = field(default_factory=lambda: np.zeros(2))

    def block(self, start: int, count: int, acceleration: float) -> np.ndarray | None:
        del start, acceleration
        b, a = band_pass(self.source.centre_hz)
        band, self.memory = lfilter(b, a, self.rng.standard_normal(count), zi=self.memory)
        scale = 10.0 ** (self.source.level_db / 20.0) / band_rms(self.source.centre_hz)
        return np.asarray(band * scale)


@dataclass(frozen=True)
class Rattle:
    """Loose pieces in a shaken box: small blows at random times, as often as it is shaken.

    Attributes:
        material, size_m: of a piece. rate_hz: blows a second at 1 g of acceleration.
        threshold: m/s^2 below which nothing moves. level_db: of a mean blow's peak at 1 g.
    """

    material: str = "wood"
    size_m: float = 0.015
    rate_hz: float = 60.0
    threshold: float = 1.0
    level_db: float = -30.0

    def voice(self, rng: np.random.Generator) -> Voice:
        """Rattles whenever its body is shaken, until stopped."""
        return _RattleVoice(self, rng, Resonator(modes_of(self.material, self.size_m, "rattle")))


@dataclass
class _RattleVoice:
    source: Rattle
    rng: np.random.Generator
    piece: Resonator

    def block(self, start: int, count: int, acceleration: float) -> np.ndarray | None:
        source, ring = self.source, self.piece.ring()
        shaken = min(max(acceleration - source.threshold, 0.0) / 9.81, 3.0)
        blows = int(self.rng.poisson(source.rate_hz * shaken * count / AUDIO_HZ))
        width = round(MIN_BLOW_S * AUDIO_HZ)
        force = np.zeros(count)
        scale = 10.0 ** (source.level_db / 20.0) / _peak(self.piece.modes) * shaken**0.5
        for onset in self.rng.uniform(0.0, count - width - 1, blows):
            first, blow = half_sine(scale * float(self.rng.exponential()), onset, MIN_BLOW_S)
            force[first : first + len(blow)] += blow
        answer = self.piece.drive(force, BLOCK - count)[BLOCK - count :]
        return answer if ring is None else answer + ring[BLOCK - count :]


@lru_cache(maxsize=64)
def _peak(modes: Modes) -> float:
    """Peak of the answer to the shortest blow of 1 Ns."""
    return float(np.abs(Resonator(modes).drive(half_sine(1.0, 0.0, MIN_BLOW_S)[1])).max())


@dataclass(frozen=True)
class Pour:
    """Water into a vessel: the air column above it sounds, higher as it fills.

    ``f = c / (4 (H - h + 0.62 r))``: a quarter-wave tube with its end correction (Cabe and
    Pittenger, "Human sensitivity to acoustic information from vessel filling", 2000).

    Attributes:
        height_m, radius_m: of the vessel. start_m: level at the beginning.
        rise_m_s: how fast the level rises. level_db: RMS.
    """

    height_m: float = 0.12
    radius_m: float = 0.035
    start_m: float = 0.0
    rise_m_s: float = 0.02
    level_db: float = -32.0

    def pitch_hz(self, level_m: float) -> float:
        """Pitch at a level of water in m."""
        air_m = self.height_m - min(level_m, self.height_m) + 0.62 * self.radius_m
        return SPEED_OF_SOUND / (4.0 * air_m)

    def level_m(self, time_s: float) -> float:
        """Level after ``time_s`` of pouring, m."""
        return min(self.start_m + self.rise_m_s * time_s, self.height_m)

    def voice(self, rng: np.random.Generator) -> Voice:
        """Pours until stopped; a full vessel sounds no more."""
        return _PourVoice(self, rng)


@dataclass
class _PourVoice:
    """A tone at the pitch of the air column whose amplitude flickers, and a quiet splash."""

    source: Pour
    rng: np.random.Generator
    phase: float = 0.0
    memory: np.ndarray = field(default_factory=lambda: np.zeros(1))

    def block(self, start: int, count: int, acceleration: float) -> np.ndarray | None:
        del acceleration
        source = self.source
        ends = [source.level_m(s / AUDIO_HZ) for s in (start, start + count)]
        if ends[0] >= source.height_m:
            return None
        low, high = (source.pitch_hz(level) for level in ends)
        hz = np.linspace(low, high, count)
        phase = self.phase + np.cumsum(hz) * (2.0 * np.pi / AUDIO_HZ)
        self.phase = float(phase[-1] % (2.0 * np.pi))
        noise = self.rng.standard_normal((2, count))
        flicker, self.memory = lfilter(*FLICKER, noise[0], zi=self.memory)
        scale = 10.0 ** (source.level_db / 20.0)
        return np.asarray(scale * (np.sin(phase) * (1.0 + 0.5 * flicker) + 0.1 * noise[1]))
