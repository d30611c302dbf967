"""ArmSpoken: a voice says a colour; touch the post that has it. The text says nothing.

The same posts as in ``arm_reach``, which names the colour in its instruction. Whoever collects
demonstrations hears other voices than whoever is tested: run seeds from 1000 on are those of
``neon_sim.collect``.
"""

from __future__ import annotations

import json
from functools import lru_cache
from importlib import resources
from typing import Any

import numpy as np

from neon_sim.audio.soundscape import SoundScape
from neon_sim.audio.sources import Recording
from neon_sim.clock import AUDIO_SAMPLES_PER_TICK, TICKS_PER_CONTROL

from ..hearing import HEARING_TICKS
from ..posts import draw_colours, place_posts, visible_posts
from .reach import POST_HEIGHT, add_posts, draw_places
from .touch import TouchTask

FIRST_TRAINING_SEED = 1000
PERIOD_TICKS = 400  # the word is said again and again
START_STEPS = (10, 30)  # control steps before it is said first
SPEAKER = (1.1, 0.0, 0.5)  # somebody at the far side of the table, m
LEVEL_DB = -26.0


@lru_cache(maxsize=1)
def word_table() -> dict[tuple[str, str], dict[str, Any]]:
    """(word, voice) -> its row in ``assets/words/words.json``: file, split, samples, sha256."""
    text = resources.files("neon_sim.assets").joinpath("words", "words.json").read_text()
    return {(row["word"], row["voice"]): row for row in json.loads(text)}


def voices(split: str) -> list[str]:
    """Sorted names of the voices of ``"train"`` or ``"test"``."""
    return sorted({row["voice"] for row in word_table().values() if row["split"] == split})


class ArmSpoken(TouchTask):
    """Three posts in three of four colours; the first touch counts."""

    NAME = "arm_spoken"
    EPISODE_STEPS = 150
    CUE = "word"

    def build_scene(self, spec: Any) -> None:
        """The posts."""
        add_posts(spec)

    def sample_scene(self, rng: np.random.Generator) -> dict[str, Any]:
        """Places in m, colours, whose voice it is, the tick at which it begins."""
        split = voices("train" if self.run_seed >= FIRST_TRAINING_SEED else "test")
        return {
            "places": draw_places(rng),
            "colours": draw_colours(rng),
            "voice": split[int(rng.integers(len(split)))],
            "start_tick": int(rng.integers(*START_STEPS)) * TICKS_PER_CONTROL,
        }

    def cues_of(self, scene: dict[str, Any]) -> list[Any]:
        """The colours that are there."""
        return list(scene["colours"])

    def apply_latent(self, latent: dict[str, Any]) -> None:
        """Move and paint the posts."""
        super().apply_latent(latent)
        self._knobs = place_posts(self.model, latent, POST_HEIGHT)
        self._row = word_table()[latent[self.CUE], latent["voice"]]

    def begin_sound(self, sound: SoundScape) -> None:
        """The word, over and over."""
        path = resources.files("neon_sim.assets").joinpath("words", self._row["file"])
        word = Recording(str(path), self._row["sha256"], LEVEL_DB)
        end = self.EPISODE_STEPS * TICKS_PER_CONTROL
        for tick in range(self.latent["start_tick"], end, PERIOD_TICKS):
            sound.emit(word, SPEAKER, tick)

    def knows(self) -> bool:
        """The word has been said once."""
        ticks = -(-self._row["samples"] // AUDIO_SAMPLES_PER_TICK)
        return self.tick >= self.latent["start_tick"] + ticks + HEARING_TICKS

    def visible_state(self, qpos: np.ndarray) -> list[float]:
        """Per colour: whether it is there, x, y."""
        del qpos  # posts stand still
        return visible_posts(self.latent["colours"], self._knobs[:, :2])

    @property
    def task_description(self) -> str:
        """The same in every episode."""
        return "touch the post of the colour that you hear"
