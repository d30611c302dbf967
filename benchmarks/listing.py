"""``neon-bench list``: what there is, one line each."""

from __future__ import annotations

from neon_sim.conditions import CONDITIONS
from neon_sim.config import PolicyConfig, config_names, load_config
from neon_sim.registry import POLICY_PARTS, TASKS

from .plan import PPO
from .scripted import SCRIPTED
from .suites import load_suite, suite_names
from .tables import align

ABOUT_SCRIPTED = {
    "expert": "the task's scripted expert, with all of the simulator's state",
    "random": "a random target every 0.32 s",
    "hold": "never moves",
}


def listing(what: str) -> str:
    """Names of one kind with a word about each.

    Args:
        what: ``tasks``, ``policies``, ``conditions``, ``backbones`` or ``suites``.
    """
    return align(ROWS[what]())


def _tasks() -> list[tuple[str, ...]]:
    return [(entry.name, entry.env_id, entry.kind) for entry in TASKS.values()]


def _policies() -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [(name, "scripted", ABOUT_SCRIPTED[name]) for name in SCRIPTED]
    for word in ("oracle_memoryless", "oracle_history"):
        rows.append((word, "oracle", f"a head on {CONDITIONS[word].about}"))
    rows.append((PPO, "learner", "PPO on state or pixels; checkpoint= of python -m neon_sim.rl"))
    for name in config_names("policy"):
        if name in SCRIPTED:
            continue
        config = load_config(PolicyConfig, "policy", name, [])
        mechanism = [] if config.temporal == "none" else [config.temporal]
        parts = " + ".join([config.backbone, *mechanism, config.fusion, config.head])
        rows.append((name, "network", f"{parts}, by default {config.condition}"))
    return rows


def _conditions() -> list[tuple[str, ...]]:
    return [(c.name, c.about) for c in CONDITIONS.values()]


def _backbones() -> list[tuple[str, ...]]:
    return list(POLICY_PARTS.resolve("backbone_rows")())


def _suites() -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for name in suite_names():
        suite = load_suite(name)
        rows.append((name, f"{suite.episodes} episodes", ", ".join(suite.tasks)))
    return rows


ROWS = {
    "tasks": _tasks,
    "policies": _policies,
    "conditions": _conditions,
    "backbones": _backbones,
    "suites": _suites,
}
