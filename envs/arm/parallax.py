"""ArmParallax: a ball of unknown size hangs at an unknown distance; be below it when it drops.

Depth from motion. The camera circles in its image plane, beside the arm. The ball's size grows
with its distance, so that it looks the same anywhere along a line of sight, and line of sight and
distance are drawn independently. Only the ball's motion in the image, while the camera moves by a
known amount, tells the distance.

A single frame shows the line of sight, the apparent size and, by the background, the place of the
camera. Along the line of sight the ball may be anywhere within 0.9 m, of which the basket covers
about 0.14 m. So the best guess without motion scores about 16 %, and a few points more at the
edges of the region where balls hang (computed in the test). The ball falls into the basket within
0.3 s, too fast to correct the guess.
"""

from __future__ import annotations

from typing import ClassVar, Unpack

import numpy as np

from neon_sim.clock import CONTROL_DT_S
from neon_sim.contracts import Twins
from neon_sim.seeding import keyed_rng
from neon_sim.simulation.gl import mujoco

from ..scene import GHOST_BITS, OBJECT_BITS, SPHERE, View, axes_to_quat, look_at
from ..settings import TaskSettings
from .basket import TOOL, add_basket, inside
from .intercept import GRAVITY_M_S2, TWIN_TARGETS_APART_M, InterceptTask, Motion
from .rails import Rails, add_slides
from .robot import hand_rotation, hide_fingers

CAMERA = np.array([0.66, -1.10, 0.74])  # m: middle of its circle; it looks along +y
CIRCLE_M = 0.07  # radius
CIRCLE_S = 1.0  # period
FOVY = 46.0  # vertical field of view, degrees
ACROSS, UP = (-0.10, 0.10), (0.0, 0.18)  # slope of the line of sight from the circle's middle
SIZE = (0.031, 0.037)  # radius over distance
HULL_RADIUS = 0.03  # m, of the ball in contact; the visible ball differs in size
BALL_KG = 0.05
DROP_STEP = 60  # control step at which the ball drops
CATCH_Z = 0.45  # height of the basket, m
LOST_Z = 0.20  # m; a falling ball below this cannot be caught
BASKET_HALF = 0.048  # half width of the basket's floor, m
TILT_RAD = 1.2  # tilt of the hand: the basket opens upwards and a little outwards
LEAN_M = 0.02  # by which the basket is nearer to the arm than the ball
TWIN_STEPS = 22  # control steps until twins look the same


class HangingBall(Motion):
    """The ball: ``position``, ``velocity`` (zero) and the visible ``radius``, m."""

    radius: float


