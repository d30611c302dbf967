"""ArmMaterial: tap a painted block, hear its material, and touch the post of that material.

The block is of wood, metal or glass under the same paint. Its mass, shape and contact are the same
for all three; only the sound differs, and only a tap makes one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, TypedDict

import numpy as np

from neon_sim.clock import CONTROL_DT_S, s_to_ticks
from neon_sim.contracts import Cue
from neon_sim.simulation.gl import mujoco

from ..hearing import HEARING_TICKS, draw_cue
from ..posts import add_post
from ..scene import BOX, STATIC_BITS
from .robot import hand_rotation
from .touch import TouchTask

MATERIALS = ("wood", "metal", "glass")
KNOB_RGBA = {
    "wood": (0.52, 0.30, 0.12, 1.0),
    "metal": (0.42, 0.44, 0.50, 1.0),
    "glass": (0.45, 0.85, 0.92, 1.0),
}
POSTS = ((0.50, 0.24), (0.67, 0.0), (0.50, -0.24))  # m, in the order of MATERIALS
STEM, KNOB = (0.018, 0.035, 0.035), (0.036, 0.07)  # m, see add_post
BLOCK_X, BLOCK_Y = (0.42, 0.47), (-0.04, 0.04)  # m
BLOCK_HALF = 0.025  # m
TAP_SPEED = 0.10  # m/s of the fingertip before contact, above which a tap is heard well
REMEMBER_TICKS = s_to_ticks(0.94)  # a tap stays in the last second of sound for this long
FINGERTIP_M = 0.013  # m from the tool point to the end of the fingers
ABOVE_M = 0.06  # m above the block, from where the expert taps
DEEP_M = 0.008  # m below the block's top at which a tap aims
ASTRAY_M = 0.02  # m beside the block's middle beyond which the expert does not go down
TILT_RAD = 0.1  # of the tapping hand; a larger tilt would bend joint 6 to its limit


class MaterialLatent(TypedDict):
    """The block: ``place``, x and y in m, and its ``material``."""

    place: list[float]
    material: str


class ArmMaterial(TouchTask[MaterialLatent]):
    """Touch the post of the block's material. Only the first touch of a post counts."""

    NAME = "arm_material"
    EPISODE_STEPS = 200
    INSTRUCTION = "tap the block and touch the post of what it is made of"
    CUE = "material"
    MATERIALS: ClassVar[dict[str, str]] = {"block": "wood"}

    def build_scene(self, spec: mujoco.MjSpec) -> None:
        """Add the block, and a post for each material."""
        block = spec.worldbody.add_body(name="block")
        block.add_geom(
            name="block",
            type=BOX,
            size=[BLOCK_HALF] * 3,
            pos=[0, 0, BLOCK_HALF],
            rgba=[0.86, 0.36, 0.50, 1],
            **STATIC_BITS,
        )
        for index, material in enumerate(MATERIALS):
            add_post(spec, index, STEM, KNOB, KNOB_RGBA[material])

    def sample_latent(self, rng: np.random.Generator) -> MaterialLatent:
        """Draw the block's place and material."""
        place = [float(rng.uniform(*BLOCK_X)), float(rng.uniform(*BLOCK_Y))]
        return {"place": place, "material": draw_cue(rng, MATERIALS)}

    def cues_of(self, latent: MaterialLatent) -> Sequence[Cue]:
        """The materials."""
        del latent
        return list(MATERIALS)

    def apply_latent(self, latent: MaterialLatent) -> None:
        """Place the block and give it the sound of its material; nothing else depends on that."""
        super().apply_latent(latent)
        self.model.body("block").pos[:2] = latent["place"]
        self.place_posts(np.array([[*place, KNOB[1]] for place in POSTS]))
        self._top = np.array([*latent["place"], 2 * BLOCK_HALF + FINGERTIP_M])
        self._block = self.model.geom("block").id
        self._tapped_tick, self._touching, self._height = -REMEMBER_TICKS, False, 0.0
        if self.sound is not None:
            self.sound.assign({"block": latent["material"]})

    def after_step(self) -> None:
        """Record the choice, and when the block was last struck."""
        super().after_step()
        touching = bool((self.data.contact.geom == self._block).any())
        height = float(self.tool_position()[2])
        fast = self._height - height > TAP_SPEED * CONTROL_DT_S
        if touching and not self._touching and fast:
            self._tapped_tick = self.tick
        self._touching, self._height = touching, height

    def knows(self) -> bool:
        """The last tap was heard and is still in the last second of sound."""
        return HEARING_TICKS <= self.tick - self._tapped_tick < REMEMBER_TICKS

    def seek_action(self) -> np.ndarray:
        """Go above the block, then down onto it."""
        x, y, _ = (self.tool_position() - self._top).tolist()
        above = ABOVE_M if math.hypot(x, y) > ASTRAY_M else -DEEP_M
        return self._tap(self._top + np.array([0.0, 0.0, above]))

    def _tap(self, point: np.ndarray) -> np.ndarray:
        """Bring the fingertip to (3,) ``point`` in m, almost from above."""
        turn = math.atan2(point[1], point[0])
        return self.touch_action(point, turn, hand_rotation("x", TILT_RAD))

    def expert_action(self) -> np.ndarray:
        """As in ``TouchTask``, but rise off the block first: sliding would twist the wrist."""
        if self._touching:
            x, y, _ = self.tool_position().tolist()
            return self._tap(np.array([x, y, self._top[2] + ABOVE_M]))
        return super().expert_action()

    def visible_state(self, qpos: np.ndarray) -> list[float]:
        """x and y of the block, m; the posts are the same in every episode."""
        del qpos  # the block stands still
        return [float(value) for value in self.latent["place"]]
