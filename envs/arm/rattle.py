"""ArmRattle: one of four boxes rattles when it is shaken; squeeze its handle.

A box at rest makes no sound, so the arm has to shake the boxes first. All boxes have the same
mass and the same spring. The content is only a sound, driven by the acceleration of its box. The
choice is where the gripper shuts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, TypedDict

import numpy as np

from neon_sim.audio.soundscape import SoundScape
from neon_sim.audio.sources import Rattle
from neon_sim.contracts import Cue
from neon_sim.simulation.gl import mujoco

from ..hearing import NOTHING, draw_cue
from ..scene import BOX, GHOST_BITS
from .squeeze import ALONG_M, HIGH_M, SqueezeTask, add_handle

BOXES_Y = (0.27, 0.09, -0.09, -0.27)  # m, in the order in which the hand passes them
ROW_X = 0.50  # m, before the shift
SHIFT_M = 0.015  # largest shift of the row, along x and y
BOX_HALF = (0.045, 0.05, 0.03)  # m
BOX_KG = 0.3
SPRING_N_M = 190.0  # 4 Hz
DAMPING = 1.8  # N s/m, a tenth of critical damping
STROKE_M = 0.04  # largest displacement of a box
HAND_Z = 0.098  # m; the fingers straddle the handles
PUSH_M = 0.055  # m by which the expert pushes a handle
SHAKEN_M = 0.012  # m of displacement after which a box counts as shaken
LISTEN_TICKS = 80  # from a shake until its rattle has been heard
CONTENT = Rattle(material="ceramic", size_m=0.02, threshold=2.0, level_db=-20.0)


class RattleLatent(TypedDict):
    """What varies between episodes: ``shift`` of the row along x and y, m, and the ``box``."""

    shift: list[float]
    box: int


class ArmRattle(SqueezeTask[RattleLatent]):
    """Squeeze the handle of the box that rattles. The gripper shuts only once."""

    NAME = "arm_rattle"
    EPISODE_STEPS = 300
    INSTRUCTION = "shake the boxes and squeeze the handle of the one that rattles"
    CUE = "box"
    START: ClassVar[np.ndarray] = np.array([0.5363, 0.19, -0.0421, -2.119, 0.0108, 2.3089, -0.2978])
    MIN_START_HEIGHT_M = 0.16
    MATERIALS: ClassVar[dict[str, str]] = {f"box{k}": "cardboard" for k in range(len(BOXES_Y))}

    def build_scene(self, spec: mujoco.MjSpec) -> None:
        """Add boxes that slide along x on springs. Only their handles have contact."""
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
    def _add_box(body: mujoco.MjsBody, index: int) -> None:
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

    def sample_latent(self, rng: np.random.Generator) -> RattleLatent:
        """Draw the row's shift and the box that rattles."""
        shift = [float(rng.uniform(-SHIFT_M, SHIFT_M)) for _ in range(2)]
        return {"shift": shift, "box": draw_cue(rng, range(len(BOXES_Y)))}

    def cues_of(self, latent: RattleLatent) -> Sequence[Cue]:
        """The boxes, from the left."""
        del latent
        return list(range(len(BOXES_Y)))

    def apply_latent(self, latent: RattleLatent) -> None:
        """Place the row, and forget which boxes were shaken."""
        super().apply_latent(latent)
        x, y = latent["shift"]
        self._places = np.array([[ROW_X + x, side + y, HAND_Z] for side in BOXES_Y])
        for index, place in enumerate(self._places):
            self.model.body(f"box{index}").pos[:2] = place[:2]
        first = self.model.joint("box0").qposadr[0]
        self._slides = slice(first, first + len(BOXES_Y))
        self._shaken_tick: list[int | None] = [None] * len(BOXES_Y)

    def begin_sound(self, sound: SoundScape) -> None:
        """The content of the box."""
        sound.emit(CONTENT, f"box{self.latent['box']}")

    def after_step(self) -> None:
        """Record the choice, and when each box was first shaken."""
        super().after_step()
        for index, moved in enumerate(self.data.qpos[self._slides].tolist()):
            if self._shaken_tick[index] is None and abs(moved) > SHAKEN_M:
                self._shaken_tick[index] = self.tick

    def choice(self) -> Cue | None:
        """The box whose handle is squeezed."""
        index = self.squeezed()
        return NOTHING if index == -1 else index

    def closeness(self) -> float:
        """Half the share of the boxes that were shaken."""
        return 0.5 * float(np.mean([tick is not None for tick in self._shaken_tick]))

    def visible_state(self, qpos: np.ndarray) -> list[float]:
        """Shift of the row and displacement of each box, m."""
        return [*self.latent["shift"], *qpos[self._slides].tolist()]

    def expert_action(self) -> np.ndarray:
        """Push box after box until one rattles, then squeeze its handle."""
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
        """Whether a box has been heard to rattle."""
        tick = self._shaken_tick[index]
        known = tick is not None and self.tick - tick >= LISTEN_TICKS
        return known and index == self.latent["box"]

    def _wanted(self) -> int:
        """The box that was heard to rattle, otherwise the first that has not been heard."""
        known = [t is not None and self.tick - t >= LISTEN_TICKS for t in self._shaken_tick]
        right = self.latent["box"]
        return right if known[right] or all(known) else known.index(False)
