"""HumanoidBalance: stay up under pushes. A task of kind ``state``: images do not help.

The robot stands on its own feet (``lower_body.Standing`` feeds the centre of mass back to the
ankles). Twice, at random times and from random directions, a force pushes its torso's centre of
mass for 0.1 s. Success is to stand at the end, at least 2 s after the second push. An action sets
all 29 joints about the standing pose, on top of the feedback. The zero action is the feedback
alone: that is the scripted expert, a reference rather than an upper bound.

``agent_pos`` holds no velocities. Balancing needs them and the robot measures them, so policies
read ``body_state``.
"""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, TypedDict, Unpack

import numpy as np
from annotated_types import Interval

from neon_sim.clock import CONTROL_DT_S
from neon_sim.errors import ConfigError
from neon_sim.registry import LOWER_BODIES
from neon_sim.rules import hold
from neon_sim.simulation.gl import mujoco

from .lower_body import Standing, up_in_body
from .robot import ActionMode, joint_table
from .task import HumanoidSettings, HumanoidTask

IMPULSES_NS = (5.0, 10.0, 15.0)
PUSH_STEPS = 5  # control steps of a push
PUSH_AT = ((25, 75), (125, 150))  # range of the control step at which each push starts
# In N s. No controller survives the largest, and beyond it the physics is meaningless.
Impulse = Annotated[float, Interval(ge=0, le=1000)]
# What counts as 1 in ``body_state``:
JOINT_RATE = 10.0  # rad/s, of a joint
TURN_RATE = 5.0  # rad/s, of the pelvis
OFFSET_M = 0.1  # of the centre of mass
OFFSET_RATE = 1.0  # m/s, of the centre of mass


class Pushes(TypedDict):
    """The pushes of an episode.

    Keys:
        impulse: of each push, N s.
        directions: towards which each push acts, rad about z.
        steps: control step at which each push starts.
    """

    impulse: float
    directions: list[float]
    steps: list[int]


class HumanoidBalance(HumanoidTask[Pushes]):
    """Success: the robot stands at the end. Failure: it fell.

    Args:
        impulse_ns: of every push, N s; by default each episode draws one of 5, 10 and 15.
        settings: see ``HumanoidTask``.

    Raises:
        ConfigError: an impulse outside 0 to 1000 N s, or a lower body with external support.
    """

    NAME = "humanoid_balance"
    EPISODE_STEPS = 250
    INSTRUCTION = "stand"
    MODE = "whole_body"
    LOWER = "standing"
    SPEED_RAD_S: ClassVar[float | None] = 8.0  # stepping needs more than reaching does

    def __init__(
        self, *, impulse_ns: float | None = None, **settings: Unpack[HumanoidSettings]
    ) -> None:
        hold("impulse_ns", impulse_ns, Impulse | None)
        self.impulse_ns = impulse_ns
        super().__init__(**settings)

    @classmethod
    def check_body(cls, mode: str | None, lower: str | None) -> tuple[ActionMode, type[Standing]]:
        """As in ``HumanoidTask``; a robot with external support would survive any push.

        Raises:
            ConfigError: a lower body with external support.
        """
        chosen, keeper = super().check_body(mode, lower)
        if keeper.HELD:
            own = [name for name in LOWER_BODIES if not LOWER_BODIES.resolve(name).HELD]
            raise ConfigError(
                f"lower must be one of {', '.join(own)} in {cls.NAME}, where a robot keeps itself "
                f"up (got {lower!r}, which holds it); leave lower= out, or name one of them"
            )
        return chosen, keeper

    def build_scene(self, spec: mujoco.MjSpec) -> None:
        """Add nothing to the hall."""

    def sample_latent(self, rng: np.random.Generator) -> Pushes:
        """Draw the impulse, and direction and start of each push."""
        drawn = float(rng.choice(IMPULSES_NS))
        return {
            "impulse": drawn if self.impulse_ns is None else float(self.impulse_ns),
            "directions": [float(rng.uniform(-np.pi, np.pi)) for _ in PUSH_AT],
            "steps": [int(rng.integers(low, high + 1)) for low, high in PUSH_AT],
        }

    def apply_latent(self, latent: Pushes) -> None:
        """Compute the forces."""
        newton = latent["impulse"] / (PUSH_STEPS * CONTROL_DT_S)
        self._forces = [
            (step, newton * np.array([math.cos(angle), math.sin(angle), 0.0]))
            for step, angle in zip(latent["steps"], latent["directions"], strict=True)
        ]

    def push_now(self) -> np.ndarray:
        """(3,) N: force of the push in this control step; zeros between pushes."""
        for step, force in self._forces:
            if step <= self.control_step < step + PUSH_STEPS:
                return force
        return np.zeros(3)

    def _drive(self, action: list[float]) -> None:
        self.push(self.push_now())
        super()._drive(action)

    def body_state(self) -> np.ndarray:
        """(68,) float32, mostly in [-1, 1]: what the robot's own sensors measure.

        ``agent_pos`` (32); joint velocities in units of 10 rad/s (29); angular velocity of the
        pelvis in its own frame, in 5 rad/s (3); centre of mass ahead and left of its target, in
        0.1 m (2), and its velocity, in 1 m/s (2).
        """
        qvel, com = self.data.qvel, self.lower.com_state()
        return np.concatenate(
            [
                self.agent_pos(),
                qvel[6:35] / JOINT_RATE,
                qvel[3:6] / TURN_RATE,
                np.array(com[:2]) / OFFSET_M,
                np.array(com[2:]) / OFFSET_RATE,
            ],
            dtype=np.float32,
        )

    def is_success(self) -> bool:
        """The episode is over and the robot has not fallen."""
        return self.control_step >= self.EPISODE_STEPS and not self.has_fallen()

    def closeness(self) -> float:
        """The share of the episode that it has stood."""
        return self.control_step / self.EPISODE_STEPS

    def visible_state(self, qpos: np.ndarray) -> list[float]:
        """Place of the pelvis, m, and the up direction in its frame."""
        return [*qpos[:3].tolist(), *up_in_body(qpos[3:7])]

    def expert_action(self) -> np.ndarray:
        """The standing pose; the feedback to the ankles keeps the robot up."""
        return self.make_action(joint_table().stand)
