"""What ``python -m neon_sim.train`` can be told."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

from annotated_types import Interval

from neon_sim.errors import ConfigError, unknown_name
from neon_sim.observation.conditions import TRAINED_CONDITIONS, condition
from neon_sim.rules import Seed, Steps, Threads, hold_rules


@dataclass
class TrainConfig:
    """One training run of a head behind a frozen backbone.

    Attributes:
        policy: YAML of ``configs/policy`` or a path; single settings as ``policy.head=flow``.
        condition: row of the ladder that trains; the policy's own by default.
        data: datasets of ``neon_sim.collect``, several by comma.
        tasks: keep only these tasks; all by default.
        out: folder for the head, its curve and the resumable state.
        seed: of weights, batches and dropout; the k in the file's name.
        steps: of the optimiser.
        batch_size: windows a step.
        learning_rate: of AdamW at the end of the warm-up; falls by a cosine to a fiftieth.
        weight_decay: of AdamW.
        warmup_steps: steps of linear warm-up.
        clip_norm: largest norm of the gradient.
        ema: decay of the average of weights that is evaluated and shipped; 0 for none.
        proprio_noise: noise on proprioception in training, in units of [-1, 1].
        feature_noise: noise on tokens in training, in their standard deviations.
        window_stride: control steps between windows of an episode.
        val_fraction: share of episodes held out.
        cache: folder of feature caches; by default ``features`` beside the first dataset.
        ram_gb: features up to this size are held in memory.
        threads: torch threads, at most 256 (or the cores, if more); 0 leaves torch's choice.
        device: ``cpu``, ``cuda``, or ``auto`` for an accelerator when there is one.
        save_every: steps between resumable states.
    """

    policy: str = "neon_tiny"
    condition: str = ""
    data: list[str] = field(default_factory=list)
    tasks: list[str] = field(default_factory=list)
    out: str = ""
    seed: Seed = 0
    steps: Steps = 2500
    batch_size: Annotated[int, Interval(ge=1, le=10**5)] = 256
    learning_rate: Annotated[float, Interval(ge=1e-8, le=1)] = 2e-3
    weight_decay: Annotated[float, Interval(ge=0, le=10)] = 0.01
    warmup_steps: Annotated[int, Interval(ge=0, le=10**8)] = 100
    clip_norm: Annotated[float, Interval(gt=0, le=1e6)] = 1.0
    ema: Annotated[float, Interval(ge=0, le=0.99999)] = 0.995
    proprio_noise: Annotated[float, Interval(ge=0, le=1)] = 0.0
    feature_noise: Annotated[float, Interval(ge=0, le=10)] = 0.0
    window_stride: Annotated[int, Interval(ge=1, le=1000)] = 4
    val_fraction: Annotated[float, Interval(ge=0, le=0.9)] = 0.1
    cache: str = ""
    ram_gb: Annotated[float, Interval(ge=0, le=10**5)] = 4.0
    threads: Threads = 0
    device: str = "auto"
    save_every: Steps = 500

    def validate(self) -> None:
        """Hold the rules of the docstring.

        Raises:
            ConfigError: a value outside its rule. UnknownNameError: no such condition.
        """
        hold_rules(self)
        if not self.data:
            raise ConfigError("data has no default: give data=DATASET[,DATASET]")
        if not self.out:
            raise ConfigError("out has no default: give out=DIR")
        if self.device not in ("auto", "cpu", "cuda"):
            raise unknown_name("device", self.device, ("auto", "cpu", "cuda"))
        if self.condition and condition(self.condition).trained_as != self.condition:
            raise ConfigError(
                f"condition {self.condition!r} trains nothing, it uses the head of "
                f"{condition(self.condition).trained_as!r}; those that train: "
                f"{', '.join(TRAINED_CONDITIONS)}"
            )

    def decides(self) -> dict[str, Any]:
        """What the result depends on: everything but where and how fast it runs."""
        running = ("out", "cache", "ram_gb", "threads", "save_every", "policy", "data")
        return {key: value for key, value in asdict(self).items() if key not in running}
