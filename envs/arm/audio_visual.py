"""ArmAudioVisual: three balls bounce behind a wall, one of them on a plate that rings.

The plates are hidden and differ only in their sound. All balls bounce equally high and equally
often, but at different times. Sound tells when a plate rings, and sight tells which ball is down
at that time: the policy has to combine them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, TypedDict

import numpy as np

from neon_sim.clock import PHYSICS_HZ
from neon_sim.contracts import Cue
from neon_sim.simulation.gl import mujoco

from ..hearing import HEARING_TICKS, draw_cue
from ..posts import add_post
from ..scene import BOX, COLOURS, CYLINDER, GHOST_BITS, SPHERE, View
from .touch import TouchTask

LANES_Y = (0.2, 0.0, -0.2)  # m, of balls and posts
BALL_X, BALL_RADIUS = 0.74, 0.04  # m
BALL_KG = 0.2
FLOAT = 0.6  # share of a ball's weight that is compensated
FALL_M_S2 = 9.81 * 0.4  # acceleration of a falling ball
FLIGHT_S = 0.75  # s between bounces
BOUNCE = (-30000.0, 0.0)  # stiffness and damping of a contact without loss
BALL_BIT = 8  # collision bit of balls and plates alone
PLATE_HALF_M = 0.006  # half thickness of a plate
WALL_X, WALL_HALF = 0.81, (0.008, 0.34, 0.10)  # m
POST_X = 0.46  # m, before the shift
STEM, KNOB = (0.018, 0.035, 0.035), (0.036, 0.07)  # m, see add_post
SHIFT_M = 0.02  # largest shift of the posts along x
RINGS, DULL = "ceramic", "foam"  # materials of the ringing plate and of the others
FRONT_VIEW = View((1.62, 0.0, 1.10), (0.62, 0.0, 0.08), 36.0)


class BouncingBalls(TypedDict):
    """What varies between episodes.

    Keys:
        shift: of the posts along x, m.
        phases: share of its flight that each ball has completed.
        ball: index of the ball that rings, from the left.
    """

    shift: float
    phases: list[float]
    ball: int


class ArmAudioVisual(TouchTask[BouncingBalls]):
    """Touch the post before the ball that rings. Only the first touch counts."""

    NAME = "arm_audio_visual"
    EPISODE_STEPS = 175
    INSTRUCTION = "touch the post behind the ball that rings"
    CUE = "ball"
    VIEWS: ClassVar[dict[str, View]] = {
        "front": FRONT_VIEW,
        "view": View((1.75, -0.85, 0.95), (0.45, 0.02, 0.18), 42.0),
    }
    MATERIALS: ClassVar[dict[str, str]] = {f"ball{k}": "rubber" for k in range(len(LANES_Y))}

    def build_scene(self, spec: mujoco.MjSpec) -> None:
        """Add posts, balls, plates, and the wall that hides the plates from the front."""
        for index, y in enumerate(LANES_Y):
            add_post(spec, index, STEM, KNOB, COLOURS["red"])
            self._add_ball(spec.worldbody, index, y)
        for name, x, y, half in (
            ("wall", WALL_X, 0.0, WALL_HALF),
            ("wall_left", BALL_X, WALL_HALF[1], (0.07, 0.008, WALL_HALF[2])),
            ("wall_right", BALL_X, -WALL_HALF[1], (0.07, 0.008, WALL_HALF[2])),
        ):
            spec.worldbody.add_geom(
                name=name,
                type=BOX,
                size=half,
                pos=[x, y, WALL_HALF[2]],
                rgba=[0.28, 0.44, 0.46, 1],
                **GHOST_BITS,
            )

    @staticmethod
    def _add_ball(world: mujoco.MjsBody, index: int, y: float) -> None:
        world.add_geom(
            name=f"plate{index}",
            type=CYLINDER,
            size=[0.06, PLATE_HALF_M, 0],
            pos=[BALL_X, y, PLATE_HALF_M],
            rgba=[0.75, 0.75, 0.72, 1],
            contype=BALL_BIT,
            conaffinity=0,
        )
        height = 2 * PLATE_HALF_M + BALL_RADIUS
        ball = world.add_body(name=f"ball{index}", pos=[BALL_X, y, height], gravcomp=FLOAT)
        ball.add_joint(name=f"ball{index}", type=mujoco.mjtJoint.mjJNT_SLIDE, axis=[0, 0, 1])
        ball.add_geom(
            name=f"ball{index}",
            type=SPHERE,
            size=[BALL_RADIUS, 0, 0],
            mass=BALL_KG,
            rgba=COLOURS["yellow"],
            contype=0,
            conaffinity=BALL_BIT,
            condim=1,
            priority=1,
            solref=BOUNCE,
            solimp=[0.99, 0.99, 0.001, 0.5, 2.0],
        )

    def sample_latent(self, rng: np.random.Generator) -> BouncingBalls:
        """Draw phases a third of a flight apart, in random order and with jitter."""
        third = 1.0 / len(LANES_Y)
        first = float(rng.uniform(0.0, third))
        order = rng.permutation(len(LANES_Y)).tolist()
        jitter = rng.uniform(-0.03, 0.03, len(LANES_Y)).tolist()
        phases = [(first + third * k + j) % 1.0 for k, j in zip(order, jitter, strict=True)]
        return {
            "shift": float(rng.uniform(-SHIFT_M, SHIFT_M)),
            "phases": phases,
            "ball": draw_cue(rng, range(len(LANES_Y))),
        }

    def cues_of(self, latent: BouncingBalls) -> Sequence[Cue]:
        """The balls, from the left."""
        del latent
        return list(range(len(LANES_Y)))

    def apply_latent(self, latent: BouncingBalls) -> None:
        """Set the balls in motion, and make one plate ring; nothing else depends on the cue."""
        super().apply_latent(latent)
        x = POST_X + latent["shift"]
        self.place_posts(np.array([[x, y, KNOB[1]] for y in LANES_Y]))
        for index, phase in enumerate(latent["phases"]):
            joint = self.model.joint(f"ball{index}")
            flown_s, start_m_s = phase * FLIGHT_S, FALL_M_S2 * FLIGHT_S / 2
            height = start_m_s * flown_s - FALL_M_S2 * flown_s**2 / 2
            self.start.qpos[joint.qposadr[0]] = height
            self.start.qvel[joint.dofadr[0]] = start_m_s - FALL_M_S2 * flown_s
        joint = self.model.joint("ball0")
        self._heights = slice(joint.qposadr[0], joint.qposadr[0] + len(LANES_Y))
        self._speed = int(self.model.joint(f"ball{latent['ball']}").dofadr[0])
        self._fell, self._rang_tick = False, PHYSICS_HZ * self.EPISODE_STEPS
        if self.sound is not None:
            lanes = range(len(LANES_Y))
            self.sound.assign({f"plate{k}": RINGS if k == latent["ball"] else DULL for k in lanes})

    def after_step(self) -> None:
        """Record the choice, and when the plate first rang."""
        super().after_step()
        speed = float(self.data.qvel[self._speed])
        if self._fell and speed > 0.0:
            self._rang_tick = min(self._rang_tick, self.tick)
        self._fell = speed < 0.0

    def knows(self) -> bool:
        """It has rung once and was heard."""
        return self.tick >= self._rang_tick + HEARING_TICKS

    def visible_state(self, qpos: np.ndarray) -> list[float]:
        """Height of each ball above its plate, m; x of the posts, m."""
        return [*qpos[self._heights].tolist(), float(self._knobs[0, 0])]
