"""What ``python -m neon_sim.rl`` can be told."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

from annotated_types import Interval, Len

from neon_sim.clock import CHUNK_STEPS
from neon_sim.errors import ConfigError, UnknownNameError, unknown_name
from neon_sim.registry import RL_ENVIRONMENTS, TASKS, task_entry
from neon_sim.robots import check_body
from neon_sim.rules import Share, Threads, Width, Workers, hold_rules

OBSERVATIONS = ("state", "pixels")
ACTIONS = ("auto", "relative", "absolute")


@dataclass
class RLConfig:
    """One training run of PPO (Schulman et al. 2017) with stable-baselines3.

    Attributes:
        task: any registered task, or ``balance``: the residual of the humanoid's lower body
            ``learned``, under pushes that grow (it has an observation, actions and a reward of
            its own; the settings of tasks do not touch it).
        mode: what the policy sets of the humanoid (``arms``, ``upper_body``, ``whole_body``,
            ``whole_body_command``); by default the task's own.
        lower: what keeps the humanoid up (``standing``, ``reflex``, ``learned``, ``harness``,
            ``base``); by default the task's own.
        observe: ``state``, the true visible positions, which no camera gives (and in tasks of
            kind ``state``, the balance, all that the robot feels, velocities too); or ``pixels``.
            Nothing is heard: sound tasks are out of reach.
        velocities: with ``state``, also how those positions moved since the camera frame
            before: more than a single frame shows, so name it with every number.
        num_frames: with ``pixels``, frames of the clip, 12.5 a second; the network is SB3's small
            CNN (Mnih et al. 2015), trained from nothing.
        image_size: with ``pixels``, pixels per side of a frame.
        actions: ``relative`` to the present pose, or ``absolute`` targets; ``auto`` is
            relative for the arm, absolute for the humanoid.
        reach: of a relative action, in units of [-1, 1] a joint.
        replan_steps: control steps an action is held.
        out: folder for the policy, its curve, its checkpoints and the resumable state.
        seed: of weights, noise and episodes, which no evaluation uses.
        steps: actions taken in training, of all environments together; rounded up to whole
            rollouts of envs x rollout_steps actions.
        envs: environments side by side.
        workers: processes that the environments run in; 1: this one.
        rollout_steps: actions of each environment between two updates.
        save_every: actions between two checkpoints, rounded up to whole rollouts, the last ones
            may be fewer; there every environment starts a new episode, so that a resumed run ends
            with the same weights.
        batch_size: actions of a gradient step.
        epochs: passes of an update over its rollouts.
        learning_rate: of Adam at the start; falls linearly to a twentieth.
        gamma: discount of the reward, an action.
        gae_lambda: of generalised advantage estimation: 0 trusts the critic, 1 the returns.
        clip_range: how far an update may move the ratio of probabilities from 1.
        entropy: weight of the bonus for spread actions.
        target_kl: an update stops at one and a half times this divergence; 0: it never does.
        max_grad_norm: largest norm of the gradient.
        hidden: widths of the layers of actor and critic.
        log_std: logarithm of the first standard deviation of the actions.
        init: checkpoint of an earlier run whose weights to start from.
        threads: torch threads, at most 256 (or the cores, if more); 0 leaves torch's choice.
        device: ``cpu``, ``cuda``, or ``auto`` for an accelerator when there is one.
        resume: complete the run that is in ``out`` (``--resume`` for short).
    """

    task: str = ""
    mode: str = ""
    lower: str = ""
    observe: str = "state"
    velocities: bool = False
    num_frames: Annotated[int, Interval(ge=1, le=64)] = 3
    image_size: Annotated[int, Interval(ge=36, le=512)] = 64
    actions: str = "auto"
    reach: Annotated[float, Interval(ge=0.01, le=2)] = 0.3
    replan_steps: Annotated[int, Interval(ge=1, le=CHUNK_STEPS)] = 4
    out: str = ""
    seed: Annotated[int, Interval(ge=0, le=100_000)] = 0
    steps: Annotated[int, Interval(ge=1, le=10**10)] = 500_000
    envs: Annotated[int, Interval(ge=1, le=4096)] = 8
    workers: Workers = 1
    rollout_steps: Annotated[int, Interval(ge=2, le=10**6)] = 256
    save_every: Annotated[int, Interval(ge=1, le=10**9)] = 20_000
    batch_size: Annotated[int, Interval(ge=2, le=10**7)] = 256
    epochs: Annotated[int, Interval(ge=1, le=1000)] = 8
    learning_rate: Annotated[float, Interval(ge=1e-8, le=1)] = 5e-4
    gamma: Share = 0.98
    gae_lambda: Share = 0.95
    clip_range: Annotated[float, Interval(ge=1e-3, le=10)] = 0.2
    entropy: Annotated[float, Interval(ge=0, le=10)] = 0.0
    target_kl: Annotated[float, Interval(ge=0, le=10)] = 0.03
    max_grad_norm: Annotated[float, Interval(ge=1e-3, le=1e3)] = 0.5
    hidden: Annotated[list[Width], Len(1, 8)] = field(default_factory=lambda: [64, 64])
    log_std: Annotated[float, Interval(ge=-10, le=2)] = -0.7
    init: str = ""
    threads: Threads = 1
    device: str = "cpu"
    resume: bool = False

    def validate(self) -> None:
        """Hold the rules of the docstring.

        Raises:
            ConfigError: a value outside its rule. UnknownNameError: a name nothing has.
        """
        hold_rules(self)
        if not self.task:
            raise ConfigError(f"task has no default: give task=NAME ({', '.join(rl_names())})")
        if self.task not in RL_ENVIRONMENTS:
            try:
                self.task = task_entry(self.task).name
            except UnknownNameError:
                raise unknown_name("task", self.task, rl_names()) from None
        self._hold_body()
        for key, value, known in (
            ("observe", self.observe, OBSERVATIONS),
            ("actions", self.actions, ACTIONS),
            ("device", self.device, ("auto", "cpu", "cuda")),
        ):
            if value not in known:
                raise unknown_name(key, value, known)
        if self.velocities and self.observe != "state":
            raise ConfigError(
                "velocities=true goes with observe=state (got pixels); frames of a clip hold "
                "motion themselves: num_frames=2 or more"
            )
        if not self.out:
            raise ConfigError("out has no default: give out=DIR")
        self._hold_sizes()

    def _hold_body(self) -> None:
        if self.task not in RL_ENVIRONMENTS:
            check_body([self.task], self.mode, self.lower)
        elif self.mode or self.lower:
            key = "mode" if self.mode else "lower"
            raise ConfigError(
                f"{key}={self.mode or self.lower} is a setting of humanoid tasks; {self.task!r} "
                "has a robot of its own: leave it out"
            )

    def _hold_sizes(self) -> None:
        rollout = self.envs * self.rollout_steps
        if self.batch_size > rollout:
            raise ConfigError(
                f"batch_size must be at most envs x rollout_steps = {rollout} "
                f"(got {self.batch_size})"
            )

    @property
    def total_steps(self) -> int:
        """Actions of the whole run: ``steps`` in whole rollouts."""
        return self._whole_rollouts(self.steps)

    @property
    def block_steps(self) -> int:
        """Actions between two checkpoints: whole rollouts."""
        return self._whole_rollouts(self.save_every)

    @property
    def num_blocks(self) -> int:
        """Blocks of the whole run; the last one may be shorter."""
        return -(-self.total_steps // self.block_steps)

    def steps_after(self, blocks: int) -> int:
        """Actions taken when so many blocks are done."""
        return min(blocks * self.block_steps, self.total_steps)

    def _whole_rollouts(self, steps: int) -> int:
        rollout = self.envs * self.rollout_steps
        return -(-steps // rollout) * rollout

    def decides(self) -> dict[str, Any]:
        """What the result depends on: everything but where and how fast it runs."""
        running = ("out", "workers", "threads", "resume")
        return {key: value for key, value in asdict(self).items() if key not in running}


def rl_names() -> list[str]:
    """Everything PPO can be trained on."""
    return sorted({*TASKS, *RL_ENVIRONMENTS})
