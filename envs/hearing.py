"""What the sound tasks share: a cue that only sound tells, and one irrevocable choice.

Nothing but what is heard depends on the cue: no body, no colour, no contact, no word. So a deaf
policy succeeds no more often than chance, ``1 / len(cues())``, and a gain is hearing.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from neon_sim.clock import TICKS_PER_CONTROL

from .task import Task

NOTHING = "nothing"  # a choice that is right for no cue
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
