"""Scraping and rolling: noise in a band that follows the speed, as loud as force and speed say.

The bumps of a surface pass the contact at ``speed / grain``; that is the centre of a
second-order band (TDW PyImpact shapes its scrapes alike). The noise is a *force*: it rings
both bodies, so a scraped pan sounds of pan.
"""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter

from neon_sim.audio.contacts import Rub
from neon_sim.audio.modal import BLOCK
from neon_sim.clock import AUDIO_HZ

MIN_SLIP = 0.01  # m/s
MIN_TURN = 0.1  # rad/s from which a body rolls (TDW PyImpact)
MIN_HZ, MAX_HZ = 80.0, 6000.0
BAND_Q = 1.0
# Ns a sample at 1 N and 1 m/s: a box of 0.5 kg pushed over wood at 0.3 m/s is near -40 dB at 1 m.
ROUGHNESS = 0.02
ROLL_GAIN, ROLL_PITCH = 0.3, 1.0 / 3.0
ROLL_DEPTH = 0.6  # of the amplitude's modulation, once a turn


def band_pass(centre_hz: float) -> tuple[np.ndarray, np.ndarray]:
    """Second-order band-pass of unit gain at its centre (RBJ audio EQ cookbook): b, a (3,)."""
    omega = 2.0 * np.pi * centre_hz / AUDIO_HZ
    alpha = np.sin(omega) / (2.0 * BAND_Q)
    a = np.array([1.0 + alpha, -2.0 * np.cos(omega), 1.0 - alpha])
    return np.array([alpha, 0.0, -alpha]) / a[0], a / a[0]


class Friction:
    """The rubbing of one pair of geoms.

    Args:
        rng: noise of this pair; drawn only while the pair rubs.
        grain_m: distance of the bumps, the mean of both surfaces.
    """

    def __init__(self, rng: np.random.Generator, grain_m: float) -> None:
        self._rng, self._grain_m = rng, grain_m
        self._memory = np.zeros(2)
        self._gain, self._phase = 0.0, 0.0

    @property
    def over(self) -> bool:
        """Whether nothing of it is left to hear."""
        return self._gain == 0.0

    def force(self, rub: Rub | None) -> np.ndarray | None:
        """(320,) Ns a sample over one control step; None when nothing rubs.

        Args:
            rub: the pair now; None once it has parted (then the noise fades out).
        """
        speed, gain, depth = self._motion(rub)
        if gain == 0.0 and self._gain == 0.0:
            return None
        noise = self._rng.standard_normal(BLOCK)
        b, a = band_pass(min(max(speed / self._grain_m, MIN_HZ), MAX_HZ))
        band, self._memory = lfilter(b, a, noise, zi=self._memory)
        envelope = self._gain + (gain - self._gain) * np.arange(1, BLOCK + 1) / BLOCK
        self._gain = gain
        if depth:
            turns = self._phase + np.arange(1, BLOCK + 1) * (rub.turn / AUDIO_HZ if rub else 0.0)
            envelope = envelope * (1.0 + ROLL_DEPTH * np.sin(turns)) / (1.0 + ROLL_DEPTH)
            self._phase = float(turns[-1] % (2.0 * np.pi))
        return np.asarray(band * envelope)

    def _motion(self, rub: Rub | None) -> tuple[float, float, bool]:
        """Speed of the bumps, gain, and whether it rolls."""
        if rub is None:
            return 0.0, 0.0, False
        rolls = rub.turn > MIN_TURN and rub.roll > rub.slip
        speed = rub.roll if rolls else rub.slip
        if speed < MIN_SLIP:
            return speed, 0.0, False
        gain = ROUGHNESS * float(np.sqrt(rub.force)) * speed
        return (speed * ROLL_PITCH, gain * ROLL_GAIN, True) if rolls else (speed, gain, False)
