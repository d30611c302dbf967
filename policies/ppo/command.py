"""``python -m neon_sim.rl task=NAME out=DIR``: train a policy with PPO of stable-baselines3.

On every registered task, from state or from pixels (``observe=pixels``), and on ``balance``, the
residual that keeps the humanoid up (``lower="learned"``). ``neon-bench run --policy ppo
checkpoint=DIR/ppo-seed0.safetensors`` plays the result beside every other policy.

A run that was stopped goes on with ``--resume`` and ends with the same weights as one that was
not. ``out`` holds the policy (``ppo-seed<k>.safetensors``), one checkpoint a block, and the
learning curve (``.curve.json``).
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import torch
from typing_extensions import TypedDict

from neon_sim.command import entry_point
from neon_sim.config.loading import main_config
from neon_sim.errors import CheckpointError
from neon_sim.files import hold_folder, locked
from neon_sim.schema import checked, read_json

from .settings import RLConfig

COMMAND = "python -m neon_sim.rl"


def learn(config: RLConfig, progress: bool = True, command: str = COMMAND) -> Path:
    """Train a policy, or finish one that was begun; returns the path of the checkpoint.

    Args:
        config: the run. progress: show the plan and a bar. command: what was typed, for the record.

    Raises:
        CheckpointError: ``out`` holds a run and ``resume`` is not set, or one of other settings.
        RunError: another process trains this policy in ``out``.
        NeonError: as tasks, checkpoints and settings say.
    """
    from neon_sim.tensor_file import read_tensors

    from .trainer import FORMAT, RLTrainer

    hold_folder("out", config.out)
    if config.threads:
        torch.set_num_threads(config.threads)
    if config.init:
        read_tensors(config.init, FORMAT, f"{COMMAND} task={config.task} out=DIR")
    path = Path(config.out) / f"ppo-seed{config.seed}.safetensors"
    if _is_finished(path, config):
        return path
    if progress:
        print(f"rl: {plan_text(config)}", file=sys.stderr)
    trainer = RLTrainer(config, progress, command)
    try:
        with locked(path.parent, name=path.stem):
            if _is_finished(path, config):  # by a process that held it when this one looked
                return path
            trainer.resume()
            trainer.run()
            return trainer.save()
    finally:
        trainer.close()


def _is_finished(path: Path, config: RLConfig) -> bool:
    """Whether the policy of a run is there; its state is removed then.

    Raises:
        CheckpointError: a run was begun and ``resume`` is not set, or it has other settings.
    """
    from neon_sim.tensor_file import read_tensors

    from .trainer import FORMAT, check_same

    state = path.with_suffix(".state.pt")
    if not config.resume and (path.exists() or state.exists()):
        raise CheckpointError(
            f"{config.out} already holds a run of seed {config.seed}; add --resume to complete it, "
            "or choose another out="
        )
    if not path.exists():
        return False
    check_same(path, read_tensors(path, FORMAT, COMMAND)[1].get("train", {}), config)
    state.unlink(missing_ok=True)
    return True


def plan_text(config: RLConfig) -> str:
    """How many actions a run takes, and where they were rounded."""
    rollout = config.envs * config.rollout_steps
    rounded = "" if config.total_steps == config.steps else f" (steps={config.steps} rounded up)"
    return (
        f"{config.total_steps} actions{rounded} in {config.total_steps // rollout} rollouts of "
        f"{config.envs} x {config.rollout_steps}, a checkpoint every {config.block_steps}"
    )


class Point(TypedDict):
    """One rollout of a learning curve; None where no episode ended in it."""

    steps: int
    episodes: int
    success: float | None
    length: float | None


class Curve(TypedDict):
    """What is shown of a learning curve."""

    points: list[Point]


def read_curve(policy: Path) -> dict[str, Any]:
    """The learning curve beside a policy, empty where there is none.

    Raises:
        CheckpointError: it is damaged.
    """
    path = policy.with_suffix(".curve.json")
    if not path.exists():
        return {"points": []}
    mend = f"the policy is whole: delete {path.name}"
    curve = read_json(path, dict[str, Any], CheckpointError, mend)
    checked(curve, Curve, str(path), CheckpointError, mend)
    return curve


def describe(curve: dict[str, Any]) -> str:
    """The learning curve in at most ten lines."""
    points = [point for point in curve["points"] if point["episodes"]]
    if not points:
        return "no episode ended (raise steps): nothing to show"
    shown = points[:: max(len(points) // 9, 1)]
    if shown[-1] is not points[-1]:
        shown.append(points[-1])
    lines = ["   steps   return  length  success  (episodes of training, with its noise)"]
    for point in shown:
        lines.append(
            f"{point['steps']:8d} {point['return']:8.3f} {point['length']:7.1f} "
            f"{100 * point['success']:6.1f} %"
        )
    return "\n".join(lines)


@entry_point("rl", "the same command with --resume goes on")
def main(argv: list[str]) -> int:
    """Run the command; returns the exit code."""
    arguments = ["resume=true" if word == "--resume" else word for word in argv]
    config = main_config(RLConfig, arguments, None, prog=COMMAND)
    kept = [word for word in argv if not word.startswith("out=") and word != "--resume"]
    path = learn(config, command=f"{COMMAND} {shlex.join([*kept, 'out=DIR'])}")
    print(f"{path}\n{describe(read_curve(path))}")
    return 0
