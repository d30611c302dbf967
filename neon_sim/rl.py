"""``python -m neon_sim.rl task=NAME out=DIR``: train a policy with PPO of stable-baselines3.

On every registered task, from state or from pixels (``observe=pixels``), and on ``balance``, the
residual that keeps the humanoid up (``lower="learned"``). ``neon-bench run --policy ppo
checkpoint=DIR/ppo-seed0.safetensors`` plays the result beside every other policy.

A run that was stopped goes on with ``--resume`` and ends with the same weights as one that was
not. ``out`` holds the policy (``ppo-seed<k>.safetensors``), one checkpoint a block, and the
learning curve (``.curve.json``).
"""

from __future__ import annotations

import inspect
from typing import Any

from neon_sim.registry import COMMANDS


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    return int(COMMANDS.resolve("rl")(argv))


def __getattr__(name: str) -> Any:
    """What the command's own module offers to callers from Python."""
    if name.startswith("__"):
        raise AttributeError(name)
    return getattr(inspect.getmodule(COMMANDS.resolve("rl")), name)


if __name__ == "__main__":
    raise SystemExit(main())
