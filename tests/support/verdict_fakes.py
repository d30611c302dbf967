"""Made-up rows and columns for tests of verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from neon_sim.benchmarks.runs.folder import Row

FRAME, VIDEO = ("p", "frame"), ("p", "video")


HOLD = ("hold", "scripted")


def row(column: tuple[str, str], episode: int, success: bool = True, **changes: Any) -> Row:
    """A row of run seed 5, whose numbers tell the episode."""
    return {
        "task": "one",
        "policy": column[0],
        "condition": column[1],
        "train_seed": None if column[1] == "scripted" else 0,
        "seed": 5,
        "episode": episode,
        "initial_hash": f"{episode:064x}",
        "success": success,
        "success_final": not success,
        "progress": episode / 10,
        "steps": 10 + episode,
        "mean_jerk": 2.0 * episode,
        "boundary_jump": 0.5 * episode,
        "latency_steps": 3,
        "replan_steps": 4,
        "success_swapped": None,
        "limits": None,
        "error": None,
        "timing": {"wall_s": 1.0 + episode, "inference_ms_mean": 4.0, "observe_ms_mean": 2.0},
        **changes,
    }


def column(which: tuple[str, str], outcomes_: Sequence[int], **changes: Any) -> list[Row]:
    return [row(which, episode, bool(won), **changes) for episode, won in enumerate(outcomes_)]


RAISED: dict[str, Any] = {"error": "RuntimeError: fire", "success": False, "success_final": False}
