"""Every geom that was ever struck or rubbed, as a ringing body at a place.

A geom sounds from where it is touched, and that place moves with its body. A blow elsewhere,
while the last one still rings, is a voice of its own: moving what rings would be heard as a click,
and a sum of voices is exact because the bodies are linear.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from neon_sim.audio.contacts import Blow, Pair, Rub
from neon_sim.audio.friction import Friction
from neon_sim.audio.hearing import Emission
from neon_sim.audio.materials import MATERIALS, material_named, modes_of
from neon_sim.audio.modal import BLOCK, Resonator, blow_s, half_sine
from neon_sim.errors import ConfigError
from neon_sim.seeding import keyed_rng
from neon_sim.simulation.gl import mujoco

# Full scale a Ns: a ball of 0.2 kg that falls 0.5 m (0.6 Ns) peaks near -17 dB at 1 m.
LOUDNESS = 0.16
NEAR_M = 0.02  # blows within it share a voice: 1 sample of delay
MAX_VOICES = 4  # of one geom; then the quietest is added to the next
JITTER_DB = 2.0  # of each mode from blow to blow: no two hit the same spot
Key = tuple[int | str, ...]


@dataclass
class _Push:
    """A force still to act: from sample ``first`` of the next block on."""

    first: int
    force: np.ndarray
    weights: np.ndarray | None


@dataclass
class _Voice:
    """A geom that rings: ``place`` in the frame of its body, ``heard_at`` in the world's.

    ``ring`` is this block's free ringing, (320,) or None.
    """

    resonator: Resonator
    place: np.ndarray
    heard_at: np.ndarray
    coupled: float | None = None  # not heard yet
    ring: np.ndarray | None = None
    pushes: list[_Push] = field(default_factory=list)

    @property
    def silent(self) -> bool:
        """Whether it neither rings nor is about to."""
        return not self.pushes and not self.resonator.state.any()

    def answer(self, rubbing: np.ndarray | None) -> np.ndarray | None:
        """Answer to this block's pushes and rubbing; what is left over waits."""
        pushes, self.pushes = self.pushes, []
        answer = None if rubbing is None else self.resonator.drive(rubbing)
        for push in pushes:
            inside = max(0, min(len(push.force), BLOCK - push.first))
            if inside:
                part = self.resonator.drive(push.force[:inside], push.first, push.weights)
                answer = part if answer is None else answer + part
            if inside < len(push.force):
                late = max(push.first - BLOCK, 0)
                self.pushes.append(_Push(late, push.force[inside:], push.weights))
        return answer


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
        self._shape = [_shape_name(model, geom) for geom in range(model.ngeom)]
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
        self._voices: dict[int, list[_Voice]] = {}
        self._friction: dict[Pair, Friction] = {}
        self._jitter = keyed_rng(*key, "blows")

    def block(
        self, data: Any, blows: Sequence[Blow], rubs: Sequence[Rub], coupled: Any
    ) -> list[Emission]:
        """What the bodies emit over the control step that ended now.

        Args:
            blows, rubs: of the step. coupled: body id -> how far the robot carries it now.
        """
        for voice in self._all_voices():
            voice.ring = voice.resonator.ring()
        rubbing = self._forces(data, blows, rubs)
        emissions = []
        for geom, voices in self._voices.items():
            now = float(coupled(int(self._model.geom_bodyid[geom])))
            for voice in voices:
                force = rubbing.get(geom) if voice is voices[-1] else None
                answer, ring = voice.answer(force), voice.ring
                here, before = self._in_world(data, geom, voice.place), voice.heard_at
                heard = answer if ring is None else ring if answer is None else ring + answer
                if heard is not None:
                    was = now if voice.coupled is None else voice.coupled
                    emissions.append(Emission(heard, before, here, (was, now)))
                voice.heard_at, voice.coupled = here, now
        return emissions

    def _all_voices(self) -> Iterator[_Voice]:
        for voices in self._voices.values():
            yield from voices

    def _forces(
        self, data: Any, blows: Sequence[Blow], rubs: Sequence[Rub]
    ) -> dict[int, np.ndarray]:
        """Queue the blows; returns geom -> (320,) of rubbing, for the geom's last voice."""
        for blow in blows:
            self._strike(data, blow)
        rubbing: dict[int, np.ndarray] = {}
        now = {rub.pair: rub for rub in rubs}
        for pair in sorted(now.keys() | self._friction.keys()):
            force = self._rub(pair, now.get(pair))
            if force is None:
                continue
            for geom in pair:
                self._touch(data, geom, now.get(pair))
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
            voice = self._voice_at(data, geom, blow.position)
            jitter = self._jitter.normal(0.0, JITTER_DB, len(voice.resonator.state))
            voice.pushes.append(_Push(first, force, 10.0 ** (jitter / 20.0)))

    def _voice_at(self, data: Any, geom: int, position: np.ndarray) -> _Voice:
        """The voice of a geom that sounds from about (3,) ``position``, now the geom's last."""
        voices = self._voices.setdefault(geom, [])
        voices[:] = [voice for voice in voices if not voice.silent]
        for voice in voices:
            if np.linalg.norm(self._in_world(data, geom, voice.place) - position) <= NEAR_M:
                voices.remove(voice)
                break
        else:
            modes = modes_of(self.materials[geom], float(self._size[geom]), self._shape[geom])
            place = self._in_body(data, geom, position)
            voice = _Voice(Resonator(modes), place, position)
        if len(voices) >= MAX_VOICES:
            voices.sort(key=lambda other: other.resonator.level)
            quiet = voices.pop(0)
            voices[0].resonator.state = voices[0].resonator.state + quiet.resonator.state
            voices[0].pushes += quiet.pushes
            if quiet.ring is not None:
                voices[0].ring = quiet.ring + (0.0 if voices[0].ring is None else voices[0].ring)
        voices.append(voice)
        return voice

    def _touch(self, data: Any, geom: int, rub: Rub | None) -> None:
        """Let the last voice of a geom sound from where it is rubbed; it glides there."""
        voices = self._voices.get(geom, [])
        if rub is None and voices:
            return
        position = data.geom_xpos[geom].copy() if rub is None else rub.position
        if not voices or voices[-1].silent:
            self._voice_at(data, geom, position)
        else:
            voices[-1].place = self._in_body(data, geom, position)

    def _in_body(self, data: Any, geom: int, position: np.ndarray) -> np.ndarray:
        owner = self._model.geom_bodyid[geom]
        turn = data.xmat[owner].reshape(3, 3)
        return np.asarray((position - data.xpos[owner]) @ turn)

    def _in_world(self, data: Any, geom: int, place: np.ndarray) -> np.ndarray:
        owner = self._model.geom_bodyid[geom]
        turn = data.xmat[owner].reshape(3, 3)
        return np.asarray(data.xpos[owner] + turn @ place)


def _shape_name(model: Any, geom: int) -> str:
    """What draws a geom's spectrum: its name without its number, since copies ring alike."""
    return str(model.geom(geom).name).rstrip("0123456789") or f"geom{geom}"


def _size_m(model: Any, geom: int) -> float:
    """Cube root of a geom's bounding volume, m; planes and the like count as large."""
    edges = 2.0 * np.asarray(model.geom_aabb[geom, 3:])
    volume = float(np.prod(edges))
    return float(np.cbrt(volume)) if volume > 0.0 else 1.0
