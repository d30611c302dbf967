"""HumanoidBalance: stay up under pushes. State only: no picture tells what to do.

The robot stands on its own feet (``lower_body.Standing``: the centre of mass is fed back to the
ankles) and twice a force pushes its torso's centre of mass for 0.1 s, at random times and from
random sides. Success is to be up at the end, 2 s or more after the second push. An action sets
all 29 joints about the standing pose, so a learned policy adds to the feedback: zero is the
feedback alone, which is the scripted expert and the reference, not a ceiling.

What a policy gets with its pictures, ``agent_pos``, holds no velocity; a balance needs them, and
the robot measures them: ``body_state``.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Interval

from neon_sim.clock import CONTROL_DT_S
from neon_sim.errors import ConfigError
from neon_sim.registry import LOWER_BODIES
from neon_sim.rules import hold

from .lower_body import up_in_body
from .robot import ActionMode, joint_table
from .task import HumanoidTask

IMPULSES_NS = (5.0, 10.0, 15.0)
PUSH_STEPS = 5  # control steps that a push lasts
PUSH_AT = ((25, 75), (125, 150))  # control steps between which each starts
JOINT_RATE = 10.0  # rad/s that count as 1 in ``body_state``
TURN_RATE = 5.0  # rad/s, of the pelvis
# N s. Nobody stands the largest, and beyond it the physics means nothing.
Impulse = Annotated[float, Interval(ge=0, le=1000)]
OFFSET_M, OFFSET_RATE = 0.1, 1.0  # m and m/s, of the centre of mass


class HumanoidBalance(HumanoidTask):
    """Stay up until the end.

    Args:
        args, kwargs: as of ``HumanoidTask``.
        impulse_ns: of every push, N s; by default each episode draws one of 5, 10 and 15.

    Raises:
        ConfigError: an impulse outside 0 to 1000 N s, or a lower body that is held up.
    """

    NAME = "humanoid_balance"
    EPISODE_STEPS = 250
    MODE = "whole_body"
    LOWER = "standing"
    SPEED_RAD_S: ClassVar[float | None] = 8.0  # a step of the foot needs more than an arm does

    def __init__(self, *args: Any, impulse_ns: float | None = None, **kwargs: Any) -> None:
        hold("impulse_ns", impulse_ns, Impulse | None)
        self.impulse_ns = impulse_ns
        super().__init__(*args, **kwargs)

    @classmethod
    def check_body(cls, mode: str | None, lower: str | None) -> tuple[ActionMode, Any]:
        """As of ``HumanoidTask``; who is held up would survive whatever he does.

        Raises:
            ConfigError: such a lower body.
        """
        chosen, keeper = super().check_body(mode, lower)
        if keeper.HELD:
            own = [name for name in LOWER_BODIES if not LOWER_BODIES.resolve(name).HELD]
            raise ConfigError(
                f"lower must be one of {', '.join(own)} in {cls.NAME}, where a robot keeps itself "
                f"up (got {lower!r}, which holds it); leave lower= out, or name one of them"
            )
        return chosen, keeper

    def build_scene(self, spec: Any) -> None:
        """Nothing but the hall."""

    def sample_latent(self, rng: np.random.Generator) -> dict[str, Any]:
        """Impulse of each push in N s, where to in rad about z, and the control steps."""
        drawn = float(rng.choice(IMPULSES_NS))
        return {
            "impulse": drawn if self.impulse_ns is None else float(self.impulse_ns),
            "directions": [float(rng.uniform(-np.pi, np.pi)) for _ in PUSH_AT],
            "steps": [int(rng.integers(low, high + 1)) for low, high in PUSH_AT],
        }

    def apply_latent(self, latent: dict[str, Any]) -> None:
        """Work the forces out."""
        newton = latent["impulse"] / (PUSH_STEPS * CONTROL_DT_S)
        self._forces = [
            (step, newton * np.array([math.cos(way), math.sin(way), 0.0]))
            for step, way in zip(latent["steps"], latent["directions"], strict=True)
        ]

    def push_now(self) -> np.ndarray:
        """(3,) N of the push in this control step; zeros between pushes."""
        for step, force in self._forces:
            if step <= self.control_step < step + PUSH_STEPS:
                return force
        return np.zeros(3)

    def _drive(self, action: list[float]) -> None:
        self.push(self.push_now())
        super()._drive(action)

    def body_state(self) -> np.ndarray:
        """(68,) float32: what the robot's own sensors tell, velocities too; about [-1, 1].

        ``agent_pos`` (32); 29 joint velocities by 10 rad/s; the pelvis' turning by 5 rad/s, in
        its own frame (3); the centre of mass ahead and left of where it should stand by 0.1 m,
        and its velocity by 1 m/s (4).
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

    @property
    def task_description(self) -> str:
        """The same in every episode."""
        return "stand"

    def is_success(self) -> bool:
        """Up at the end."""
        return self.control_step >= self.EPISODE_STEPS and not self.has_fallen()

    def closeness(self) -> float:
        """The share of the time it stood."""
        return self.control_step / self.EPISODE_STEPS

    def visible_state(self, qpos: np.ndarray) -> list[float]:
        """Where the pelvis is, m, and which way is up in its frame."""
        return [*qpos[:3].tolist(), *up_in_body(qpos[3:7])]

    def expert_action(self) -> np.ndarray:
        """The standing pose: what keeps it up is the feedback to the ankles."""
        return self.make_action(joint_table().stand)
