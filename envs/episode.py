"""The small types of an episode: how it starts, and what counts as an action."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from neon_sim.errors import ActionError
from neon_sim.simulation.gl import mujoco


@dataclass
class Start:
    """The state in which an episode starts, filled by ``apply_latent``.

    Attributes:
        qpos, qvel: (nq,), (nv,) float64.
        mocap_pos, mocap_quat: (nmocap, 3), (nmocap, 4) float64.
    """

    qpos: np.ndarray
    qvel: np.ndarray
    mocap_pos: np.ndarray
    mocap_quat: np.ndarray

    @classmethod
    def default(cls, model: mujoco.MjModel) -> Start:
        """The model's default configuration at rest, with mocap bodies at the origin."""
        return cls(
            qpos=model.qpos0.copy(),
            qvel=np.zeros(model.nv),
            mocap_pos=np.zeros((model.nmocap, 3)),
            mocap_quat=np.tile([1.0, 0.0, 0.0, 0.0], (model.nmocap, 1)),
        )


def check_action(action: ArrayLike, size: int) -> list[float]:
    """Turn an action into ``size`` numbers.

    Raises:
        ActionError: not numeric, another shape, or a value that is not finite; the message names
            the index, the value and the rule.
    """
    try:
        array = np.asarray(action)
    except (TypeError, ValueError) as error:
        raise ActionError(f"action must be {size} numbers in [-1, 1] ({error})") from error
    if array.dtype.kind not in "fiu":
        raise ActionError(f"action must be {size} numbers in [-1, 1] (got {array.dtype.name})")
    if array.shape != (size,):
        raise ActionError(f"action must have shape ({size},) (got {array.shape})")
    values: list[float] = array.astype(np.float64).tolist()
    for index, value in enumerate(values):
        if not math.isfinite(value):
            raise ActionError(f"action[{index}] must be finite in [-1, 1] (got {value})")
    return values
