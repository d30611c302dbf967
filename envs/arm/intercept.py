"""What the three interception tasks share: a thing that moves freely until the hand meets it.

Start and target are drawn independently and the start varies more widely than the target,
so that where the thing is says little about where it goes until it is too late for an arm
with real speed limits. The thing moves without friction, so its path is a straight line or
a parabola and the right place for the hand is constant over the episode.
"""

from __future__ import annotations

import operator
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from neon_sim.clock import PHYSICS_DT_S, TICKS_PER_CONTROL
from neon_sim.seeding import keyed_rng
from neon_sim.simulation.gl import mujoco

from .robot import NUM_JOINTS, joint_action
from .task import ArmTask, Twins

GRAVITY_M_S2 = 9.81
STRUCK_M_S = 0.03  # a velocity further than this from free motion means a contact
TWIN_TARGETS_APART_M = 0.3
LABEL_GRID_M = 1e-4  # the aim is rounded to this, so that it does not jitter


class InterceptTask(ArmTask):
    """One thing moves, the hand has to be where it arrives.

    A latent is ``{"position": [x, y, z], "velocity": [x, y, z]}`` of the thing at the start,
    in m and m/s.

    Class attributes:
        THING: name of the moving body, which has a free joint.
        START_SPREAD_M, TARGET_SPREAD_M: half widths of the uniform distributions of y.
        HAND: (3, 3) rotation of the hand in front of the base.
        TURN: share of the target's azimuth by which the hand turns; 1 needs no wrist.
        ROTATION_WEIGHT: of the IK, m per rad.
    """

    THING: ClassVar[str]
    START_SPREAD_M: ClassVar[float]
    TARGET_SPREAD_M: ClassVar[float]
    HAND: ClassVar[np.ndarray]
    TURN: ClassVar[float] = 0.0
    ROTATION_WEIGHT: ClassVar[float] = 0.1
    _AXES: ClassVar[int] = 3

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        joint = self.model.joint(self.model.body(self.THING).jntadr[0])
        self._q, self._v = int(joint.qposadr[0]), int(joint.dofadr[0])

    @abstractmethod
    def draw(self, rng: np.random.Generator, start_y: float, target_y: float) -> dict[str, Any]:
        """A latent that starts and would arrive at the given y, m."""

    @abstractmethod
    def arrival(self, position: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        """(3,) m where a thing in free motion will meet the hand."""

    # ---- the episode --------------------------------------------------------------------

    def sample_latent(self, rng: np.random.Generator) -> dict[str, Any]:
        """Where the thing starts and how fast: start and target independent of each other."""
        start_y = float(rng.uniform(-self.START_SPREAD_M, self.START_SPREAD_M))
        target_y = float(rng.uniform(-self.TARGET_SPREAD_M, self.TARGET_SPREAD_M))
        return self.draw(rng, start_y, target_y)

    def apply_latent(self, latent: dict[str, Any]) -> None:
        """Place the thing, and work out once where it will arrive: its motion is free."""
        position, velocity = np.array(latent["position"]), np.array(latent["velocity"])
        self._put(self.start.qpos, self.start.qvel, latent)
        aim = self.arrival(position, velocity)
        self._aim = np.round(aim / LABEL_GRID_M) * LABEL_GRID_M

    def _put(self, qpos: np.ndarray, qvel: np.ndarray, latent: dict[str, Any]) -> None:
        qpos[self._q : self._q + self._AXES] = latent["position"][: self._AXES]
        qvel[self._v : self._v + self._AXES] = latent["velocity"][: self._AXES]

    def thing_position(self, qpos: np.ndarray | None = None) -> np.ndarray:
        """(3,) m where the thing is, now or in a past configuration."""
        return (self.data.qpos if qpos is None else qpos)[self._q : self._q + 3].copy()

    def thing_velocity(self) -> np.ndarray:
        """(3,) m/s how it moves now (for experts and judges; no policy sees it)."""
        return self.data.qvel[self._v : self._v + 3].copy()

    def in_hand(self, point: Sequence[float]) -> tuple[float, float, float]:
        """x, y, z in m of a world point in the frame of the hand (one tick old while it moves)."""
        a, b, c, d, e, f, g, h, i = self.data.xmat[self._hand].tolist()
        dx, dy, dz = map(operator.sub, point, self.data.xpos[self._hand].tolist())
        return (
            a * dx + d * dy + g * dz,
            b * dx + e * dy + h * dz,
            c * dx + f * dy + i * dz,
        )

    def expert_action(self) -> np.ndarray:
        """Straight to where the thing will arrive, and stay there."""
        return joint_action(self.hand_joints(self._aim), self.START_GRIPPER)

    def hand_joints(self, point: np.ndarray) -> np.ndarray:
        """(7,) rad that bring the tool to a point in m."""
        angle = self.TURN * np.arctan2(point[1], point[0])
        c, s = np.cos(angle), np.sin(angle)
        turn = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        return self.kinematics.inverse(
            point, turn @ self.HAND, rotation_weight=self.ROTATION_WEIGHT, posture=self.START
        )

    # ---- twins --------------------------------------------------------------------------

    def free_flight(self, latent: dict[str, Any], ticks: int) -> np.ndarray:
        """(axes,) coordinates of the thing after ``ticks`` of the same physics, arm at rest."""
        data = mujoco.MjData(self.model)
        data.qpos[self._joints : self._joints + NUM_JOINTS] = self.START
        data.ctrl[:NUM_JOINTS] = self.START
        self._put(data.qpos, data.qvel, latent)
        for _ in range(ticks):
            mujoco.mj_step(self.model, data)
        return data.qpos[self._q : self._q + self._AXES].copy()

    def meeting_twins(self, seed: int, index: int, steps: int) -> Twins:
        """Two latents whose things are at the same place, to the bit, after ``steps``.

        The first is drawn as always. The second passes the same point towards another
        target; its start is found by running the physics and correcting for the remainder
        until nothing remains.
        """
        rng = keyed_rng(self.NAME, self.VERSION, seed, index, "twins")
        while True:
            first = self.sample_latent(rng)
            target_y = float(rng.uniform(-self.TARGET_SPREAD_M, self.TARGET_SPREAD_M))
            second = self._passing(first, target_y, steps * TICKS_PER_CONTROL)
            if second is not None:
                return Twins(first, second, steps)

    def _passing(self, first: dict[str, Any], target_y: float, ticks: int) -> dict[str, Any] | None:
        """A latent that meets ``first`` after ``ticks`` and goes to ``target_y``; or None."""
        position, velocity = np.array(first["position"]), np.array(first["velocity"])
        first_y = float(self.arrival(position, velocity)[1])
        if abs(target_y - first_y) < TWIN_TARGETS_APART_M or abs(velocity[1]) < 0.05:
            return None
        meeting = self.free_flight(first, ticks)
        vy = self.speed_towards(target_y, meeting, velocity, first_y)
        y = float(meeting[1] - vy * ticks * PHYSICS_DT_S)
        for _ in range(8):
            latent = {
                "position": [first["position"][0], y, first["position"][2]],
                "velocity": [first["velocity"][0], vy, first["velocity"][2]],
            }
            rest = meeting - self.free_flight(latent, ticks)
            if not rest.any():
                return latent if abs(y) <= self.START_SPREAD_M else None
            y += float(rest[1])
        return None

    def speed_towards(
        self, target_y: float, place: np.ndarray, velocity: np.ndarray, first_y: float
    ) -> float:
        """The vy, m/s, with which a thing at ``place`` arrives at ``target_y``.

        Args:
            target_y: m. place: (axes,) m. velocity: (3,) m/s of one that is there as well and
                arrives at the same time, at ``first_y``.
        """
        time_left = (first_y - place[1]) / velocity[1]
        return float((target_y - place[1]) / time_left)


class SlideTask(InterceptTask):
    """The thing slides along x and y on a smooth table, and what touches it is remembered.

    Class attributes:
        HEIGHT_M: height of its centre.
        FREE_AXES: how many of x and y keep their velocity until the hand touches the thing.
    """

    HEIGHT_M: ClassVar[float]
    FREE_AXES: ClassVar[int] = 2
    _AXES = 2

    def apply_latent(self, latent: dict[str, Any]) -> None:
        """Place the thing; nothing has touched it yet."""
        super().apply_latent(latent)
        self._struck = False
        self._free_velocity = latent["velocity"]

    def after_step(self) -> None:
        """Notice the first touch: a velocity that is not the free one's."""
        if not self._struck:
            now = self.data.qvel[self._v : self._v + self.FREE_AXES].tolist()
            changes = [abs(v - free) for v, free in zip(now, self._free_velocity, strict=False)]
            self._struck = max(changes) > STRUCK_M_S

    def thing_position(self, qpos: np.ndarray | None = None) -> np.ndarray:
        """(3,) m where the thing is, now or in a past configuration."""
        place = (self.data.qpos if qpos is None else qpos)[self._q : self._q + 2]
        return np.append(place, self.HEIGHT_M)

    def thing_velocity(self) -> np.ndarray:
        """(3,) m/s how it moves now (for experts and judges; no policy sees it)."""
        return np.append(self.data.qvel[self._v : self._v + 2], 0.0)
