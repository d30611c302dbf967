"""What the sound tasks share whose choice is to shut the gripper on a handle.

A gripper shuts on purpose: unlike a touch it does not happen on the way, so an arm that is a
centimetre off has not chosen yet.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..hearing import HearingTask
from ..scene import BOX, COLOURS, OBJECT_BITS
from .robot import hand_rotation, joint_action
from .task import ArmTask

HANDLE_HALF = (0.018, 0.012, 0.03)  # m; fingers that open along x straddle it
OPEN_TRAVEL_M = 0.032  # of a finger; below it the gripper shuts
HELD_M = 0.05  # what a shut gripper must be near
ALONG_M, ACROSS_M = 0.025, 0.017  # of the hand from a handle, y and x: it is between the fingers
LOW_M, HIGH_M = 0.045, 0.09  # of the hand over a handle's place: in the way of others; clear of it
HAND = hand_rotation("x")


def add_handle(body: Any, name: str, top: float) -> None:
    """A blue bar that stands on a body, its foot ``top`` m above the body's origin."""
    body.add_geom(
        name=name,
        type=BOX,
        size=HANDLE_HALF,
        pos=[0, 0, top + HANDLE_HALF[2]],
        mass=0.02,
        rgba=COLOURS["blue"],
        **OBJECT_BITS,
    )


class SqueezeTask(HearingTask, ArmTask):
    """``self._places`` (N, 3) m, set in ``apply_latent``: the tool point astride each handle."""

    _places: np.ndarray

    def squeezed(self) -> int | None:
        """Index of the handle that is between the fingers as they shut; -1 none; None: open."""
        if self.finger_travel() > OPEN_TRAVEL_M:
            return None
        off = np.abs(self._places - self.tool_position())[:, :2].max(axis=1)
        return int(off.argmin()) if off.min() < HELD_M else -1

    def astride(self, index: int) -> tuple[bool, bool]:
        """Whether a handle is between the fingers, seen from above; whether they are down."""
        across, aside, above = np.abs(self.tool_position() - self._places[index]).tolist()
        return aside < ALONG_M and across < ACROSS_M, above < LOW_M

    def go(self, place: np.ndarray, gripper: float = 1.0, above: float = 0.0) -> np.ndarray:
        """Hand pointing down, tool point ``above`` a (3,) place in m."""
        target = place + np.array([0.0, 0.0, above])
        joints = self.kinematics.inverse(target, HAND, posture=self.START)
        return joint_action(joints, gripper)
