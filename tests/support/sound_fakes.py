"""A small sound task, and the same with a fault of every kind that a certificate must find."""

from __future__ import annotations

from typing import Any

import numpy as np

from neon_sim.audio.sources import Beep
from neon_sim.envs.arm.robot import HOME, joint_action
from neon_sim.envs.arm.task import ArmTask
from neon_sim.envs.hearing import HearingTask, draw_cue
from neon_sim.envs.scene import GHOST_BITS, SPHERE
from neon_sim.observation.batch import ClipBatch

HZ = {"left": 500.0, "right": 2000.0}
TURN = {"left": 0.3, "right": -0.3}  # rad of joint 1
BEEP_TICK, BEEP_S = 50, 0.1
LAMP = (0.7, 0.0, 0.3)


class ArmBeep(HearingTask, ArmTask):
    """Turn left at the low beep, right at the high one."""

    NAME = "arm_beep"
    EPISODE_STEPS = 32
    CUE = "side"

    def build_scene(self, spec: Any) -> None:
        """A lamp."""
        spec.worldbody.add_geom(name="lamp", type=SPHERE, size=[0.06, 0, 0], pos=LAMP, **GHOST_BITS)

    def sample_latent(self, rng: np.random.Generator) -> dict[str, Any]:
        """Only the side matters."""
        return {"offset": float(rng.uniform()), "side": draw_cue(rng, list(HZ))}

    def cues_of(self, latent: dict[str, Any]) -> list[Any]:
        """Two beeps."""
        return list(HZ)

    def begin_sound(self, sound: Any) -> None:
        """One beep."""
        sound.emit(Beep(HZ[self.latent[self.CUE]], BEEP_S), LAMP, BEEP_TICK)

    def choice(self) -> Any:
        """The side to which the arm has turned."""
        y = self.tool_position()[1]
        return None if abs(y) < 0.04 else "left" if y > 0 else "right"

    def closeness(self) -> float:
        """Nothing between."""
        return 0.0

    def visible_state(self, qpos: np.ndarray) -> list[float]:
        """The lamp."""
        return list(LAMP)

    def expert_action(self) -> np.ndarray:
        """Turn, once the beep is over."""
        joints = HOME.copy()
        if self.tick > BEEP_TICK + 60:
            joints[0] = TURN[self.latent[self.CUE]]
        return joint_action(joints, 1.0)

    @property
    def task_description(self) -> str:
        """The same in every episode."""
        return "touch the blue post when the tones rise"


class Painted(ArmBeep):
    """The lamp changes its colour in one of the twins, at control step 10."""

    def after_step(self) -> None:
        super().after_step()
        if self.control_step == 10 and self.latent[self.CUE] == "right":
            self.model.geom("lamp").rgba[:] = (1, 0, 0, 1)

    def apply_latent(self, latent: dict[str, Any]) -> None:
        super().apply_latent(latent)
        self.model.geom("lamp").rgba[:] = (0, 0, 1, 1)


class Told(ArmBeep):
    """The true positions tell."""

    def visible_state(self, qpos: np.ndarray) -> list[float]:
        return [float(self.latent[self.CUE] == "left")]


class Written(ArmBeep):
    """The instruction tells."""

    @property
    def task_description(self) -> str:
        return f"turn {self.latent[self.CUE]}"


class Leaning(ArmBeep):
    """The robot starts elsewhere."""

    def apply_latent(self, latent: dict[str, Any]) -> None:
        super().apply_latent(latent)
        self.start.qpos[6] += 0.01 * (latent[self.CUE] == "left")


class Silent(ArmBeep):
    """Nothing sounds."""

    def begin_sound(self, sound: Any) -> None:
        """Nothing."""


class Greedy(ArmBeep):
    """Whatever is done is right for every cue."""

    def fits(self, cue: Any) -> bool:
        return self._chosen is not None


class Fickle(ArmBeep):
    """Success is not what fits the cue."""

    def is_success(self) -> bool:
        return self._chosen == "left"


class Uneven(ArmBeep):
    """One cue is hardly ever drawn."""

    def sample_latent(self, rng: np.random.Generator) -> dict[str, Any]:
        side = "left" if rng.uniform() < 0.9 else "right"
        return {"offset": 0.0, self.CUE: side}


class Unlisted(ArmBeep):
    """The cue is none of those it names."""

    def cues_of(self, latent: dict[str, Any]) -> list[Any]:
        return ["left", "middle"]

    def sample_latent(self, rng: np.random.Generator) -> dict[str, Any]:
        return {"offset": 0.0, self.CUE: "right"}


class Listener:
    """Turns to the side that it hears, and only then."""

    def __init__(self) -> None:
        from neon_sim.observation.clips import ClipConfig

        self.clip, self.needs = ClipConfig(num_frames=1), frozenset({"audio"})

    def reset(self, num_envs: int) -> None:
        """Nothing to forget."""

    def act(self, batch: ClipBatch) -> np.ndarray:
        """(B, 16, 8)."""
        assert batch.audio is not None
        return np.stack([self._chunk(row) for row in batch.audio])

    def _chunk(self, heard: np.ndarray) -> np.ndarray:
        power = np.abs(np.fft.rfft(heard[0])) ** 2  # a bin a hertz
        low, high = (power[int(hz) - 50 : int(hz) + 50].sum() for hz in HZ.values())
        joints = HOME.copy()
        if max(low, high) > 100 * power[4000:4100].sum():
            joints[0] = TURN["left" if low > high else "right"]
        return np.repeat(joint_action(joints, 1.0)[None], 16, axis=0)


def listener(**_: Any) -> Listener:
    """A policy that does what it hears."""
    return Listener()
