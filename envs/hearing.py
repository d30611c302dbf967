"""What the sound tasks share: a cue that only sound tells, and one irrevocable choice.

Nothing but what is heard depends on the cue: no body, no colour, no contact, no word. So a deaf
policy succeeds no more often than chance, ``1 / len(cues())``, and a gain is hearing.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from neon_sim.clock import TICKS_PER_CONTROL

from .arm import READY, joint_action
from .base import ArmTask
from .posts import ASIDE
from .task import Task

NOTHING = "nothing"  # a choice that is right for no cue
NEAR_M, OVER_M = 0.04, 0.09  # the fingertip comes down on a knob at 45 degrees, from 9 cm above
HEARING_TICKS = TICKS_PER_CONTROL  # from a sound's end to the observation that holds all of it


class HearingTask(Task):
    """One cue is drawn, evenly, among those that fit the scene; what is done first counts.

    It stands before the robot's task among the bases: ``class MyTask(HearingTask, ArmTask)``.

    A task writes ``sample_scene`` instead of ``sample_latent``, ``cues_of`` instead of ``cues``,
    and ``choice``; ``apply_latent`` and ``after_step`` are extended, not replaced.
    """

    MICROPHONES: ClassVar[tuple[str, ...]] = ("mono",)

    def sample_scene(self, rng: np.random.Generator) -> dict[str, Any]:
        """Draw what varies between episodes but for the cue, as JSON values."""
        raise NotImplementedError

    def cues_of(self, scene: dict[str, Any]) -> list[Any]:
        """Every value that the cue may have in a scene; JSON."""
        raise NotImplementedError

    def choice(self) -> Any:
        """The cue that what happens now is right for, ``NOTHING`` where it is wrong for all;
        None while nothing is chosen. Asked after each control step until it answers."""
        raise NotImplementedError

    def sample_latent(self, rng: np.random.Generator) -> dict[str, Any]:
        """The scene, and under ``CUE`` one of its cues."""
        scene = self.sample_scene(rng)
        cues = self.cues_of(scene)
        return {**scene, self.CUE: cues[int(rng.integers(len(cues)))]}

    def apply_latent(self, latent: dict[str, Any]) -> None:
        """Nothing is chosen yet."""
        self._chosen: Any = None

    def after_step(self) -> None:
        """Remember the first choice."""
        if self._chosen is None:
            self._chosen = self.choice()

    def cues(self) -> list[Any]:
        """Every value that the cue may have in this episode."""
        return self.cues_of(self.latent)

    def fits(self, cue: Any) -> bool:
        """Whether the choice is made, and right for ``cue``."""
        return self._chosen is not None and bool(self._chosen == cue)

    def is_success(self) -> bool:
        """The choice is right for the cue that sounded."""
        return self.fits(self.latent[self.CUE])

    def failed(self) -> bool:
        """Another choice was made."""
        return self._chosen is not None and not self.is_success()


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
