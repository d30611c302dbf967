"""One run of PPO: environments, SB3's algorithm, blocks that can be resumed, curve, files.

A block is so many rollouts. Each starts all environments and all random numbers anew from the
seed and its own index, so a run that is stopped after a block and one that is not end alike.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecNormalize
from tqdm import tqdm

from neon_sim.demonstrations.training_seeds import SeedUse, training_seeds
from neon_sim.errors import CheckpointError, ConfigError
from neon_sim.files import write_json
from neon_sim.machine import git_commit
from neon_sim.schema import parse_json
from neon_sim.seeding import RL_SEED
from neon_sim.tensor_file import read_tensors, write_tensors

from .actor import Actor
from .env import make_env
from .settings import RLConfig

FORMAT = "neon_sim.rl/1"
FINAL_RATE = 0.05  # of the first learning rate
STATE_KEYS = {
    *("config", "policy", "optimiser", "observations", "rewards", "block", "curve", "seconds")
}
VECTOR = "vector"  # key of the numbers beside pixels


class RLTrainer:
    """A training run.

    Args:
        config: the run. progress: show a bar. command: what was typed, for the record.

    Attributes:
        block: blocks that are done. curve: one point a rollout.

    Raises:
        NeonError: as tasks and checkpoints say.
    """

    def __init__(self, config: RLConfig, progress: bool = True, command: str = "") -> None:
        self.config, self.progress, self.command = config, progress, command
        self.block, self.curve, self.seconds = 0, list[dict[str, Any]](), 0.0
        self.env = make_vec_env(config)
        self.about: dict[str, Any] = self.env.env_method("about", indices=[0])[0]
        mirror = self.env.env_method("mirror", indices=[0])[0]
        pictures = hasattr(self.env.observation_space, "spaces")
        self.normaliser = VecNormalize(
            self.env,
            norm_obs=mirror is None,
            gamma=config.gamma,
            norm_obs_keys=[VECTOR] if pictures else None,
        )
        self.model = PPO(
            Actor,
            self.normaliser,
            learning_rate=lambda _: self.learning_rate(),
            n_steps=config.rollout_steps,
            batch_size=config.batch_size,
            n_epochs=config.epochs,
            gamma=config.gamma,
            gae_lambda=config.gae_lambda,
            clip_range=config.clip_range,
            ent_coef=config.entropy,
            max_grad_norm=config.max_grad_norm,
            target_kl=config.target_kl or None,
            seed=config.seed,
            device=_device(config.device),
            policy_kwargs={"hidden": config.hidden, "log_std": config.log_std, "mirror": mirror},
        )
        if config.init:
            self._start_from(Path(config.init))

    @property
    def actor(self) -> Actor:
        """What is trained: actor and critic."""
        policy = self.model.policy
        assert isinstance(policy, Actor)
        return policy

    def learning_rate(self) -> float:
        """Of the present rollout: linear over the blocks."""
        left = 1.0 - self.block / self.config.num_blocks
        return self.config.learning_rate * max(left, FINAL_RATE)

    # ---- running --------------------------------------------------------------------------

    def run(self, on_block: Callable[[], None] | None = None) -> None:
        """Train to the end, saving after every block.

        Args:
            on_block: called after each block is saved.
        """
        config, name = self.config, f"ppo {self.config.task}"
        total, done = config.total_steps, self.steps
        with tqdm(
            total=total, initial=done, desc=name, unit="step", disable=not self.progress
        ) as bar:
            while self.block < config.num_blocks:
                began = time.perf_counter()
                self.run_block(bar)
                self.seconds += time.perf_counter() - began
                # before the state: a run that is killed between the two repeats the block
                self.save_policy(self.stem.with_name(f"{self.stem.name}-{self.steps}.safetensors"))
                self.save_state()
                if on_block is not None:
                    on_block()

    def run_block(self, bar: Any = None) -> None:
        """Train one block of rollouts.

        Raises:
            ConfigError: the weights are no numbers any more.
        """
        config = self.config
        with torch.random.fork_rng():
            set_random_seed(config.seed * 1_000_003 + self.block)
            self.env.env_method("begin_block", self.block, self.block / config.num_blocks)
            self.model._last_obs = None  # SB3 resets the environments then
            watch = _Watch(self, bar)
            steps = config.steps_after(self.block + 1) - self.steps
            self.model.learn(
                steps, callback=watch, log_interval=steps + 1, reset_num_timesteps=False
            )
        watch.note_update()
        self.block += 1
        if not all(torch.isfinite(p).all() for p in self.model.policy.parameters()):
            raise ConfigError(
                f"the weights became NaN in block {self.block}; lower learning_rate (got "
                f"{config.learning_rate})"
            )

    @property
    def steps(self) -> int:
        """Actions taken by now."""
        return self.config.steps_after(self.block)

    # ---- files ----------------------------------------------------------------------------

    @property
    def stem(self) -> Path:
        """Path of the run's files without suffix."""
        return Path(self.config.out) / f"ppo-seed{self.config.seed}"

    @property
    def state_path(self) -> Path:
        """Where the resumable state lies."""
        return self.stem.with_name(f"{self.stem.name}.state.pt")

    def save_policy(self, path: Path) -> Path:
        """Write the policy: its tensors, how observations are standardised, what made it."""
        state = self.actor.tensors()
        if self.normaliser.norm_obs:
            mean, variance, _ = self._moments()
            state["observation_mean"] = torch.from_numpy(mean.astype(np.float32))
            std = np.sqrt(variance + self.normaliser.epsilon)
            state["observation_std"] = torch.from_numpy(std.astype(np.float32))
        write_tensors(path, state, self.metadata())
        return path

    def metadata(self) -> dict[str, Any]:
        """What the checkpoint says of itself."""
        return {
            "format": FORMAT,
            "task": self.config.task,
            "train_seed": self.config.seed,
            "train": self.config.decides(),
            "demonstrations": self._training_episodes(),
            "hidden": list(self.config.hidden),
            "steps": self.steps,
            **self.about,
            "last": self.curve[-1] if self.curve else {},
            "command": self.command,
            "commit": git_commit() or "unknown",
            "torch": torch.__version__,
        }

    def _training_episodes(self) -> list[dict[str, Any]]:
        """Every episode of this run's seed, and what the policy it began with was trained on."""
        own = SeedUse(self.config.task, RL_SEED + self.config.seed, ())
        before = training_seeds(self.config.init).uses if self.config.init else ()
        return [asdict(use) for use in dict.fromkeys((own, *before))]

    def save(self) -> Path:
        """Write the finished policy and its curve, drop the state; returns the policy's path."""
        self._write_curve()
        path = self.save_policy(self.stem.with_name(f"{self.stem.name}.safetensors"))
        self.state_path.unlink(missing_ok=True)
        return path

    def _write_curve(self) -> None:
        timing = {"seconds": round(self.seconds, 1), "threads": torch.get_num_threads()}
        curve = {"points": self.curve, "command": self.command, "timing": timing}
        write_json(self.stem.with_name(f"{self.stem.name}.curve.json"), curve)

    def save_state(self) -> None:
        """Write what a resumed run needs; whole or absent, also after a kill."""
        self.state_path.parent.mkdir(parents=True, exist_ok=True)
        rewards, (mean, variance, count) = self.normaliser.ret_rms, self._moments()
        values = {
            "config": json.dumps(self.config.decides(), sort_keys=True),
            "policy": self.model.policy.state_dict(),
            "optimiser": self.model.policy.optimizer.state_dict(),
            "observations": [torch.from_numpy(mean), torch.from_numpy(variance), count],
            "rewards": [float(rewards.mean), float(rewards.var), float(rewards.count)],
            "block": self.block,
            "curve": self.curve,
            "seconds": self.seconds,
        }
        partial = self.state_path.with_name(f"{self.state_path.name}.part")
        torch.save(values, partial)
        partial.replace(self.state_path)
        self._write_curve()

    def resume(self) -> bool:
        """Load the state of a stopped run, if there is one.

        Raises:
            CheckpointError: it is damaged or belongs to other settings.
        """
        if not self.state_path.exists():
            return False
        try:
            state = torch.load(self.state_path, weights_only=True, map_location=self.model.device)
        except Exception as error:  # torch raises many kinds
            raise CheckpointError(
                f"{self.state_path} is damaged ({error}); delete it to start again"
            ) from error
        lacking = STATE_KEYS - set(state if isinstance(state, dict) else ())
        if lacking:
            raise CheckpointError(
                f"{self.state_path} is no state of this command (it lacks {min(lacking)!r}); "
                "delete it to start again"
            )
        try:
            check_same(self.state_path, parse_json(state["config"]), self.config)
            self.model.policy.load_state_dict(state["policy"])
            self.model.policy.optimizer.load_state_dict(state["optimiser"])
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{self.state_path} is damaged ({error}); delete it to start again"
            ) from error
        moments = self._observation_moments()
        if moments is not None:
            mean, variance, count = state["observations"]
            moments.mean, moments.var = mean.cpu().numpy(), variance.cpu().numpy()
            moments.count = count
        rewards = self.normaliser.ret_rms
        rewards.mean, rewards.var = (np.array(float(value)) for value in state["rewards"][:2])
        rewards.count = state["rewards"][2]
        self.block, self.curve, self.seconds = state["block"], state["curve"], state["seconds"]
        self.model.num_timesteps = self.steps
        return True

    def _start_from(self, path: Path) -> None:
        """Take the weights of an earlier policy of the same shape; noise starts as configured."""
        state, metadata = read_tensors(
            path, FORMAT, f"python -m neon_sim.rl task={self.config.task}"
        )
        if metadata.get("task") != self.config.task:
            raise CheckpointError(
                f"init={path} was trained on {metadata.get('task')!r}, not {self.config.task!r}; "
                "give a policy of this task"
            )
        moments = self._observation_moments()
        if moments is not None:
            moments.mean = state["observation_mean"].double().numpy()
            moments.var = state["observation_std"].double().square().numpy()
            moments.count = 1e4
        kept = {k: v for k, v in state.items() if not k.startswith(("log_std", "observation_"))}
        own = {k: v for k, v in self.actor.tensors().items() if k in kept}
        differs = {k for k, v in kept.items() if k not in own or own[k].shape != v.shape}
        differs |= set(self.actor.tensors()) - set(kept) - {"log_std"}
        if differs:
            raise CheckpointError(
                f"init={path} is of another architecture (tensor {min(differs)!r}); give the same "
                "hidden= and observe="
            )
        self.model.policy.load_state_dict(kept, strict=False)

    def _observation_moments(self) -> Any:
        """Running mean and variance of the numbers observed; None where they are left as are."""
        if not self.normaliser.norm_obs:
            return None
        found = self.normaliser.obs_rms
        return found[VECTOR] if isinstance(found, dict) else found

    def _moments(self) -> tuple[np.ndarray, np.ndarray, float]:
        moments = self._observation_moments()
        if moments is None:
            return np.zeros(0), np.ones(0), 0.0
        return np.asarray(moments.mean), np.asarray(moments.var), float(moments.count)

    def close(self) -> None:
        """Free the environments."""
        self.env.close()


