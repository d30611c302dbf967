"""Run folders with given success rates, written without playing anything."""

from __future__ import annotations

from pathlib import Path

from neon_sim.benchmarks.runs.folder import Row, RunFolder, dump_row
from neon_sim.benchmarks.runs.plan import make_plan
from neon_sim.files import write_json, write_whole


def made_up_row(task: str, condition: str, train_seed: int, episode: int, success: bool) -> Row:
    """A row as a run would write it."""
    return {
        "task": task,
        "policy": "neon_tiny",
        "condition": condition,
        "train_seed": train_seed,
        "seed": 0,
        "episode": episode,
        "initial_hash": f"{task}-{episode}",
        "success": success,
        "success_final": success,
        "progress": float(success),
        "steps": 50,
        "mean_jerk": 1000.0,
        "boundary_jump": 0.01,
        "latency_steps": 0,
        "error": None,
        "timing": {"wall_s": 1.0, "inference_ms_mean": 5.0, "observe_ms_mean": 1.0, "looks": 12},
    }


def made_up_run(
    path: Path, rates: dict[str, dict[str, float]], *, episodes: int = 60, seeds: int = 1
) -> RunFolder:
    """A run folder with given success rates by task and condition, without playing anything."""
    plan = make_plan(
        policies=["neon_tiny"],
        conditions=list(next(iter(rates.values()))),
        tasks=list(rates),
        suite=None,
        episodes=episodes,
        seed=0,
        train_seeds=list(range(seeds)),
        latency_steps=0,
        until_decided=False,
        alpha=0.05,
        overrides=[],
    )
    rows = [
        made_up_row(task, word, s, e, ((7 * e + s) % episodes) < round(rate * episodes))
        for task, by_condition in rates.items()
        for word, rate in by_condition.items()
        for s in range(seeds)
        for e in range(episodes)
    ]
    folder = RunFolder(path)
    folder.create()
    write_whole(folder.episodes, "".join(dump_row(row) + "\n" for row in rows))
    write_json(folder.manifest, {"config": plan.resolved(), "decisions": {}})
    return folder


def oracle_rows(task: str, rates: dict[str, float], episodes: int = 100) -> list[Row]:
    """Rows of the heads and scripted policies of a certificate."""
    rows = []
    for word, rate in rates.items():
        for episode in range(episodes):
            made = made_up_row(task, word, 0, episode, (7 * episode) % 100 < 100 * rate)
            if word in ("expert", "hold", "random"):
                made |= {"policy": word, "condition": "scripted", "train_seed": None}
            rows.append(made)
    return rows
