"""ArmLatch: press the button within 0.3 s of a click that comes at a random time.

A policy that executes long chunks open loop is deaf while it does: the shorter the time between
two of its looks, the more often it is in time. Pressing too early is as wrong as too late.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from neon_sim.audio.soundscape import SoundScape
from neon_sim.audio.sources import Click
from neon_sim.clock import TICKS_PER_CONTROL
from neon_sim.gl import mujoco

from .arm import hand_rotation, joint_action
from .hearing import HEARING_TICKS, NOTHING, HearingTask
from .scene import BOX, COLOURS, CYLINDER, GHOST_BITS, OBJECT_BITS

LIMIT_TICKS = 150  # 0.3 s
NUM_TIMES, SPACING_STEPS = 6, 20  # clicks that may be, 0.4 s apart: one press suits one of them
FIRST_STEPS = (60, 80)  # control steps before the first of them
X_RANGE, Y_RANGE = (0.45, 0.57), (-0.12, 0.12)  # m
CHEST_HALF, BUTTON_RADIUS, BUTTON_HALF = (0.07, 0.09, 0.045), 0.032, 0.011  # m
TRAVEL_M, PRESSED_M = 0.012, 0.005
BUTTON_TOP = 2 * CHEST_HALF[2] + TRAVEL_M + 0.003
BUTTON_KG, SPRING_N_M, PRELOAD_M, DAMPING = 0.05, 100.0, 0.005, 2.0  # its own weight
FINGERTIP_M = 0.013  # from the tool point down to the end of the fingers
HOVER_M, PUSH_M = 0.022, 0.010  # fingertips above the button; below its rest
HAND = hand_rotation("x")
HAND_BITS = {"contype": 0, "conaffinity": 4}  # the button does not rest on the chest
CLICK = Click(size_m=0.02, level_db=-20.0)


class ArmLatch(HearingTask):
    """A chest whose latch clicks once; its button is pressed once."""

    NAME = "arm_latch"
    EPISODE_STEPS = 210
    CUE = "click_tick"
    START: ClassVar[np.ndarray] = np.array([0.0, 0.027, 0.0, -2.369, 0.0, 2.396, -np.pi / 4])
    START_GRIPPER = -1.0
    MIN_START_HEIGHT_M = 0.15
    MATERIALS: ClassVar[dict[str, str]] = {"chest": "wood", "button": "plastic"}

    def build_scene(self, spec: Any) -> None:
        """A chest with a band and a latch plate; its button moves on a spring."""
        chest = spec.worldbody.add_body(name="chest")
        deep, wide, high = CHEST_HALF
        parts = (
            ("chest", BOX, (deep, wide, high), (0, 0, high), (0.55, 0.36, 0.20, 1), HAND_BITS),
            ("band", BOX, (deep + 0.001, wide + 0.001, 0.006), (0, 0, 1.3 * high), None, {}),
            ("latch", BOX, (0.006, 0.020, 0.016), (deep, 0, 1.25 * high), None, {}),
            ("ring", CYLINDER, (BUTTON_RADIUS + 0.008, 0.002, 0), (0, 0, 2 * high), None, {}),
        )
        for name, kind, size, pos, rgba, bits in parts:
            chest.add_geom(
                name=name,
                type=kind,
                size=size,
                pos=pos,
                rgba=rgba or (0.85, 0.80, 0.62, 1),
                **(bits or GHOST_BITS),
            )
        button = chest.add_body(name="button", pos=[0, 0, BUTTON_TOP - BUTTON_HALF])
        button.add_joint(
            name="button",
            type=mujoco.mjtJoint.mjJNT_SLIDE,
            axis=[0, 0, 1],
            range=[-TRAVEL_M, 0],
            stiffness=SPRING_N_M,
            springref=PRELOAD_M,
            damping=DAMPING,
        )
        button.add_geom(
            name="button",
            type=CYLINDER,
            size=[BUTTON_RADIUS, BUTTON_HALF, 0],
            mass=BUTTON_KG,
            rgba=COLOURS["red"],
            **OBJECT_BITS,
        )

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
        self._travel = int(self.model.joint("button").qposadr[0])

    def begin_sound(self, sound: SoundScape) -> None:
        """The latch, once."""
        x, y = self.latent["place"]
        sound.emit(CLICK, (x + CHEST_HALF[0], y, CHEST_HALF[2]), self.latent[self.CUE])

    def choice(self) -> Any:
        """The click that a press now is in time for."""
        if self.data.qpos[self._travel] > -PRESSED_M:
            return None
        ages = [(self.tick - tick, tick) for tick in self.cues()]
        return next((tick for age, tick in ages if 0 < age <= LIMIT_TICKS), NOTHING)

    def closeness(self) -> float:
        """How near the fingertips are to the button; at most a half."""
        offset = self._button(0.0) - self.tool_position()
        return 0.5 * max(0.0, 1.0 - float(np.linalg.norm(offset)) / 0.5)

    def visible_state(self, qpos: np.ndarray) -> list[float]:
        """Place of the button and how far it is pressed, m."""
        return [*self.latent["place"], float(qpos[self._travel])]

    def expert_action(self) -> np.ndarray:
        """Hover over the button; press as soon as the click is heard, unless it is too late."""
        age = self.tick - self.latent[self.CUE]
        press = HEARING_TICKS <= age <= LIMIT_TICKS or self._chosen is not None
        target = self._button(-PUSH_M if press else HOVER_M)
        return joint_action(self.kinematics.inverse(target, HAND, posture=self.START), -1.0)

    def _button(self, above: float) -> np.ndarray:
        """(3,) m of the tool point when the fingertips are ``above`` the button at rest."""
        return np.array([*self.latent["place"], BUTTON_TOP + FINGERTIP_M + above])

    @property
    def task_description(self) -> str:
        """The same in every episode."""
        return "press the red button when the latch clicks"