class _Watch(BaseCallback):
    """Feeds bar and curve while SB3 learns."""

    def __init__(self, trainer: RLTrainer, bar: Any) -> None:
        super().__init__()
        self.trainer, self.bar = trainer, bar
        self.returns = np.zeros(trainer.config.envs)
        self.lengths = np.zeros(trainer.config.envs, dtype=np.int64)
        self._begin_rollout()

    def _begin_rollout(self) -> None:
        self.ended: list[tuple[float, int, bool]] = []

    def _on_step(self) -> bool:
        self.returns += self.trainer.normaliser.get_original_reward()
        self.lengths += 1
        for row in np.flatnonzero(self.locals["dones"]):
            success = bool(self.locals["infos"][row]["is_success"])
            self.ended.append((float(self.returns[row]), int(self.lengths[row]), success))
            self.returns[row], self.lengths[row] = 0.0, 0
        if self.bar is not None:
            self.bar.update(len(self.returns))
        return True

    def _on_rollout_start(self) -> None:
        self.note_update()

    def _on_rollout_end(self) -> None:
        returns, lengths, successes = zip(*self.ended, strict=True) if self.ended else ([], [], [])
        point: dict[str, Any] = {
            "steps": int(self.num_timesteps),
            "episodes": len(self.ended),
            "return": float(np.mean(returns)) if self.ended else None,
            "length": float(np.mean(lengths)) if self.ended else None,
            "success": float(np.mean(successes)) if self.ended else None,
            "std": float(self.trainer.actor.log_std.detach().exp().mean()),
        }
        self.trainer.curve.append(point)
        self._begin_rollout()
        if self.bar is not None and point["episodes"]:
            self.bar.set_postfix(ret=f"{point['return']:.3f}", success=f"{point['success']:.2f}")

    def note_update(self) -> None:
        """Add what the last update of the network said to the last point."""
        names = {"approx_kl": "kl", "explained_variance": "explained", "clip_fraction": "clipped"}
        logged = self.model.logger.name_to_value
        if self.trainer.curve and "train/approx_kl" in logged:
            for name, short in names.items():
                value = float(logged[f"train/{name}"])
                self.trainer.curve[-1][short] = value if np.isfinite(value) else None  # no JSON


