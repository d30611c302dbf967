"""One training run of a head: data, network, optimiser, average of weights, curve, files."""

from __future__ import annotations

import json
import math
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, NotRequired

import numpy as np
import torch
from tqdm import tqdm
from typing_extensions import TypedDict

from neon_sim.config.policy import PolicyConfig
from neon_sim.demonstrations.dataset import DemoDataset
from neon_sim.demonstrations.training_seeds import demonstration_record
from neon_sim.demonstrations.windows import BalancedBatches, build_windows, check_datasets
from neon_sim.errors import CheckpointError, ConfigError
from neon_sim.files import make_folder, write_json
from neon_sim.machine import git_commit
from neon_sim.observation.clips import ClipConfig
from neon_sim.registry import EMBODIMENTS, POLICY_PARTS, task_entry
from neon_sim.robots import ROBOTS
from neon_sim.schema import checked, parse_json
from neon_sim.vocabulary import WORDS

from .feature_cache import FeatureTable
from .settings import TrainConfig

EVAL_WINDOWS = 2000  # at most, a split
EVAL_ROWS = 250
FINAL_RATE = 0.02  # of the peak, at the end of the cosine
NOISE_PATTERNS = 251
STATE_KEYS = {"identity", "network", "average", "optimiser", "step", "curve"}
STATISTICS_WINDOWS = 2000  # features of this many windows give mean and std


