"""The sound of a world: steps it, hears every tick, fills one causal second a channel.

A control step (20 ms) is 320 samples. Its sound is made when its last tick is over, from what
happened in its ticks; only a contact needs one tick (2 ms) more, because it takes a tick to be
seen. Everything is a function of the world's states and of the episode's key, to the bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from neon_sim.audio.bodies import Bodies, Key
from neon_sim.audio.contacts import Blow, ContactListener, Rub
from neon_sim.audio.hearing import (
    CONTACT_GAIN,
    MOTOR_CONTACT_GAIN,
    AirField,
    ContactField,
    Emission,
    Pose,
)
from neon_sim.audio.microphones import MicrophoneArray, Mount, microphone_named
from neon_sim.audio.modal import BLOCK
from neon_sim.audio.motors import Motors
from neon_sim.audio.pcm import RING_SAMPLES, quantised
from neon_sim.audio.room import Room, room_named
from neon_sim.audio.sources import Source, Voice
from neon_sim.clock import AUDIO_SAMPLES_PER_TICK, CONTROL_DT_S, TICKS_PER_CONTROL
from neon_sim.errors import ConfigError, unknown_name
from neon_sim.seeding import keyed_rng
from neon_sim.simulation.gl import mujoco
from neon_sim.simulation.world import World


@dataclass
class _Cue:
    """A source under way: a fixed place or a body, and the sample it starts at."""

    voice: Voice
    position: np.ndarray | None
    body: int
    start: int
    heard_at: np.ndarray | None = None
    velocity: np.ndarray | None = None
    coupled: float = 0.0


class SoundScape:
    """What microphones in a world hear.

    Args:
        world: stepped by ``step`` from now on, in its stead.
        microphones: arrays, or their names: ``mono``, ``linear4``, ``head_stereo``,
            ``wrist_contact``. Channels follow each other in this order.
        mount: where they sit.
        room: its reflections are heard; a ``Room``, a name of ``ROOMS``, or None for none.
        materials: geom or body name -> material; ``default_material`` for the rest.
        motors: whether the robot's motors are heard.
        noise_db: sensor noise of every array in dB of full scale instead of its own;
            ``-inf`` for none.
        seed: key of the first episode; ``reset(key)`` names another.

    Attributes:
        blows: contacts that sounded in the last control step. clipped: samples beyond full
            scale since reset.

    Raises:
        UnknownNameError, ConfigError: a name nobody knows, a mount that does not fit.
        MissingPackageError: a room without pyroomacoustics.
    """

    def __init__(
        self,
        world: World,
        microphones: Sequence[str | MicrophoneArray] = ("mono",),
        *,
        mount: Mount = Mount(),  # noqa: B008  (frozen)
        room: Room | str | None = None,
        materials: Mapping[str, str] | None = None,
        default_material: str = "plastic",
        motors: bool = True,
        noise_db: float | None = None,
        seed: int = 0,
    ) -> None:
        self.world, self._mount, self._noise_db = world, mount, noise_db
        self.arrays = tuple(
            microphone_named(item) if isinstance(item, str) else item for item in microphones
        )
        if not self.arrays:
            raise ConfigError("microphones must name at least one array (got none)")
        self.channel_names = tuple(name for array in self.arrays for name in array.channels)
        self.room = room_named(room) if isinstance(room, str) else room
        self._carrier = self._body_id(mount.body)
        self._robot = self._robot_root(mount.contact_body)
        self._fields = [self._make_field(array) for array in self.arrays]
        self._listener = ContactListener(world.model)
        self._bodies = Bodies(world.model, materials or {}, default_material)
        self._motors = Motors(world.model) if motors else None
        self._ring = np.zeros((len(self.channel_names), 2 * RING_SAMPLES), dtype=np.float32)
        self.reset((seed,))

    # ---- what an environment uses ---------------------------------------------------------

    def reset(self, key: Key) -> None:
        """Start an episode in a silent world; call it after ``world.reset``.

        Args:
            key: integers and names of the episode: all noise is drawn by it.
        """
        self._key = key
        self._listener.reset()
        self._bodies.reset(key)
        if self._motors is not None:
            self._motors.reset()
        for hears in self._fields:
            hears.reset()
        self._cues: dict[int, _Cue] = {}
        self._emitted = 0
        self._touching: frozenset[int] = frozenset()
        self._anchor: np.ndarray | None = None  # where the motors were heard last
        self.blows: list[Blow] = []
        self.clipped, self._write = 0, 0
        self._noise = [keyed_rng(*key, "microphone", array.name) for array in self.arrays]
        self._begin_ring()

    def step(self, ctrl: np.ndarray) -> None:
        """Advance the world by ``n`` ticks, hearing each; see ``World.step``.

        Args:
            ctrl: (n, nu) float64; ``n`` need not be a whole control step.
        """
        world, listener = self.world, self._listener
        if ctrl.ndim != 2:
            world.step(ctrl)  # raises
        for row in range(len(ctrl)):
            world.step(ctrl[row : row + 1])
            listener.record(world.data, world.tick - 1)
            if world.tick % TICKS_PER_CONTROL == 0:
                self._advance()

    def emit(
        self, source: Source, position: Sequence[float] | str, start_tick: int | None = None
    ) -> int:
        """Let a source sound.

        Args:
            source: what. position: (3,) m, or the name of the body that it sits on.
            start_tick: physics tick of its first sample, now or later; now when absent.

        Returns:
            a handle for ``stop``.

        Raises:
            ConfigError: a tick in the past, or no such body.
        """
        now = self.world.tick - self.world.tick % TICKS_PER_CONTROL
        tick = self.world.tick if start_tick is None else start_tick
        if tick < now:
            raise ConfigError(f"start_tick must not lie in the past, before {now} (got {tick})")
        handle, self._emitted = self._emitted, self._emitted + 1
        body = self._body_id(position) if isinstance(position, str) else -1
        place = None if isinstance(position, str) else np.array(position, dtype=np.float64)
        voice = source.voice(keyed_rng(*self._key, "source", handle))
        self._cues[handle] = _Cue(voice, place, body, tick * AUDIO_SAMPLES_PER_TICK)
        return handle

    def stop(self, handle: int) -> None:
        """End an emission; one that is over may be stopped again."""
        self._cues.pop(handle, None)

    def assign(self, materials: Mapping[str, str]) -> None:
        """Give geoms or bodies another material; call it before ``reset``."""
        self._bodies.assign(materials)

    def observation(self) -> np.ndarray:
        """(C, 16000) float32 in [-1, 1]: the last second, newest sample last; a copy.

        Whole multiples of 1 / 32768: microphones have 16 bits (``neon_sim.audio.pcm``).
        """
        return self._ring[:, self._write : self._write + RING_SAMPLES].copy()

    def newest(self) -> np.ndarray:
        """(C, 320) float32 in [-1, 1]: the last control step; a copy."""
        end = self._write + RING_SAMPLES
        return self._ring[:, end - BLOCK : end].copy()

    @property
    def sample(self) -> int:
        """Samples since reset: the index of the next one to be heard."""
        return self.world.tick // TICKS_PER_CONTROL * BLOCK

    # ---- a control step ---------------------------------------------------------------------

    def _advance(self) -> None:
        emissions = [*self._contacts(), *self._whine(), *self._sources()]
        self._keep(self._hear(emissions))

    def _contacts(self) -> list[Emission]:
        """Contacts into ringing bodies."""
        start = self.world.tick - TICKS_PER_CONTROL
        self.blows, rubs = self._listener.collect(start, TICKS_PER_CONTROL)
        self._touching = self._touched(self.blows, rubs)
        return self._bodies.block(self.world.data, self.blows, rubs, self._coupling)

    def _touched(self, blows: Sequence[Blow], rubs: Sequence[Rub]) -> frozenset[int]:
        """Bodies that touch the robot."""
        if self._robot < 0:
            return frozenset()
        model, touched = self.world.model, set()
        for geoms in (*(blow.pair for blow in blows), *(rub.pair for rub in rubs)):
            pair = [int(model.geom_bodyid[geom]) for geom in geoms]
            own = [model.body_rootid[body] == self._robot for body in pair]
            touched |= {body for body, mine in zip(pair, own, strict=True) if any(own) and not mine}
        return frozenset(touched)

    def _coupling(self, body: int) -> float:
        """1 for the robot and what it touches, else 0."""
        if self._robot < 0 or body < 0:
            return 0.0
        mine = self.world.model.body_rootid[body] == self._robot
        return float(mine or body in self._touching)

    def _whine(self) -> list[Emission]:
        """The motors."""
        heard = None if self._motors is None else self._motors.block(self.world.data)
        if heard is None:
            self._anchor = None
            return []
        block, place = heard
        before = place if self._anchor is None else self._anchor
        self._anchor = place
        carried = MOTOR_CONTACT_GAIN / CONTACT_GAIN
        return [Emission(block, before, place, (carried, carried))]

    def _sources(self) -> list[Emission]:
        """The cues."""
        start = self.world.tick * AUDIO_SAMPLES_PER_TICK - BLOCK
        emissions = []
        for handle, cue in list(self._cues.items()):
            place, acceleration = self._follow(cue)
            begin = max(cue.start - start, 0)
            if begin >= BLOCK:
                continue
            block = cue.voice.block(max(start - cue.start, 0), BLOCK - begin, acceleration)
            if block is None:
                del self._cues[handle]
                continue
            now = self._coupling(cue.body)
            before = place if cue.heard_at is None else cue.heard_at
            padded = block if begin == 0 else np.append(np.zeros(begin), block)
            emissions.append(Emission(padded, before, place, (cue.coupled, now)))
            cue.heard_at, cue.coupled = place, now
        return emissions

    def _follow(self, cue: _Cue) -> tuple[np.ndarray, float]:
        """Where a cue is now, and the acceleration of its body in m/s^2."""
        if cue.position is not None:
            return cue.position, 0.0
        twist = np.zeros(6)
        model, data = self.world.model, self.world.data
        mujoco.mj_objectVelocity(model, data, mujoco.mjtObj.mjOBJ_BODY, cue.body, twist, 0)
        velocity = twist[3:]
        change = np.zeros(3) if cue.velocity is None else velocity - cue.velocity
        cue.velocity = velocity
        return data.xipos[cue.body].copy(), float(np.linalg.norm(change)) / CONTROL_DT_S

    # ---- microphones --------------------------------------------------------------------------

    def _hear(self, emissions: Sequence[Emission]) -> np.ndarray:
        """(C, 320) float64 at the capsules, without noise."""
        pose = self._pose()
        return np.concatenate([hears.receive(emissions, pose) for hears in self._fields])

    def _keep(self, heard: np.ndarray) -> None:
        """Sensor noise, saturation, and into the ring (twice, so that a second is one slice)."""
        heard += self._sensor_noise(BLOCK)
        beyond = np.abs(heard) > 1.0
        self.clipped += int(np.count_nonzero(beyond))
        block = quantised(heard)
        self._ring[:, self._write : self._write + BLOCK] = block
        mirror = self._write + RING_SAMPLES
        self._ring[:, mirror : mirror + BLOCK] = block
        self._write = (self._write + BLOCK) % RING_SAMPLES

    def _begin_ring(self) -> None:
        """A second of a silent room: the microphones were on before the episode began."""
        past = quantised(self._sensor_noise(RING_SAMPLES))
        self._ring[:, :RING_SAMPLES], self._ring[:, RING_SAMPLES:] = past, past

    def _sensor_noise(self, count: int) -> np.ndarray:
        rows = []
        for array, rng in zip(self.arrays, self._noise, strict=True):
            level = array.noise_db if self._noise_db is None else self._noise_db
            shape = (len(array.offsets_m), count)
            rows.append(10.0 ** (level / 20.0) * rng.standard_normal(shape))
        return np.concatenate(rows)

    def _pose(self) -> Pose:
        turn = np.zeros(9)
        mujoco.mju_quat2Mat(turn, np.array(self._mount.quat))
        position, rotation = np.array(self._mount.position), turn.reshape(3, 3)
        if self._carrier < 0:
            return Pose(position, rotation)
        data = self.world.data
        frame = data.xmat[self._carrier].reshape(3, 3)
        return Pose(data.xpos[self._carrier] + frame @ position, frame @ rotation)

    def _make_field(self, array: MicrophoneArray) -> AirField | ContactField:
        if not array.contact:
            return AirField(array, self.room, self._carrier >= 0)
        if self._robot < 0:
            raise ConfigError(
                f"{array.name} must be glued to a body of the robot (got none); "
                "name it: Mount(contact_body=...)"
            )
        return ContactField(array)

    def _body_id(self, name: str | None) -> int:
        if name is None:
            return -1
        model = self.world.model
        body = int(mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, name))
        if body < 0:
            raise unknown_name("body", name, [model.body(k).name for k in range(model.nbody)])
        return body

    def _robot_root(self, name: str | None) -> int:
        body = self._body_id(name)
        return -1 if body < 0 else int(self.world.model.body_rootid[body])
