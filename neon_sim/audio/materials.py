"""What a struck body sounds like: material and size into modes.

The model is that of modal synthesis as used by TDW PyImpact (Traer, Cusimano, McDermott:
"A perceptually inspired generative model of rigid-body contact sounds", DAFx 2019): a sum of
decaying sinusoids. The numbers are plausible defaults, not fits: first mode by size, decay by
frequency, spectra drawn once an object. To be replaced by fits to recordings.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from neon_sim.clock import AUDIO_HZ
from neon_sim.errors import ConfigError, unknown_name
from neon_sim.seeding import keyed_rng

NUM_MODES = 12
MAX_RATIO = 8.0  # of the highest mode to the first
MAX_MODE_HZ = 7200.0  # below the Nyquist frequency with room for the filters
REFERENCE_SIZE_M = 0.05
MIN_SIZE_M, MAX_SIZE_M = 0.01, 0.2  # larger plates ring in parts of this size
LN_1000 = 6.907755278982137  # 60 dB as a ratio of amplitudes


@dataclass(frozen=True)
class Material:
    """How one material rings and rubs.

    Attributes:
        first_hz: first mode of a body of 5 cm, Hz.
        rt60_s: time in which a mode at 1 kHz decays by 60 dB, s.
        gain: loudness of a blow relative to metal.
        grain_m: distance between the bumps of its surface, m.
    """

    first_hz: float
    rt60_s: float
    gain: float
    grain_m: float


MATERIALS: dict[str, Material] = {
    "rubber": Material(150.0, 0.015, 0.15, 1.5e-3),
    "foam": Material(150.0, 0.015, 0.10, 2.0e-3),
    "cardboard": Material(250.0, 0.025, 0.40, 1.0e-3),
    "wood": Material(400.0, 0.050, 0.70, 0.8e-3),
    "plastic": Material(600.0, 0.090, 0.70, 0.5e-3),
    "ceramic": Material(1200.0, 0.250, 1.00, 0.4e-3),
    "glass": Material(1800.0, 0.400, 1.00, 0.2e-3),
    "metal": Material(1000.0, 0.700, 1.00, 0.3e-3),
}


@dataclass(frozen=True)
class Modes:
    """The modes of one body; tuples of equal length, so that tables can be shared by value.

    Attributes:
        hz: frequencies. rt60_s: decay times by 60 dB. gains: amplitude after a blow of 1 Ns,
        before the common scale of the bench.
    """

    hz: tuple[float, ...]
    rt60_s: tuple[float, ...]
    gains: tuple[float, ...]

    def poles(self) -> np.ndarray:
        """(K,) complex128 ``exp(-6.908 / (rt60 fs) + 2 pi i f / fs)``, all inside the circle."""
        decay = LN_1000 / (np.array(self.rt60_s) * AUDIO_HZ)
        return np.exp(-decay + 2j * np.pi * np.array(self.hz) / AUDIO_HZ)


def material_named(name: str) -> Material:
    """Look a material up.

    Raises:
        UnknownNameError: no such material.
    """
    if name not in MATERIALS:
        raise unknown_name("material", name, MATERIALS)
    return MATERIALS[name]


@lru_cache(maxsize=1024)
def modes_of(material: str, size_m: float, key: str = "") -> Modes:
    """The modes of a body.

    First mode ``first_hz 5 cm / size``, the others at drawn ratios up to 8, decay
    ``rt60 (1 kHz / f)^0.5``, gains ``N(0, 1) f^-0.5`` scaled to ``sum a^2 = gain^2``.

    Args:
        material: a name of ``MATERIALS``.
        size_m: cube root of the body's volume; taken into [0.01, 0.2] m.
        key: which body; another key draws another spectrum of the same kind.

    Raises:
        UnknownNameError: no such material. ConfigError: the size is not positive.
    """
    made_of = material_named(material)
    if not size_m > 0.0:
        raise ConfigError(f"size_m must be positive (got {size_m})")
    size = min(max(size_m, MIN_SIZE_M), MAX_SIZE_M)
    rng = keyed_rng("modes", material, round(size * 1e4), key)
    ratios = np.sort(np.append(1.0, rng.uniform(1.0, MAX_RATIO, NUM_MODES - 1)))
    gains = rng.standard_normal(NUM_MODES)
    hz = made_of.first_hz * REFERENCE_SIZE_M / size * ratios
    gains *= hz**-0.5
    kept = hz <= MAX_MODE_HZ
    if not kept.any():  # smaller than the bench can hear: its first mode at the limit
        hz, gains, kept = np.array([MAX_MODE_HZ]), np.ones(1), np.array([True])
    hz, gains = hz[kept], gains[kept]
    gains *= made_of.gain / np.sqrt(np.sum(gains**2))
    rt60 = made_of.rt60_s * np.sqrt(1000.0 / hz)
    return Modes(tuple(hz.tolist()), tuple(rt60.tolist()), tuple(gains.tolist()))
