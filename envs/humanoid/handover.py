"""HumanoidHandover: take a block from a moving partner, who offers it briefly.

The partner approaches in a straight line, holds still for 0.06 s and retreats, with the block if
the robot has not taken it. The robot's hands have no fingers: a hand within 6 cm of the offered
block holds it from then on, as an abstraction of a grip.

The hand must leave before the partner's place tells where it will stop. By the analysis of
``meeting.py`` (A = 1.0 m, B = 0.45 m): when 69 % of the path is over, 0.26 s are left and 0.06 s of
the offer, in which an arm of 0.4 m that accelerates at 10 rad/s^2 moves its hand by d = 0.10 m.
With c = 0.06 m one frame suffices for 36 % at most.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from neon_sim.clock import CONTROL_DT_S
from neon_sim.simulation.gl import mujoco

from ..scene import BOX, CAPSULE, COLOURS, GHOST_BITS, SPHERE, View
from .meeting import Meeting, MeetingTask, add_slider, straight_line

START_X, START_Z = 1.9, (0.85, 1.15)  # m, of the block
OFFER_X, OFFER_Z = 0.30, (0.88, 1.12)  # m, of the offered block
COMING_STEPS = 42  # control steps of the approach
OFFER_STEPS = 3  # control steps of the offer
LEAVING_M_S = (1.2, 0.0, 0.0)  # velocity of the retreat
TAKE_M = 0.06  # from hand to block, within which the hand takes it
BLOCK_HALF = 0.045  # m
# Ends of the partner's parts, m, from its hand.
FOREARM = (0.08, 0, -0.06, 0.30, -0.05, -0.08)
UPPER_ARM = (0.30, -0.05, -0.08, 0.48, -0.1, 0.12)
TRUNK = (0.55, 0.08, -0.35, 0.55, 0.08, 0.08)
LEGS = (0.55, 0.08, -0.35, 0.55, 0.08, -1.3)
SKIN, SHIRT = (0.88, 0.68, 0.52, 1), (0.30, 0.42, 0.62, 1)
TROUSERS = (0.24, 0.25, 0.29, 1)


class HumanoidHandover(MeetingTask):
    """Success: a hand holds the block. Failure: the offer is over."""

    NAME = "humanoid_handover"
    EPISODE_STEPS = 75
    INSTRUCTION = "reach the moving block and hold it"
    THING = "block"
    START_SPREAD_M, TARGET_SPREAD_M = 1.0, 0.45
    RAMP_RAD_S2: ClassVar[float] = 10.0
    HEAD_PITCH_RAD: ClassVar[float] = 0.35
    VIEWS: ClassVar[dict[str, View]] = {"view": View((2.3, -3.2, 1.95), (0.95, 0.1, 0.72), 42.0)}

    def build_scene(self, spec: mujoco.MjSpec) -> None:
        """Add the block, and a partner with trunk, legs, head and an arm held out."""
        block = add_slider(spec, "block", weightless=True)
        block.add_geom(
            name="block",
            type=BOX,
            size=[BLOCK_HALF] * 3,
            mass=0.2,
            rgba=COLOURS["red"],
            **GHOST_BITS,
        )
        partner = add_slider(spec, "partner", weightless=True)
        parts = (
            ("palm", BOX, (0.05, 0.045, 0.012), {"pos": (0.03, 0, -0.055)}, SKIN),
            ("forearm", CAPSULE, (0.032, 0, 0), {"fromto": FOREARM}, SHIRT),
            ("upper_arm", CAPSULE, (0.04, 0, 0), {"fromto": UPPER_ARM}, SHIRT),
            ("trunk", CAPSULE, (0.13, 0, 0), {"fromto": TRUNK}, SHIRT),
            ("legs", CAPSULE, (0.10, 0, 0), {"fromto": LEGS}, TROUSERS),
            ("face", SPHERE, (0.10, 0, 0), {"pos": (0.54, 0.08, 0.30)}, SKIN),
        )
        for name, kind, size, place, rgba in parts:
            partner.add_geom(
                name=f"partner_{name}",
                type=kind,
                size=size,
                mass=1.0,
                rgba=rgba,
                **place,
                **GHOST_BITS,
            )

    def draw(self, rng: np.random.Generator, start_y: float, target_y: float) -> Meeting:
        """Draw the heights of a straight line, at constant speed, from the start to the offer."""
        time_s = COMING_STEPS * CONTROL_DT_S
        start = np.array([START_X, start_y, rng.uniform(*START_Z)])
        offer = np.array([OFFER_X, target_y, rng.uniform(*OFFER_Z)])
        velocity = (offer - start) / time_s
        return {
            "position": [float(value) for value in start],
            "velocity": [float(value) for value in velocity],
            "time_s": time_s,
        }

    def arrival(self, latent: Meeting) -> np.ndarray:
        """(3,) m: where the block is offered."""
        return straight_line(latent)

    def apply_latent(self, latent: Meeting) -> None:
        """Start the partner with the block."""
        super().apply_latent(latent)
        self._partner = self.slides("partner")
        q, v = self._partner
        self.start.qpos[q : q + 3] = latent["position"]
        self.start.qvel[v : v + 3] = latent["velocity"]
        self._taken_by = ""

    def _drive(self, action: list[float]) -> None:
        if self.control_step == COMING_STEPS:
            self._move((0.0, 0.0, 0.0))
        elif self.control_step == COMING_STEPS + OFFER_STEPS:
            self._move(LEAVING_M_S)
        super()._drive(action)

    def _move(self, velocity: tuple[float, float, float]) -> None:
        """Set the velocity, m/s, of the partner and of the block that it still holds."""
        bodies = [self._partner] if self._taken_by else [self._partner, self._thing]
        for _, v in bodies:
            self.data.qvel[v : v + 3] = velocity

    def after_step(self) -> None:
        """A hand near the offered block takes it; a taken block moves with its hand."""
        if not self._taken_by and self._offered():
            gaps = {side: self._gap(side) for side in self._hands}
            side = min(gaps, key=gaps.__getitem__)
            self._taken_by = side if gaps[side] < TAKE_M else ""
        if self._taken_by:
            q, v = self._thing
            self.data.qpos[q : q + 3] = self.hand_position(self._taken_by)
            self.data.qvel[v : v + 3] = 0.0

    def _offered(self) -> bool:
        """Whether the partner offers the block now."""
        return COMING_STEPS < self.control_step <= COMING_STEPS + OFFER_STEPS

    def _gap(self, side: str) -> float:
        """Distance of a hand and the block, m."""
        return float(np.linalg.norm(self.hand_position(side) - self.thing_position()))

    def is_success(self) -> bool:
        """The robot holds the block."""
        return bool(self._taken_by)

    def failed(self) -> bool:
        """The offer is over, and the block was not taken."""
        return self.control_step > COMING_STEPS + OFFER_STEPS and not self._taken_by

    def visible_state(self, qpos: np.ndarray) -> list[float]:
        """Places of the block and of the partner's hand, m."""
        q = self._partner[0]
        return [float(value) for value in (*self.thing_position(qpos), *qpos[q : q + 3])]