class ArmParallax(InterceptTask[HangingBall]):
    """Success: the ball's centre is inside the basket. Failure: it has fallen past."""

    NAME = "arm_parallax"
    EPISODE_STEPS = 95
    INSTRUCTION = "catch the ball in the basket"
    THING = "ball"
    START_SPREAD_M, TARGET_SPREAD_M = 0.0, 0.48
    START: ClassVar[np.ndarray] = np.array([0.0, -0.3238, 0.0, -2.663, 0.0, 3.5392, np.pi / 4])
    START_GRIPPER = -1.0
    MIN_START_HEIGHT_M = 0.15
    TOOL_POINT = TOOL
    HAND = hand_rotation("y", TILT_RAD)
    TURN = 1.0
    VIEWS: ClassVar[dict[str, View]] = {"view": View((2.1, -1.1, 1.25), (0.55, 0.0, 0.55), 46.0)}

    def __init__(self, **settings: Unpack[TaskSettings]) -> None:
        super().__init__(**settings)
        self._rails = Rails(self.model, ["camera_x", "camera_z"])
        self._ball = self.model.body("ball").id
        self._look = self.model.geom("ball").id

    def build_scene(self, spec: mujoco.MjSpec) -> None:
        """Add a basket on the hand, a ball that floats, and a camera on two slides."""
        hide_fingers(spec)
        add_basket(spec.body("hand"), BASKET_HALF)
        ball = spec.worldbody.add_body(name="ball", pos=[0.6, 0, 0.8], gravcomp=1.0)
        ball.add_freejoint(name="ball")
        ball.add_geom(
            name="hull",
            type=SPHERE,
            size=[HULL_RADIUS, 0, 0],
            mass=BALL_KG,
            group=3,
            friction=[1.2, 0.005, 0.0001],
            priority=1,
            solref=[0.012, 1.0],
            **OBJECT_BITS,
        )
        ball.add_geom(
            name="ball",
            type=SPHERE,
            size=[0.1, 0, 0],
            mass=0.0,
            rgba=[0.90, 0.12, 0.10, 1],
            **GHOST_BITS,
        )
        self._add_camera(spec.worldbody)

    @staticmethod
    def _add_camera(world: mujoco.MjsBody) -> None:
        ahead = View(tuple(CAMERA), tuple(CAMERA + np.array([0.0, 1.0, 0.0])), FOVY)
        body = world.add_body(name="camera", pos=CAMERA)
        body.mass, body.inertia, body.explicitinertial = 0.1, [1e-3] * 3, True
        add_slides(body, "xz")
        quat = axes_to_quat(look_at(ahead).reshape(2, 3))
        body.add_camera(name="front", pos=[0, 0, 0], quat=quat, fovy=FOVY)

    def draw(self, rng: np.random.Generator, start_y: float, target_y: float) -> HangingBall:
        """Draw a line of sight and an apparent size; ``target_y`` gives the distance."""
        del start_y  # the ball hangs above its target
        slope = np.array([rng.uniform(*ACROSS), 1.0, rng.uniform(*UP)])
        return hanging(slope, target_y - float(CAMERA[1]), float(rng.uniform(*SIZE)))

    def apply_latent(self, latent: HangingBall) -> None:
        """Place and scale the ball, and start the camera on its circle."""
        super().apply_latent(latent)
        self.model.geom_size[self._look, 0] = latent["radius"]
        self.model.geom_rbound[self._look] = latent["radius"]
        self._rails.begin(self.start, circle)

    def arrival(self, position: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        """Below the ball and a little nearer to the arm, since the basket leans outwards; m."""
        del velocity
        inwards = 1.0 - LEAN_M / float(np.hypot(position[0], position[1]))
        return np.array([position[0] * inwards, position[1] * inwards, CATCH_Z])

    def after_step(self) -> None:
        """Move the camera; drop the ball at ``DROP_STEP``."""
        self._rails.follow(self.data, circle, self.control_step)
        if self.control_step == DROP_STEP:
            self.data.xfrc_applied[self._ball, 2] = -GRAVITY_M_S2 * BALL_KG

    def is_success(self) -> bool:
        """The ball's centre is inside the basket."""
        return inside(self.in_hand(self.thing_position().tolist()), BASKET_HALF)

    def failed(self) -> bool:
        """The ball falls and is too low to be caught."""
        return bool(self.data.qpos[self._q + 2] < LOST_Z and self.data.qvel[self._v + 2] < 0.0)

    def closeness(self) -> float:
        """How near the basket is to where the ball will arrive, in [0, 0.5]."""
        offset = self.data.site_xpos[self._tool] - self._aim
        return 0.5 * max(0.0, 1.0 - float(np.sqrt(offset @ offset)) / 0.5)

    def visible_state(self, qpos: np.ndarray) -> list[float]:
        """What an image shows: slopes of the line of sight, apparent radius, place of the camera.

        It does not show the distance.
        """
        camera = self._rails.place(qpos)
        x, away, z = self.thing_position(qpos) - CAMERA
        slopes = [(x - camera[0]) / away, (z - camera[1]) / away]
        return [*map(float, slopes), float(self.latent["radius"] / away), *map(float, camera), 1.0]

    def twins(self, seed: int, index: int) -> Twins:
        """Two balls that look the same in one frame and hang at different distances."""
        rng = keyed_rng(self.NAME, self.VERSION, seed, index, "twins")
        while True:
            first = self.sample_latent(rng)
            target_y = float(rng.uniform(-self.TARGET_SPREAD_M, self.TARGET_SPREAD_M))
            second = _lookalike(first, target_y - float(CAMERA[1]))
            far = abs(target_y - first["position"][1]) >= TWIN_TARGETS_APART_M
            if far and second is not None:
                return Twins(first, second, TWIN_STEPS)


def circle(step: int) -> np.ndarray:
    """(2,) m: place of the camera in its plane (x, z) at a control step."""
    angle = 2 * np.pi * step * CONTROL_DT_S / CIRCLE_S
    return CIRCLE_M * np.array([np.cos(angle), np.sin(angle)])


def hanging(slope: np.ndarray, distance: float, size: float) -> HangingBall:
    """The latent of a ball on a line of sight.

    Args:
        slope: (3,) direction ``(x, 1, z)``. distance: along y, m. size: radius over distance.
    """
    position = CAMERA + distance * slope
    return {
        "position": [float(value) for value in position],
        "velocity": [0.0, 0.0, 0.0],
        "radius": size * distance,
    }


def _lookalike(first: HangingBall, distance: float) -> HangingBall | None:
    """A ball at another distance that looks like ``first`` after ``TWIN_STEPS``, if any."""
    here = np.insert(circle(TWIN_STEPS), 1, 0.0)
    offset = np.array(first["position"]) - CAMERA
    slope = (offset - here) / offset[1] + here / distance
    if not (ACROSS[0] <= slope[0] <= ACROSS[1] and UP[0] <= slope[2] <= UP[1]):
        return None
    return hanging(slope, distance, first["radius"] / offset[1])
