"""What the interception tasks share: a thing moves freely until the hand meets it.

Start and target are drawn independently, and the start varies more widely than the target. The
place of the thing therefore says little about its target until it is too late for an arm with
real speed limits. The thing moves without friction, so its path is a straight line or a parabola
and the right place for the hand is constant over the episode.
"""

from __future__ import annotations

import copy
import operator
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, TypedDict, TypeVar, Unpack

import numpy as np

from neon_sim.clock import PHYSICS_DT_S, TICKS_PER_CONTROL
from neon_sim.contracts import Twins
from neon_sim.seeding import keyed_rng
from neon_sim.simulation.gl import mujoco

from ..settings import TaskSettings
from .robot import NUM_JOINTS, joint_action
from .task import ArmTask

GRAVITY_M_S2 = 9.81
STRUCK_M_S = 0.03  # a velocity that differs more than this from free motion means a contact
TWIN_TARGETS_APART_M = 0.3  # smallest distance between the targets of twins
MIN_TWIN_SPEED_M_S = 0.05  # smallest velocity along y for which twins are looked for
LABEL_GRID_M = 1e-4  # the target is rounded to this, so that labels do not jitter


class Motion(TypedDict):
    """The moving thing at the start.

    Keys:
        position: x, y and z, m.
        velocity: along x, y and z, m/s.
    """

    position: list[float]
    velocity: list[float]


M = TypeVar("M", bound=Motion)


