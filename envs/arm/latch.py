"""ArmLatch: squeeze the handle within 0.3 s of a click that comes at a random time.

A policy that executes long chunks open loop is deaf while it does: the shorter the time between
two of its looks, the more often it is in time. To squeeze too early is as wrong as too late.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from neon_sim.audio.soundscape import SoundScape
from neon_sim.audio.sources import Click
from neon_sim.clock import TICKS_PER_CONTROL, s_to_ticks

from ..hearing import HEARING_TICKS, NOTHING
from ..scene import BOX, GHOST_BITS
from .squeeze import HIGH_M, SqueezeTask, add_handle

LIMIT_TICKS = s_to_ticks(0.3)
NUM_TIMES, SPACING_STEPS = 6, 20  # clicks that may be, 0.4 s apart: one squeeze suits one of them
FIRST_STEPS = (65, 85)  # control steps before the first of them
X_RANGE, Y_RANGE = (0.46, 0.56), (-0.12, 0.12)  # m
CHEST_HALF = (0.07, 0.09, 0.04)  # m
HAND_Z = 2 * CHEST_HALF[2] + 0.038  # the fingers straddle the handle, clear of the lid
CLICK = Click(size_m=0.02, level_db=-20.0)
BESIDE_M = 0.04  # of the hand from the handle: it would knock against it
WOOD, BRASS = (0.55, 0.36, 0.20, 1.0), (0.85, 0.80, 0.62, 1.0)


class ArmLatch(SqueezeTask):
    """A chest whose latch clicks once; the gripper shuts once."""

    NAME = "arm_latch"
    EPISODE_STEPS = 215
    CUE = "click_tick"
    START: ClassVar[np.ndarray] = np.array([0.0, 0.027, 0.0, -2.369, 0.0, 2.396, -np.pi / 4])
    MIN_START_HEIGHT_M = HAND_Z + 0.05
    MATERIALS: ClassVar[dict[str, str]] = {"chest": "wood"}

    def build_scene(self, spec: Any) -> None:
        """A chest with a band and a latch plate, and a handle on its lid."""
        chest = spec.worldbody.add_body(name="chest")
        deep, wide, high = CHEST_HALF
        for name, size, pos, rgba in (
            ("chest", CHEST_HALF, (0.0, 0.0, high), WOOD),
            ("band", (deep + 0.001, wide + 0.001, 0.006), (0.0, 0.0, 1.3 * high), BRASS),
            ("latch", (0.006, 0.02, 0.016), (deep, 0.0, 1.25 * high), BRASS),
        ):
            chest.add_geom(name=name, type=BOX, size=size, pos=pos, rgba=rgba, **GHOST_BITS)
        add_handle(chest, "handle", 2 * high)

    def sample_scene(self, rng: np.random.Generator) -> dict[str, Any]:
        """Where the chest stands, m, and the tick of the first click that may be."""
        return {
            "place": [float(rng.uniform(*X_RANGE)), float(rng.uniform(*Y_RANGE))],
            "first_tick": int(rng.integers(*FIRST_STEPS)) * TICKS_PER_CONTROL,
        }

    def cues_of(self, scene: dict[str, Any]) -> list[Any]:
        """Six ticks at which the latch may click."""
        step = SPACING_STEPS * TICKS_PER_CONTROL
        return [scene["first_tick"] + step * index for index in range(NUM_TIMES)]

    def apply_latent(self, latent: dict[str, Any]) -> None:
        """Move the chest."""
        super().apply_latent(latent)
        self.model.body("chest").pos[:2] = latent["place"]
        self._places = np.array([[*latent["place"], HAND_Z]])

    def begin_sound(self, sound: SoundScape) -> None:
        """The latch, once."""
        x, y = self.latent["place"]
        sound.emit(CLICK, (x + CHEST_HALF[0], y, CHEST_HALF[2]), self.latent[self.CUE])

    def choice(self) -> Any:
        """The click that a squeeze now is in time for."""
        index = self.squeezed()
        if index is None:
            return None
        in_time = [tick for tick in self.cues() if 0 < self.tick - tick <= LIMIT_TICKS]
        return in_time[0] if in_time and index == 0 else NOTHING

    def closeness(self) -> float:
        """How near the hand is to the handle; at most a half."""
        offset = self._places[0] - self.tool_position()
        return 0.5 * max(0.0, 1.0 - float(np.linalg.norm(offset)) / 0.5)

    def visible_state(self, qpos: np.ndarray) -> list[float]:
        """x and y of the handle, m."""
        del qpos  # it stands still
        return [float(value) for value in self.latent["place"]]

    def expert_action(self) -> np.ndarray:
        """Astride the handle; squeeze as soon as the click is heard, unless it is too late."""
        age = self.tick - self.latent[self.CUE]
        heard = HEARING_TICKS <= age <= LIMIT_TICKS
        over, down = self.astride(0)
        shut = self._chosen is not None or (heard and over and down)
        beside = bool(np.abs(self.tool_position() - self._places[0])[:2].max() > BESIDE_M)
        above = 0.0 if over or (down and not beside) else HIGH_M
        return self.go(self._places[0], -1.0 if shut else 1.0, above)

    @property
    def task_description(self) -> str:
        """The same in every episode."""
        return "squeeze the handle when the latch clicks"
