"""The whine of the robot's own motors: pitch by joint velocity, loudness by speed and torque."""

from __future__ import annotations

from typing import Any

import numpy as np

from neon_sim.audio.modal import BLOCK
from neon_sim.clock import AUDIO_HZ
from neon_sim.seeding import keyed_rng
from neon_sim.simulation.gl import mujoco

# Tones a turn of the joint, drawn once a joint by its name: a reduction of 50 to 100 behind a
# motor of a dozen pole pairs whines at some hundred Hz at 1 rad/s. Defaults, not measured.
GEAR_TONES = (600.0, 1800.0)
MAX_HZ = 1200.0  # its sixth harmonic stays below the Nyquist frequency
HARMONICS = {1: 1.0, 2: 0.5, 3: 0.35, 6: 0.2}
MAX_SPEED = 2.5  # rad/s at which a joint is at its loudest
STILL_SPEED = 0.05  # rad/s around which the whine fades in: holding a pose is silent
LEVEL = 0.0015  # amplitude at 1 m of one joint at full speed and torque (-56 dB)
SPEED_SHARE, TORQUE_SHARE = 0.3, 0.7
_HINGE = int(mujoco.mjtJoint.mjJNT_HINGE)
_JOINT = int(mujoco.mjtTrn.mjTRN_JOINT)


class Motors:
    """All actuated hinges of a model, heard as one source between them.

    Args:
        model: compiled model.
    """

    def __init__(self, model: Any) -> None:
        chosen = [
            (k, int(model.actuator_trnid[k, 0]))
            for k in range(model.nu)
            if model.actuator_trntype[k] == _JOINT
            and model.jnt_type[model.actuator_trnid[k, 0]] == _HINGE
        ]
        self._actuators = np.array([k for k, _ in chosen], dtype=int)
        self._joints = np.array([j for _, j in chosen], dtype=int)
        self._dofs = np.array(model.jnt_dofadr)[self._joints]
        names = [str(model.joint(j).name) or str(j) for _, j in chosen]
        self._gear = np.array([keyed_rng("gear", n).uniform(*GEAR_TONES) for n in names])
        limit = np.abs(model.actuator_forcerange[self._actuators]).max(axis=-1, initial=0.0)
        self._limit = np.where(limit > 0.0, limit, 50.0)  # Nm where the model sets none
        self.reset()

    def __len__(self) -> int:
        return len(self._joints)

    def reset(self) -> None:
        """Stand still."""
        self._phase = np.zeros(len(self._joints))
        self._hz = np.zeros(len(self._joints))
        self._gain = np.zeros(len(self._joints))

    def block(self, data: Any) -> tuple[np.ndarray, np.ndarray] | None:
        """The whine over the control step that ended now.

        Returns:
            (320,) float64 at 1 m and the (3,) place it comes from; None when silent.
        """
        speed = np.abs(data.qvel[self._dofs])
        torque = np.minimum(np.abs(data.actuator_force[self._actuators]) / self._limit, 1.0)
        loud = SPEED_SHARE * np.minimum(speed / MAX_SPEED, 1.0) + TORQUE_SHARE * torque
        gain = LEVEL * loud * speed / (speed + STILL_SPEED)
        before_hz, before = self._hz, self._gain
        self._hz = np.minimum(self._gear * speed / (2.0 * np.pi), MAX_HZ)
        self._gain = np.where(gain > 1e-7, gain, 0.0)
        if not (self._gain.any() or before.any()):
            return None
        ramp = np.arange(1, BLOCK + 1) / BLOCK
        hz = before_hz[:, None] + (self._hz - before_hz)[:, None] * ramp
        phase = self._phase[:, None] + np.cumsum(hz, axis=1) * (2.0 * np.pi / AUDIO_HZ)
        self._phase = phase[:, -1] % (2.0 * np.pi)
        gains = before[:, None] + (self._gain - before)[:, None] * ramp
        weights = np.maximum(self._gain, before)
        place = weights @ data.xanchor[self._joints] / weights.sum()
        return (gains * _tone(phase)).sum(axis=0), place


def _tone(phase: np.ndarray) -> np.ndarray:
    """Sum of ``HARMONICS`` of (N, 320) phases, from the powers of one exponential."""
    one = np.exp(1j * phase)
    two = one * one
    three = two * one
    powers = {1: one, 2: two, 3: three, 6: three * three}
    return np.asarray(sum(share * powers[k].imag for k, share in HARMONICS.items()))
