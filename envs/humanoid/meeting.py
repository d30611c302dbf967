"""What the humanoid's temporal tasks share: a thing that moves freely until the robot meets it.

Start and target are drawn independently and the start varies more widely than the target, so
that where the thing is says little about where it goes until it is too late for a body with real
limits. It moves on slides, without friction: each coordinate is a straight line in time (the
vertical one a parabola where there is gravity), and the right place is constant over the episode.

Why one frame cannot tell. At the share s of the way the thing is at ``y = (1 - s) a + s b``, with
a uniform in +-A (start) and b in +-B (target). Given y, b is uniform where ``|b| <= B`` and
``|y - s b| <= (1 - s) A``: all of +-B, for every middling y, until ``s = A / (A + B)``. A robot
that covers c of b without moving, and d more to either side in the time that is then left, meets
about ``(c + d) / B`` of the things; who saw it move knows b from the start. (Later frames tell a
little more, and the far starts tell early: so "about". Certificates measure it.)
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np

from neon_sim.clock import CONTROL_DT_S
from neon_sim.seeding import keyed_rng
from neon_sim.simulation.gl import mujoco

from ..episode import Twins
from .task import HumanoidTask

TWIN_STEPS = 12


class MeetingTask(HumanoidTask):
    """One thing moves, the robot has to be where it arrives.

    A latent is ``{"position": [x, y, z], "velocity": [x, y, z], "time_s": t}``: of the thing at
    the start, in m and m/s, and when it arrives.

    Class attributes:
        THING: name of the moving body, which ``add_slider`` made.
        START_SPREAD_M, TARGET_SPREAD_M: half widths A and B of the uniform distributions of y.
    """

    THING: ClassVar[str]
    START_SPREAD_M: ClassVar[float]
    TARGET_SPREAD_M: ClassVar[float]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._thing = self.slides(self.THING)

    @abstractmethod
    def draw(self, rng: np.random.Generator, start_y: float, target_y: float) -> dict[str, Any]:
        """A latent that starts and would arrive at the given y, m."""

    @abstractmethod
    def arrival(self, latent: dict[str, Any]) -> np.ndarray:
        """(3,) m where the thing will be when it is met."""

    def sample_latent(self, rng: np.random.Generator) -> dict[str, Any]:
        """Start and target, independent of each other."""
        start_y = float(rng.uniform(-self.START_SPREAD_M, self.START_SPREAD_M))
        target_y = float(rng.uniform(-self.TARGET_SPREAD_M, self.TARGET_SPREAD_M))
        return self.draw(rng, start_y, target_y)

    def apply_latent(self, latent: dict[str, Any]) -> None:
        """Place the thing, and work out once where it will arrive."""
        q, v = self._thing
        self.start.qpos[q : q + 3] = latent["position"]
        self.start.qvel[v : v + 3] = latent["velocity"]
        self._aim = self.arrival(latent)

    def slides(self, name: str) -> tuple[int, int]:
        """Where the three slides of a body begin in qpos and in qvel."""
        joint = self.model.joint(f"{name}_x")
        return int(joint.qposadr[0]), int(joint.dofadr[0])

    def thing_position(self, qpos: np.ndarray | None = None) -> np.ndarray:
        """(3,) m where the thing is, now or in a past configuration."""
        q = self._thing[0]
        return (self.data.qpos if qpos is None else qpos)[q : q + 3].copy()

    def thing_velocity(self) -> np.ndarray:
        """(3,) m/s how it moves now (for experts and judges; no policy sees it)."""
        v = self._thing[1]
        return self.data.qvel[v : v + 3].copy()

    def twins(self, seed: int, index: int) -> Twins:
        """Two things that are at the same place after 0.24 s and go to targets far apart."""
        rng = keyed_rng(self.NAME, self.VERSION, seed, index, "twins")
        while True:
            first = self.sample_latent(rng)
            target_y = float(rng.uniform(-self.TARGET_SPREAD_M, self.TARGET_SPREAD_M))
            second = self._passing(first, target_y)
            if second is not None:
                return Twins(first, second, TWIN_STEPS)

    def _passing(self, first: dict[str, Any], target_y: float) -> dict[str, Any] | None:
        """A latent that meets ``first`` when twins are compared and goes to ``target_y``."""
        (x, y, z), (vx, vy, vz) = first["position"], first["velocity"]
        passed_s = TWIN_STEPS * CONTROL_DT_S
        meeting = y + vy * passed_s
        vy_too = (target_y - meeting) / (first["time_s"] - passed_s)
        y_too = meeting - vy_too * passed_s
        apart = abs(target_y - y - vy * first["time_s"])
        if apart < self.TARGET_SPREAD_M or abs(y_too) > self.START_SPREAD_M:
            return None
        return {**first, "position": [x, y_too, z], "velocity": [vx, vy_too, vz]}


def add_slider(spec: Any, name: str, weightless: bool = False) -> Any:
    """Add a body that slides along x, y and z of the world, from the origin.

    Returns:
        the body, to which geoms are added.
    """
    body = spec.worldbody.add_body(name=name, gravcomp=float(weightless))
    for index, axis in enumerate("xyz"):
        body.add_joint(
            name=f"{name}_{axis}", type=mujoco.mjtJoint.mjJNT_SLIDE, axis=np.eye(3)[index]
        )
    return body