class InterceptTask(ArmTask[M]):
    """One thing moves, and the hand has to be where it arrives.

    Class attributes:
        THING: name of the moving body, which has a free joint.
        START_SPREAD_M: half width of the uniform distribution of y at the start.
        TARGET_SPREAD_M: half width of the uniform distribution of y at the target.
        HAND: (3, 3) rotation of the hand in front of the base.
        TURN: share of the target's azimuth by which the hand turns. At 1 the wrist stays still.
        ROTATION_WEIGHT: of the inverse kinematics, m per rad.
    """

    THING: ClassVar[str]
    START_SPREAD_M: ClassVar[float]
    TARGET_SPREAD_M: ClassVar[float]
    HAND: ClassVar[np.ndarray]
    TURN: ClassVar[float] = 0.0
    ROTATION_WEIGHT: ClassVar[float] = 0.1
    _AXES: ClassVar[int] = 3  # coordinates of the thing in qpos and qvel

    def __init__(self, **settings: Unpack[TaskSettings]) -> None:
        super().__init__(**settings)
        joint = self.model.joint(self.model.body(self.THING).jntadr[0])
        self._q, self._v = int(joint.qposadr[0]), int(joint.dofadr[0])

    @abstractmethod
    def draw(self, rng: np.random.Generator, start_y: float, target_y: float) -> M:
        """Draw a latent whose thing starts at one y and arrives at the other, m."""

    @abstractmethod
    def arrival(self, position: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        """(3,) m: where a thing in free motion will meet the hand.

        Args:
            position: (3,) m. velocity: (3,) m/s; both at the same moment.
        """

    # ---- the episode --------------------------------------------------------------------

    def sample_latent(self, rng: np.random.Generator) -> M:
        """Draw start and target independently of each other."""
        start_y = float(rng.uniform(-self.START_SPREAD_M, self.START_SPREAD_M))
        target_y = float(rng.uniform(-self.TARGET_SPREAD_M, self.TARGET_SPREAD_M))
        return self.draw(rng, start_y, target_y)

    def apply_latent(self, latent: M) -> None:
        """Place the thing and compute where it will arrive."""
        position, velocity = np.array(latent["position"]), np.array(latent["velocity"])
        self._put(self.start.qpos, self.start.qvel, latent)
        aim = self.arrival(position, velocity)
        self._aim = np.round(aim / LABEL_GRID_M) * LABEL_GRID_M

    def _put(self, qpos: np.ndarray, qvel: np.ndarray, latent: M) -> None:
        """Write the thing's start into ``qpos`` and ``qvel``."""
        qpos[self._q : self._q + self._AXES] = latent["position"][: self._AXES]
        qvel[self._v : self._v + self._AXES] = latent["velocity"][: self._AXES]

    def thing_position(self, qpos: np.ndarray | None = None) -> np.ndarray:
        """(3,) m: place of the thing, now or in a past configuration."""
        return np.array((self.data.qpos if qpos is None else qpos)[self._q : self._q + 3])

    def thing_velocity(self) -> np.ndarray:
        """(3,) m/s: its velocity now. Experts and success read it, policies do not."""
        return np.array(self.data.qvel[self._v : self._v + 3])

    def in_hand(self, point: Sequence[float]) -> tuple[float, float, float]:
        """A point of the world, m, in the frame of the hand (one tick old while the hand moves)."""
        a, b, c, d, e, f, g, h, i = self.data.xmat[self._hand].tolist()
        dx, dy, dz = map(operator.sub, point, self.data.xpos[self._hand].tolist())
        return (
            a * dx + d * dy + g * dz,
            b * dx + e * dy + h * dz,
            c * dx + f * dy + i * dz,
        )

    def expert_action(self) -> np.ndarray:
        """Go straight to where the thing will arrive, and stay there."""
        return joint_action(self.hand_joints(self._aim), self.START_GRIPPER)

    def hand_joints(self, point: np.ndarray) -> np.ndarray:
        """(7,) rad: joint angles that bring the tool to (3,) ``point``, m."""
        angle = self.TURN * np.arctan2(point[1], point[0])
        c, s = np.cos(angle), np.sin(angle)
        turn = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        return self.kinematics.inverse(
            point, turn @ self.HAND, rotation_weight=self.ROTATION_WEIGHT, posture=self.START
        )

    # ---- twins --------------------------------------------------------------------------

    def free_flight(self, latent: M, ticks: int) -> np.ndarray:
        """Coordinates of the thing after ``ticks`` of the same physics with the arm at rest."""
        data = mujoco.MjData(self.model)
        data.qpos[self._joints : self._joints + NUM_JOINTS] = self.START
        data.ctrl[:NUM_JOINTS] = self.START
        self._put(data.qpos, data.qvel, latent)
        for _ in range(ticks):
            mujoco.mj_step(self.model, data)
        return np.array(data.qpos[self._q : self._q + self._AXES])

    def meeting_twins(self, seed: int, index: int, steps: int) -> Twins:
        """Two latents whose things are at the same place, to the bit, after ``steps``.

        The first is drawn as in any episode. The second passes the same point towards another
        target. Its start is found by running the physics and subtracting the difference until
        none is left.
        """
        rng = keyed_rng(self.NAME, self.VERSION, seed, index, "twins")
        while True:
            first = self.sample_latent(rng)
            target_y = float(rng.uniform(-self.TARGET_SPREAD_M, self.TARGET_SPREAD_M))
            second = self._passing(first, target_y, steps * TICKS_PER_CONTROL)
            if second is not None:
                return Twins(first, second, steps)

    def _passing(self, first: M, target_y: float, ticks: int) -> M | None:
        """A latent that meets ``first`` after ``ticks`` and goes to ``target_y``, if any."""
        position, velocity = np.array(first["position"]), np.array(first["velocity"])
        first_y = float(self.arrival(position, velocity)[1])
        if abs(target_y - first_y) < TWIN_TARGETS_APART_M or abs(velocity[1]) < MIN_TWIN_SPEED_M_S:
            return None
        meeting = self.free_flight(first, ticks)
        vy = self.speed_towards(target_y, meeting, velocity, first_y)
        y = float(meeting[1] - vy * ticks * PHYSICS_DT_S)
        for _ in range(8):
            latent = copy.copy(first)
            latent["position"] = [first["position"][0], y, first["position"][2]]
            latent["velocity"] = [first["velocity"][0], vy, first["velocity"][2]]
            rest = meeting - self.free_flight(latent, ticks)
            if not rest.any():
                return latent if abs(y) <= self.START_SPREAD_M else None
            y += float(rest[1])
        return None

    def speed_towards(
        self, target_y: float, place: np.ndarray, velocity: np.ndarray, first_y: float
    ) -> float:
        """The velocity along y, m/s, with which a thing at ``place`` arrives at ``target_y``.

        Args:
            target_y: m. place: coordinates of the thing, m.
            velocity: (3,) m/s, of another thing at ``place`` that arrives at the same time.
            first_y: where that other thing arrives, m.
        """
        time_left = (first_y - place[1]) / velocity[1]
        return float((target_y - place[1]) / time_left)


class SlideTask(InterceptTask[Motion]):
    """The thing slides along x and y on a smooth table. The first touch of it is recorded.

    Class attributes:
        HEIGHT_M: height of its centre.
        FREE_AXES: 1 if only the velocity along x, 2 if also that along y is constant until the
            hand touches the thing.
    """

    HEIGHT_M: ClassVar[float]
    FREE_AXES: ClassVar[int] = 2
    _AXES = 2

    def apply_latent(self, latent: Motion) -> None:
        """Place the thing and forget the touch of the episode before."""
        super().apply_latent(latent)
        self._struck = False
        self._free_velocity = latent["velocity"]

    def after_step(self) -> None:
        """Record the first touch, which shows as a change of velocity."""
        if not self._struck:
            now = self.data.qvel[self._v : self._v + self.FREE_AXES].tolist()
            changes = [abs(v - free) for v, free in zip(now, self._free_velocity, strict=False)]
            self._struck = max(changes) > STRUCK_M_S

    def thing_position(self, qpos: np.ndarray | None = None) -> np.ndarray:
        """(3,) m: place of the thing, now or in a past configuration."""
        place = (self.data.qpos if qpos is None else qpos)[self._q : self._q + 2]
        return np.append(place, self.HEIGHT_M)

    def thing_velocity(self) -> np.ndarray:
        """(3,) m/s: its velocity now. Experts and success read it, policies do not."""
        return np.append(self.data.qvel[self._v : self._v + 2], 0.0)

    def closeness(self) -> float:
        """How near the tool is to where the thing will arrive, along y, in [0, 0.5]."""
        distance = abs(float(self.data.site_xpos[self._tool, 1]) - float(self._aim[1]))
        return 0.5 * max(0.0, 1.0 - distance / 0.5)
