"""What the sound tasks share: a cue that only sound tells, and one irrevocable choice.

Nothing but sound depends on the cue: no body, no colour, no contact, no word. A deaf policy
therefore succeeds no more often than chance, ``1 / len(cues())``, and any gain comes from hearing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, TypeVar

import numpy as np

from neon_sim.clock import TICKS_PER_CONTROL
from neon_sim.contracts import Cue

from .contract import L
from .task import Task

C = TypeVar("C", bound=Cue)

NOTHING = "nothing"  # a choice that is right for no cue
HEARING_TICKS = TICKS_PER_CONTROL  # from a sound's end to the observation that holds all of it


class HearingTask(Task[L]):
    """A cue is drawn uniformly from those that fit the scene. Only the first choice counts.

    List it before the robot's task among the bases:
    ``class MyTask(HearingTask[MyLatent], ArmTask[MyLatent])``.

    A task writes ``sample_latent`` (the cue last, by ``draw_cue``), ``cues_of`` instead of
    ``cues``, and ``choice``. ``apply_latent`` and ``after_step`` must call ``super()``.
    """

    MICROPHONES: ClassVar[tuple[str, ...]] = ("mono",)

    def cues_of(self, latent: L) -> Sequence[Cue]:
        """Every value that the cue may have in the scene of a latent; never reads the cue."""
        raise NotImplementedError

    def choice(self) -> Cue | None:
        """The cue for which the robot's choice is right; None while it has not chosen.

        ``NOTHING`` means that the choice is wrong for every cue. Called after each control step
        until it returns a choice.
        """
        raise NotImplementedError

    def apply_latent(self, latent: L) -> None:
        """Forget the choice of the episode before."""
        self._chosen: Cue | None = None

    def after_step(self) -> None:
        """Record the first choice."""
        if self._chosen is None:
            self._chosen = self.choice()

    @property
    def cue(self) -> Cue:
        """``latent[CUE]``: the cue that sounds in this episode."""
        cue = self.latent[self.CUE]
        assert isinstance(cue, int | str)
        return cue

    def cues(self) -> Sequence[Cue]:
        """Every value that the cue may have in this episode."""
        return self.cues_of(self.latent)

    def fits(self, cue: Cue) -> bool:
        """Whether the choice has been made and is right for ``cue``."""
        return self._chosen is not None and self._chosen == cue

    def is_success(self) -> bool:
        """The choice is right for the cue that sounds."""
        return self.fits(self.cue)

    def failed(self) -> bool:
        """The choice is wrong."""
        return self._chosen is not None and not self.is_success()


def draw_cue(rng: np.random.Generator, cues: Sequence[C]) -> C:
    """Draw one of the cues, each with the same probability."""
    return cues[int(rng.integers(len(cues)))]
