"""What touches what: contacts of every physics tick, turned into blows and rubbing.

MuJoCo's contact is soft: its force decays over some 28 ms and would low-pass every blow. So a
blow is only *timed* by the contact. Its impulse is what stops the two bodies at the point of
contact, ``closing speed x effective mass``, known at the touch; the soft force sums to the same
within a few per cent, 20 ms later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from neon_sim.clock import AUDIO_HZ, AUDIO_SAMPLES_PER_TICK
from neon_sim.simulation.gl import mujoco

MIN_CLOSING_SPEED = 0.05  # m/s; slower touches make no sound
QUIET_TICKS = 20  # 40 ms without a fast approach before the same pair can strike again
_PYRAMIDAL = int(mujoco.mjtCone.mjCONE_PYRAMIDAL)

Pair = tuple[int, int]


@dataclass(frozen=True)
class Blow:
    """Two bodies meet.

    Attributes:
        pair: geom ids. tick: physics tick at which the contact was seen.
        onset: sample within the block, >= 0: one tick after the touch, the time it takes to see
            a contact; the touch is found from depth and speed, so it is not bound to ticks.
        impulse: Ns. speed: closing speed, m/s. position: (3,) m.
    """

    pair: Pair
    tick: int
    onset: float
    impulse: float
    speed: float
    position: np.ndarray


@dataclass(frozen=True)
class Rub:
    """Two bodies that stay in touch over a control step; means over its ticks.

    Attributes:
        pair: geom ids. force: normal, N. slip: m/s of one surface over the other.
        turn: rad/s about axes in the surface. roll: m/s of rolling. position: (3,) m.
    """

    pair: Pair
    force: float
    slip: float
    turn: float
    roll: float
    position: np.ndarray


class _Tick(NamedTuple):
    """What was seen after one ``mj_step``: the state at its start, as MuJoCo leaves it.

    Copies of what MuJoCo calls so; sorting them out is left to the end of the control step.
    """

    tick: int
    geom: np.ndarray
    pos: np.ndarray
    frame: np.ndarray
    dist: np.ndarray
    address: np.ndarray
    dim: np.ndarray
    efc_force: np.ndarray
    cvel: np.ndarray
    subtree_com: np.ndarray
    xipos: np.ndarray
    qpos: np.ndarray
    mocap: tuple[np.ndarray, np.ndarray] | None


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray(np.einsum("...i,...i->...", a, b))


def _length(a: np.ndarray) -> np.ndarray:
    length: np.ndarray = np.sqrt(_dot(a, a))
    return length


def _normal_force(
    ticks: list[_Tick], index: np.ndarray, address: np.ndarray, dim: np.ndarray, pyramidal: bool
) -> np.ndarray:
    """(n,) N; a pyramid's edges sum to the force along its axis."""
    starts = np.concatenate([[0], np.cumsum([len(t.efc_force) for t in ticks])])
    force = np.concatenate([t.efc_force for t in ticks])
    first = address + starts[index]
    if not pyramidal:
        return np.asarray(force[first])
    edges = np.where(dim == 1, 1, 2 * (dim - 1))
    total = np.concatenate([[0.0], np.cumsum(force)])
    return np.asarray(total[first + edges] - total[first])


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cross product over the last axis (``np.cross`` costs several times as much)."""
    return np.stack(
        [
            a[..., 1] * b[..., 2] - a[..., 2] * b[..., 1],
            a[..., 2] * b[..., 0] - a[..., 0] * b[..., 2],
            a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0],
        ],
        axis=-1,
    )


class ContactListener:
    """Collects the contacts of a control step.

    Args:
        model: compiled model.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._init_tables()
        self.reset()

    def _init_tables(self) -> None:
        model = self._model
        self._body = np.array(model.geom_bodyid)
        self._root = np.array(model.body_rootid)
        self._pyramidal = int(model.opt.cone) == _PYRAMIDAL
        self._num_mocap = int(model.nmocap)
        self._scratch: Any = None

    def reset(self) -> None:
        """Forget every contact."""
        self._ticks: list[_Tick] = []
        self._fast: dict[Pair, int] = {}  # tick of the pair's last fast approach

    def record(self, data: Any, tick: int) -> None:
        """Note the contacts after ``mj_step``; ``tick`` is the one the step started from."""
        if data.ncon == 0:
            return
        seen = data.contact
        self._ticks.append(
            _Tick(
                tick,
                seen.geom.copy(),
                seen.pos.copy(),
                seen.frame[:, :3].copy(),
                seen.dist.copy(),
                seen.efc_address.copy(),
                seen.dim.copy(),
                data.efc_force.copy(),
                data.cvel.copy(),
                data.subtree_com.copy(),
                data.xipos.copy(),
                data.qpos.copy(),
                (data.mocap_pos.copy(), data.mocap_quat.copy()) if self._num_mocap else None,
            )
        )

    def collect(self, start_tick: int, num_ticks: int) -> tuple[list[Blow], list[Rub]]:
        """Blows and rubbing since the last call.

        Args:
            start_tick: the first tick of the block. num_ticks: its length.
        """
        ticks, self._ticks = self._ticks, []
        if not ticks:
            return [], []
        rows = _Rows(ticks, self._body, self._root, self._pyramidal)
        if not rows.pairs:
            return [], []
        return self._blows(ticks, rows, start_tick), rows.rubs(num_ticks)

    def _blows(self, ticks: list[_Tick], rows: _Rows, start_tick: int) -> list[Blow]:
        fast: dict[tuple[int, Pair], list[int]] = {}
        for row in np.flatnonzero(rows.closing > MIN_CLOSING_SPEED).tolist():
            fast.setdefault((rows.index[row], rows.pairs[row]), []).append(row)
        blows = []
        for (index, pair), members in fast.items():
            tick = ticks[index]
            if tick.tick - self._fast.get(pair, -QUIET_TICKS) >= QUIET_TICKS:
                blows.append(self._blow(tick, pair, rows, members, start_tick))
            self._fast[pair] = tick.tick
        return blows

    def _blow(
        self, tick: _Tick, pair: Pair, rows: _Rows, members: list[int], start_tick: int
    ) -> Blow:
        position = rows.pos[members].mean(axis=0)
        normal = rows.normal[members].mean(axis=0)
        normal = normal / max(float(np.linalg.norm(normal)), 1e-9)
        speed = float(rows.closing[members].mean())
        depth = float(max(0.0, -rows.dist[members].min()))
        since_touch = min(depth / speed * AUDIO_HZ, float(AUDIO_SAMPLES_PER_TICK))
        seen = (tick.tick - start_tick + 1) * AUDIO_SAMPLES_PER_TICK
        mass = self._effective_mass(tick, pair, position, normal)
        return Blow(pair, tick.tick, seen - since_touch, mass * speed, speed, position)

    def _effective_mass(
        self, tick: _Tick, pair: Pair, position: np.ndarray, normal: np.ndarray
    ) -> float:
        """kg that the point of contact has along the normal, ``1 / (j M^-1 j')``."""
        model = self._model
        if self._scratch is None:
            self._scratch = mujoco.MjData(model)
        data = self._scratch
        data.qpos[:] = tick.qpos
        if tick.mocap is not None:
            data.mocap_pos[:], data.mocap_quat[:] = tick.mocap
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_makeM(model, data)
        mujoco.mj_factorM(model, data)
        row = np.zeros((1, model.nv))
        jacobian = np.zeros((3, model.nv))
        for geom, sign in zip(pair, (1.0, -1.0), strict=True):
            mujoco.mj_jac(model, data, jacobian, None, position, int(self._body[geom]))
            row += sign * normal @ jacobian
        answer = np.zeros_like(row)
        mujoco.mj_solveM(model, data, answer, row)
        inverse = float(row[0] @ answer[0])
        return 1.0 / inverse if inverse > 1e-9 else 0.0

    def __getstate__(self) -> dict[str, Any]:
        return {"_model": self._model, "_ticks": self._ticks, "_fast": self._fast}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._init_tables()


