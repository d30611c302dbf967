"""Bodies that follow a plan, whatever happens around them: a shell game's cups, a moving camera.

They hang on slide joints, so that a configuration tells where they are. At the end of each
control step they are put where the plan wants them, with the velocity that leads to the next
place, so that no error adds up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from neon_sim.clock import CONTROL_DT_S
from neon_sim.simulation.gl import mujoco

from ..episode import Start

Path = Callable[[int], np.ndarray]  # control step -> (n,) m along the joints


def add_slides(body: Any, axes: str) -> None:
    """Let a body move along some of ``xyz``; it has no weight. Joints: ``<body>_x`` and so on."""
    body.gravcomp = 1.0
    for axis in axes:
        body.add_joint(
            name=f"{body.name}_{axis}",
            type=mujoco.mjtJoint.mjJNT_SLIDE,
            axis=np.eye(3)["xyz".index(axis)],
        )


class Rails:
    """Moves slide joints along a path.

    Args:
        model: compiled. joints: n names, in the order of a path's numbers.
    """

    def __init__(self, model: Any, joints: Sequence[str]) -> None:
        self._q = [int(model.joint(name).qposadr[0]) for name in joints]
        self._v = [int(model.joint(name).dofadr[0]) for name in joints]

    def begin(self, start: Start, path: Path) -> None:
        """Let an episode start on the path."""
        self.follow(start, path, 0)

    def follow(self, state: Any, path: Path, step: int) -> None:
        """Put ``state`` (``qpos``, ``qvel``) where the path is at a control step."""
        here, there = path(step), path(step + 1)
        state.qpos[self._q] = here
        state.qvel[self._v] = (there - here) / CONTROL_DT_S

    def place(self, qpos: np.ndarray) -> np.ndarray:
        """(n,) m along the joints in a configuration."""
        return qpos[self._q]
