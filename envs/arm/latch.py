"""ArmLatch: squeeze the handle within 0.3 s after a click at a random time.

A policy that executes a chunk open loop cannot react to a click during it. The less time passes
between two looks, the more often it is in time. Squeezing too early fails, as does too late.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, TypedDict

import numpy as np

from neon_sim.audio.soundscape import SoundScape
from neon_sim.audio.sources import Click
from neon_sim.clock import TICKS_PER_CONTROL, s_to_ticks
from neon_sim.contracts import Cue
from neon_sim.simulation.gl import mujoco

from ..hearing import HEARING_TICKS, NOTHING, draw_cue
from ..scene import BOX, GHOST_BITS
from .squeeze import HIGH_M, SqueezeTask, add_handle

LIMIT_TICKS = s_to_ticks(0.3)
NUM_TIMES = 6  # possible clicks
SPACING_STEPS = 20  # control steps between them: 0.4 s, so one squeeze is in time for one click
FIRST_STEPS = (65, 85)  # range of the control step of the first possible click
X_RANGE, Y_RANGE = (0.46, 0.56), (-0.12, 0.12)  # m, of the chest
CHEST_HALF = (0.07, 0.09, 0.04)  # m
HAND_Z = 2 * CHEST_HALF[2] + 0.038  # m; the fingers straddle the handle, clear of the lid
CLICK = Click(size_m=0.02, level_db=-20.0)
BESIDE_M = 0.04  # m from hand to handle beyond which going straight would hit the handle
WOOD, BRASS = (0.55, 0.36, 0.20, 1.0), (0.85, 0.80, 0.62, 1.0)


class LatchLatent(TypedDict):
    """What varies between episodes.

    Keys:
        place: x and y of the chest, m.
        first_tick: physics tick of the first possible click.
        click_tick: physics tick of the click.
    """

    place: list[float]
    first_tick: int
    click_tick: int


class ArmLatch(SqueezeTask[LatchLatent]):
    """Squeeze the handle of a chest when its latch clicks. The gripper shuts only once.

    Success: it shuts on the handle at most 0.3 s after the click.
    """

    NAME = "arm_latch"
    EPISODE_STEPS = 215
    INSTRUCTION = "squeeze the handle when the latch clicks"
    CUE = "click_tick"
    START: ClassVar[np.ndarray] = np.array([0.0, 0.027, 0.0, -2.369, 0.0, 2.396, -np.pi / 4])
    MIN_START_HEIGHT_M = HAND_Z + 0.05
    MATERIALS: ClassVar[dict[str, str]] = {"chest": "wood"}

    def build_scene(self, spec: mujoco.MjSpec) -> None:
        """Add a chest with a band and a latch plate, and a handle on its lid."""
        chest = spec.worldbody.add_body(name="chest")
        deep, wide, high = CHEST_HALF
        for name, size, pos, rgba in (
            ("chest", CHEST_HALF, (0.0, 0.0, high), WOOD),
            ("band", (deep + 0.001, wide + 0.001, 0.006), (0.0, 0.0, 1.3 * high), BRASS),
            ("latch", (0.006, 0.02, 0.016), (deep, 0.0, 1.25 * high), BRASS),
        ):
            chest.add_geom(name=name, type=BOX, size=size, pos=pos, rgba=rgba, **GHOST_BITS)
        add_handle(chest, "handle", 2 * high)

    def sample_latent(self, rng: np.random.Generator) -> LatchLatent:
        """Draw the place of the chest, the first possible click and the click."""
        place = [float(rng.uniform(*X_RANGE)), float(rng.uniform(*Y_RANGE))]
        first_tick = int(rng.integers(*FIRST_STEPS)) * TICKS_PER_CONTROL
        return {
            "place": place,
            "first_tick": first_tick,
            "click_tick": draw_cue(rng, click_ticks(first_tick)),
        }

    def cues_of(self, latent: LatchLatent) -> Sequence[Cue]:
        """The six ticks at which the latch may click."""
        return click_ticks(latent["first_tick"])

    def apply_latent(self, latent: LatchLatent) -> None:
        """Move the chest."""
        super().apply_latent(latent)
        self.model.body("chest").pos[:2] = latent["place"]
        self._places = np.array([[*latent["place"], HAND_Z]])

    def begin_sound(self, sound: SoundScape) -> None:
        """One click, at the latch."""
        x, y = self.latent["place"]
        sound.emit(CLICK, (x + CHEST_HALF[0], y, CHEST_HALF[2]), self.latent["click_tick"])

    def choice(self) -> Cue | None:
        """The click for which a squeeze now is in time."""
        index = self.squeezed()
        if index is None:
            return None
        ticks = click_ticks(self.latent["first_tick"])
        in_time = [tick for tick in ticks if 0 < self.tick - tick <= LIMIT_TICKS]
        return in_time[0] if in_time and index == 0 else NOTHING

    def closeness(self) -> float:
        """How near the hand is to the handle, in [0, 0.5]."""
        offset = self._places[0] - self.tool_position()
        return 0.5 * max(0.0, 1.0 - float(np.linalg.norm(offset)) / 0.5)

    def visible_state(self, qpos: np.ndarray) -> list[float]:
        """x and y of the handle, m."""
        del qpos  # the chest stands still
        return [float(value) for value in self.latent["place"]]

    def expert_action(self) -> np.ndarray:
        """Wait astride the handle; squeeze as soon as the click is heard, unless it is too late."""
        age = self.tick - self.latent["click_tick"]
        heard = HEARING_TICKS <= age <= LIMIT_TICKS
        over, down = self.astride(0)
        shut = self._chosen is not None or (heard and over and down)
        beside = bool(np.abs(self.tool_position() - self._places[0])[:2].max() > BESIDE_M)
        above = 0.0 if over or (down and not beside) else HIGH_M
        return self.go(self._places[0], -1.0 if shut else 1.0, above)


def click_ticks(first_tick: int) -> list[int]:
    """The ticks at which the latch may click, from the first on."""
    step = SPACING_STEPS * TICKS_PER_CONTROL
    return [first_tick + step * index for index in range(NUM_TIMES)]
