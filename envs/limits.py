"""How long joints spend at their limits of position, velocity and torque."""

from __future__ import annotations

import numpy as np

KINDS = ("position", "velocity", "torque")
NEAR_LIMIT_RAD = 0.01  # rad from the end of its range at which a joint counts as at its limit
NEAR_TORQUE = 0.99  # share of the largest torque that counts as at the limit


class LimitMeter:
    """Records J joints step by step and reports the share of steps spent at each limit.

    Args:
        low, high: (J,) rad. velocity: (J,) rad/s. torque: (J,) Nm.
    """

    def __init__(
        self, low: np.ndarray, high: np.ndarray, velocity: np.ndarray, torque: np.ndarray
    ) -> None:
        self._low, self._high = low + NEAR_LIMIT_RAD, high - NEAR_LIMIT_RAD
        self._velocity, self._torque = velocity, NEAR_TORQUE * torque
        self.reset()

    def reset(self) -> None:
        """Begin an episode."""
        self._seen: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def count(self, position: np.ndarray, velocity: np.ndarray, torque: np.ndarray) -> None:
        """Record the end of a control step: (J,) rad, rad/s and Nm."""
        self._seen.append((position.copy(), velocity.copy(), torque.copy()))

    def _at(self) -> np.ndarray:
        """(3, N, J) bool: whether each joint was at each limit.

        Computed here rather than in ``count``, which runs in every control step.
        """
        if not self._seen:
            return np.zeros((len(KINDS), 1, len(self._low)), dtype=bool)
        position, velocity, torque = (np.stack(rows) for rows in zip(*self._seen, strict=True))
        return np.stack(
            [
                (position < self._low) | (position > self._high),
                np.abs(velocity) >= self._velocity,
                np.abs(torque) >= self._torque,
            ]
        )

    def shares(self) -> dict[str, np.ndarray]:
        """Share of control steps since ``reset`` that each joint spent at a limit.

        Returns:
            ``position`` (within 0.01 rad of an end of its range, or beyond), ``velocity`` (at
            the largest, or beyond) and ``torque`` (at least 99 % of the largest), each (J,)
            float64 in [0, 1].
        """
        return dict(zip(KINDS, self._at().mean(axis=1), strict=True))

    def some_joint(self) -> dict[str, float]:
        """Share of control steps since ``reset`` with at least one joint at a limit, by kind."""
        return dict(zip(KINDS, self._at().any(axis=2).mean(axis=1).tolist(), strict=True))
