"""ArmRinging: a telephone rings under one of four cups; touch that cup.

The cups stand on an arc around the robot's head. All are equally far from it, so loudness tells
nothing and one microphone does not suffice. Two tell the direction, by differences of time and
level.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, TypedDict

import numpy as np

from neon_sim.audio.soundscape import SoundScape
from neon_sim.audio.sources import RingTone
from neon_sim.clock import TICKS_PER_CONTROL
from neon_sim.contracts import Cue
from neon_sim.simulation.gl import mujoco

from ..hearing import draw_cue
from ..posts import add_post
from ..scene import VIEW, View
from .touch import TouchTask

AZIMUTHS_RAD = np.radians([45.0, 15.0, -15.0, -45.0])
RADIUS_M = (0.51, 0.57)  # of the arc
TURN_RAD = 0.06  # largest rotation of the arc, either way
CUP, KNOB = (0.045, 0.045, 0.045), (0.026, 0.105)  # m, see add_post
CUP_RGBA, KNOB_RGBA = (0.72, 0.36, 0.22, 1.0), (0.95, 0.90, 0.80, 1.0)
PHONE_M = 0.03  # height of the telephone
START_STEPS = (10, 30)  # range of the control step at which it begins to ring
LISTEN_TICKS = 150  # of ringing after which its direction is known
# The low tone differs between the ears in time, the high one in level.
RING = RingTone(hz=(700.0, 2900.0), level_db=-28.0)


class RingingLatent(TypedDict):
    """What varies between episodes.

    Keys:
        radius: of the arc, m.
        turn: rotation of the arc, rad.
        start_tick: physics tick at which it begins to ring.
        cup: index of the cup with the telephone, from the left.
    """

    radius: float
    turn: float
    start_tick: int
    cup: int


class ArmRinging(TouchTask[RingingLatent]):
    """Touch the cup under which the telephone rings. Only the first touch counts."""

    NAME = "arm_ringing"
    EPISODE_STEPS = 125
    INSTRUCTION = "touch the cup where the phone rings"
    CUE = "cup"
    MICROPHONES: ClassVar[tuple[str, ...]] = ("head_stereo",)
    VIEWS: ClassVar[dict[str, View]] = {
        "front": View((1.30, 0.0, 0.95), (0.42, 0.0, 0.04), 44.0),
        "view": VIEW,
    }

    def build_scene(self, spec: mujoco.MjSpec) -> None:
        """Add four cups upside down, each with a knob on top."""
        for index in range(len(AZIMUTHS_RAD)):
            add_post(spec, index, CUP, KNOB, KNOB_RGBA, CUP_RGBA)

    def sample_latent(self, rng: np.random.Generator) -> RingingLatent:
        """Draw the arc, the start of the ringing and the cup."""
        return {
            "radius": float(rng.uniform(*RADIUS_M)),
            "turn": float(rng.uniform(-TURN_RAD, TURN_RAD)),
            "start_tick": int(rng.integers(*START_STEPS)) * TICKS_PER_CONTROL,
            "cup": draw_cue(rng, range(len(AZIMUTHS_RAD))),
        }

    def cues_of(self, latent: RingingLatent) -> Sequence[Cue]:
        """The cups, from the left."""
        del latent
        return list(range(len(AZIMUTHS_RAD)))

    def apply_latent(self, latent: RingingLatent) -> None:
        """Place the cups."""
        super().apply_latent(latent)
        angles = AZIMUTHS_RAD + latent["turn"]
        places = latent["radius"] * np.column_stack([np.cos(angles), np.sin(angles)])
        self.place_posts(np.column_stack([places, np.full(len(angles), KNOB[1])]))

    def begin_sound(self, sound: SoundScape) -> None:
        """The telephone, ringing until the end."""
        x, y, _ = self._knobs[self.latent["cup"]]
        sound.emit(RING, (x, y, PHONE_M), self.latent["start_tick"])

    def knows(self) -> bool:
        """It has rung for ``LISTEN_TICKS``."""
        return self.tick >= self.latent["start_tick"] + LISTEN_TICKS
