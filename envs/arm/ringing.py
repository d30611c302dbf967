"""ArmRinging: a telephone rings under one of four cups; touch that cup.

The cups stand on an arc about the robot's head, all at one distance from it: how loud it is tells
nothing, so one ear is as good as none. Two ears tell by time and level.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from neon_sim.audio.soundscape import SoundScape
from neon_sim.audio.sources import RingTone
from neon_sim.clock import TICKS_PER_CONTROL

from ..posts import add_post
from ..scene import VIEW, View
from .touch import TouchTask

AZIMUTHS_RAD = np.radians([45.0, 15.0, -15.0, -45.0])
RADIUS_M, TURN_RAD = (0.51, 0.57), 0.06  # of the arc; by which it is turned, either way
CUP, KNOB = (0.045, 0.045, 0.045), (0.026, 0.105)  # as of add_post, m
CUP_RGBA, KNOB_RGBA = (0.72, 0.36, 0.22, 1.0), (0.95, 0.90, 0.80, 1.0)
PHONE_M = 0.03  # height of the telephone
START_STEPS = (10, 30)  # control steps before it rings
LISTEN_TICKS = 150  # of ringing that tell where from
RING = RingTone(hz=(700.0, 2900.0), level_db=-28.0)  # low for the time between ears, high for level


class ArmRinging(TouchTask):
    """Four cups upside down; the first touch counts."""

    NAME = "arm_ringing"
    EPISODE_STEPS = 125
    CUE = "cup"
    MICROPHONES: ClassVar[tuple[str, ...]] = ("head_stereo",)
    VIEWS: ClassVar[dict[str, View]] = {
        "front": View((1.30, 0.0, 0.95), (0.42, 0.0, 0.04), 44.0),
        "view": VIEW,
    }

    def build_scene(self, spec: Any) -> None:
        """Four cups, each with a knob on top."""
        for index in range(len(AZIMUTHS_RAD)):
            add_post(spec, index, CUP, KNOB, KNOB_RGBA, CUP_RGBA)

    def sample_scene(self, rng: np.random.Generator) -> dict[str, Any]:
        """Radius of the arc, m, its turn, rad, and the tick at which it begins to ring."""
        return {
            "radius": float(rng.uniform(*RADIUS_M)),
            "turn": float(rng.uniform(-TURN_RAD, TURN_RAD)),
            "start_tick": int(rng.integers(*START_STEPS)) * TICKS_PER_CONTROL,
        }

    def cues_of(self, scene: dict[str, Any]) -> list[Any]:
        """The cups, from the left."""
        del scene
        return list(range(len(AZIMUTHS_RAD)))

    def apply_latent(self, latent: dict[str, Any]) -> None:
        """Move the cups."""
        super().apply_latent(latent)
        angles = AZIMUTHS_RAD + latent["turn"]
        places = latent["radius"] * np.column_stack([np.cos(angles), np.sin(angles)])
        self._knobs = np.column_stack([places, np.full(len(angles), KNOB[1])])
        for index, place in enumerate(places):
            self.model.body(f"post{index}").pos[:2] = place

    def begin_sound(self, sound: SoundScape) -> None:
        """The telephone, until the end."""
        x, y, _ = self._knobs[self.latent[self.CUE]]
        sound.emit(RING, (x, y, PHONE_M), self.latent["start_tick"])

    def knows(self) -> bool:
        """It has rung for a moment."""
        return self.tick >= self.latent["start_tick"] + LISTEN_TICKS

    @property
    def task_description(self) -> str:
        """The same in every episode."""
        return "touch the cup where the phone rings"
