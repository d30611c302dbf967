"""The small types of an episode: how it starts, its twins, and what counts as an action."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from neon_sim.errors import ActionError


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


@dataclass(frozen=True)
class Twins:
    """Two episodes that look the same now and need different actions.

    Attributes:
        latent_a, latent_b: latents for ``reset(options={"latent": ...})``.
        steps: control steps to hold the start pose until frame and proprioception agree.
    """

    latent_a: dict[str, Any]
    latent_b: dict[str, Any]
    steps: int


def check_action(action: Any, size: int) -> list[float]:
    """Turn an action into ``size`` numbers.

    Raises:
        ActionError: no numbers, wrong shape, or a value that is not finite; names index, value
            and rule.
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
