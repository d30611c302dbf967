"""Records episodes one by one; runs in the command's own process or in spawned ones.

Which process records an episode changes nothing in it: an episode is fixed by its index,
and each process has its own simulator, GL context and, for DAgger, policy.
"""

from __future__ import annotations

import errno
import os
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

import neon_sim  # noqa: F401  (registers the Gymnasium ids)
from neon_sim.command import user_text
from neon_sim.config.loading import config_names, load_config
from neon_sim.config.policy import PolicyConfig
from neon_sim.demonstrations.episode import Bank, Mover, pose_bank, record_episode
from neon_sim.demonstrations.settings import CollectConfig
from neon_sim.demonstrations.shards import shard_path, write_shard
from neon_sim.errors import CheckpointError, ConfigError, NeonError, PolicyError
from neon_sim.observation.batch import observe_row
from neon_sim.observation.clips import ClipConfig
from neon_sim.registry import POLICY_PARTS, TaskEntry, task_entry
from neon_sim.robots import body_arguments, check_action_dim

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Done:
    """A finished episode: index in the collection, task, rows, success, who moved the arm."""

    index: int
    task_name: str
    num_rows: int
    success: bool
    source: str


@dataclass(frozen=True)
class Failed:
    """An episode that raised, in words for the user.

    Attributes:
        index: of the episode. message: where and what.
        trace: the traceback of what is no fault of the user; empty for what is.
    """

    index: int
    message: str
    trace: str = ""

    def error(self, kept: str) -> Exception:
        """What the command ends with; ``kept`` says what is safe."""
        if self.trace:
            return RuntimeError(f"{self.message}; {kept}\n{self.trace}")
        return NeonError(f"{self.message}; {kept}")


class PolicyMover:
    """DAgger: a policy moves the arm, chunk by chunk.

    Args:
        config: the collection's. task: registry name.

    Raises:
        NeonError: no such policy or checkpoint.
    """

    def __init__(self, config: CollectConfig, task: str) -> None:
        assert config.policy is not None
        policy, name = load_any_policy(config, task)
        check_action_dim(policy.action_dim, f"policy {name!r}", task, config.mode)
        self.policy: Any = policy
        self.source = f"dagger:{name}"
        self.replan_steps = config.replan_steps or policy.replan_steps
        self._chunk = np.zeros((0, 0), dtype=np.float32)
        self._next = 0

    def act(self, env: Any, label: np.ndarray) -> np.ndarray:
        """The next action of the chunk; a new chunk after ``replan_steps``."""
        del label
        if env.control_step == 0:
            self.policy.reset(1)
        if env.control_step % self.replan_steps == 0:
            row = observe_row(env, self.policy.clip, self.policy.needs)
            self._chunk, self._next = np.asarray(self.policy.act(row))[0], 0
            if not np.isfinite(self._chunk).all():
                raise PolicyError(f"{self.source} returned an action that is not finite")
        action: np.ndarray = np.clip(self._chunk[self._next], -1.0, 1.0).astype(np.float32)
        self._next += 1
        return action


class Recorder:
    """Makes what episodes need once per task, and records them.

    Args:
        config: the collection's. root: the dataset's folder.
    """

    def __init__(self, config: CollectConfig, root: Path) -> None:
        self.config, self.root = config, root
        self._tasks: dict[str, tuple[TaskEntry, Any, Bank, Mover | None]] = {}

    def _task(self, name: str) -> tuple[TaskEntry, Any, Bank, Mover | None]:
        if name not in self._tasks:
            entry = task_entry(name)
            size = self.config.image_size
            microphones = self.config.microphones or None
            body = body_arguments(self.config.mode, self.config.lower)
            made = gymnasium.make(
                entry.env_id, cameras=(), image_size=size, microphones=microphones, **body
            )
            env = made.unwrapped
            bank = pose_bank(env, entry, self.config.run_seed)
            policy = PolicyMover(self.config, name) if self.config.policy else None
            self._tasks[name] = (entry, env, bank, policy)
        return self._tasks[name]

    def record(self, index: int) -> Done:
        """Record episode ``index`` of the collection and write its shard.

        The collection goes through its tasks one after the other, ``episodes`` of each.
        """
        which, episode = divmod(index, self.config.episodes)
        entry, env, bank, policy = self._task(self.config.task_names[which])
        recorded = record_episode(env, entry, self.config, episode, bank, policy)
        write_shard(shard_path(self.root, index), recorded)
        identity = recorded.identity
        return Done(index, entry.name, len(recorded.action), identity.success, identity.source)

    def close(self) -> None:
        """Free simulators and GL contexts."""
        for _, env, _, _ in self._tasks.values():
            env.close()
        self._tasks.clear()


