"""``python -m neon_sim.train policy=neon_tiny condition=video data=DIR out=DIR``: train a head.

Every window goes through the frozen backbone once (``neon_sim.policies.training.feature_cache``);
training then reads features. Batches depend on data and seed alone, so every condition sees the
same windows in the same order. A run that is killed goes on from its last saved state and ends with
the same weights as one that was not. The result is ``<out>/<condition>-seed<k>.safetensors`` with a
training curve beside it.
"""

from __future__ import annotations

import inspect
from typing import Any

from neon_sim.registry import COMMANDS


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    return int(COMMANDS.resolve("train")(argv))


def __getattr__(name: str) -> Any:
    """What the command's own module offers to callers from Python."""
    if name.startswith("__"):
        raise AttributeError(name)
    return getattr(inspect.getmodule(COMMANDS.resolve("train")), name)


if __name__ == "__main__":
    raise SystemExit(main())
