"""``learned``: the scripted ``standing`` and, on top of it, what was learned under pushes.

Two things shift the motor set points of legs and waist, together by at most ``SHIFT_RAD``:
``reflex``, a feedback of the capture point to hips, knees, ankles and waist whose few gains a
search found, and ``residual``, a small network that PPO trains from there
(``python -m neon_sim.rl config=balance``, on ``push_training``). Both ship in ``assets/balance``.
Ankles alone hold the centre of mass only over the soles; bending the trunk moves it from beyond
(the hip strategy: Horak and Nashner 1986, J. Neurophysiol. 55; the capture point: Pratt et al.
2006, Humanoids).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from neon_sim.clock import TICKS_PER_CONTROL
from neon_sim.errors import CheckpointError
from neon_sim.tensor_file import read_tensors
from neon_sim.world import World

from .episode import Start
from .humanoid import LEGS, WAIST, joint_table
from .lower_body import Standing, up_in_body

FORMAT = "neon_sim.rl/1"
COMMAND = "python -m neon_sim.rl config=balance out=DIR"
SEARCH_COMMAND = "python -m neon_sim.envs.reflex_search out=DIR"
BODY = slice(LEGS.start, WAIST.stop)  # the joints it shifts: 12 of the legs, 3 of the waist
NUM_BODY = BODY.stop - BODY.start
_LEG_RAD = (0.5, 0.3, 0.2, 0.5, 0.2, 0.15)
SHIFT_RAD = np.array([*_LEG_RAD * 2, 0.3, 0.3, 0.4])
SMOOTHING = 0.5  # share of the way to the wished shift that one control step goes
NUM_CENTRE = 10  # numbers of the observation before the joints
OBSERVATION_DIM = NUM_CENTRE + 3 * NUM_BODY
CLIP = 5.0  # of an observation
_CENTRE_SCALE = np.array([10.0, 10.0, 2.0, 2.0])  # of centre of mass and rate in an observation
_T = np.arange(1, TICKS_PER_CONTROL + 1)[:, None] / TICKS_PER_CONTROL
# Left and right exchanged: which number goes where, and its sign.
_LEG_SIGNS = (1.0, -1.0, -1.0, 1.0, 1.0, -1.0)
_JOINT_PLACES = np.array([*range(6, 12), *range(6), 12, 13, 14])
_JOINT_SIGNS = np.array([*_LEG_SIGNS * 2, -1.0, -1.0, 1.0])
_CENTRE_SIGNS = (1.0, -1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0)

Residual = Callable[[np.ndarray], np.ndarray]
# Which joints of BODY a plane's reflex turns: left and right, the same way or mirrored.
_SAGITTAL = {"hip": {0: 1, 6: 1}, "knee": {3: 1, 9: 1}, "ankle": {4: 1, 10: 1}, "waist": {14: 1}}
_LATERAL = {"hip": {1: 1, 7: 1}, "knee": {3: -1, 9: 1}, "ankle": {5: 1, 11: 1}, "waist": {13: 1}}
PLANES = {"forward": _SAGITTAL, "backward": _SAGITTAL, "side": _LATERAL}
GAIN_NAMES = (
    *(f"{plane}_{name}" for plane in PLANES for name in ("hip", "knee", "ankle", "waist", "lead")),
    "dead",
)


class Reflex:
    """Feedback of the capture point to legs and waist.

    The capture point is the centre of mass plus its velocity times a lead time; a dead zone is
    taken off it on both sides.

    Args:
        gains: by ``GAIN_NAMES``: rad/m of a plane's joints, ``lead`` in s, ``dead`` in m.
    """

    def __init__(self, gains: dict[str, float]) -> None:
        self.gains = {name: float(gains[name]) for name in GAIN_NAMES}
        self._turn, self._lead = {}, {}
        for plane, joints in PLANES.items():
            turn = np.zeros(NUM_BODY)
            for name, signs in joints.items():
                for joint, sign in signs.items():
                    turn[joint] = sign * self.gains[f"{plane}_{name}"]
            self._turn[plane], self._lead[plane] = turn, self.gains[f"{plane}_lead"]

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        """(55,) -> (15,) rad, unbounded."""
        ahead, left, ahead_rate, left_rate = (observation[5:9] / _CENTRE_SCALE).tolist()
        forward = ahead + self._lead["forward"] * ahead_rate
        plane = "forward" if forward > 0.0 else "backward"
        x = self._beyond(ahead + self._lead[plane] * ahead_rate)
        y = self._beyond(left + self._lead["side"] * left_rate)
        return self._turn[plane] * x + self._turn["side"] * y

    def _beyond(self, value: float) -> float:
        return float(np.copysign(max(abs(value) - self.gains["dead"], 0.0), value))


def mirror() -> dict[str, tuple[list[int], list[float]]]:
    """Places and signs of an ``observation`` (55) and an ``action`` (15) seen in a mirror."""
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
        state: its tensors. Raises:
        CheckpointError: they are of another architecture.
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
        """(55,) -> (15,) in [-1, 1]."""
        both = np.stack([observation, observation[self._seen] * self._seen_signs])
        hidden = both
        for weight, bias in self._layers:
            hidden = np.tanh(hidden @ weight.T + bias)
        one, other = np.concatenate([hidden, both], axis=1) @ self._weight.T + self._bias
        return np.clip((one + other[self._done] * self._done_signs) / 2, -1.0, 1.0)


def shipped(name: str) -> Path:
    """Path of a file of ``assets/balance``."""
    return Path(str(resources.files("neon_sim"))) / "assets" / "balance" / name


@lru_cache(maxsize=4)
def load_reflex(path: str | None = None) -> Reflex:
    """Read gains; the shipped ones by default.

    Raises:
        CheckpointError: missing, or without one of the gains.
    """
    chosen = Path(path) if path else shipped("reflex.json")
    try:
        return Reflex(json.loads(chosen.read_text())["gains"])
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{chosen} must hold the gains of a reflex ({error!r}). Make them: {SEARCH_COMMAND}"
        ) from error


@lru_cache(maxsize=4)
def load_residual(path: str | None = None) -> ResidualNetwork:
    """Read a residual; the shipped one by default.

    Raises:
        CheckpointError: missing, damaged, of another format, task or architecture, or trained
            on top of another reflex.
    """
    chosen = path or str(shipped("residual.safetensors"))
    state, metadata = read_tensors(chosen, FORMAT, COMMAND, framework="np")
    if metadata.get("task") != "balance":
        raise CheckpointError(
            f"{chosen} was trained on {metadata.get('task')!r}, not 'balance'. Make one: {COMMAND}"
        )
    if metadata.get("reflex") != load_reflex().gains:
        raise CheckpointError(
            f"{chosen} was trained on top of another reflex than that of {shipped('reflex.json')}; "
            f"train it again: {COMMAND}"
        )
    return ResidualNetwork(state, chosen)


class Learned(Standing):
    """``Standing`` with a learned shift of the set points of legs and waist.

    Attributes:
        reflex: from the observation (55,) to (15,) rad; the shipped one unless set.
        residual: from the observation to (15,) in [-1, 1] of ``SHIFT_RAD``, added to it; the
            shipped one unless set.
        change: (15,) rad by which the last control step moved the shift.
    """

    reflex: Reflex | None = None
    residual: Residual | None = None

    def __init__(self, world: World, step: Callable[[np.ndarray], None]) -> None:
        super().__init__(world, step)
        self._shift = self.change = np.zeros(NUM_BODY)

    def begin(self, start: Start) -> None:
        """No shift yet."""
        del start
        self._shift = self.change = np.zeros(NUM_BODY)

    def observe(self) -> np.ndarray:
        """What the residual sees, each number about 1 in size.

        Returns:
            (55,) float32: up in the pelvis frame (2), turning rate (3), centre of mass and its
            rate (4), height of the pelvis, joints, their rates and the present shift (15 each).
        """
        data, table = self.world.data, joint_table()
        up = up_in_body(data.qpos[3:7])
        parts: list[Any] = [
            [4 * up[0], 4 * up[1]],
            data.qvel[3:6],
            _CENTRE_SCALE * self.com_state(),
            [10 * (data.qpos[2] - table.height)],
            4 * (data.qpos[7:36][BODY] - table.stand[BODY]),
            0.3 * data.qvel[6:35][BODY],
            self._shift / SHIFT_RAD,
        ]
        return np.clip(np.concatenate(parts), -CLIP, CLIP).astype(np.float32)

    def drive(self, points: np.ndarray, command: np.ndarray) -> None:
        """One control step of ``Standing``, its set points shifted."""
        reflex, residual = self.reflex or load_reflex(), self.residual or load_residual()
        seen = self.observe()
        share = reflex(seen) / SHIFT_RAD + np.clip(residual(seen), -1.0, 1.0)
        wished = np.clip(share, -1.0, 1.0) * SHIFT_RAD
        self.change = SMOOTHING * (wished - self._shift)
        points[:, BODY] += self._shift + _T * self.change
        self._shift = self._shift + self.change
        super().drive(points, command)
