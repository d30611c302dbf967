"""HumanoidAlarm: one of four alarms sounds; turn to it and touch it. A sound task.

The alarms look and sound the same, so only the direction of the sound tells which one it is. Two
stand ahead and two to the sides, which two ears tell apart without confusing front and back. A
deaf policy is right in one of four episodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, TypedDict

import numpy as np

from neon_sim.audio.soundscape import SoundScape
from neon_sim.audio.sources import Alarm
from neon_sim.clock import TICKS_PER_CONTROL
from neon_sim.contracts import Cue
from neon_sim.simulation.gl import mujoco

from ..hearing import HearingTask, draw_cue
from ..scene import COLOURS, CYLINDER, GHOST_BITS, SPHERE, View
from .lower_body import yaw_of
from .robot import joint_table
from .task import HumanoidTask

BEARINGS_RAD = (0.5, -0.5, 1.7, -1.7)  # left is positive
JITTER_RAD = 0.12
DISTANCE_M, HEIGHT_M = (0.46, 0.52), (0.92, 1.02)
TOUCH_M = 0.085  # from a hand to the middle of an alarm
START_STEPS = (10, 35)  # range of the control step at which it begins to sound
HEARING_STEPS = 10  # control steps of sound that the expert waits for
ARM_AZIMUTH_RAD = 0.32  # from straight ahead to where a hand reaches best
FACING_RAD = 0.25  # within this angle the robot has turned far enough to reach
TURN_GAIN = 3.0  # 1/s, of the expert's turning
TURN_LAG_S = 0.3  # for which the expert brakes early


class AlarmLatent(TypedDict):
    """What varies between episodes.

    Keys:
        places: x, y and z of each alarm, m.
        start_tick: physics tick at which it begins to sound.
        sounding: index of the alarm that sounds.
    """

    places: list[list[float]]
    start_tick: int
    sounding: int


class HumanoidAlarm(HearingTask[AlarmLatent], HumanoidTask[AlarmLatent]):
    """Touch the alarm that sounds. Only the first touch counts."""

    NAME = "humanoid_alarm"
    EPISODE_STEPS = 200
    INSTRUCTION = "touch the sounding alarm"
    LOWER = "base"
    CUE = "sounding"
    MICROPHONES: ClassVar[tuple[str, ...]] = ("head_stereo",)
    VIEWS: ClassVar[dict[str, View]] = {"view": View((2.1, -1.5, 1.75), (0.1, 0.0, 0.75), 40.0)}

    def build_scene(self, spec: mujoco.MjSpec) -> None:
        """Add alarms on poles. They have no contact: a touch is a small distance to a hand."""
        for index in range(len(BEARINGS_RAD)):
            body = spec.worldbody.add_body(name=f"alarm{index}")
            parts = (
                ("pole", CYLINDER, (0.014, 0.6, 0), -0.6, (0.35, 0.33, 0.32, 1)),
                ("bell", SPHERE, (0.05, 0, 0), 0.0, COLOURS["red"]),
                ("rim", CYLINDER, (0.056, 0.012, 0), -0.03, (0.92, 0.90, 0.84, 1)),
            )
            for name, kind, size, z, rgba in parts:
                body.add_geom(
                    name=f"{name}{index}",
                    type=kind,
                    size=size,
                    pos=[0, 0, z],
                    rgba=rgba,
                    **GHOST_BITS,
                )

    def sample_latent(self, rng: np.random.Generator) -> AlarmLatent:
        """Draw the places, the start of the sound and the sounding alarm."""
        places = []
        for bearing in BEARINGS_RAD:
            angle = bearing + rng.uniform(-JITTER_RAD, JITTER_RAD)
            away, height = rng.uniform(*DISTANCE_M), rng.uniform(*HEIGHT_M)
            places.append([float(away * np.cos(angle)), float(away * np.sin(angle)), float(height)])
        return {
            "places": places,
            "start_tick": int(rng.integers(*START_STEPS)) * TICKS_PER_CONTROL,
            "sounding": draw_cue(rng, range(len(places))),
        }

    def apply_latent(self, latent: AlarmLatent) -> None:
        """Place the alarms."""
        super().apply_latent(latent)
        self._places = np.array(latent["places"])
        for index, place in enumerate(latent["places"]):
            self.model.body(f"alarm{index}").pos[:] = place

    def begin_sound(self, sound: SoundScape) -> None:
        """One alarm, sounding until the end."""
        place = self.latent["places"][self.latent["sounding"]]
        sound.emit(Alarm(), place, self.latent["start_tick"])

    def _gaps(self) -> np.ndarray:
        """(4,) m from each alarm to the nearer hand."""
        hands = self.data.site_xpos[list(self._hands.values())]
        offsets = self._places[None] - hands[:, None]
        gaps: np.ndarray = np.sqrt((offsets * offsets).sum(axis=2).min(axis=0))
        return gaps

    def choice(self) -> Cue | None:
        """The alarm that a hand touches."""
        gaps = self._gaps()
        nearest = int(gaps.argmin())
        return nearest if gaps[nearest] < TOUCH_M else None

    def cues_of(self, latent: AlarmLatent) -> Sequence[Cue]:
        """The alarms."""
        return list(range(len(latent["places"])))

    def closeness(self) -> float:
        """How near a hand is to the nearest alarm, in [0, 0.5]."""
        return 0.5 * max(0.0, 1.0 - max(float(self._gaps().min()) - TOUCH_M, 0.0) / 0.6)

    def visible_state(self, qpos: np.ndarray) -> list[float]:
        """Place of each alarm, m: ahead and left of the pelvis, and height; the heading, rad."""
        yaw = yaw_of(qpos[3:7])
        c, s = np.cos(yaw), np.sin(yaw)
        x, y = (self._places[:, :2] - qpos[:2]).T
        places = np.stack([c * x + s * y, c * y - s * x, self._places[:, 2]], axis=1)
        return [*(float(value) for value in places.ravel()), float(yaw)]

    def expert_action(self) -> np.ndarray:
        """Wait until the alarm is heard, turn to it, then reach with the hand on its side."""
        heard = self.latent["start_tick"] + HEARING_STEPS * TICKS_PER_CONTROL
        if self.tick < heard and self._chosen is None:
            return self.make_action(joint_table().stand)
        return self.turn_and_reach(self._places[self.latent["sounding"]])

    def turn_and_reach(self, place: np.ndarray) -> np.ndarray:
        """Turn until (3,) ``place``, m, is in front of the nearer hand, then reach for it.

        A robot without base commands reaches at once: its arms are long enough to the sides too.
        """
        qpos, qvel = self.data.qpos, self.data.qvel
        bearing = float(np.arctan2(place[1], place[0]))
        side = "left" if bearing > 0.0 else "right"
        ahead = bearing - (ARM_AZIMUTH_RAD if side == "left" else -ARM_AZIMUTH_RAD)
        rest = ahead - yaw_of(qpos[3:7])
        turn = (0.0, 0.0, TURN_GAIN * (rest - TURN_LAG_S * float(qvel[5])))
        if self.rides and abs(rest) > FACING_RAD:
            return self.make_action(joint_table().stand, turn)
        return self.reach_action(place, side, turn)
