"""What an array of microphones picks up of everything that is emitted in a control step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.signal import butter, sosfilt

from neon_sim.audio.microphones import MicrophoneArray
from neon_sim.audio.modal import BLOCK
from neon_sim.audio.propagation import FARTHEST_M, MIX, PAST, lay, paths, shadowed
from neon_sim.audio.room import GRID_M, Cell, Places, Room, reflections
from neon_sim.clock import AUDIO_HZ

MOVED_M = 1e-4  # less than this is standing still
CONTACT_GAIN = 2.0  # structure-borne sound against the same at 1 m in air
CONTACT_HZ = 4000.0
MOTOR_CONTACT_GAIN = 4.0  # motors reach a wrist piezo far better than the air
_RISE = np.arange(1, BLOCK + 1) / BLOCK
_FALL = 1.0 - _RISE


@dataclass(frozen=True)
class Emission:
    """One block of one source.

    Attributes:
        block: (320,) float64, at 1 m. start, end: (3,) m where it is as the step begins and
            ends; heard paths are cross-faded between them.
        coupled: how far the robot's body carries it, as the step begins and ends.
    """

    block: np.ndarray
    start: np.ndarray
    end: np.ndarray
    coupled: tuple[float, float] = (0.0, 0.0)

    def parts(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Blocks and the places they are heard from: one that stands still, or two that fade."""
        if np.abs(self.end - self.start).max() < MOVED_M:
            return [(self.block, self.end)]
        return [(self.block * _FALL, self.start), (self.block * _RISE, self.end)]


@dataclass(frozen=True)
class Pose:
    """Where an array is: position (3,) m and rotation (3, 3), world frame."""

    position: np.ndarray
    rotation: np.ndarray

    def places(self, array: MicrophoneArray) -> np.ndarray:
        """(C, 3) m of the capsules."""
        capsules: np.ndarray = self.position + np.array(array.offsets_m) @ self.rotation.T
        return capsules

    def rounded_places(self, array: MicrophoneArray) -> Places:
        """The capsules of a moving array for reflections: on a grid, so that they are cached."""
        centre = np.rint(self.position / GRID_M) * GRID_M
        spread = np.rint(np.array(array.offsets_m) @ self.rotation.T / 0.01) * 0.01
        return _as_places(centre + spread)


def _as_places(places: np.ndarray) -> Places:
    return tuple((x, y, z) for x, y, z in places.tolist())


class AirField:
    """Sound through air to one array.

    Args:
        array: the capsules. room: its reflections are heard too; None for none.
        moves: whether the array sits on a body that moves.
    """

    def __init__(self, array: MicrophoneArray, room: Room | None, moves: bool) -> None:
        self.array, self._room, self._moves = array, room, moves
        self.reset()

    def reset(self) -> None:
        """Silence in the air."""
        self._mix = np.zeros((len(self.array.offsets_m), MIX))

    def receive(self, emissions: Sequence[Emission], pose: Pose) -> np.ndarray:
        """(C, 320) float64 of this control step; sound under way stays in the air.

        Args:
            emissions: of this step. pose: of the array as it ends.
        """
        parts = [part for emission in emissions for part in emission.parts()]
        if parts:
            self._direct(parts, pose)
            if self._room is not None:
                self._reflected(parts, pose, self._room)
        heard = self._mix[:, PAST : PAST + BLOCK].copy()
        self._mix[:, :-BLOCK] = self._mix[:, BLOCK:]
        self._mix[:, -BLOCK:] = 0.0
        return heard

    def _direct(self, parts: Sequence[tuple[np.ndarray, np.ndarray]], pose: Pose) -> None:
        places = np.stack([place for _, place in parts])
        away = places[:, None] - pose.places(self.array)
        distance = np.sqrt(np.einsum("pci,pci->pc", away, away))
        offset, taps = paths(np.minimum(distance.ravel(), FARTHEST_M))
        if self.array.shadow:
            taps = shadowed(taps, self._shadow(places - pose.position, pose).ravel())
        channels = len(self._mix)
        for row, (block, _) in enumerate(parts):
            if distance[row].min() <= FARTHEST_M:
                own = slice(row * channels, (row + 1) * channels)
                lay(self._mix, block, offset[own], taps[own])

    def _shadow(self, away: np.ndarray, pose: Pose) -> np.ndarray:
        """(P, C) in [0, 1]: how far each ear looks away from places (P, 3) about the head."""
        ears = np.sign(np.array(self.array.offsets_m)[:, 1])
        distance = np.maximum(np.sqrt(np.einsum("pi,pi->p", away, away)), 1e-6)
        turned: np.ndarray = np.clip(
            -ears * (away @ pose.rotation[:, 1] / distance)[:, None], 0.0, 1.0
        )
        return turned

    def _reflected(
        self, parts: Sequence[tuple[np.ndarray, np.ndarray]], pose: Pose, room: Room
    ) -> None:
        fixed = not self._moves
        capsules = _as_places(pose.places(self.array)) if fixed else pose.rounded_places(self.array)
        dry: dict[Cell, np.ndarray] = {}
        for block, place in parts:
            cell = room.cell(place)
            dry[cell] = dry[cell] + block if cell in dry else block
        length = room.fft_length
        total = sum(
            np.fft.rfft(block, length) * reflections(room, cell, capsules)
            for cell, block in dry.items()
        )
        self._mix[:, :length] += np.fft.irfft(total, length)


class ContactField:
    """Sound through the robot's own structure: no delay, no distance, nothing above 4 kHz.

    Args:
        array: one channel, or several that hear the same.
    """

    def __init__(self, array: MicrophoneArray) -> None:
        self.array = array
        self._filter = butter(2, CONTACT_HZ, fs=AUDIO_HZ, output="sos")
        self.reset()

    def reset(self) -> None:
        """Silence in the structure."""
        self._memory = np.zeros((len(self._filter), 2))

    def receive(self, emissions: Sequence[Emission], pose: Pose) -> np.ndarray:
        """(C, 320) float64 of this control step."""
        del pose
        total = np.zeros(BLOCK)
        for emission in emissions:
            before, after = emission.coupled
            if before or after:
                total += emission.block * (before * _FALL + after * _RISE)
        heard, self._memory = sosfilt(self._filter, CONTACT_GAIN * total, zi=self._memory)
        return np.tile(heard, (len(self.array.offsets_m), 1))
