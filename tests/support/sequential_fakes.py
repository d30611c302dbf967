"""Plans and rows for tests of what a run computes next."""

from __future__ import annotations

from typing import Any

from neon_sim.benchmarks.runs.folder import Row
from neon_sim.benchmarks.runs.plan import Cell, PolicySpec, RunPlan

A, B, C = (PolicySpec(name, "network", ("video",), (0,)) for name in "abc")


def plan(*specs: PolicySpec, **changes: Any) -> RunPlan:
    values: dict[str, Any] = {"tasks": ("one",), "episodes": 60, "seed": 3, "until_decided": True}
    return RunPlan(specs or (A, B), **{**values, **changes})


def row(cell: Cell, episode: int, success: bool, seed: int = 3, **changes: Any) -> Row:
    """A finished episode."""
    return {
        **cell._asdict(),
        "seed": seed,
        "episode": episode,
        "initial_hash": f"{cell.task} {episode}",
        "success": success,
        "success_final": success,
        "progress": float(success),
        "steps": 10,
        "mean_jerk": 1.0,
        "boundary_jump": 0.0,
        "latency_steps": 0,
        "replan_steps": 4,
        "success_swapped": None,
        "limits": None,
        "error": None,
        "timing": {"wall_s": 0.1, "inference_ms_mean": 1.0, "observe_ms_mean": 1.0, "looks": 3},
        **changes,
    }