def load_any_policy(config: CollectConfig, task: str) -> tuple[Any, str]:
    """Load the policy that ``config.policy`` names: a shipped one, or a checkpoint's path.

    A checkpoint brings its own settings; ``config.condition`` changes only what it is shown.

    Returns:
        The policy and the name that the dataset gives it.

    Raises:
        NeonError: neither a policy nor a checkpoint, or one that cannot be loaded.
    """
    import torch

    torch.set_num_threads(1)  # the same sums in every process
    name = str(config.policy)
    hold_policy(name)
    if name.endswith(".safetensors"):
        settings, condition = checkpoint_settings(name)
        settings.backbone_args.update(config.backbone)
        checkpoint: str | None = name
    else:
        overrides = [f"backbone.{key}={value}" for key, value in config.backbone.items()]
        settings = load_config(PolicyConfig, "policy", name, overrides)
        condition, checkpoint = settings.condition, None
    load = POLICY_PARTS.resolve("load_policy")
    policy = load(settings, config.condition or condition, task, config.train_seed, checkpoint)
    return policy, Path(name).stem


def hold_policy(name: str) -> None:
    """Refuse what is neither a policy that ships, nor a YAML or checkpoint that is there.

    Raises:
        ConfigError: names it and what would work.
    """
    if name in config_names("policy"):
        return
    if not name.endswith((".safetensors", ".yaml", ".yml")):
        known = ", ".join(config_names("policy"))
        raise ConfigError(
            f"policy {name!r} is no policy ({known}) and no file of one, *.safetensors or *.yaml"
        )
    if not os.path.isfile(name):  # False too for a path that no disk can have
        raise ConfigError(f"policy must be a file that is there (got {name!r}); check the path")


def checkpoint_settings(path: str) -> tuple[PolicyConfig, str]:
    """The policy's settings and the condition that a checkpoint was trained with.

    Raises:
        CheckpointError: missing, damaged, or it does not say.
    """
    metadata = POLICY_PARTS.resolve("load_network")(path)[1]
    try:
        saved = dict(metadata["policy"])
        clip = ClipConfig(**saved.pop("clip"))
        return PolicyConfig(**saved, clip=clip), str(metadata["condition"])
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} does not hold the settings of a policy of this version ({error}); train it "
            "again"
        ) from error


def failed(index: int, config: CollectConfig, error: Exception) -> Failed:
    """Name the episode that an error came from, and tell the user's to mend from our faults."""
    which, episode = divmod(index, config.episodes)
    where = f"{config.task_names[which]} episode {episode}"
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return Failed(index, f"{where}: no space left for {config.out}; make room")
    text = user_text(error)
    if text is not None:
        return Failed(index, f"{where}: {text}")
    trace = "".join(traceback.format_exception(error)).rstrip()
    return Failed(index, f"{where}: {type(error).__name__}: {error}", trace)


def run_worker(config: CollectConfig, root: Path, indices: list[int], pipe: Connection) -> None:
    """Body of a worker process: record ``indices``, report each through ``pipe``.

    Ends when done, on the first error (reported), or when the other end of the pipe is gone.
    """
    recorder = Recorder(config, root)
    for index in indices:
        try:
            report: Done | Failed = recorder.record(index)
        except Exception as error:
            report = failed(index, config, error)
        try:
            pipe.send(report)
        except OSError:  # the parent is gone; nobody to tell
            return
        if isinstance(report, Failed):
            break
    recorder.close()
    pipe.close()
