"""The lower body ``learned``: ``standing`` with a shift that was learned under pushes.

Two terms shift the motor set points of legs and waist, together by at most ``SHIFT_RAD``. The
``reflex`` feeds the capture point back to hips, knees, ankles and waist, with a few gains that a
search found. The ``residual`` is a small network that PPO trains on top of it
(``python -m neon_sim.rl config=balance``, on ``push_training``). ``assets/balance/reflex.json``
holds the gains and names the residual that ships with them; the learning curve lies beside it.
Ankles alone can hold the centre of mass only above the soles. Bending the trunk also brings it
back from outside (the hip strategy: Horak and Nashner 1986, J. Neurophysiol. 55; the capture
point: Pratt et al. 2006, Humanoids).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import NotRequired

import numpy as np
from typing_extensions import TypedDict

from neon_sim.clock import TICKS_PER_CONTROL
from neon_sim.errors import CheckpointError
from neon_sim.files import inside
from neon_sim.schema import read_json
from neon_sim.simulation.world import World
from neon_sim.tensor_file import read_tensors

from ..episode import Start
from .lower_body import Standing, up_in_body
from .robot import LEGS, WAIST, joint_table

FORMAT = "neon_sim.rl/1"
COMMAND = "python -m neon_sim.rl config=balance out=DIR"
SEARCH_COMMAND = "python -m neon_sim.envs.reflex_search out=DIR"
BODY = slice(LEGS.start, WAIST.stop)  # the shifted joints: 12 of the legs, 3 of the waist
NUM_BODY = BODY.stop - BODY.start
_LEG_RAD = (0.5, 0.3, 0.2, 0.5, 0.2, 0.15)
SHIFT_RAD = np.array([*_LEG_RAD * 2, 0.3, 0.3, 0.4])  # largest shift of each joint
SMOOTHING = 0.5  # share of the distance to the target shift that one control step covers
NUM_CENTRE = 10  # numbers of the observation before the joints
OBSERVATION_DIM = NUM_CENTRE + 3 * NUM_BODY
CLIP = 5.0  # largest absolute value in an observation
_CENTRE_SCALE = np.array([10.0, 10.0, 2.0, 2.0])  # 1/m, s/m: of the centre of mass and its rate
_T = np.arange(1, TICKS_PER_CONTROL + 1)[:, None] / TICKS_PER_CONTROL
# The mirror image, left and right exchanged: the place and sign of each number.
_LEG_SIGNS = (1.0, -1.0, -1.0, 1.0, 1.0, -1.0)
_JOINT_PLACES = np.array([*range(6, 12), *range(6), 12, 13, 14])
_JOINT_SIGNS = np.array([*_LEG_SIGNS * 2, -1.0, -1.0, 1.0])
_CENTRE_SIGNS = (1.0, -1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0)

Residual = Callable[[np.ndarray], np.ndarray]
# Joints of BODY that the reflex of a plane turns, and the sign of each.
_SAGITTAL = {"hip": {0: 1, 6: 1}, "knee": {3: 1, 9: 1}, "ankle": {4: 1, 10: 1}, "waist": {14: 1}}
_LATERAL = {"hip": {1: 1, 7: 1}, "knee": {3: -1, 9: 1}, "ankle": {5: 1, 11: 1}, "waist": {13: 1}}
PLANES = {"forward": _SAGITTAL, "backward": _SAGITTAL, "side": _LATERAL}
JOINTS = ("hip", "knee", "ankle", "waist")
GAIN_NAMES = tuple(
    f"{plane}_{name}{order}" for plane in PLANES for order in ("", "_rate") for name in JOINTS
)
LEAD_S = 0.25  # of the capture point
BLEND_M = 0.02  # range of the capture point over which backward gains become forward gains
# Without these two the reflex makes the standing robot sway by centimetres.
SET_IN_M = 0.04  # distance of the capture point at which the reflex sets in
GROWTH_M = 0.03  # further distance over which it grows to full strength


class Reflex:
    """Feedback of the centre of mass and its rate to legs and waist.

    It is off while the robot stands quietly. The terms of the sagittal and the lateral plane add
    up. The sagittal gains differ ahead and behind, and are blended by the place of the capture
    point (the centre of mass plus its rate times ``LEAD_S``).

    Args:
        gains: for each of ``GAIN_NAMES``, rad/m, or rad s/m for a rate.
    """

    def __init__(self, gains: dict[str, float]) -> None:
        self.gains = {name: float(gains[name]) for name in GAIN_NAMES}
        self._forward, self._backward, self._side = (self._turn(plane) for plane in PLANES)

    def _turn(self, plane: str) -> np.ndarray:
        """(15, 2): gains of every joint in a plane, rad/m and rad s/m."""
        turn = np.zeros((NUM_BODY, 2))
        for name, signs in PLANES[plane].items():
            for joint, sign in signs.items():
                for column, order in enumerate(("", "_rate")):
                    turn[joint, column] = sign * self.gains[f"{plane}_{name}{order}"]
        return turn

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        """(55,) observation -> (15,) rad, unbounded."""
        ahead, left, ahead_rate, left_rate = (observation[5:9] / _CENTRE_SCALE).tolist()
        x, y = ahead + LEAD_S * ahead_rate, left + LEAD_S * left_rate
        share = min(max(0.5 + x / BLEND_M, 0.0), 1.0)
        awake = min(max((math.hypot(x, y) - SET_IN_M) / GROWTH_M, 0.0), 1.0)
        sagittal = share * self._forward + (1.0 - share) * self._backward
        turned: np.ndarray = sagittal @ [ahead, ahead_rate] + self._side @ [left, left_rate]
        return awake * turned


def mirror() -> dict[str, tuple[list[int], list[float]]]:
    """Places and signs of the mirror image of an ``observation`` (55) and an ``action`` (15)."""
    joints = [NUM_CENTRE + part * NUM_BODY + _JOINT_PLACES for part in range(3)]
    places = np.concatenate([np.arange(NUM_CENTRE), *joints])
    signs = np.concatenate([_CENTRE_SIGNS, *[_JOINT_SIGNS] * 3])
    return {
        "observation": (places.tolist(), signs.tolist()),
        "action": (_JOINT_PLACES.tolist(), _JOINT_SIGNS.tolist()),
    }


class ResidualNetwork:
    """The actor of a checkpoint in NumPy: ``(f(x) + M f(M x)) / 2``, f linear plus tanh layers.

    Args:
        state: its tensors. path: of its file, for errors.

    Raises:
        CheckpointError: another architecture.
    """

    def __init__(self, state: dict[str, np.ndarray], path: str | Path) -> None:
        body, head = "mlp_extractor.policy_net", "action_net.linear"
        count = sum(name.startswith(f"{body}.") and name.endswith("weight") for name in state)
        try:
            layers = [f"{body}.{2 * index}" for index in range(count)]
            self._layers = [(state[f"{n}.weight"], state[f"{n}.bias"]) for n in layers]
            self._weight, self._bias = state[f"{head}.weight"], state[f"{head}.bias"]
        except KeyError as error:
            raise CheckpointError(
                f"{path} lacks tensor {error}; make it again: {COMMAND}"
            ) from None
        width = (self._layers[-1][0].shape[0] if count else 0) + OBSERVATION_DIM
        if self._weight.shape != (NUM_BODY, width):
            raise CheckpointError(
                f"{path}: tensor '{head}.weight' must be {(NUM_BODY, width)} (got "
                f"{self._weight.shape}); make it again: {COMMAND}"
            )
        sides = mirror()
        self._seen, self._seen_signs = (np.array(part) for part in sides["observation"])
        self._done, self._done_signs = (np.array(part) for part in sides["action"])

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        """(55,) observation -> (15,) in [-1, 1]."""
        both = np.stack([observation, observation[self._seen] * self._seen_signs])
        hidden = both
        for weight, bias in self._layers:
            hidden = np.tanh(hidden @ weight.T + bias)
        one, other = np.concatenate([hidden, both], axis=1) @ self._weight.T + self._bias
        action: np.ndarray = np.clip((one + other[self._done] * self._done_signs) / 2, -1.0, 1.0)
        return action


def shipped(name: str) -> Path:
    """Path of a file in ``assets/balance``."""
    return Path(str(resources.files("neon_sim"))) / "assets" / "balance" / name


@lru_cache(maxsize=4)
def load_reflex(path: str | None = None) -> Reflex:
    """Read a reflex's gains; the shipped ones by default.

    Raises:
        CheckpointError: no such file, or a gain is missing.
    """
    return Reflex(_record(path)["gains"])


@lru_cache(maxsize=1)
def shipped_residual() -> Residual | None:
    """The residual that ``reflex.json`` names, or None if it names none.

    Raises:
        CheckpointError: see ``load_residual``.
    """
    name = _record(None).get("residual")
    return load_residual(inside(shipped(""), name, CheckpointError)) if name else None


class _Record(TypedDict):
    """A file of gains. It may name a residual, a file in ``assets/balance``."""

    gains: dict[str, float]
    residual: NotRequired[str | None]


def _record(path: str | None) -> _Record:
    """Read a file of gains; the shipped one by default."""
    chosen = Path(path) if path else shipped("reflex.json")
    mend = f"it must hold the gains of a reflex. Make them: {SEARCH_COMMAND}"
    record = read_json(chosen, _Record, CheckpointError, mend)
    missing = [name for name in GAIN_NAMES if name not in record["gains"]]
    if missing:
        raise CheckpointError(f"{chosen} lacks gain {missing[0]!r}. Make it: {SEARCH_COMMAND}")
    return record


def load_residual(path: str | Path) -> ResidualNetwork:
    """Read a residual.

    Raises:
        CheckpointError: no such file, damaged, of another format, task or architecture, or
            trained on top of another reflex.
    """
    state, metadata = read_tensors(path, FORMAT, COMMAND, framework="np")
    if metadata.get("task") != "balance":
        raise CheckpointError(
            f"{path} was trained on {metadata.get('task')!r}, not 'balance'. Make one: {COMMAND}"
        )
    if metadata.get("reflex") != load_reflex().gains:
        raise CheckpointError(
            f"{path} was trained on another reflex than that of {shipped('reflex.json')}; "
            f"train it again: {COMMAND}"
        )
    return ResidualNetwork(state, path)


class Learned(Standing):
    """``Standing`` with a learned shift of the set points of legs and waist.

    Attributes:
        reflex: observation (55,) -> (15,) rad; the shipped one if None.
        residual: observation (55,) -> (15,) in [-1, 1], in units of ``SHIFT_RAD``, added to the
            reflex; the shipped one, if any, if None.
        change: (15,) rad, change of the shift in the last control step.
    """

    reflex: Reflex | None = None
    residual: Residual | None = None

    def __init__(self, world: World, step: Callable[[np.ndarray], None]) -> None:
        super().__init__(world, step)
        self._shift = self.change = np.zeros(NUM_BODY)

    def begin(self, start: Start) -> None:
        """Reset the shift."""
        del start
        self._shift = self.change = np.zeros(NUM_BODY)

    def observe(self) -> np.ndarray:
        """The observation of reflex and residual, scaled so that typical values are about 1.

        Returns:
            (55,) float32 in [-5, 5]: up in the pelvis frame (2), angular velocity (3), centre of
            mass and its rate (4), height of the pelvis (1), joints, their rates and the present
            shift (15 each).
        """
        data, table = self.world.data, joint_table()
        up = up_in_body(data.qpos[3:7])
        parts = [
            [4 * up[0], 4 * up[1]],
            data.qvel[3:6],
            _CENTRE_SCALE * self.com_state(),
            [10 * (data.qpos[2] - table.height)],
            4 * (data.qpos[7:36][BODY] - table.stand[BODY]),
            0.3 * data.qvel[6:35][BODY],
            self._shift / SHIFT_RAD,
        ]
        values: np.ndarray = np.clip(np.concatenate(parts), -CLIP, CLIP)
        return values.astype(np.float32)

    def drive(self, points: np.ndarray, command: np.ndarray) -> None:
        """One control step of ``Standing`` with shifted set points."""
        reflex, residual = self.reflex or load_reflex(), self.residual or shipped_residual()
        seen = self.observe()
        share = reflex(seen) / SHIFT_RAD
        if residual is not None:
            share = share + np.clip(residual(seen), -1.0, 1.0)
        target = np.clip(share, -1.0, 1.0) * SHIFT_RAD
        self.change = SMOOTHING * (target - self._shift)
        points[:, BODY] += self._shift + _T * self.change
        self._shift = self._shift + self.change
        super().drive(points, command)


class ReflexOnly(Learned):
    """``Learned`` without its residual, to measure what each of the two contributes."""

    residual = staticmethod(lambda observation: np.zeros(NUM_BODY))
