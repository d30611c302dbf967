"""ArmRattle: one of four boxes rattles when it is shaken; squeeze its handle.

Nothing is heard of a box that stands still, so the arm has to shake before it knows. Every box
hangs on the same spring and weighs the same: what is in it is sound alone, driven by how the box
is accelerated. Shutting the gripper is the choice.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from neon_sim.audio.soundscape import SoundScape
from neon_sim.audio.sources import Rattle
from neon_sim.simulation.gl import mujoco

from ..hearing import NOTHING
from ..scene import BOX, GHOST_BITS
from .squeeze import ALONG_M, HIGH_M, SqueezeTask, add_handle

BOXES_Y = (0.27, 0.09, -0.09, -0.27)  # m, in the order in which the hand comes by
ROW_X, SHIFT_M = 0.50, 0.015  # m
BOX_HALF = (0.045, 0.05, 0.03)  # m
BOX_KG, SPRING_N_M, DAMPING = 0.3, 190.0, 1.8  # 4 Hz, a tenth of critical
STROKE_M = 0.04  # how far a box can go
HAND_Z = 0.098  # the fingers straddle the handles
PUSH_M, SHAKEN_M = 0.055, 0.012  # the hand goes so far; a box that went so far was shaken
LISTEN_TICKS = 80  # from there on a rattle is heard
CONTENT = Rattle(material="ceramic", size_m=0.02, threshold=2.0, level_db=-20.0)


class ArmRattle(SqueezeTask):
    """Four boxes in a row, an open gripper that passes along their handles."""

    NAME = "arm_rattle"
    EPISODE_STEPS = 300
    CUE = "box"
    START: ClassVar[np.ndarray] = np.array([0.5363, 0.19, -0.0421, -2.119, 0.0108, 2.3089, -0.2978])
    MIN_START_HEIGHT_M = 0.16
    MATERIALS: ClassVar[dict[str, str]] = {f"box{k}": "cardboard" for k in range(len(BOXES_Y))}

    def build_scene(self, spec: Any) -> None:
        """Boxes that slide along x on springs; only their handles can be touched."""
        for index in range(len(BOXES_Y)):
            body = spec.worldbody.add_body(name=f"box{index}")
            body.add_joint(
                name=f"box{index}",
                type=mujoco.mjtJoint.mjJNT_SLIDE,
                axis=[1, 0, 0],
                range=[-STROKE_M, STROKE_M],
                stiffness=SPRING_N_M,
                damping=DAMPING,
            )
            self._add_box(body, index)

    @staticmethod
    def _add_box(body: Any, index: int) -> None:
        tape = (BOX_HALF[0] + 0.001, 0.012, BOX_HALF[2] + 0.0005)
        for name, half, rgba, mass in (
            ("crate", BOX_HALF, (0.80, 0.62, 0.40, 1), BOX_KG),
            ("tape", tape, (0.93, 0.88, 0.74, 1), 0.0),
        ):
            body.add_geom(
                name=f"{name}{index}",
                type=BOX,
                size=half,
                pos=[0, 0, BOX_HALF[2]],
                rgba=rgba,
                mass=mass,
                **GHOST_BITS,
            )
        add_handle(body, f"handle{index}", 2 * BOX_HALF[2])

    def sample_scene(self, rng: np.random.Generator) -> dict[str, Any]:
        """How far the row is shifted, m."""
        return {"shift": [float(rng.uniform(-SHIFT_M, SHIFT_M)) for _ in range(2)]}

    def cues_of(self, scene: dict[str, Any]) -> list[Any]:
        """The boxes, from the left."""
        del scene
        return list(range(len(BOXES_Y)))

    def apply_latent(self, latent: dict[str, Any]) -> None:
        """Move the row; no box was shaken yet."""
        super().apply_latent(latent)
        x, y = latent["shift"]
        self._places = np.array([[ROW_X + x, side + y, HAND_Z] for side in BOXES_Y])
        for index, place in enumerate(self._places):
            self.model.body(f"box{index}").pos[:2] = place[:2]
        first = self.model.joint("box0").qposadr[0]
        self._slides = slice(first, first + len(BOXES_Y))
        self._shaken_tick: list[int | None] = [None] * len(BOXES_Y)

    def begin_sound(self, sound: SoundScape) -> None:
        """What is in the box."""
        sound.emit(CONTENT, f"box{self.latent[self.CUE]}")

    def after_step(self) -> None:
        """Remember the choice, and which boxes were shaken."""
        super().after_step()
        for index, way in enumerate(self.data.qpos[self._slides].tolist()):
            if self._shaken_tick[index] is None and abs(way) > SHAKEN_M:
                self._shaken_tick[index] = self.tick

    def choice(self) -> Any:
        """The box whose handle is squeezed."""
        index = self.squeezed()
        return NOTHING if index == -1 else index

    def closeness(self) -> float:
        """Share of the boxes that were shaken; at most a half."""
        return 0.5 * float(np.mean([tick is not None for tick in self._shaken_tick]))

    def visible_state(self, qpos: np.ndarray) -> list[float]:
        """Where the row stands and how far each box is out of place, m."""
        return [*self.latent["shift"], *qpos[self._slides].tolist()]

    def expert_action(self) -> np.ndarray:
        """Push box after box until one rattles, go back to it and squeeze."""
        index = self._wanted()
        place = self._places[index]
        over, down = self.astride(index)
        if not down:
            return self.go(place, above=0.0 if over else HIGH_M)
        if self._heard(index):
            return self.go(place, -1.0 if over or self._chosen is not None else 1.0)
        near = abs(float(self.tool_position()[1] - place[1])) < ALONG_M
        push = near and self._shaken_tick[index] is None
        return self.go(place + np.array([PUSH_M * push, 0.0, 0.0]))

    def _heard(self, index: int) -> bool:
        """Whether a box was shaken long enough ago to know it, and it is the one."""
        tick = self._shaken_tick[index]
        known = tick is not None and self.tick - tick >= LISTEN_TICKS
        return known and index == self.latent[self.CUE]

    def _wanted(self) -> int:
        """The box that rattled, else the first about which nothing is known yet."""
        known = [t is not None and self.tick - t >= LISTEN_TICKS for t in self._shaken_tick]
        right: int = self.latent[self.CUE]
        return right if known[right] or all(known) else known.index(False)

    @property
    def task_description(self) -> str:
        """The same in every episode."""
        return "shake the boxes and squeeze the handle of the one that rattles"
