"""``python -m neon_sim.pretrain backbone=neon_tiny out=DIR``: pretrain a small backbone.

Self-supervised: from the tokens alone a small decoder must draw the current frame, two
past and four future frames at half resolution, with the pixels that change and the edges
weighted up. So the tokens have to hold where everything is and how it moves. Neither task
labels nor actions nor simulator state are used. The image twin trains on the same clips,
the same targets and the same number of steps, but sees one frame.

A run resumes from its last checkpoint when it is started again with the same settings,
and then takes the same steps as an uninterrupted one.
"""

from __future__ import annotations

import inspect
from typing import Any

from neon_sim.registry import COMMANDS


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    return int(COMMANDS.resolve("pretrain")(argv))


def __getattr__(name: str) -> Any:
    """What the command's own module offers to callers from Python."""
    if name.startswith("__"):
        raise AttributeError(name)
    return getattr(inspect.getmodule(COMMANDS.resolve("pretrain")), name)


if __name__ == "__main__":
    raise SystemExit(main())
