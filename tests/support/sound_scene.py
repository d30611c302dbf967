"""Small scenes that make sound, and helpers to listen to them; used by the sound tests."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from neon_sim.audio.microphones import MicrophoneArray, Mount
from neon_sim.audio.soundscape import SoundScape
from neon_sim.audio.sources import (
    Alarm,
    Click,
    Noise,
    Playback,
    Pour,
    Rattle,
    RingTone,
)
from neon_sim.clock import TICKS_PER_CONTROL
from neon_sim.simulation.world import World

TABLE = '<geom name="table" type="box" size="0.6 0.6 0.02" pos="0 0 -0.02" friction="0.4"/>'
BALL = """<body name="ball" pos="0 0 0.5"><freejoint/>
  <geom name="ball" type="sphere" size="0.03" mass="0.2"/></body>"""
BOX = """<body name="box" pos="0 0 0.0199"><freejoint/>
  <geom name="box" type="box" size="0.03 0.03 0.02" mass="0.5" friction="0.4"/></body>"""
ROBOT = """<body name="base" pos="0 0.5 0.5">
  <body name="link"><joint name="joint" axis="0 0 1" damping="0.1"/>
    <geom name="link" type="capsule" fromto="0 0 0 0.2 0 0" size="0.02" mass="1"/></body></body>"""
MOTOR = '<actuator><velocity joint="joint" kv="20" forcerange="-40 40"/></actuator>'
NOISELESS = float("-inf")


def scene(*bodies: str, actuator: str = "") -> str:
    """MJCF of these bodies."""
    option = '<option integrator="implicitfast" timestep="0.002"/>'
    return f"<mujoco>{option}<worldbody>{''.join(bodies)}</worldbody>{actuator}</mujoco>"


def quiet(microphones=("mono",), position=(0.0, 0.0, 0.0), **arguments) -> SoundScape:
    """Microphones in a world where nothing happens, without sensor noise."""
    arguments.setdefault("noise_db", NOISELESS)
    mount = Mount(position=position)
    return SoundScape(World(scene(TABLE)), microphones, mount=mount, **arguments)


def pair(spacing_m: float) -> MicrophoneArray:
    """Two capsules on the y axis without a head between them."""
    return MicrophoneArray("pair", ((0.0, spacing_m / 2, 0.0), (0.0, -spacing_m / 2, 0.0)))


def listen(scape: SoundScape, steps: int, ctrl: float = 0.0) -> np.ndarray:
    """(C, 320 steps) float32 of the next control steps."""
    row = np.full((TICKS_PER_CONTROL, scape.world.model.nu), ctrl)
    blocks = []
    for _ in range(steps):
        scape.step(row)
        blocks.append(scape.newest())
    return np.concatenate(blocks, axis=1)


def start(scape: SoundScape, *, velocity: dict[int, float] | None = None, key=(0,)) -> None:
    """Begin an episode with these entries of qvel."""
    qvel = np.zeros(scape.world.model.nv)
    for index, value in (velocity or {}).items():
        qvel[index] = value
    scape.world.reset(qvel=qvel)
    scape.reset(key)


def level_db(samples: np.ndarray) -> float:
    """RMS in dB of full scale."""
    power = float(np.mean(np.square(samples.astype(np.float64))))
    return 10.0 * np.log10(max(power, 1e-30))


@dataclass(frozen=True)
class Samples:
    """A source that plays exactly these samples."""

    values: tuple[float, ...]

    def voice(self, rng):
        """See ``neon_sim.audio.sources.Source``."""
        del rng
        return Playback(np.array(self.values))


IMPULSE = Samples((0.05,))  # no louder than full scale at 5 cm


def burst(count: int = 1600, seed: int = 0) -> Samples:
    """White noise."""
    return Samples(tuple((0.1 * np.random.default_rng(seed).standard_normal(count)).tolist()))


EVERYTHING = scene(TABLE, BALL, BOX.replace("0 0 0.0199", "0.3 0 0.0199"), ROBOT, actuator=MOTOR)
MOUNT = Mount(position=(0.4, 0.3, 0.3), contact_body="link")
SLIDE = {6: 0.6, 7: 0.3}


def everything(room=None, microphones=("mono", "head_stereo", "wrist_contact")) -> SoundScape:
    """A ball that falls, a box that slides, an arm that turns, cues of every kind."""
    scape = SoundScape(
        World(EVERYTHING), microphones, mount=MOUNT, room=room, default_material="metal"
    )
    start(scape, velocity=SLIDE)
    emit_cues(scape)
    return scape


def emit_cues(scape: SoundScape) -> None:
    """One cue of every kind."""
    for k, source in enumerate((Click(), Noise(), Rattle(), RingTone(), Alarm(), Pour())):
        scape.emit(source, "box" if k == 2 else (0.5, 0.1 * k, 0.2), start_tick=7 * k)


def digest(scape: SoundScape, steps: int = 40) -> str:
    """Hash of what is heard."""
    return hashlib.sha256(listen(scape, steps, ctrl=1.5).tobytes()).hexdigest()
