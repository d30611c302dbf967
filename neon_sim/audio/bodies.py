"""Every geom that was ever struck or rubbed, as a ringing body at a place.

A resonator is made when its geom first makes a sound. A blow sounds from where it fell, and the
place moves with the body from then on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from neon_sim.audio.contacts import Blow, Pair, Rub
from neon_sim.audio.friction import Friction
from neon_sim.audio.hearing import Emission
from neon_sim.audio.materials import MATERIALS, material_named, modes_of
from neon_sim.audio.modal import BLOCK, Resonator, blow_s, half_sine
from neon_sim.errors import ConfigError
from neon_sim.gl import mujoco
from neon_sim.seeding import keyed_rng

# Full scale a Ns: a ball of 0.2 kg that falls 0.5 m (0.6 Ns) peaks near -17 dB at 1 m.
LOUDNESS = 0.16
JITTER_DB = 2.0  # of each mode from blow to blow: no two hit the same spot
Key = tuple[int | str, ...]


@dataclass
class _Push:
    """A force still to act: from sample ``first`` of the next block on."""

    first: int
    force: np.ndarray
    weights: np.ndarray | None


@dataclass
class _Body:
    """A ringing geom; ``place`` is in the frame of its body."""

    resonator: Resonator
    place: np.ndarray
    heard_at: np.ndarray
    pushes: list[_Push] = field(default_factory=list)
    coupled: float = 0.0


class Bodies:
    """The ringing geoms of a model.

    Args:
        model: compiled model.
        materials: geom or body name -> material; a geom's own name goes first.
        default: material of what is not named.

    Raises:
        UnknownNameError: no such material. ConfigError: a name the model does not have.
    """

    def __init__(self, model: Any, materials: Mapping[str, str], default: str) -> None:
        self._model = model
        self.materials = [default] * model.ngeom
        material_named(default)
        self._size = np.array([_size_m(model, geom) for geom in range(model.ngeom)])
        self._name = [model.geom(geom).name or f"geom{geom}" for geom in range(model.ngeom)]
        self.assign(materials)
        self.reset(())

    def assign(self, materials: Mapping[str, str]) -> None:
        """Give geoms, or all geoms of bodies, another material from the next reset on."""
        model = self._model
        kinds = {"geom": mujoco.mjtObj.mjOBJ_GEOM, "body": mujoco.mjtObj.mjOBJ_BODY}
        geoms, bodies = (
            {name: mujoco.mj_name2id(model, kinds[kind], name) for name in materials}
            for kind in ("geom", "body")
        )
        for name, material in materials.items():
            material_named(material)
            if geoms[name] < 0 and bodies[name] < 0:
                raise ConfigError(f"materials names {name!r}, which is no geom and no body")
        for name in sorted(materials, key=lambda name: geoms[name] >= 0):  # geoms go last
            if geoms[name] >= 0:
                self.materials[geoms[name]] = materials[name]
            else:
                for geom in np.flatnonzero(model.geom_bodyid == bodies[name]).tolist():
                    self.materials[geom] = materials[name]

    def reset(self, key: Key) -> None:
        """Nothing rings. ``key`` names the episode, for noise and jitter."""
        self._key = key
        self._ringing: dict[int, _Body] = {}
        self._friction: dict[Pair, Friction] = {}
        self._jitter = keyed_rng(*key, "blows")

    def block(
        self, data: Any, blows: Sequence[Blow], rubs: Sequence[Rub], coupled: Any
    ) -> list[Emission]:
        """What the bodies emit over the control step that ended now.

        Args:
            blows, rubs: of the step. coupled: body id -> how far the robot carries it now.
        """
        rung = {geom: body.resonator.ring() for geom, body in self._ringing.items()}
        old = {geom: self._world_place(data, geom) for geom in rung}
        struck = self._forces(data, blows, rubs)
        emissions = []
        for geom, body in self._ringing.items():
            here = self._world_place(data, geom)
            now = float(coupled(int(self._model.geom_bodyid[geom])))
            ring = rung.get(geom)
            if ring is not None:
                emissions.append(Emission(ring, body.heard_at, old[geom], (body.coupled, now)))
            answer = self._answer(body, struck.get(geom))
            if answer is not None:
                emissions.append(Emission(answer, here, here, (now, now)))
            body.heard_at, body.coupled = here, now
        return emissions

    def _answer(self, body: _Body, rubbing: np.ndarray | None) -> np.ndarray | None:
        """A body's answer to this block's pushes and rubbing; what is left over waits."""
        pushes, body.pushes = body.pushes, []
        answer = None if rubbing is None else body.resonator.drive(rubbing)
        for push in pushes:
            inside = max(0, min(len(push.force), BLOCK - push.first))
            if inside:
                part = body.resonator.drive(push.force[:inside], push.first, push.weights)
                answer = part if answer is None else answer + part
            if inside < len(push.force):
                late = max(push.first - BLOCK, 0)
                body.pushes.append(_Push(late, push.force[inside:], push.weights))
        return answer

    def _forces(
        self, data: Any, blows: Sequence[Blow], rubs: Sequence[Rub]
    ) -> dict[int, np.ndarray]:
        """Queue the blows; returns geom -> (320,) of rubbing."""
        for blow in blows:
            self._strike(data, blow)
        rubbing: dict[int, np.ndarray] = {}
        now = {rub.pair: rub for rub in rubs}
        for pair in sorted(now.keys() | self._friction.keys()):
            force = self._rub(pair, now.get(pair))
            if force is None:
                continue
            for geom in pair:
                place = now[pair].position if pair in now else None
                self._body(data, geom, place)
                rubbing[geom] = rubbing[geom] + force if geom in rubbing else force
        return rubbing

    def _rub(self, pair: Pair, rub: Rub | None) -> np.ndarray | None:
        if pair not in self._friction:
            grains = [MATERIALS[self.materials[geom]].grain_m for geom in pair]
            rng = keyed_rng(*self._key, "friction", *pair)
            self._friction[pair] = Friction(rng, sum(grains) / 2.0)
        force = self._friction[pair].force(rub)
        return None if force is None else LOUDNESS * force

    def _strike(self, data: Any, blow: Blow) -> None:
        masses = [float(self._model.body_mass[self._model.geom_bodyid[g]]) for g in blow.pair]
        lighter = min(mass for mass in masses if mass > 0.0) if any(masses) else 0.0
        first, force = half_sine(LOUDNESS * blow.impulse, blow.onset, blow_s(lighter))
        for geom in blow.pair:
            body = self._body(data, geom, blow.position)
            jitter = self._jitter.normal(0.0, JITTER_DB, len(body.resonator.state))
            body.pushes.append(_Push(first, force, 10.0 ** (jitter / 20.0)))

    def _body(self, data: Any, geom: int, position: np.ndarray | None) -> _Body:
        """The ringing body of a geom, made when it is needed, moved to ``position`` if given."""
        if geom not in self._ringing:
            modes = modes_of(self.materials[geom], float(self._size[geom]), self._name[geom])
            start = data.geom_xpos[geom].copy() if position is None else position
            self._ringing[geom] = _Body(Resonator(modes), np.zeros(3), start)
        body = self._ringing[geom]
        if position is not None:
            owner = self._model.geom_bodyid[geom]
            turn = data.xmat[owner].reshape(3, 3)
            body.place = (position - data.xpos[owner]) @ turn
        return body

    def _world_place(self, data: Any, geom: int) -> np.ndarray:
        owner = self._model.geom_bodyid[geom]
        turn = data.xmat[owner].reshape(3, 3)
        return np.asarray(data.xpos[owner] + turn @ self._ringing[geom].place)


def _size_m(model: Any, geom: int) -> float:
    """Cube root of a geom's bounding volume, m; planes and the like count as large."""
    edges = 2.0 * np.asarray(model.geom_aabb[geom, 3:])
    volume = float(np.prod(edges))
    return float(np.cbrt(volume)) if volume > 0.0 else 1.0
