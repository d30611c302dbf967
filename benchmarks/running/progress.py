"""The progress bar of a run: how many episodes, what is playing, when it ends."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

from tqdm import tqdm

from ..runs.folder import Row, RunFolder
from ..runs.plan import Cell, RunPlan


class Bar:
    """Shows rows as they come; silent when asked to be.

    Args:
        plan: tells the total. folder: tells what is done already.
    """

    def __init__(self, plan: RunPlan, folder: RunFolder, *, quiet: bool) -> None:
        total = sum(len(list(plan.cells(task))) for task in plan.tasks) * plan.episodes
        done = 0
        if folder.episodes.exists():
            done = sum(row["error"] is None for row in folder.read_rows())
        self._wins: dict[Cell, list[int]] = {}
        self._bar: Any = tqdm(
            total=total,
            initial=min(done, total),
            unit="ep",
            disable=quiet,
            file=sys.stderr,
            dynamic_ncols=True,
            mininterval=0.5 if sys.stderr.isatty() else 15.0,
        )

    def __call__(self, row: Row) -> None:
        """Count one row."""
        cell = Cell(row["task"], row["policy"], row["condition"], row["train_seed"])
        wins = self._wins.setdefault(cell, [0, 0])
        wins[0] += row["success"]
        wins[1] += 1
        name = row["policy"] if row["train_seed"] is None else row["condition"]
        self._bar.set_postfix_str(f"{row['task']} {name} {wins[0]}/{wins[1]}", refresh=False)
        self._bar.update()

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._bar.close()
