"""Reverberation of a shoebox room: image sources of pyroomacoustics, cached by place.

The direct sound is never part of it (``propagation.py`` does that exactly); reflections change
slowly, so a source's place is rounded to a grid and its filter kept for every later episode.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.fft import next_fast_len

from neon_sim.audio.modal import BLOCK
from neon_sim.audio.propagation import FARTHEST_M, PAST, paths
from neon_sim.audio.sources import SPEED_OF_SOUND
from neon_sim.clock import AUDIO_HZ
from neon_sim.errors import ConfigError, install_extra, require_package, unknown_name

GRID_M = 0.1
_WALL_M = 0.05  # a source is kept this far inside

Cell = tuple[int, int, int]
Places = tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class Room:
    """A box of air with walls of one absorption.

    Attributes:
        size_m: edges. corner_m: its lowest corner in the world's frame.
        absorption: share of the energy that a wall swallows, in (0, 1].
        max_order: reflections on the way that are followed, >= 1.

    Raises:
        ConfigError: a value outside its rule.
    """

    size_m: tuple[float, float, float] = (5.0, 4.0, 3.0)
    corner_m: tuple[float, float, float] = (-2.0, -2.0, -0.7)
    absorption: float = 0.4
    max_order: int = 3

    def __post_init__(self) -> None:
        if not 0.0 < self.absorption <= 1.0:
            raise ConfigError(f"room.absorption must be in (0, 1] (got {self.absorption})")
        if self.max_order < 1:
            raise ConfigError(f"room.max_order must be at least 1 (got {self.max_order})")
        if min(self.size_m) <= 2 * _WALL_M:
            raise ConfigError(f"room.size_m must exceed {2 * _WALL_M} m (got {self.size_m})")

    @property
    def reach(self) -> int:
        """Samples within which every reflection has arrived."""
        farthest = (self.max_order + 1) * float(np.linalg.norm(self.size_m))
        return round(min(farthest, FARTHEST_M) / SPEED_OF_SOUND * AUDIO_HZ) + 2 * PAST + 1

    @property
    def fft_length(self) -> int:
        """Of the product of a block and a response."""
        return int(next_fast_len(BLOCK + self.reach + PAST, real=True))

    def inside(self, position: np.ndarray) -> np.ndarray:
        """(3,) in the room's own frame, moved to within the walls."""
        local = np.asarray(position) - np.array(self.corner_m)
        held: np.ndarray = np.clip(local, _WALL_M, np.array(self.size_m) - _WALL_M)
        return held

    def cell(self, position: np.ndarray) -> Cell:
        """The grid cell of a source at (3,) m in the world's frame."""
        x, y, z = np.rint(self.inside(position) / GRID_M).astype(int).tolist()
        return x, y, z


# "dry": an office with carpet; "live": bare walls. Defaults, not measurements of a room.
ROOMS: dict[str, Room | None] = {
    "anechoic": None,
    "dry": Room(absorption=0.4),
    "live": Room(absorption=0.15),
}


def room_named(name: str) -> Room | None:
    """Look a room up; ``anechoic`` is None.

    Raises:
        UnknownNameError: no such room. MissingPackageError: a room, but no pyroomacoustics.
    """
    if name not in ROOMS:
        raise unknown_name("room", name, ROOMS)
    room = ROOMS[name]
    if room is not None:
        _acoustics()
    return room


def _acoustics() -> object:
    return require_package("pyroomacoustics", why="Reverberation", install=install_extra("sound"))


@lru_cache(maxsize=1024)
def images(room: Room, cell: Cell) -> tuple[np.ndarray, np.ndarray]:
    """Image sources without the source itself.

    Returns:
        places (I, 3) in m, room frame, and reflection gains (I,).
    """
    acoustics: object = _acoustics()
    box = acoustics.ShoeBox(  # type: ignore[attr-defined]
        list(room.size_m),
        fs=AUDIO_HZ,
        materials=acoustics.Material(room.absorption),  # type: ignore[attr-defined]
        max_order=room.max_order,
        air_absorption=False,  # ``paths`` does it
    )
    local = np.clip(np.array(cell) * GRID_M, _WALL_M, np.array(room.size_m) - _WALL_M)
    box.add_source(local.tolist())
    box.add_microphone([size / 2.0 for size in room.size_m])  # a shoebox hides no image
    box.image_source_model()
    source = box.sources[0]
    reflected = np.asarray(source.orders) > 0
    order = np.lexsort(source.images[:, reflected])
    gains = np.asarray(source.damping)[0, reflected]
    return source.images.T[reflected][order].astype(np.float64), gains[order].astype(np.float64)


@lru_cache(maxsize=1024)
def reflections(room: Room, cell: Cell, microphones: Places) -> np.ndarray:
    """Spectra of the reflections from a cell to each microphone.

    Args:
        microphones: C places in m, world frame.

    Returns:
        (C, fft_length // 2 + 1) complex128, read-only; time 0 lies at sample ``PAST``.
    """
    places, gains = images(room, cell)
    response = np.zeros((len(microphones), room.reach + PAST))
    for channel, microphone in zip(response, microphones, strict=True):
        away = np.linalg.norm(places - (np.array(microphone) - np.array(room.corner_m)), axis=1)
        heard = away < FARTHEST_M
        offset, taps = paths(away[heard])
        where = offset[:, None] + np.arange(taps.shape[1])
        np.add.at(channel, where, taps * gains[heard, None])
    spectra = np.fft.rfft(response, room.fft_length)
    spectra.flags.writeable = False
    return spectra
