"""Microphones: where the capsules sit, what they add, and how a robot's array is named."""

from __future__ import annotations

from dataclasses import dataclass

from neon_sim.errors import unknown_name

Offset = tuple[float, float, float]


@dataclass(frozen=True)
class MicrophoneArray:
    """Capsules that move together.

    Attributes:
        name: of the registry.
        offsets_m: one capsule a channel, in the mount's frame: x forward, y left, z up.
        noise_db: RMS of the sensor noise, dB of full scale.
        contact: structure-borne: hears what the robot's body and what it touches do.
        shadow: the capsules are ears of a head between them.
        simulation_only: no raw stream of it can be had on the robot.
    """

    name: str
    offsets_m: tuple[Offset, ...]
    noise_db: float = -60.0
    contact: bool = False
    shadow: bool = False
    simulation_only: bool = False

    @property
    def channels(self) -> tuple[str, ...]:
        """A name a channel."""
        if len(self.offsets_m) == 1:
            return (self.name,)
        return tuple(f"{self.name}.{index}" for index in range(len(self.offsets_m)))


MICROPHONES: dict[str, MicrophoneArray] = {
    array.name: array
    for array in (
        # What a Unitree G1 streams: 16 kHz, 16 bit, one channel (its public SDK).
        MicrophoneArray("mono", ((0.0, 0.0, 0.0),)),
        # The G1's four capsules, 20 mm apart (its VuiClient page); the SDK does not stream them
        # one by one, so nothing trained on them deploys. A line cannot tell front from back.
        MicrophoneArray(
            "linear4",
            tuple((0.0, y, 0.0) for y in (0.03, 0.01, -0.01, -0.03)),
            simulation_only=True,
        ),
        # Two ears 16 cm apart; the far one is low-passed by the head.
        MicrophoneArray(
            "head_stereo",
            ((0.0, 0.08, 0.0), (0.0, -0.08, 0.0)),
            shadow=True,
            simulation_only=True,
        ),
        # A piezo on the wrist.
        MicrophoneArray("wrist_contact", ((0.0, 0.0, 0.0),), contact=True),
    )
}


@dataclass(frozen=True)
class Mount:
    """Where arrays sit.

    Attributes:
        position: m, in the frame of ``body`` (of the world without one).
        quat: rotation of the array in that frame.
        body: name of the body that carries them.
        contact_body: name of a body of the robot that contact microphones are glued to.
    """

    position: Offset = (0.0, 0.0, 0.6)
    quat: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)
    body: str | None = None
    contact_body: str | None = None


def microphone_named(name: str) -> MicrophoneArray:
    """Look an array up.

    Raises:
        UnknownNameError: no such array.
    """
    if name not in MICROPHONES:
        raise unknown_name("microphone", name, MICROPHONES)
    return MICROPHONES[name]
