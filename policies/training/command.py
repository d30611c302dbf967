"""``python -m neon_sim.train policy=neon_tiny condition=video data=DIR out=DIR``: train a head.

Every window goes through the frozen backbone once (``neon_sim.policies.training.feature_cache``);
training then reads features. Batches depend on data and seed alone, so every condition sees the
same windows in the same order. A run that is killed goes on from its last saved state and ends with
the same weights as one that was not. The result is ``<out>/<condition>-seed<k>.safetensors`` with a
training curve beside it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from typing_extensions import TypedDict

from neon_sim.command import entry_point
from neon_sim.config.loading import load_config, main_config
from neon_sim.config.policy import PolicyConfig
from neon_sim.errors import CheckpointError
from neon_sim.files import hold_folder, locked, write_json
from neon_sim.machine import keep_memory
from neon_sim.registry import POLICY_PARTS
from neon_sim.robots import ROBOTS
from neon_sim.schema import checked, read_json

from .settings import TrainConfig
from .trainer import Trainer, check_same

COMMAND = "python -m neon_sim.train"


def train(
    config: TrainConfig, policy: PolicyConfig, backbone: Any = None, progress: bool = True
) -> Path:
    """Train a head, or finish one that was begun; returns the path of the checkpoint.

    A finished head of the same settings is left as it is.

    Raises:
        CheckpointError: ``out`` holds a head or a state made with other settings or data.
        RunError: the disk takes nothing, or another process trains this head in ``out``.
        NeonError: see ``Trainer``.
    """
    hold_folder("out", config.out)
    if config.cache:
        hold_folder("cache", config.cache)
    if config.threads:
        torch.set_num_threads(config.threads)
    trainer = Trainer(config, policy, backbone, progress)
    for note in trainer.notes:
        print(f"train: note: {note}", file=sys.stderr)
    with locked(trainer.stem.parent, name=trainer.stem.name):
        return _finish(trainer)


def _finish(trainer: Trainer) -> Path:
    """Take the steps that are left of a head that this process holds; returns its path."""
    path = trainer.stem.with_name(f"{trainer.stem.name}.safetensors")
    if path.exists():
        metadata = POLICY_PARTS.resolve("load_network")(path)[1]
        check_same(path, metadata, trainer.identity())
        _complete(path, metadata)
        trainer.state_path.unlink(missing_ok=True)
        return path
    trainer.resume()
    seconds = trainer.run()
    return trainer.save(seconds)


def _complete(path: Path, metadata: dict[str, Any]) -> None:
    """Write a curve beside a head whose run was killed before it had one."""
    if not curve_path(path).exists():
        curve = {"points": [], "validation": metadata.get("validation", {}), "training": {}}
        write_json(curve_path(path), curve)


def curve_path(head: Path) -> Path:
    """Where the training curve of a head lies."""
    return head.with_suffix(".curve.json")


class Errors(TypedDict):
    """Errors of a head on windows of one task."""

    normalised: float
    joints_rad: float


class Curve(TypedDict):
    """What is shown of a training curve; errors by task."""

    validation: dict[str, Errors]
    training: dict[str, Errors]


def read_curve(head: Path) -> dict[str, Any]:
    """The training curve of a head, with all that it holds.

    Raises:
        CheckpointError: it is missing or damaged; the head is not, and makes another.
    """
    path = curve_path(head)
    mend = f"the head is whole: delete {path.name} and run the same command again"
    curve = read_json(path, dict[str, Any], CheckpointError, mend)
    checked(curve, Curve, str(path), CheckpointError, mend)
    return curve


def parse(argv: Sequence[str]) -> tuple[TrainConfig, PolicyConfig]:
    """Split a command line into the run and its policy.

    Keys of the policy are ``policy.head=flow``, and ``backbone.model_id=/path`` for short.

    Raises:
        ConfigError: an unknown key, a wrong type or a value outside its rule.
    """
    inner = [a for a in argv if a.lstrip("+").startswith(("policy.", "backbone."))]
    outer = [a for a in argv if a not in inner]
    inner = [a.lstrip("+").removeprefix("policy.") for a in inner]
    config = main_config(TrainConfig, outer, None, prog=COMMAND)
    policy = load_config(PolicyConfig, "policy", config.policy, inner)
    policy.check_budget(config.condition or policy.condition)
    return config, policy


def describe(curve: dict[str, Any]) -> str:
    """Table of errors on held-out and on training windows."""
    if not curve["validation"]:
        return "no episode was held out (raise val_fraction or collect more): no error to show"
    rests = {robot.rest_name for robot in ROBOTS.values()}
    lines = ["mean error of sampled actions, held out (in training):"]
    for task, row in curve["validation"].items():
        seen = curve["training"].get(task, row)
        rest = "".join(f"{word} {row[word]:.3f}   " for word in sorted(rests & set(row)))
        lines.append(
            f"  {task:20s} joints {row['joints_rad']:.4f} ({seen['joints_rad']:.4f}) rad   "
            f"{rest}{row['normalised']:.3f} std"
        )
    return "\n".join(lines)


@entry_point("train", "run the same command to go on")
def main(argv: list[str]) -> int:
    """Run the command; returns the exit code."""
    config, policy = parse(argv)
    keep_memory()
    path = train(config, policy)
    print(f"{path}\n{describe(read_curve(path))}")
    return 0