class _Processes(SubprocVecEnv):
    """Environments in processes, their rewards as narrow as SB3's in one process are."""

    def step_wait(self) -> Any:
        """Results of a step."""
        seen, rewards, dones, infos = super().step_wait()
        return seen, rewards.astype(np.float32), dones, infos


def make_vec_env(config: RLConfig) -> VecEnv:
    """The training environments, in this process or spread over several."""

    def maker(index: int) -> Callable[[], Any]:
        return lambda: make_env(config, index)

    makers = [maker(index) for index in range(config.envs)]
    if config.workers == 1:
        return DummyVecEnv(makers)
    return _Processes(makers, start_method="spawn")


def check_same(path: Path, found: dict[str, Any], config: RLConfig) -> None:
    """Raise ``CheckpointError`` naming the first setting in which two runs differ."""
    default = replace(config, **{k: v for k, v in vars(RLConfig()).items() if k != "hidden"})
    wanted = json.loads(json.dumps(config.decides()))
    found = {**json.loads(json.dumps(default.decides())), **found}
    for key, value in wanted.items():
        if found.get(key) != value:
            raise CheckpointError(
                f"{path} was made with {key} = {found.get(key)!r}, this run has {value!r}; choose "
                "another out=, or delete the file to start again"
            )


def _device(name: str) -> str:
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device=cuda, but torch sees no CUDA device; use device=cpu")
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
