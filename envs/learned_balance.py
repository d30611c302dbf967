"""``learned``: the scripted ``standing`` and, on top of it, a learned residual.

Every control step a small network reads the inertial sensor, the legs and the centre of mass,
and shifts the motor set points of the legs and the waist by at most ``RESIDUAL_RAD``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from neon_sim.clock import TICKS_PER_CONTROL
from neon_sim.world import World

from .episode import Start
from .humanoid import LEGS, WAIST, joint_table
from .lower_body import Standing, up_in_body

BODY = slice(LEGS.start, WAIST.stop)  # the joints it shifts: 12 of the legs, 3 of the waist
NUM_BODY = BODY.stop - BODY.start
_LEG = (0.5, 0.3, 0.2, 0.5, 0.2, 0.15)  # rad
RESIDUAL_RAD = np.array([*_LEG * 2, 0.3, 0.3, 0.4])
SMOOTHING = 0.5  # share of the way to the wished shift that one control step goes
NUM_CENTRE = 10  # numbers of the observation before the joints
OBSERVATION_DIM = NUM_CENTRE + 3 * NUM_BODY
_T = np.arange(1, TICKS_PER_CONTROL + 1)[:, None] / TICKS_PER_CONTROL
# Left and right exchanged: which number goes where, and its sign.
_LEG_SIGNS = (1, -1, -1, 1, 1, -1)
MIRROR_JOINTS = np.array([*range(6, 12), *range(6), 12, 13, 14])
MIRROR_SIGNS = np.array([*_LEG_SIGNS * 2, -1, -1, 1.0])
_CENTRE_SIGNS = (1, -1, -1, 1, -1, 1, -1, 1, -1, 1)  # up, rates, centre, height

Residual = Callable[[np.ndarray], np.ndarray]


def mirror_observation() -> tuple[np.ndarray, np.ndarray]:
    """(55,) places and signs of an observation seen in a mirror."""
    joints = [NUM_CENTRE + part * NUM_BODY + MIRROR_JOINTS for part in range(3)]
    places = np.concatenate([np.arange(NUM_CENTRE), *joints])
    return places, np.concatenate([_CENTRE_SIGNS, *[MIRROR_SIGNS] * 3])


class Learned(Standing):
    """``Standing`` with a residual on the set points of legs and waist.

    Attributes:
        residual: from the observation (55,) to (15,) in [-1, 1].
    """

    def __init__(self, world: World, step: Callable[[np.ndarray], None]) -> None:
        super().__init__(world, step)
        self.residual: Residual = lambda observation: np.zeros(NUM_BODY)
        self._shift = np.zeros(NUM_BODY)

    def begin(self, start: Start) -> None:
        """No shift yet."""
        self._shift = np.zeros(NUM_BODY)

    def observe(self) -> np.ndarray:
        """What the residual sees, each about 1 in size.

        Returns:
            (55,) float32: up in the pelvis frame (2), turning rate (3), centre of mass and its
            rate (4), height of the pelvis, joints, their rates and the present shift (15 each).
        """
        data, table = self.world.data, joint_table()
        up = up_in_body(data.qpos[3:7])
        ahead, left, ahead_rate, left_rate = self.com_state()
        parts = [
            np.array([4 * up[0], 4 * up[1]]),
            data.qvel[3:6],
            [10 * ahead, 10 * left, 2 * ahead_rate, 2 * left_rate],
            [10 * (data.qpos[2] - table.height)],
            4 * (data.qpos[7:][BODY] - table.stand[BODY]),
            0.3 * data.qvel[6:][BODY],
            self._shift / RESIDUAL_RAD,
        ]
        return np.clip(np.concatenate(parts), -5.0, 5.0).astype(np.float32)

    def drive(self, points: np.ndarray, command: np.ndarray) -> None:
        """One control step of ``Standing`` with the residual added."""
        wished = np.clip(self.residual(self.observe()), -1.0, 1.0) * RESIDUAL_RAD
        change = SMOOTHING * (wished - self._shift)
        points[:, BODY] += self._shift + _T * change
        self._shift, self.change = self._shift + change, change
        super().drive(points, command)
