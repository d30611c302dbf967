"""A ringing body: a bank of complex one-pole resonators, exact for any force, block by block.

A block of free ringing is one product of the state with a table, a blow one short
convolution: no long response is ever rendered ahead, and a resonator's energy can only fall.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from neon_sim.audio.materials import Modes
from neon_sim.clock import AUDIO_HZ, AUDIO_SAMPLES_PER_TICK, TICKS_PER_CONTROL

BLOCK = TICKS_PER_CONTROL * AUDIO_SAMPLES_PER_TICK  # 320 samples a control step
SILENT = 1e-7  # below -140 dB of full scale a resonator is at rest
MIN_BLOW_S, MAX_BLOW_S = 0.25e-3, 2.0e-3
BLOW_S_PER_KG = 1e-3  # contact lasts 1 ms a kg of the lighter body (TDW PyImpact)


class _Tables(NamedTuple):
    """Of one ``Modes``: float64 of poles p and gains a, n = 0 .. 319.

    ring: (2K, 320), a free block from (re z, im z). response: (K, 320), a mode's answer to an
    impulse. gather: (2K, 320), a block of force into the state. pole_block: (K,) ``p^320``.
    """

    ring: np.ndarray
    response: np.ndarray
    gather: np.ndarray
    pole_block: np.ndarray
    gains: np.ndarray


@lru_cache(maxsize=512)
def _tables(modes: Modes) -> _Tables:
    poles, gains = modes.poles(), np.array(modes.gains)
    powers = poles[:, None] ** np.arange(BLOCK + 1)
    after = gains[:, None] * powers[:, 1:]
    backwards = powers[:, BLOCK - 1 :: -1]
    return _Tables(
        ring=np.concatenate([after.imag, after.real]),
        response=gains[:, None] * powers[:, :BLOCK].imag,
        gather=np.concatenate([backwards.real, backwards.imag]),
        pole_block=powers[:, BLOCK].copy(),
        gains=np.abs(gains),
    )


class Resonator:
    """One ringing body: ``z[n] = p z[n-1] + w x[n]``, ``y[n] = Im sum a z[n]``.

    Args:
        modes: frequencies, decays and gains.

    Attributes:
        state: (K,) complex128.
    """

    def __init__(self, modes: Modes) -> None:
        self.modes = modes
        self.state = np.zeros(len(modes.hz), dtype=np.complex128)

    @property
    def level(self) -> float:
        """Largest amplitude the ringing can reach from now on."""
        return float(np.abs(self.state) @ _tables(self.modes).gains)

    def ring(self) -> np.ndarray | None:
        """(320,) float64 of free ringing, advancing the state; None when at rest."""
        tables = _tables(self.modes)
        if not self.state.any():
            return None
        block = np.concatenate([self.state.real, self.state.imag]) @ tables.ring
        self.state = self.state * tables.pole_block
        if self.level < SILENT:
            self.state[:] = 0.0
        return np.asarray(block)

    def drive(
        self, force: np.ndarray, first: int = 0, weights: np.ndarray | None = None
    ) -> np.ndarray:
        """(320,) float64 answer to a force within the block; call after ``ring``.

        Args:
            force: (n,) Ns a sample, from sample ``first`` on; ``first + n`` at most 320.
            weights: (K,) how strongly the force excites each mode; all 1 when absent.
        """
        tables = _tables(self.modes)
        weights = np.ones(len(self.state)) if weights is None else weights
        last = first + len(force)
        answer = np.zeros(BLOCK)
        impulse = weights @ tables.response[:, : BLOCK - first]
        answer[first:] = np.convolve(force, impulse)[: BLOCK - first]
        parts = tables.gather[:, first:last] @ force
        half = len(self.state)
        self.state = self.state + weights * (parts[:half] + 1j * parts[half:])
        return answer


def blow_s(lighter_kg: float) -> float:
    """Duration of a blow by the mass of the lighter body, s."""
    return min(max(BLOW_S_PER_KG * lighter_kg, MIN_BLOW_S), MAX_BLOW_S)


def half_sine(impulse: float, onset: float, duration_s: float) -> tuple[int, np.ndarray]:
    """A half-sine of force, integrated over samples: its sum is the impulse to the bit of rounding.

    Args:
        impulse: Ns.
        onset: when it starts, in samples; need not be whole.
        duration_s: how long it lasts.

    Returns:
        index of its first sample and (n,) float64 Ns a sample.
    """
    first, width = int(np.floor(onset)), duration_s * AUDIO_HZ
    count = int(np.ceil(onset + width)) - first
    edges = np.clip((np.arange(count + 1) + first - onset) / width, 0.0, 1.0)
    return first, impulse * np.diff(-np.cos(np.pi * edges)) / 2.0