class _Rows:
    """All contacts of all ticks of a block, one a row: forces, and speeds at the contact.

    Args:
        ticks: as recorded. body: (ngeom,) of geoms. root: (nbody,) of bodies.
        pyramidal: how the friction cones are stored.
    """

    def __init__(
        self, ticks: list[_Tick], body: np.ndarray, root: np.ndarray, pyramidal: bool
    ) -> None:
        geom = np.concatenate([t.geom for t in ticks])
        address = np.concatenate([t.address for t in ticks])
        live = np.flatnonzero((address >= 0) & (geom.min(axis=1) >= 0))
        index = np.repeat(np.arange(len(ticks)), [len(t.dist) for t in ticks])[live]
        geom = geom[live]
        self.index = index.tolist()
        self.pairs: list[Pair] = [(a, b) if a < b else (b, a) for a, b in geom.tolist()]
        self.pos = np.concatenate([t.pos for t in ticks])[live]
        self.normal = np.concatenate([t.frame for t in ticks])[live]
        self.normal[geom[:, 0] > geom[:, 1]] *= -1.0  # from the pair's first geom to its second
        self.dist = np.concatenate([t.dist for t in ticks])[live]
        dim = np.concatenate([t.dim for t in ticks])[live]
        self.force = _normal_force(ticks, index, address[live], dim, pyramidal)
        bodies = body[np.sort(geom, axis=1)]
        self._speeds(ticks, index[:, None], bodies, root)

    def _speeds(
        self, ticks: list[_Tick], index: np.ndarray, bodies: np.ndarray, root: np.ndarray
    ) -> None:
        twist = np.stack([t.cvel for t in ticks])[index, bodies]
        origin = np.stack([t.subtree_com for t in ticks])[index, root[bodies]]
        centre = np.stack([t.xipos for t in ticks])[index, bodies]
        pos, normal, spin = self.pos[:, None], self.normal, twist[..., :3]
        velocity = twist[..., 3:] + _cross(spin, pos - origin)
        relative = velocity[:, 0] - velocity[:, 1]
        self.closing = _dot(relative, normal)
        self.slip = _length(relative - self.closing[:, None] * normal)
        flat = spin - _dot(spin, normal[:, None])[..., None] * normal[:, None]
        self.turn = _length(flat[:, 0] - flat[:, 1])
        rates, arms = _length(flat), _length(pos - centre)
        self.roll = self.turn * np.where(rates[:, 0] > rates[:, 1], arms[:, 0], arms[:, 1])

    def rubs(self, num_ticks: int) -> list[Rub]:
        """One ``Rub`` a pair: force summed over its contacts, speeds weighted by force."""
        members: dict[Pair, list[int]] = {}
        for row, pair in enumerate(self.pairs):
            members.setdefault(pair, []).append(row)
        rubs = []
        for pair, rows in members.items():
            force = self.force[rows]
            total = float(force.sum())
            if total <= 0.0:
                continue
            share = force / total
            slip, turn, roll = (
                float(share @ values[rows]) for values in (self.slip, self.turn, self.roll)
            )
            rubs.append(Rub(pair, total / num_ticks, slip, turn, roll, share @ self.pos[rows]))
        return rubs
