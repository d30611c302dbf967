"""The base class of the sound tasks whose choice is to touch one of several knobs."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from neon_sim.contracts import Cue

from ..contract import L
from ..hearing import HearingTask
from ..posts import ASIDE
from .robot import READY, joint_action
from .task import ArmTask

OVER_M = 0.09  # height above a knob at which the fingertip approaches it
NEAR_M = 0.04  # m beside a knob at which it is down; from there outwards it rises at 45 degrees


class TouchTask(HearingTask[L], ArmTask[L]):
    """The choice is the knob that the fingertip touches first; knob i stands for ``cues()[i]``.

    ``apply_latent`` places the knobs, by ``place_posts`` or in ``self._knobs`` (N, 3), m.

    Class attributes:
        TOUCH_M: distance from fingertip to the middle of a knob that counts as a touch.
    """

    START: ClassVar[np.ndarray] = READY
    START_GRIPPER = -1.0
    MIN_START_HEIGHT_M = 0.17
    TOUCH_M: ClassVar[float] = 0.045
    _knobs: np.ndarray

    def place_posts(self, knobs: np.ndarray) -> None:
        """Move ``post{i}`` so that the middle of its knob is at row i of (N, 3) ``knobs``, m.

        The z of a knob must be its height in the model, since posts move along x and y alone.
        """
        self._knobs = knobs
        for index, knob in enumerate(knobs):
            self.model.body(f"post{index}").pos[:2] = knob[:2]

    def knows(self) -> bool:
        """Whether a policy that hears can know the cue now."""
        raise NotImplementedError

    def seek_action(self) -> np.ndarray:
        """The expert's action while it cannot know the cue: wait in the start pose."""
        return joint_action(self.START, -1.0)

    def distances(self) -> np.ndarray:
        """(N,) m from the fingertip to each knob."""
        offsets = self._knobs - self.tool_position()
        distances: np.ndarray = np.sqrt((offsets * offsets).sum(axis=1))
        return distances

    def choice(self) -> Cue | None:
        """The cue for which the touched knob stands."""
        distances = self.distances()
        nearest = int(distances.argmin())
        return self.cues()[nearest] if distances[nearest] < self.TOUCH_M else None

    def right_knob(self) -> int:
        """Index of the knob that stands for the cue that sounds."""
        return self.cues().index(self.cue)

    def closeness(self) -> float:
        """How near the fingertip is to the nearest knob, in [0, 0.5]."""
        rest = max(float(self.distances().min()) - self.TOUCH_M, 0.0)
        return 0.5 * max(0.0, 1.0 - rest / 0.6)

    def visible_state(self, qpos: np.ndarray) -> list[float]:
        """x and y of each knob, m."""
        del qpos  # the knobs stand still
        return [float(value) for value in self._knobs[:, :2].ravel()]

    def expert_action(self) -> np.ndarray:
        """Seek until the cue can be known, then go above the other knobs to the right one."""
        if not (self.knows() or self._chosen is not None):
            return self.seek_action()
        target = self._knobs[self.right_knob()] + ASIDE
        x, y, _ = (self.tool_position() - target).tolist()
        over = OVER_M * min(max(math.hypot(x, y) - NEAR_M, 0.0) / OVER_M, 1.0)
        return self.reach(target + np.array([0.0, 0.0, over]))

    def reach(self, point: np.ndarray) -> np.ndarray:
        """Bring the fingertip to (3,) ``point``, m, with the hand pointing away from the base."""
        return self.touch_action(point, math.atan2(point[1], point[0]))
