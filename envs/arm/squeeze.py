"""The base class of the sound tasks whose choice is to shut the gripper on a handle.

Unlike a touch, shutting the gripper does not happen on the way: an arm that is a centimetre off
has not chosen yet.
"""

from __future__ import annotations

import numpy as np

from neon_sim.simulation.gl import mujoco

from ..contract import L
from ..hearing import HearingTask
from ..scene import BOX, COLOURS, OBJECT_BITS
from .robot import hand_rotation, joint_action
from .task import ArmTask

HANDLE_HALF = (0.018, 0.012, 0.03)  # m; fingers that open along x straddle it
OPEN_TRAVEL_M = 0.032  # m of finger travel below which the gripper counts as shut
HELD_M = 0.05  # m from a handle within which a shut gripper has squeezed it
ALONG_M, ACROSS_M = 0.025, 0.017  # m along y and x within which a handle is between the fingers
LOW_M = 0.045  # m above a handle's place below which the fingers are down
HIGH_M = 0.09  # m above a handle's place at which the fingers are clear of all handles
HAND = hand_rotation("x")


def add_handle(body: mujoco.MjsBody, name: str, top: float) -> None:
    """Add a blue bar that stands on a body, ``top`` m above the body's origin."""
    body.add_geom(
        name=name,
        type=BOX,
        size=HANDLE_HALF,
        pos=[0, 0, top + HANDLE_HALF[2]],
        mass=0.02,
        rgba=COLOURS["blue"],
        **OBJECT_BITS,
    )


class SqueezeTask(HearingTask[L], ArmTask[L]):
    """The choice is the handle on which the gripper shuts.

    ``apply_latent`` sets ``self._places`` (N, 3), m: the tool point astride each handle.
    """

    _places: np.ndarray

    def squeezed(self) -> int | None:
        """Index of the handle on which the gripper is shut, -1 for none; None while it is open."""
        if self.finger_travel() > OPEN_TRAVEL_M:
            return None
        off = np.abs(self._places - self.tool_position())[:, :2].max(axis=1)
        return int(off.argmin()) if off.min() < HELD_M else -1

    def astride(self, index: int) -> tuple[bool, bool]:
        """Whether a handle is between the fingers, seen from above, and whether they are down."""
        across, aside, above = np.abs(self.tool_position() - self._places[index]).tolist()
        return aside < ALONG_M and across < ACROSS_M, above < LOW_M

    def go(self, place: np.ndarray, gripper: float = 1.0, above: float = 0.0) -> np.ndarray:
        """Bring the tool point to ``above`` m over (3,) ``place``, m; the hand points down."""
        target = place + np.array([0.0, 0.0, above])
        joints = self.kinematics.inverse(target, HAND, posture=self.START)
        return joint_action(joints, gripper)
