"""What ``python -m neon_sim.collect`` can be told; ``configs/collect/*.yaml`` fill it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from annotated_types import Interval

from neon_sim.audio.microphones import microphone_named
from neon_sim.clock import CHUNK_STEPS
from neon_sim.errors import ConfigError
from neon_sim.registry import task_entry
from neon_sim.robots import check_body
from neon_sim.rules import Episodes, Seed, Share, Workers, hold_rules
from neon_sim.seeding import COLLECTION_SEED


@dataclass
class MixConfig:
    """How often an episode is of each kind; weights, 0 to 1, normalised by their sum.

    Attributes:
        clean: the expert moves the arm, from the start pose of the evaluation.
        noisy: perturbed start; noise on the expert's actions, and holds and detours.
        delayed: the arm holds or wanders first, then the expert takes over.
    """

    PREFIX: ClassVar[str] = "mix."

    clean: Share = 0.1
    noisy: Share = 0.4
    delayed: Share = 0.5

    def validate(self) -> None:
        """Raise ``ConfigError`` unless the weights are 0 to 1 and one is positive."""
        hold_rules(self)
        weights = (self.clean, self.noisy, self.delayed)
        if sum(weights) <= 0:
            raise ConfigError(f"mix must be weights with a positive sum (got {weights})")


@dataclass
class PerturbConfig:
    """How far from the expert's path an episode is led. Action units: 1 = half a joint's range.

    Attributes:
        start_noise_rad: the start pose is perturbed by up to this standard deviation a joint.
        noise_std: standard deviation of the noise on executed actions, action units.
        noise_time_s: correlation time of that noise (Ornstein-Uhlenbeck).
        detours_per_s: holds and detours a second of a noisy episode.
        detour_min_s: shortest hold or detour.
        detour_max_s: longest hold or detour.
        detour_std: size of a random detour, action units.
        delay_max: a delayed expert waits for up to this share of the time there is (half-way
            between an undisturbed episode and the time limit).
    """

    PREFIX: ClassVar[str] = "perturb."

    start_noise_rad: Annotated[float, Interval(ge=0, le=3)] = 0.2
    noise_std: Annotated[float, Interval(ge=0, le=2)] = 0.03
    noise_time_s: Annotated[float, Interval(gt=0, le=60)] = 0.15
    detours_per_s: Annotated[float, Interval(ge=0, le=50)] = 1.2
    detour_min_s: Annotated[float, Interval(ge=0, le=60)] = 0.15
    detour_max_s: Annotated[float, Interval(ge=0, le=60)] = 0.6
    detour_std: Annotated[float, Interval(ge=0, le=2)] = 0.08
    delay_max: Share = 0.4

    def validate(self) -> None:
        """Raise ``ConfigError`` unless each value is in its range."""
        hold_rules(self)
        if self.detour_min_s > self.detour_max_s:
            raise ConfigError(
                f"perturb.detour_min_s must be <= detour_max_s = {self.detour_max_s} "
                f"(got {self.detour_min_s})"
            )


@dataclass
class CollectConfig:
    """Collect demonstrations: rollouts led astray, every row labelled by the scripted expert.

    Attributes:
        task: registry names, several by comma (task=arm_catch,arm_block).
        episodes: episodes of each task.
        out: folder of the dataset; made if absent, continued if unfinished.
        seed: run seed, >= 0; episodes come from seed + 1000, which no evaluation uses.
        workers: processes; the content does not depend on it.
        image_size: pixels per side of the front camera.
        microphones: arrays to record with, several by comma; by default those of each task.
        flow: also write the simulator's exact optical flow between a clip's frames (80 ms apart
            but for tasks that need a longer past), for policies that are told it.
        mode: what a policy sets of the humanoid (arms, upper_body, whole_body,
            whole_body_command); by default each task's own.
        lower: what keeps the humanoid up (standing, reflex, learned, harness, base); by default
            each task's own.
        mix: how often an episode is clean, noisy or delayed.
        perturb: how strongly.
        policy: DAgger: name or checkpoint (.safetensors) of a policy that moves the arm.
        condition: DAgger: condition the policy runs under; its own by default.
        backbone: DAgger: settings of the policy's backbone, backbone.model_id=/path.
        train_seed: DAgger: which training seed of a shipped policy.
        beta: DAgger: share of episodes still moved by the (perturbed) expert.
        replan_steps: DAgger: control steps of a chunk that are executed; 0 = the policy's own.
        only_success: leave failed episodes out of the finished dataset.
    """

    task: list[str] = field(default_factory=lambda: ["arm_catch"])
    episodes: Episodes = 200
    out: str = "data/demos"
    seed: Annotated[int, Interval(ge=0, le=2**31 - 1 - COLLECTION_SEED)] = 0
    workers: Workers = 1
    image_size: Annotated[int, Interval(ge=16, le=4096)] = 96
    microphones: list[str] = field(default_factory=list)
    flow: bool = False
    mode: str = ""
    lower: str = ""
    mix: MixConfig = field(default_factory=MixConfig)
    perturb: PerturbConfig = field(default_factory=PerturbConfig)
    policy: str | None = None
    condition: str | None = None
    backbone: dict[str, str] = field(default_factory=dict)
    train_seed: Seed = 0
    beta: Share = 0.25
    replan_steps: Annotated[int, Interval(ge=0, le=CHUNK_STEPS)] = 0
    only_success: bool = False

    def validate(self) -> None:
        """Hold the rules of the docstring.

        Raises:
            ConfigError: a value outside its rule. UnknownNameError: no such task, microphone,
                mode or lower body.
        """
        hold_rules(self)
        names = [task_entry(name).name for name in self.task]
        if not names or len(set(names)) != len(names):
            raise ConfigError(f"task must name each task once, at least one (got {self.task})")
        if len({task_entry(name).robot for name in names}) > 1:
            raise ConfigError(f"a dataset holds one robot; collect {self.task} into two folders")
        check_body(names, self.mode, self.lower)
        for name in self.microphones:
            microphone_named(name)
        if self.condition is not None and self.policy is None:
            raise ConfigError("condition is for DAgger; name a policy too (policy=...)")
        if self.backbone and self.policy is None:
            raise ConfigError("backbone is for DAgger; name a policy too (policy=...)")

    @property
    def task_names(self) -> list[str]:
        """Registry names of the tasks."""
        return [task_entry(name).name for name in self.task]

    @property
    def run_seed(self) -> int:
        """Seed of the episodes."""
        return COLLECTION_SEED + self.seed
