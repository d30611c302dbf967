"""Small plans and made-up rows for tests of the runner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from neon_sim.benchmarks.runs.folder import (
    Row,
)
from neon_sim.benchmarks.runs.plan import RunPlan, make_plan

DRIFT, WATCHING = "bench_fakes:drift", "bench_fakes:watching"


def plan(policies: Sequence[str] = (DRIFT,), **changes: Any) -> RunPlan:
    """A small plan on arm_block, whose episodes are short."""
    values: dict[str, Any] = {
        "policies": policies,
        "conditions": [],
        "tasks": ["arm_block"],
        "suite": None,
        "episodes": 6,
        "seed": 3,
        "train_seeds": [0],
        "latency_steps": 0,
        "until_decided": False,
        "alpha": 0.05,
        "overrides": [],
    }
    return make_plan(**{**values, **changes})


def row(episode: int = 0, **changes: Any) -> Row:
    """A row of a made-up run."""
    values: Row = {
        "task": "arm_block",
        "policy": "p",
        "condition": "frame",
        "train_seed": 0,
        "seed": 0,
        "episode": episode,
        "initial_hash": f"{episode:064x}",
        "success": True,
        "success_final": True,
        "progress": 1.0,
        "steps": 10,
        "mean_jerk": 1.0,
        "boundary_jump": 0.0,
        "latency_steps": 0,
        "error": None,
        "timing": {"wall_s": 0.1, "inference_ms_mean": 1.0, "observe_ms_mean": 1.0, "looks": 3},
    }
    return {**values, **changes}
