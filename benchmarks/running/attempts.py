"""What a pool still has to compute, and what becomes of it when a process dies on the way.

A process that is killed, runs out of memory or crashes takes along the job it was in and nothing
else. The rows that had come are kept. The rest of the job is computed again, first as it was, then
episode by episode, so that one episode that always kills its process leaves the others alone. An
episode depends on nothing but its own key, so rows that were tried again are those of a run that
nobody disturbed. An episode that ended its process ``MAX_DEATHS`` times is a row with an error.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from neon_sim.errors import PolicyError, RunError

from ..runs.folder import Row
from .episode import lost_row
from .trial import Trial
from .worker import Work

MAX_DEATHS = 3  # of the processes that played one episode
MAX_TRIAL_DEATHS = 2
MEND = (
    "finished episodes are kept: run again with --resume, and with fewer --workers or a smaller "
    "--batch if it happens again"
)


@dataclass
class Attempt:
    """Something to compute, and what happened to it so far.

    Attributes:
        work: a job or a trial.
        deaths: how many processes died with it.
        done: its episodes whose rows have come.
    """

    work: Work
    deaths: int = 0
    done: set[int] = field(default_factory=set)


class Attempts:
    """The list of a pool's run.

    Args:
        works: all there is to compute. workers: how many processes compute it.
    """

    def __init__(self, works: Sequence[Work], workers: int) -> None:
        self._waiting = deque(Attempt(work) for work in works)
        self._deaths_in_vain = 0  # since the last row
        self._max_in_vain = MAX_DEATHS * (workers + 1)

    def __bool__(self) -> bool:
        """Whether anything waits to be begun."""
        return bool(self._waiting)

    def next(self) -> Attempt | None:
        """What to begin now; None when nothing waits."""
        return self._waiting.popleft() if self._waiting else None

    def came(self, attempt: Attempt, row: Row) -> Row:
        """Book a row of an attempt."""
        attempt.done.add(row["episode"])
        self._deaths_in_vain = 0
        return row

    def died(self, attempt: Attempt | None, how: str) -> list[Row]:
        """Book the death of a process: its work waits again, or is given up.

        Args:
            attempt: what it was computing, None when it had nothing to do yet.
            how: how it ended, as an error says it.

        Returns:
            The rows of what is given up.

        Raises:
            RunError: processes die and no rows come. PolicyError: a trial ends its process.
        """
        self._deaths_in_vain += 1
        lost = [] if attempt is None else self._again(attempt, how)
        if self._deaths_in_vain > self._max_in_vain:
            raise RunError(
                f"a worker process died ({how}), as {self._deaths_in_vain - 1} did before it "
                f"without a finished episode between; {MEND}"
            )
        return lost

    def _again(self, attempt: Attempt, how: str) -> list[Row]:
        work, deaths = attempt.work, attempt.deaths + 1
        if isinstance(work, Trial):
            if deaths >= MAX_TRIAL_DEATHS:
                raise PolicyError(
                    f"policy {work.spec.name!r} on {work.cell.task} under {work.cell.condition} "
                    f"ended the process that asked it for one chunk, {deaths} times ({how}); mend "
                    "the policy, or give it more memory; nothing was run"
                )
            self._waiting.appendleft(Attempt(work, deaths))
            return []
        left = tuple(episode for episode in work.episodes if episode not in attempt.done)
        if deaths >= MAX_DEATHS and len(left) == 1:
            text = f"WorkerDied: the process that played it ended {deaths} times ({how})"
            return [lost_row(work, left[0], text)]
        if left:
            shown = f"{len(left)} episodes" if len(left) > 1 else f"episode {left[0]}"
            print(
                f"note: a worker process died ({how}); {shown} of {work.cell.task} are computed "
                "again",
                file=sys.stderr,
            )
        parts = [left] if deaths < MAX_DEATHS - 1 else [(episode,) for episode in left]
        for part in reversed(parts if left else []):
            self._waiting.appendleft(Attempt(replace(work, episodes=part), deaths))
        return []
