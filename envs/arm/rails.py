"""Bodies that follow a prescribed path: a shell game's cups, a moving camera.

They have slide joints, so their places are part of a configuration. At the end of each control
step they are set on the path, with the velocity that leads to its next place, so that no error
accumulates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from neon_sim.clock import CONTROL_DT_S
from neon_sim.simulation.gl import mujoco

from ..episode import Start

Path = Callable[[int], np.ndarray]  # control step -> (n,) m along the joints


class State(Protocol):
    """Positions (nq,) and velocities (nv,): ``mujoco.MjData`` or ``Start``."""

    qpos: np.ndarray
    qvel: np.ndarray


def add_slides(body: mujoco.MjsBody, axes: str) -> None:
    """Let a body slide along ``axes``, letters of ``xyz``, without weight.

    The joints are named ``<body>_x``, ``<body>_y`` and ``<body>_z``.
    """
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
        model: compiled. joints: n names, in the order of the numbers of a path.
    """

    def __init__(self, model: mujoco.MjModel, joints: Sequence[str]) -> None:
        self._q = [int(model.joint(name).qposadr[0]) for name in joints]
        self._v = [int(model.joint(name).dofadr[0]) for name in joints]

    def begin(self, start: Start, path: Path) -> None:
        """Start an episode on the path."""
        self.follow(start, path, 0)

    def follow(self, state: State, path: Path, step: int) -> None:
        """Set ``state`` to the place and velocity of the path at a control step."""
        here, there = path(step), path(step + 1)
        state.qpos[self._q] = here
        state.qvel[self._v] = (there - here) / CONTROL_DT_S

    def place(self, qpos: np.ndarray) -> np.ndarray:
        """(n,) m: places along the joints in a configuration."""
        return np.array(qpos[self._q])
