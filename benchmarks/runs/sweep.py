"""Several chunk lengths and latencies in one run: each policy under each setting, on the same
episodes, so that a curve shows what a longer blind interval costs.

A swept policy runs under names of its own (``neon_tiny@replan8,late2``) and with one head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from neon_sim.chunks import ChunkExecutor
from neon_sim.clock import CONTROL_DT_S
from neon_sim.errors import ConfigError

from .plan import SWEPT, RunPlan


def swept(plan: RunPlan, replan_steps: Sequence[int], latency_steps: Sequence[int]) -> RunPlan:
    """The plan with every policy under every setting.

    Args:
        plan: of the run. replan_steps: control steps between two looks; empty for each
            policy's own. latency_steps: control steps a chunk comes late; empty for the run's.

    Returns:
        The same plan for one setting or none; policies keep their names then.

    Raises:
        ConfigError: a number outside the rules of ``ChunkExecutor``, or a sweep of a run that
            stops early.
    """
    looks, late = tuple(dict.fromkeys(replan_steps)), tuple(dict.fromkeys(latency_steps))
    for steps in looks:
        ChunkExecutor(steps)
    for steps in late:
        ChunkExecutor(1, steps)
    if plan.until_decided and max(len(looks), len(late)) > 1:
        raise ConfigError("--until-decided stops a run early, and a sweep needs all of it")
    settings = [(r, s) for s in late or (None,) for r in looks or (None,)]
    several = len(looks) > 1, len(late) > 1
    policies = [
        replace(
            spec,
            name=spec.name + _suffix(replan, latency, several),
            replan_steps=replan,
            latency_steps=latency if several[1] else None,
        )
        for spec in plan.policies
        for replan, latency in settings
    ]
    return replace(plan, policies=tuple(policies), latency_steps=(*late, plan.latency_steps)[0])


def _suffix(replan: int | None, latency: int | None, several: tuple[bool, bool]) -> str:
    parts = [f"replan{replan}"] * several[0] + [f"late{latency}"] * several[1]
    return SWEPT + ",".join(parts) if parts else ""


def setting_of(policy: str) -> str:
    """What a sweep set (``replan8,late2``); empty for a policy that is not swept."""
    return policy.partition(SWEPT)[2]


def setting_text(setting: str) -> str:
    """``replan8,late2`` in words: ``chunks of 8, 40 ms late``."""
    words = []
    for part in setting.split(","):
        if part.startswith("replan"):
            words.append(f"chunks of {part.removeprefix('replan')}")
        elif part.startswith("late"):
            words.append(lateness(int(part.removeprefix("late"))))
    return ", ".join(words)


def lateness(steps: int) -> str:
    """A latency in words: ``at once``, ``40 ms late``."""
    return "at once" if steps == 0 else f"{1000 * CONTROL_DT_S * steps:.0f} ms late"


def base_name(policy: str) -> str:
    """The policy that a sweep ran, without its setting."""
    return policy.partition(SWEPT)[0]