class Trainer:
    """A training run: data, network, optimiser, average of weights and curve.

    Args:
        config: the run. policy: what is trained; its ``condition`` is the one that trains.
        backbone: use this instance instead of the registry's. progress: show bars.

    Raises:
        NeonError: as datasets, towers and configs say.
    """

    def __init__(
        self,
        config: TrainConfig,
        policy: PolicyConfig,
        backbone: Any = None,
        progress: bool = True,
    ) -> None:
        self.config, self.policy, self.progress = config, policy, progress
        self.condition = config.condition or policy.condition
        self.tower = POLICY_PARTS.resolve("make_tower")(policy, self.condition, backbone)
        tasks = list(config.tasks) or None
        self.datasets = [DemoDataset.open(path, tasks) for path in config.data]
        check_datasets(self.datasets, self.tower.needs)
        self.windows = build_windows(self.datasets, config.window_stride, config.val_fraction)
        self.text_ids = POLICY_PARTS.resolve("encode_texts")(self.windows.texts, WORDS)
        self.features = self._feature_table(self.tower)
        listens = self.tower.ears is not None and "audio" in self.tower.needs
        self.sounds = self._feature_table(self.tower.ears) if listens else None
        self.batches = BalancedBatches(
            self.windows.task, ~self.windows.validation, config.batch_size, config.seed
        )
        self.device = torch.device(_device(config.device))
        self.network = self._new_network()
        self.average = {k: v.clone() for k, v in self.network.state_dict().items()}
        self.optimiser = torch.optim.AdamW(_groups(self.network, config.weight_decay), fused=True)
        self._patterns: torch.Tensor | None = None
        self.step = 0
        self.curve: list[dict[str, Any]] = []

    # ---- one step -----------------------------------------------------------------------

    def train_step(self) -> float:
        """Take one optimiser step; returns the loss.

        Raises:
            ConfigError: the loss is no number any more.
        """
        config = self.config
        torch.manual_seed(config.seed * 1_000_003 + self.step)  # dropout and noise, resumably
        inputs, actions, weight = self._batch(self.batches.batch(self.step), training=True)
        for group in self.optimiser.param_groups:
            group["lr"] = self._learning_rate()
        loss = self.network.loss(inputs, actions, weight)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise ConfigError(
                f"the loss became {value} in step {self.step}; lower learning_rate "
                f"(got {config.learning_rate})"
            )
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), config.clip_norm)
        self.optimiser.step()
        self.step += 1
        self._update_average()
        return value

    def _batch(self, rows: np.ndarray, training: bool = False) -> tuple[Any, Any, Any]:
        """Network input, labels and weights of some windows."""
        windows, index = self.windows, torch.from_numpy(rows)
        hidden, mask, time_s = self.features.gather(rows)
        agent_pos = torch.from_numpy(windows.agent_pos[rows])
        if training and self.config.proprio_noise:
            agent_pos = agent_pos + self.config.proprio_noise * torch.randn_like(agent_pos)
        if training and self.config.feature_noise:
            hidden = hidden.float() + self._feature_noise(len(rows))
        audio = None if self.sounds is None else self._sound(rows).to(self.device)
        make = POLICY_PARTS.resolve("network_input")
        inputs = make(
            hidden.to(self.device),
            mask.to(self.device),
            time_s.to(self.device),
            agent_pos.to(self.device),
            self.text_ids[torch.from_numpy(windows.text)[index]].to(self.device),
            audio,
        )
        actions = torch.from_numpy(windows.actions[rows]).to(self.device)
        return inputs, actions, torch.from_numpy(windows.weight[rows]).to(self.device)

    def _sound(self, rows: np.ndarray) -> torch.Tensor:
        """Tokens (b, S', D') of the sound of some windows."""
        assert self.sounds is not None
        return self.sounds.gather(rows)[0][:, 0]

    def _feature_noise(self, rows: int) -> torch.Tensor:
        """Noise (B, 1, S, D), drawn from a fixed set of patterns because fresh noise is slow."""
        if self._patterns is None:
            generator = torch.Generator().manual_seed(self.config.seed)
            shape = (NOISE_PATTERNS, 1, *self.features.shape)
            std = self.network.feature_std.cpu() * self.config.feature_noise
            self._patterns = torch.randn(shape, generator=generator) * std
        return self._patterns[torch.randint(0, NOISE_PATTERNS, (rows,))]

    def _learning_rate(self) -> float:
        config = self.config
        warm = min(1.0, (self.step + 1) / max(config.warmup_steps, 1))
        cosine = 0.5 * (1 + math.cos(math.pi * self.step / config.steps))
        return config.learning_rate * warm * (FINAL_RATE + (1 - FINAL_RATE) * cosine)

    def _update_average(self) -> None:
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                self.average[name].lerp_(value, 1 - decay)

    # ---- what surrounds it --------------------------------------------------------------

    def _feature_table(self, tower: Any) -> FeatureTable:
        """Features of all windows behind a frozen encoder."""
        config = self.config
        root = Path(config.cache) if config.cache else Path(config.data[0]).parent / "features"
        ram_bytes = config.ram_gb * 1e9
        return FeatureTable(
            self.datasets, tower, config.window_stride, root, ram_bytes, self.progress
        )

    def _new_network(self) -> Any:
        """A fresh network with the statistics of the training windows."""
        make = POLICY_PARTS.resolve("new_network")
        windows, train = self.windows, ~self.windows.validation
        widths = windows.agent_pos.shape[-1], windows.actions.shape[-1]
        network = make(self.policy, self.tower, WORDS, self.config.seed, *widths)
        actions = windows.actions[train][windows.weight[train] > 0]
        for name, values in (("action", actions), ("proprio", windows.agent_pos[train])):
            mean, std = values.mean(axis=0, dtype=np.float64), values.std(axis=0, dtype=np.float64)
            network.set_normalisation(name, _tensor(mean), _tensor(std))
        chosen = _spread(np.flatnonzero(train), STATISTICS_WINDOWS)
        hidden, mask, _ = self.features.gather(chosen)
        real = hidden[mask].double()
        if len(real) > 1:
            network.set_normalisation("feature", real.mean(0).float(), real.std(0).float())
        if self.sounds is not None:
            heard = self._sound(chosen).flatten(0, 1).double()
            network.set_normalisation("audio", heard.mean(0).float(), heard.std(0).float())
        return network.to(self.device)

    def run(self) -> float:
        """Train to the end, saving on the way; returns the seconds this call took."""
        began = time.perf_counter()
        every = max(self.config.steps // 10, 1)
        total, name = self.config.steps, f"{self.policy.name} {self.condition}"
        recent: list[float] = []
        with (
            torch.random.fork_rng(),
            tqdm(
                total=total, initial=self.step, desc=name, unit="step", disable=not self.progress
            ) as bar,
        ):
            while self.step < total:
                recent.append(self.train_step())
                bar.update()
                if self.step % every == 0 or self.step == total:
                    self._record(float(np.mean(recent)))
                    recent = []
                    bar.set_postfix(loss=f"{self.curve[-1]['loss']:.3f}")
                if self.step % self.config.save_every == 0 and self.step < total:
                    self.save_state()
        return time.perf_counter() - began

    def _record(self, loss: float) -> None:
        self.curve.append({"step": self.step, "loss": loss, "validation": self.evaluate(True)})

    def evaluate(self, validation: bool) -> dict[str, dict[str, float]]:
        """Error of sampled actions by task, with the averaged weights.

        Returns:
            By task name: ``normalised`` (mean absolute error in standard deviations),
            ``joints_rad``, ``gripper`` or ``base`` (of the range [-1, 1]) and ``windows``.
        """
        trained = {k: v.clone() for k, v in self.network.state_dict().items()}
        self.network.load_state_dict(self.average)
        self.network.eval()
        try:
            with torch.random.fork_rng(), torch.inference_mode():
                pool = np.flatnonzero(self.windows.validation == validation)
                return self._errors(_spread(pool, EVAL_WINDOWS))
        finally:
            self.network.train()
            self.network.load_state_dict(trained)

    def _errors(self, rows: np.ndarray) -> dict[str, dict[str, float]]:
        if not len(rows):
            return {}
        differences = []
        name, dim = task_entry(self.windows.tasks[0]).robot, self.windows.actions.shape[-1]
        scale, robot = EMBODIMENTS.resolve(name), ROBOTS[name]
        unit = (scale(np.ones(dim)) - scale(-np.ones(dim))) / 2  # rad of one unit, on average
        joints = robot.num_joints(dim)
        for start in range(0, len(rows), EVAL_ROWS):
            inputs, actions, weight = self._batch(rows[start : start + EVAL_ROWS])
            error = (self.network.sample(inputs) - actions).abs() * weight.unsqueeze(2)
            differences.append((error.sum(1) / weight.sum(1, keepdim=True)).cpu().numpy())
        errors, task = np.concatenate(differences), self.windows.task[rows]
        std = self.network.action_std.cpu().numpy()
        report = {}
        for number in np.unique(task):
            mine = errors[task == number]
            report[self.windows.tasks[number]] = {
                "normalised": float((mine / std).mean()),
                "joints_rad": float((mine[:, :joints] * unit[:joints]).mean()),
                **({robot.rest_name: float(mine[:, joints:].mean())} if joints < dim else {}),
                "windows": len(mine),
            }
        return report

    # ---- files --------------------------------------------------------------------------

    @property
    def stem(self) -> Path:
        """Path of the run's files without suffix."""
        return Path(self.config.out) / f"{self.condition}-seed{self.config.seed}"

    @property
    def notes(self) -> list[str]:
        """What a user should know of where the data come from."""
        return [note for dataset in self.datasets for note in dataset.notes]

    @property
    def state_path(self) -> Path:
        """Where the resumable state lies."""
        return self.stem.with_name(f"{self.stem.name}.state.pt")

    def identity(self) -> dict[str, Any]:
        """What the head depends on, as its checkpoint and state record it."""
        ears = self.tower.ears if self.sounds is not None else None
        heard = {} if ears is None else {"name": ears.name, "fingerprint": ears.fingerprint()}
        return {
            "policy": asdict(self.policy) | {"condition": self.condition},
            "condition": self.condition,
            "train_seed": self.config.seed,
            "train": self.config.decides(),
            "tasks": self.windows.tasks,
            "data": [
                {"episodes": d.num_episodes, "rows": d.num_rows, "content_hash": d.content_hash}
                for d in self.datasets
            ],
            "backbone": {
                "name": self.tower.backbone_name,
                "fingerprint": self.tower.fingerprint(),
            },
            **({"ears": heard} if heard else {}),
        }

    def save_state(self) -> None:
        """Write the resumable state; whole or absent, also after a kill."""
        path = self.state_path
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.part")
        values = {
            "identity": json.dumps(self.identity(), sort_keys=True),
            "network": self.network.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "curve": self.curve,
        }
        torch.save(values, partial)
        os.replace(partial, path)

    def resume(self) -> bool:
        """Load the state of a killed run, if there is one.

        Raises:
            CheckpointError: it is damaged or belongs to other settings or data.
        """
        path = self.state_path
        if not path.exists():
            return False
        try:
            state = torch.load(path, weights_only=True, map_location=self.device)
        except Exception as error:  # torch raises many kinds
            raise CheckpointError(
                f"{path} is damaged ({error}); delete it to start again"
            ) from error
        lacking = STATE_KEYS - set(state if isinstance(state, dict) else ())
        if lacking:
            raise CheckpointError(
                f"{path} is no state of this command (it lacks {min(lacking)!r}); delete it to "
                "start again"
            )
        try:
            check_same(path, parse_json(state["identity"]), self.identity())
            self.network.load_state_dict(state["network"])
            self.optimiser.load_state_dict(state["optimiser"])
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{path} is damaged ({error}); delete it to start again"
            ) from error
        self.average = state["average"]
        self.step, self.curve = state["step"], state["curve"]
        return True

    def save(self, seconds: float) -> Path:
        """Write the curve and the head, drop the state; returns the head's path.

        The head comes last of what stays: where it lies, the run is finished. A run that is killed
        before goes on from its state and writes both again.
        """
        final = self.evaluate(True)
        self.network.load_state_dict(self.average)
        metadata = {
            **self.identity(),
            "demonstrations": demonstration_record(
                (m.task_name, m.seed, m.episode) for d in self.datasets for m in d.episodes
            ),
            "parameters": self.network.num_parameters(),
            "windows": len(self.windows),
            "validation": final,
            "data_notes": self.notes,
            "commit": git_commit() or "unknown",
            "torch": torch.__version__,
        }
        curve = {
            "points": self.curve,
            "validation": final,
            "training": self.evaluate(False),
            "timing": {"seconds": round(seconds, 1), "threads": torch.get_num_threads()},
        }
        seen = _spread(np.flatnonzero(~self.windows.validation), EVAL_ROWS)
        if report := self.network.report(self._batch(seen)[0]):
            curve["fusion"] = report
        make_folder(self.stem.parent)
        write_json(self.stem.with_name(f"{self.stem.name}.curve.json"), curve)
        path = self.stem.with_name(f"{self.stem.name}.safetensors")
        POLICY_PARTS.resolve("save_checkpoint")(path, self.network, metadata)
        self.state_path.unlink(missing_ok=True)
        return path


