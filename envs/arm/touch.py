"""Tasks of touching one of several things, of which only the ears tell which."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from ..hearing import HearingTask
from ..posts import ASIDE
from .robot import READY, joint_action
from .task import ArmTask

NEAR_M, OVER_M = 0.04, 0.09  # the fingertip comes down on a knob at 45 degrees, from 9 cm above


class TouchTask(HearingTask, ArmTask):
    """The choice is the knob that the fingertip touches first; knob i stands for ``cues()[i]``.

    Where the knobs are, ``self._knobs`` (N, 3) in m, is set in ``apply_latent``.

    Class attributes:
        TOUCH_M: from fingertip to the middle of a knob.
    """

    START: ClassVar[np.ndarray] = READY
    START_GRIPPER = -1.0
    MIN_START_HEIGHT_M = 0.17
    TOUCH_M: ClassVar[float] = 0.045
    _knobs: np.ndarray

    def knows(self) -> bool:
        """Whether a policy that hears can know the cue by now."""
        raise NotImplementedError

    def seek_action(self) -> np.ndarray:
        """What the expert does while it cannot know the cue: wait where it started."""
        return joint_action(self.START, -1.0)

    def distances(self) -> np.ndarray:
        """(N,) m from the fingertip to each knob."""
        offsets = self._knobs - self.tool_position()
        return np.sqrt((offsets * offsets).sum(axis=1))

    def choice(self) -> Any:
        """What the touched knob stands for."""
        distances = self.distances()
        nearest = int(distances.argmin())
        return self.cues()[nearest] if distances[nearest] < self.TOUCH_M else None

    def right_knob(self) -> int:
        """Index of the knob that stands for the cue that sounds."""
        return self.cues().index(self.latent[self.CUE])

    def closeness(self) -> float:
        """How near the fingertip is to a knob, whichever; at most a half."""
        rest = max(float(self.distances().min()) - self.TOUCH_M, 0.0)
        return 0.5 * max(0.0, 1.0 - rest / 0.6)

    def visible_state(self, qpos: np.ndarray) -> list[float]:
        """x and y of each knob."""
        del qpos  # they stand still
        return [float(value) for value in self._knobs[:, :2].ravel()]

    def expert_action(self) -> np.ndarray:
        """Seek until the cue can be known, then over the others to the knob that stands for it."""
        if not (self.knows() or self._chosen is not None):
            return self.seek_action()
        target = self._knobs[self.right_knob()] + ASIDE
        x, y, _ = (self.tool_position() - target).tolist()
        over = OVER_M * min(max(math.hypot(x, y) - NEAR_M, 0.0) / OVER_M, 1.0)
        return self.reach(target + np.array([0.0, 0.0, over]))

    def reach(self, point: np.ndarray) -> np.ndarray:
        """Bring the fingertip to (3,) ``point`` in m, pointing away from the base."""
        return self.touch_action(point, math.atan2(point[1], point[0]))
