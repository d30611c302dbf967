"""ArmSpoken: a voice says a colour; touch the post of that colour. The text does not name it.

The posts are those of ``arm_reach``, where the instruction names the colour. Demonstrations and
tests use different voices: run seeds from 1000 on are those of ``neon_sim.collect``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from importlib import resources
from typing import TypedDict

import numpy as np

from neon_sim.audio.soundscape import SoundScape
from neon_sim.audio.sources import Recording
from neon_sim.clock import AUDIO_SAMPLES_PER_TICK, TICKS_PER_CONTROL
from neon_sim.contracts import Cue
from neon_sim.simulation.gl import mujoco

from ..hearing import HEARING_TICKS, draw_cue
from ..posts import PostsLatent, draw_colours, place_posts, visible_posts
from .reach import POST_HEIGHT, add_posts, draw_places
from .touch import TouchTask

FIRST_TRAINING_SEED = 1000
PERIOD_TICKS = 400  # between repetitions of the word
START_STEPS = (10, 30)  # range of the control step at which it is said first
SPEAKER = (1.1, 0.0, 0.5)  # m; at the far side of the table
LEVEL_DB = -26.0


class Word(TypedDict):
    """A row of ``assets/words/words.json``: one word in one voice.

    Keys:
        word, voice: their names.
        file: beside the table. split: ``"train"`` or ``"test"``.
        samples: its length. sha256: of the file.
    """

    word: str
    voice: str
    file: str
    split: str
    samples: int
    sha256: str


class SpokenLatent(PostsLatent):
    """The posts, the ``voice``, the tick of the first word and the ``word``, a colour."""

    voice: str
    start_tick: int
    word: str


@lru_cache(maxsize=1)
def word_table() -> dict[tuple[str, str], Word]:
    """The row of each word and voice."""
    text = resources.files("neon_sim.assets").joinpath("words", "words.json").read_text()
    return {(row["word"], row["voice"]): row for row in json.loads(text)}


def voices(split: str) -> list[str]:
    """Sorted names of the voices of a split, ``"train"`` or ``"test"``."""
    return sorted({row["voice"] for row in word_table().values() if row["split"] == split})


class ArmSpoken(TouchTask[SpokenLatent]):
    """Touch the post of the spoken colour. Only the first touch counts."""

    NAME = "arm_spoken"
    EPISODE_STEPS = 150
    INSTRUCTION = "touch the post of the colour that you hear"
    CUE = "word"

    def build_scene(self, spec: mujoco.MjSpec) -> None:
        """Add the posts."""
        add_posts(spec)

    def sample_latent(self, rng: np.random.Generator) -> SpokenLatent:
        """Draw the posts, a voice of the split, the start and the word."""
        split = voices("train" if self.run_seed >= FIRST_TRAINING_SEED else "test")
        places, colours = draw_places(rng), draw_colours(rng)
        return {
            "places": places,
            "colours": colours,
            "voice": split[int(rng.integers(len(split)))],
            "start_tick": int(rng.integers(*START_STEPS)) * TICKS_PER_CONTROL,
            "word": draw_cue(rng, colours),
        }

    def cues_of(self, latent: SpokenLatent) -> Sequence[Cue]:
        """The colours of the posts."""
        return list(latent["colours"])

    def apply_latent(self, latent: SpokenLatent) -> None:
        """Move and paint the posts."""
        super().apply_latent(latent)
        self._knobs = place_posts(self.model, latent["places"], latent["colours"], POST_HEIGHT)
        self._row = word_table()[latent["word"], latent["voice"]]

    def begin_sound(self, sound: SoundScape) -> None:
        """The word, again and again."""
        path = resources.files("neon_sim.assets").joinpath("words", self._row["file"])
        word = Recording(str(path), self._row["sha256"], LEVEL_DB)
        end = self.EPISODE_STEPS * TICKS_PER_CONTROL
        for tick in range(self.latent["start_tick"], end, PERIOD_TICKS):
            sound.emit(word, SPEAKER, tick)

    def knows(self) -> bool:
        """The word has been heard once."""
        ticks = -(-self._row["samples"] // AUDIO_SAMPLES_PER_TICK)
        return self.tick >= self.latent["start_tick"] + ticks + HEARING_TICKS

    def visible_state(self, qpos: np.ndarray) -> list[float]:
        """For each colour: whether it is there, and its x and y, m."""
        del qpos  # posts stand still
        return visible_posts(self.latent["colours"], self._knobs[:, :2])