class _Clip(TypedDict):
    clip: NotRequired[dict[str, Any]]


class _Identity(TypedDict):
    """Of what a head or a state says of its run, the shape."""

    train: NotRequired[dict[str, Any]]
    policy: NotRequired[_Clip]


def check_same(path: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raise ``CheckpointError`` naming the first thing in which two runs differ.

    A setting that did not exist when the file was made counts as its default.
    """
    wanted = json.loads(json.dumps(wanted))
    checked(found, _Identity, str(path), CheckpointError, "train it again")
    policy = {**asdict(PolicyConfig()), **found.get("policy", {})}
    policy["clip"] = {**asdict(ClipConfig()), **policy["clip"]}
    train = {**TrainConfig().decides(), **found.get("train", {})}
    found = {**found, "train": train, "policy": policy}
    for key in wanted:
        if found.get(key) != wanted[key]:
            now, then = wanted[key], found.get(key)
            if isinstance(now, dict) and isinstance(then, dict):
                key, now, then = next(
                    ((f"{key}.{k}", now[k], then.get(k)) for k in now if now[k] != then.get(k)),
                    (key, now, then),
                )
            raise CheckpointError(
                f"{path} was made with {key} = {then!r}, this run has {now!r}; choose another "
                "out=, or delete the file to start again"
            )


def _device(name: str) -> str:
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device=cuda, but torch sees no CUDA device; use device=cpu")
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name


def _tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32))


def _spread(rows: np.ndarray, count: int) -> np.ndarray:
    """At most ``count`` of the rows, evenly spread."""
    if len(rows) <= count:
        return rows
    return rows[np.linspace(0, len(rows) - 1, count).astype(np.int64)]


def _groups(network: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices decay, vectors (biases, norms, scales) do not."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
