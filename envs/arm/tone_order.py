"""ArmToneOrder: two tones; touch the blue post when they rise, the yellow one when they fall.

Both melodies hold the same two tones for the same time, so that a bag of sounds, or a mean over
time, cannot tell them apart: only their order does.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from neon_sim.audio.soundscape import SoundScape
from neon_sim.audio.sources import Beep
from neon_sim.clock import TICKS_PER_CONTROL

from ..hearing import HEARING_TICKS
from ..posts import add_post
from ..scene import BOX, COLOURS, CYLINDER, GHOST_BITS
from .touch import TouchTask

LOW_HZ, HIGH_HZ = 600.0, 1200.0
TONE_S, TONE_TICKS, STEP_TICKS = 0.16, 80, 100  # a tone, and from one onset to the next
PERIOD_TICKS = 450  # they are played again and again
MELODIES = {"rising": (LOW_HZ, HIGH_HZ), "falling": (HIGH_HZ, LOW_HZ)}
POSTS = (("blue", 0.19), ("yellow", -0.19))  # for rising, for falling; y in m
ROW_X, STEM, KNOB = 0.55, (0.018, 0.035, 0.035), (0.036, 0.07)
SHIFT_M = 0.03  # of the row, along x and y
START_STEPS = (15, 45)  # control steps before the first tone
SPEAKER = (0.74, 0.0, 0.06)


class ArmToneOrder(TouchTask):
    """Two posts and a loudspeaker; the first touch counts."""

    NAME = "arm_tone_order"
    EPISODE_STEPS = 150
    CUE = "melody"

    def build_scene(self, spec: Any) -> None:
        """Posts left and right, the loudspeaker behind them."""
        for index, (colour, _) in enumerate(POSTS):
            add_post(spec, index, STEM, KNOB, COLOURS[colour])
        add_speaker(spec, SPEAKER)

    def sample_scene(self, rng: np.random.Generator) -> dict[str, Any]:
        """Where the row stands, m, and the tick of the first tone."""
        return {
            "shift": [float(rng.uniform(-SHIFT_M, SHIFT_M)) for _ in range(2)],
            "start_tick": int(rng.integers(*START_STEPS)) * TICKS_PER_CONTROL,
        }

    def cues_of(self, scene: dict[str, Any]) -> list[Any]:
        """The two melodies."""
        del scene
        return list(MELODIES)

    def apply_latent(self, latent: dict[str, Any]) -> None:
        """Move the posts."""
        super().apply_latent(latent)
        x, y = latent["shift"]
        self._knobs = np.array([[ROW_X + x, side + y, KNOB[1]] for _, side in POSTS])
        for index, knob in enumerate(self._knobs):
            self.model.body(f"post{index}").pos[:2] = knob[:2]

    def begin_sound(self, sound: SoundScape) -> None:
        """The melody, over and over."""
        end = self.EPISODE_STEPS * TICKS_PER_CONTROL
        for first in range(self.latent["start_tick"], end, PERIOD_TICKS):
            for index, hz in enumerate(MELODIES[self.latent[self.CUE]]):
                sound.emit(Beep(hz, TONE_S), SPEAKER, first + index * STEP_TICKS)

    def knows(self) -> bool:
        """Both tones have been heard."""
        heard = self.latent["start_tick"] + STEP_TICKS + TONE_TICKS + HEARING_TICKS
        return self.tick >= heard

    @property
    def task_description(self) -> str:
        """The same in every episode."""
        return "touch the blue post when the tones rise and the yellow post when they fall"


def add_speaker(spec: Any, place: tuple[float, float, float]) -> None:
    """A loudspeaker that faces up, the middle of its box at ``place``, m."""
    x, y, z = place
    world = spec.worldbody
    world.add_geom(
        name="speaker",
        type=BOX,
        size=[0.045, 0.06, z],
        pos=[x, y, z],
        rgba=[0.20, 0.21, 0.24, 1],
        **GHOST_BITS,
    )
    for name, radius, height, grey in (("cone", 0.04, 0.003, 0.45), ("dome", 0.017, 0.008, 0.8)):
        world.add_geom(
            name=f"speaker_{name}",
            type=CYLINDER,
            size=[radius, height, 0],
            pos=[x, y, 2 * z],
            rgba=[grey, grey, grey, 1],
            **GHOST_BITS,
        )
