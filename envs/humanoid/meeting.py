"""What the humanoid's temporal tasks share: a thing moves freely until the robot meets it.

Start and target are drawn independently, and the start varies more widely than the target. The
place of the thing therefore says little about its target until it is too late for a robot with
real limits. The thing moves on slides without friction: each coordinate is linear in time (the
vertical one a parabola under gravity), and the right place is constant over the episode.

Why one frame does not suffice. After a share s of the path the thing is at ``y = (1 - s) a + s b``,
with start a uniform in +-A and target b uniform in +-B. Given y, b is uniform where ``|b| <= B``
and ``|y - s b| <= (1 - s) A``. Until ``s = A / (A + B)`` that is all of +-B, unless y lies far out.
A robot that covers a distance c of b without moving, and d more to either side in the remaining
time, meets about ``(c + d) / B`` of the things. A robot that sees the motion knows b from the
start. (It is "about" because later frames tell a little more, and far starts tell earlier. The
certificates measure it.)
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, TypedDict, Unpack

import numpy as np

from neon_sim.clock import CONTROL_DT_S
from neon_sim.contracts import Twins
from neon_sim.seeding import keyed_rng
from neon_sim.simulation.gl import mujoco

from .task import HumanoidSettings, HumanoidTask

TWIN_STEPS = 12  # control steps until twins look the same


class Meeting(TypedDict):
    """The moving thing.

    Keys:
        position: x, y and z at the start, m.
        velocity: along x, y and z at the start, m/s.
        time_s: time at which it arrives, s.
    """

    position: list[float]
    velocity: list[float]
    time_s: float


class MeetingTask(HumanoidTask[Meeting]):
    """One thing moves, and the robot has to be where it arrives.

    Class attributes:
        THING: name of the moving body, which ``add_slider`` made.
        START_SPREAD_M: half width A of the uniform distribution of y at the start.
        TARGET_SPREAD_M: half width B of the uniform distribution of y at the target.
    """

    THING: ClassVar[str]
    START_SPREAD_M: ClassVar[float]
    TARGET_SPREAD_M: ClassVar[float]

    def __init__(self, **settings: Unpack[HumanoidSettings]) -> None:
        super().__init__(**settings)
        self._thing = self.slides(self.THING)

    @abstractmethod
    def draw(self, rng: np.random.Generator, start_y: float, target_y: float) -> Meeting:
        """Draw a latent whose thing starts at one y and arrives at the other, m."""

    @abstractmethod
    def arrival(self, latent: Meeting) -> np.ndarray:
        """(3,) m: where the thing will be when it is met."""

    def sample_latent(self, rng: np.random.Generator) -> Meeting:
        """Draw start and target independently of each other."""
        start_y = float(rng.uniform(-self.START_SPREAD_M, self.START_SPREAD_M))
        target_y = float(rng.uniform(-self.TARGET_SPREAD_M, self.TARGET_SPREAD_M))
        return self.draw(rng, start_y, target_y)

    def apply_latent(self, latent: Meeting) -> None:
        """Place the thing, and compute where it will arrive."""
        q, v = self._thing
        self.start.qpos[q : q + 3] = latent["position"]
        self.start.qvel[v : v + 3] = latent["velocity"]
        self._aim = self.arrival(latent)

    def slides(self, name: str) -> tuple[int, int]:
        """Where the three slides of a body begin in qpos and in qvel."""
        joint = self.model.joint(f"{name}_x")
        return int(joint.qposadr[0]), int(joint.dofadr[0])

    def thing_position(self, qpos: np.ndarray | None = None) -> np.ndarray:
        """(3,) m: place of the thing, now or in a past configuration."""
        q = self._thing[0]
        return np.array((self.data.qpos if qpos is None else qpos)[q : q + 3])

    def thing_velocity(self) -> np.ndarray:
        """(3,) m/s: its velocity now. Experts and success read it, policies do not."""
        v = self._thing[1]
        return np.array(self.data.qvel[v : v + 3])

    def closeness(self) -> float:
        """How near a hand is to where the thing will arrive, in [0, 0.5]."""
        hands = self.data.site_xpos[list(self._hands.values())]
        gap = float(np.sqrt(((hands - self._aim) ** 2).sum(axis=1).min()))
        return 0.5 * max(0.0, 1.0 - gap / 0.5)

    def expert_action(self) -> np.ndarray:
        """Bring the hand on its side to where the thing will arrive; the other arm hangs."""
        return self.reach_action(self._aim, "left" if self._aim[1] > 0.0 else "right")

    def twins(self, seed: int, index: int) -> Twins:
        """Two things that are at the same place after 0.24 s and go to distant targets."""
        rng = keyed_rng(self.NAME, self.VERSION, seed, index, "twins")
        while True:
            first = self.sample_latent(rng)
            target_y = float(rng.uniform(-self.TARGET_SPREAD_M, self.TARGET_SPREAD_M))
            second = self._passing(first, target_y)
            if second is not None:
                return Twins(first, second, TWIN_STEPS)

    def _passing(self, first: Meeting, target_y: float) -> Meeting | None:
        """A latent that meets ``first`` after ``TWIN_STEPS`` and goes to ``target_y``, if any."""
        (x, y, z), (vx, vy, vz) = first["position"], first["velocity"]
        passed_s = TWIN_STEPS * CONTROL_DT_S
        meeting = y + vy * passed_s
        vy_too = (target_y - meeting) / (first["time_s"] - passed_s)
        y_too = meeting - vy_too * passed_s
        apart = abs(target_y - y - vy * first["time_s"])
        if apart < self.TARGET_SPREAD_M or abs(y_too) > self.START_SPREAD_M:
            return None
        return {**first, "position": [x, y_too, z], "velocity": [vx, vy_too, vz]}


def straight_line(latent: Meeting) -> np.ndarray:
    """(3,) m: where the thing would be at ``time_s`` without gravity."""
    return np.array(latent["position"]) + np.array(latent["velocity"]) * latent["time_s"]


def add_slider(spec: mujoco.MjSpec, name: str, weightless: bool = False) -> mujoco.MjsBody:
    """Add a body at the origin that slides along x, y and z; returns it, without geoms."""
    body = spec.worldbody.add_body(name=name, gravcomp=float(weightless))
    for index, axis in enumerate("xyz"):
        body.add_joint(
            name=f"{name}_{axis}", type=mujoco.mjtJoint.mjJNT_SLIDE, axis=np.eye(3)[index]
        )
    return body
