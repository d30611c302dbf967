"""ArmPickPlace: put the block of the named colour into the bowl. A static control.

Only the arm moves things, and the current frame shows everything the task needs, so history must
not help.
"""

from __future__ import annotations

from typing import ClassVar, TypedDict

import numpy as np

from neon_sim.simulation.gl import mujoco

from ..scene import BOX, COLOURS, CYLINDER, OBJECT_BITS, STATIC_BITS
from .robot import hand_rotation, joint_action
from .task import ArmTask

NUM_BLOCKS = 3
BLOCK_HALF, BLOCK_HALF_HEIGHT = 0.022, 0.025  # m
BLOCK_MASS = 0.08  # kg
BOWL_RADIUS, BOWL_HEIGHT = 0.10, 0.035  # m
BOWL_SIDES = 10  # boxes that form the wall
BLOCK_X, BLOCK_Y = (0.40, 0.62), (-0.28, 0.05)  # m
BOWL_X, BOWL_Y = (0.44, 0.56), (0.18, 0.23)  # m
BLOCK_GAP, BOWL_GAP = 0.13, 0.19  # m, smallest distances of centres, so that the open hand fits in
IN_BOWL_M = 0.085
HAND = hand_rotation("y")
# The expert. Heights of the grip point, m:
GRIP_Z, HOVER_Z, CARRY_Z = 0.03, 0.12, 0.19
CLEAR_Z = (0.07, 0.13)  # a held block begins to move to the bowl, is clear of all others
FUNNEL_M = (0.015, 0.04)  # m beside the block: the hand goes all the way down, stays up
LOW_M = 0.022  # m above the grip below which the fingers close
AROUND_M = 0.026  # m beside the block within which the hand is around it
OVER_BOWL_M = 0.045  # m beside the bowl's middle within which the hand is above the bowl
EMPTY_TRAVEL, HELD_TRAVEL = 0.017, 0.0245  # m of finger travel between which a block is held
OPEN_TRAVEL = 0.030  # m of finger travel above which the hand has let go


class PickPlaceLatent(TypedDict):
    """What varies between episodes.

    Keys:
        places: x and y of each block, m.
        colours: of the blocks; the first is named.
        bowl: x and y of the bowl, m.
    """

    places: list[list[float]]
    colours: list[str]
    bowl: list[float]


def _blend(value: float, start: float, end: float) -> float:
    """0 up to ``start``, 1 from ``end`` on, linear between."""
    return min(max((value - start) / (end - start), 0.0), 1.0)


