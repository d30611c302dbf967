"""ArmToneOrder: two tones; touch the blue post when they rise, the yellow one when they fall.

Both melodies consist of the same two tones, each of the same length. Only the order of the tones
tells them apart; a mean over time does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np

from neon_sim.audio.soundscape import SoundScape
from neon_sim.audio.sources import Beep
from neon_sim.clock import TICKS_PER_CONTROL
from neon_sim.contracts import Cue
from neon_sim.simulation.gl import mujoco

from ..hearing import HEARING_TICKS, draw_cue
from ..posts import add_post
from ..scene import BOX, COLOURS, CYLINDER, GHOST_BITS
from .touch import TouchTask

LOW_HZ, HIGH_HZ = 600.0, 1200.0
TONE_S = 0.16  # length of a tone
TONE_TICKS = 80  # the same in physics ticks
STEP_TICKS = 100  # from the start of a tone to that of the next
PERIOD_TICKS = 450  # between repetitions of the melody
MELODIES = {"rising": (LOW_HZ, HIGH_HZ), "falling": (HIGH_HZ, LOW_HZ)}
POSTS = (("blue", 0.19), ("yellow", -0.19))  # for rising, for falling; y in m
ROW_X = 0.55  # m, before the shift
STEM, KNOB = (0.018, 0.035, 0.035), (0.036, 0.07)  # m, see add_post
SHIFT_M = 0.03  # largest shift of the row, along x and y
START_STEPS = (15, 45)  # range of the control step of the first tone
SPEAKER = (0.74, 0.0, 0.06)  # m


class ToneOrderLatent(TypedDict):
    """What varies between episodes.

    Keys:
        shift: of the row along x and y, m.
        start_tick: physics tick of the first tone.
        melody: ``"rising"`` or ``"falling"``.
    """

    shift: list[float]
    start_tick: int
    melody: str


class ArmToneOrder(TouchTask[ToneOrderLatent]):
    """Touch the post that stands for the melody. Only the first touch counts."""

    NAME = "arm_tone_order"
    EPISODE_STEPS = 150
    INSTRUCTION = "touch the blue post when the tones rise and the yellow post when they fall"
    CUE = "melody"

    def build_scene(self, spec: mujoco.MjSpec) -> None:
        """Add posts left and right, and a loudspeaker behind them."""
        for index, (colour, _) in enumerate(POSTS):
            add_post(spec, index, STEM, KNOB, COLOURS[colour])
        add_speaker(spec, SPEAKER)

    def sample_latent(self, rng: np.random.Generator) -> ToneOrderLatent:
        """Draw the row's shift, the start and the melody."""
        return {
            "shift": [float(rng.uniform(-SHIFT_M, SHIFT_M)) for _ in range(2)],
            "start_tick": int(rng.integers(*START_STEPS)) * TICKS_PER_CONTROL,
            "melody": draw_cue(rng, list(MELODIES)),
        }

    def cues_of(self, latent: ToneOrderLatent) -> Sequence[Cue]:
        """The two melodies."""
        del latent
        return list(MELODIES)

    def apply_latent(self, latent: ToneOrderLatent) -> None:
        """Place the posts."""
        super().apply_latent(latent)
        x, y = latent["shift"]
        self.place_posts(np.array([[ROW_X + x, side + y, KNOB[1]] for _, side in POSTS]))

    def begin_sound(self, sound: SoundScape) -> None:
        """The melody, again and again."""
        end = self.EPISODE_STEPS * TICKS_PER_CONTROL
        for first in range(self.latent["start_tick"], end, PERIOD_TICKS):
            for index, hz in enumerate(MELODIES[self.latent["melody"]]):
                sound.emit(Beep(hz, TONE_S), SPEAKER, first + index * STEP_TICKS)

    def knows(self) -> bool:
        """Both tones have been heard."""
        heard = self.latent["start_tick"] + STEP_TICKS + TONE_TICKS + HEARING_TICKS
        return self.tick >= heard


def add_speaker(spec: mujoco.MjSpec, place: tuple[float, float, float]) -> None:
    """Add a loudspeaker that faces up, with the middle of its box at ``place``, m."""
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