class ArmPickPlace(ArmTask[PickPlaceLatent]):
    """Success: the named block lies in the bowl, released. Failure: it fell off the table."""

    NAME = "arm_pick_place"
    EPISODE_STEPS = 225
    START: ClassVar[np.ndarray] = np.array([0.0, -0.232, 0.0, -2.46, 0.0, 2.227, np.pi / 4])
    MIN_START_HEIGHT_M = 0.12

    def build_scene(self, spec: mujoco.MjSpec) -> None:
        """Add three blocks, and a bowl made of a plate and a low wall of boxes."""
        for index in range(NUM_BLOCKS):
            block = spec.worldbody.add_body(name=f"block{index}", pos=[0.5, 0.2 * index, 0.03])
            block.add_freejoint()
            block.add_geom(
                name=f"block{index}",
                type=BOX,
                size=[BLOCK_HALF, BLOCK_HALF, BLOCK_HALF_HEIGHT],
                mass=BLOCK_MASS,
                friction=[1.0, 0.01, 0.0001],
                **OBJECT_BITS,
            )
        bowl = spec.worldbody.add_body(name="bowl", pos=[0.5, 0.25, 0.0])
        bowl.add_geom(
            name="plate",
            type=CYLINDER,
            size=[BOWL_RADIUS, 0.003, 0],
            pos=[0, 0, 0.003],
            rgba=[0.36, 0.22, 0.45, 1],
            **STATIC_BITS,
        )
        for index in range(BOWL_SIDES):
            angle = 2 * np.pi * index / BOWL_SIDES
            bowl.add_geom(
                name=f"wall{index}",
                type=BOX,
                size=[0.004, BOWL_RADIUS * np.tan(np.pi / BOWL_SIDES), BOWL_HEIGHT / 2],
                pos=[BOWL_RADIUS * np.cos(angle), BOWL_RADIUS * np.sin(angle), BOWL_HEIGHT / 2],
                quat=[np.cos(angle / 2), 0, 0, np.sin(angle / 2)],
                rgba=[0.93, 0.91, 0.95, 1],
                **STATIC_BITS,
            )

    def sample_latent(self, rng: np.random.Generator) -> PickPlaceLatent:
        """Draw places that leave room for the hand, and three of four colours."""
        bowl = [float(rng.uniform(*BOWL_X)), float(rng.uniform(*BOWL_Y))]
        places: list[list[float]] = []
        while len(places) < NUM_BLOCKS:
            place = [float(rng.uniform(*BLOCK_X)), float(rng.uniform(*BLOCK_Y))]
            gaps = [(bowl, BOWL_GAP), *((other, BLOCK_GAP) for other in places)]
            if all(np.hypot(place[0] - p[0], place[1] - p[1]) > gap for p, gap in gaps):
                places.append(place)
        order = rng.permutation(len(COLOURS))[:NUM_BLOCKS]
        return {
            "places": places,
            "colours": [list(COLOURS)[int(i)] for i in order],
            "bowl": bowl,
        }

    def apply_latent(self, latent: PickPlaceLatent) -> None:
        """Place and paint the blocks; place the bowl."""
        for index, (place, colour) in enumerate(
            zip(latent["places"], latent["colours"], strict=True)
        ):
            self.place_body(f"block{index}", (*place, BLOCK_HALF_HEIGHT))
            self.model.geom(f"block{index}").rgba[:] = COLOURS[colour]
        self.model.body("bowl").pos[:2] = latent["bowl"]
        self._bowl = np.array(latent["bowl"])

    @property
    def task_description(self) -> str:
        """Names the colour of the block."""
        return f"put the {self.latent['colours'][0]} block into the bowl"

    def _in_bowl(self, block: np.ndarray) -> bool:
        """Whether a block at (3,) m lies in the bowl."""
        return block[2] < 0.055 and bool(np.hypot(*(block[:2] - self._bowl)) < IN_BOWL_M)

    def is_success(self) -> bool:
        """The named block lies in the bowl and the fingers have let go of it."""
        block = self.body_position("block0")
        return self._in_bowl(block) and (
            self.finger_travel() > OPEN_TRAVEL or self.tool_position()[2] > 0.12
        )

    def failed(self) -> bool:
        """The named block fell off the table."""
        return bool(self.body_position("block0")[2] < -0.05)

    def closeness(self) -> float:
        """Up to 0.3 for the hand near the block, up to 0.6 for the block near the bowl."""
        block = self.body_position("block0")
        near = max(0.0, 1.0 - float(np.linalg.norm(block - self.tool_position())) / 0.6)
        way = max(0.0, 1.0 - float(np.hypot(*(block[:2] - self._bowl))) / 0.7)
        return 0.3 * near + 0.6 * way

    def visible_state(self, qpos: np.ndarray) -> list[float]:
        """For each colour the block's place, m, or zeros; then x and y of the bowl, m."""
        state: list[float] = []
        for colour in COLOURS:
            if colour in self.latent["colours"]:
                block = self.body_position(f"block{self.latent['colours'].index(colour)}", qpos)
                state += [float(value) for value in block]
            else:
                state += [0.0, 0.0, 0.0]
        return [*state, float(self._bowl[0]), float(self._bowl[1])]

    def expert_action(self) -> np.ndarray:
        """Go down onto the block, close, lift it over to the bowl, open.

        Targets blend between phases with the places of hand and block, so that similar states
        have similar labels. A policy that errs by a centimetre still succeeds.
        """
        block, hand = self.body_position("block0"), self.tool_position()
        if self._in_bowl(block):
            return self._go(self._bowl, CARRY_Z, 1.0)
        offset = np.abs(block - hand)
        aside = float(max(offset[0], offset[1]))
        over_bowl = bool(np.hypot(*(hand[:2] - self._bowl)) < OVER_BOWL_M)
        around = aside < AROUND_M and offset[2] < 0.035
        if around and over_bowl and hand[2] > CLEAR_Z[0]:
            return self._go(self._bowl, CARRY_Z, 1.0)
        if around and EMPTY_TRAVEL < self.finger_travel() < HELD_TRAVEL:
            away = _blend(hand[2], *CLEAR_Z)
            return self._go(block[:2] + away * (self._bowl - block[:2]), CARRY_Z, -1.0)
        high = _blend(aside, *FUNNEL_M)
        closing = aside < AROUND_M and hand[2] < GRIP_Z + LOW_M
        return self._go(block[:2], GRIP_Z + high * (HOVER_Z - GRIP_Z), -1.0 if closing else 1.0)

    def _go(self, place: np.ndarray, z: float, gripper: float) -> np.ndarray:
        """Bring the grip point over (2,) ``place`` to height ``z``, m."""
        target = np.array([place[0], place[1], z])
        return joint_action(self.kinematics.inverse(target, HAND, posture=self.START), gripper)
