"""``python -m neon_sim.pretrain backbone=neon_tiny out=DIR``: pretrain a small backbone.

Self-supervised: from the tokens alone a small decoder must draw the current frame, two
past and four future frames at half resolution, with the pixels that change and the edges
weighted up. So the tokens have to hold where everything is and how it moves. Neither task
labels nor actions nor simulator state are used. The image twin trains on the same clips,
the same targets and the same number of steps, but sees one frame.

A run resumes from its last checkpoint when it is started again with the same settings,
and then takes the same steps as an uninterrupted one.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Interval
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional

from neon_sim.command import entry_point
from neon_sim.config.loading import main_config
from neon_sim.errors import CheckpointError, ConfigError, unknown_name
from neon_sim.files import hold_folder, locked, write_whole
from neon_sim.machine import git_commit, keep_memory
from neon_sim.registry import BACKBONES, task_entry
from neon_sim.rules import MAX_THREADS, Seed, Steps, Workers, hold_rules
from neon_sim.seeding import keyed_rng

from .clips import ALL_TASKS, ClipDataConfig, ClipStore, hold_camera, make_clips

OFFSETS = (-6, -3, 0, 1, 3, 5, 7)  # frames of 0.08 s that the decoder draws
HELD_OUT_BATCH = 32
STATE_KEYS = ("config", "step", "losses", "network", "decoder", "optimiser")


@dataclass
class PretrainConfig:
    """One pretraining run.

    Attributes:
        backbone: registry name of a backbone that can be pretrained.
        out: folder for the weights, their record and the resumable state; empty is
            ``runs/pretrain/<backbone>``.
        data: folder of the clips (made when missing).
        clips: what the clips show.
        steps: of the optimiser.
        batch: clips a step.
        lr: learning rate of AdamW at the end of the warm-up; falls by a cosine to zero.
        weight_decay: of AdamW.
        warmup: steps of linear warm-up.
        motion_weight: extra weight of pixels that change.
        edge_weight: extra weight of pixels at edges.
        token_noise: standard deviation of noise on the tokens (which have unit scale).
        seed: of weights and batches, >= 0.
        threads: torch threads, at most 256 (or the cores, if more).
        workers: processes that draw clips.
        save_every: steps between resumable states.
        bf16: train in bfloat16 autocast.
        init: ``state.pt`` of an earlier run to start from; a fresh network when empty.
    """

    backbone: str = "neon_tiny"
    out: str = ""
    data: str = "runs/pretrain/clips"
    clips: ClipDataConfig = field(default_factory=ClipDataConfig)
    steps: Steps = 4000
    batch: Annotated[int, Interval(ge=1, le=10**5)] = 32
    lr: Annotated[float, Interval(gt=0, le=1)] = 0.002
    weight_decay: Annotated[float, Interval(ge=0, le=10)] = 0.01
    warmup: Annotated[int, Interval(ge=0, le=10**8)] = 100
    motion_weight: Annotated[float, Interval(ge=0, le=1e6)] = 30.0
    edge_weight: Annotated[float, Interval(ge=0, le=1e6)] = 4.0
    token_noise: Annotated[float, Interval(ge=0, le=100)] = 0.1
    seed: Seed = 0
    threads: Annotated[int, Interval(ge=1, le=MAX_THREADS)] = 1
    workers: Workers = 2
    save_every: Steps = 250
    bf16: bool = True
    init: str = ""

    @staticmethod
    def implied(named: dict[str, Any], before: Any) -> dict[str, Any]:
        """What a command line that says which sequences are drawn means besides.

        ``clips.counts`` of a YAML stand for the tasks and the ``clips.per_task`` of that YAML: a
        ``per_task`` that is typed counts for every task, and ``tasks`` that are typed leave none
        of the others. Counts that are typed themselves are added afterwards.

        Args:
            named: the values given, by dotted key. before: the settings they change.

        Raises:
            ConfigError: tasks are typed, and the YAML draws nothing of a task.
            UnknownNameError: no such task.
        """
        if "clips.per_task" in named:
            return {"clips.counts": {}}
        if "clips.tasks" not in named:
            return {}
        tasks = named["clips.tasks"]
        counted = any(key.startswith("clips.counts") for key in named)
        if tasks and not counted and not before.clips.per_task:
            raise ConfigError(
                f"clips.tasks={','.join(tasks)} draws nothing, for clips.per_task is 0 here; give "
                "clips.per_task= too"
            )
        if tasks == ALL_TASKS:
            return {}
        kept = {task_entry(name).name for name in tasks}
        counts = {task: n for task, n in before.clips.counts.items() if task in kept}
        return {"clips.counts": counts}

    def validate(self) -> None:
        """Hold the rules of the docstring.

        Raises:
            ConfigError: a value outside its rule.
            UnknownNameError: a name that no registry knows.
        """
        hold_rules(self)
        if self.backbone not in BACKBONES:
            raise unknown_name(BACKBONES.kind, self.backbone, BACKBONES)
        self.out = self.out or f"runs/pretrain/{self.backbone}"


class Decoder(nn.Module):
    """Draws ``len(OFFSETS)`` frames from tokens alone; thrown away after pretraining."""

    def __init__(self, dim: int, width: int = 96) -> None:
        super().__init__()
        self.enter = nn.Conv2d(dim, width, 1)
        self.spread = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=d, dilation=d) for d in (1, 2, 1)
        )
        self.draw = nn.Conv2d(width, len(OFFSETS) * 3 * 16, 1)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, 144, D) -> (B, K, 48, 48, 3) in about [-1, 1]."""
        b, s, dim = tokens.shape
        side = int(s**0.5)
        x = self.enter(tokens.reshape(b, side, side, dim).permute(0, 3, 1, 2))
        for layer in self.spread:
            x = x + layer(functional.relu(x))
        x = self.draw(functional.relu(x)).permute(0, 2, 3, 1)
        x = x.reshape(b, side, side, len(OFFSETS), 4, 4, 3).permute(0, 3, 1, 4, 2, 5, 6)
        out: Tensor = x.reshape(b, len(OFFSETS), side * 4, side * 4, 3).float()
        return out


def to_unit(frames: np.ndarray) -> Tensor:
    """uint8 pixels -> float32 in [-1, 1]."""
    return torch.from_numpy(frames).to(torch.float32).mul_(2 / 255).sub_(1)


def pixel_weights(target: Tensor, config: PretrainConfig) -> Tensor:
    """Weights of target pixels, mean 1 over each picture: (B, K, 48, 48).

    A pixel of the past or the future counts as changed when it differs from the current
    frame; a pixel of the current frame, when it differs from the next one.

    Args:
        target: (B, K, 48, 48, 3) frames to draw, in [-1, 1].
        config: the extra weights.
    """
    now = OFFSETS.index(0)
    changed = (target - target[:, now : now + 1]).abs_().mean(-1)
    changed[:, now] = changed[:, now + 1]
    across = (target[..., 1:, :] - target[..., :-1, :]).abs_().mean(-1)
    down = (target[:, :, 1:] - target[:, :, :-1]).abs_().mean(-1)
    weights = changed.mul_(5).clamp_(max=1).mul_(config.motion_weight).add_(1)
    weights[..., :-1].add_(across.mul_(5).clamp_(max=1), alpha=config.edge_weight)
    weights[:, :, :-1].add_(down.mul_(5).clamp_(max=1), alpha=config.edge_weight)
    return weights.div_(weights.mean(dim=(-2, -1), keepdim=True))


def loss_of(drawn: Tensor, target: Tensor, weights: Tensor, valid: Tensor) -> Tensor:
    """Weighted mean squared error over the targets that exist; (B, K) ``valid``."""
    error = ((drawn - target).square().mean(-1) * weights).mean(dim=(-2, -1))
    return (error * valid).sum() / valid.sum().clamp(min=1)


def augment(rng: np.random.Generator, *pictures: np.ndarray) -> None:
    """Mirror clips and permute their colour channels in place, a clip and its targets alike.

    Args:
        rng: decides what happens to which row.
        pictures: (B, ..., H, W, 3) uint8 each.
    """
    for row in range(len(pictures[0])):
        flip, mix, order = rng.uniform() < 0.5, rng.uniform() < 0.6, rng.permutation(3)
        for frames in pictures:
            seen = frames[row, ..., ::-1, :] if flip else frames[row]
            if mix:
                seen = np.stack([seen[..., channel] for channel in order], axis=-1)
            frames[row] = seen.copy() if flip and not mix else seen


class Trainer:
    """Network, decoder, optimiser and the data they learn from."""

    def __init__(self, config: PretrainConfig, store: ClipStore) -> None:
        torch.manual_seed(config.seed)
        self.config, self.store = config, store
        self.backbone = trainable_backbone(config.backbone)
        self.network = self.backbone.new_network()
        self.network.pixel_dtype = torch.bfloat16 if config.bf16 else torch.float32
        self.decoder = Decoder(self.network.dim)
        self.parameters = [*self.network.parameters(), *self.decoder.parameters()]
        self.optimiser = torch.optim.AdamW(
            self.parameters, lr=config.lr, weight_decay=config.weight_decay, betas=(0.9, 0.98)
        )
        self.commit = git_commit() or "unknown"
        self.step = 0
        self.losses: list[float] = []
        self.train_set, self.held_out = np.split(
            np.arange(len(store.lengths)), [int(0.97 * len(store.lengths))]
        )
        if config.init:
            self._start_from(Path(config.init))

    def _start_from(self, path: Path) -> None:
        """Take network and decoder of an earlier run.

        Raises:
            CheckpointError: no such state, or one of another architecture.
        """
        state = read_state(path)
        try:
            self.network.load_state_dict(state["network"])
            self.decoder.load_state_dict(state["decoder"])
        except RuntimeError as error:
            told = " ".join(str(error).split())[:300]
            raise CheckpointError(f"init={path} is of another architecture: {told}") from error

    def _rate(self) -> float:
        config = self.config
        ramp = min(1.0, (self.step + 1) / max(config.warmup, 1))
        return float(config.lr * ramp * 0.5 * (1 + np.cos(np.pi * self.step / config.steps)))

    def _loss(self, rng: np.random.Generator, sequences: np.ndarray, train: bool) -> Tensor:
        config = self.config
        frames = self.network.num_frames
        size = config.batch if train else HELD_OUT_BATCH
        batch = self.store.batch(rng, size, frames, OFFSETS, sequences)
        if train:
            augment(rng, batch.video, batch.targets)
        clip, mask = torch.from_numpy(batch.video), torch.from_numpy(batch.mask)
        target = to_unit(batch.targets)
        with torch.autocast("cpu", torch.bfloat16, enabled=config.bf16):
            if self.backbone.TOWER == "image":
                tokens = self.network.forward_images(clip[:, -1])
            else:
                tokens = self.network(clip, mask)
            if train:
                tokens = tokens + config.token_noise * torch.randn_like(tokens)
            drawn = self.decoder(tokens)
        weights = pixel_weights(target, config)
        return loss_of(drawn, target, weights, torch.from_numpy(batch.valid))

    def train_step(self) -> float:
        """One optimiser step, decided by seed and step number alone; returns the loss."""
        rng = keyed_rng("pretrain-step", self.config.seed, self.step)
        torch.manual_seed(int(rng.integers(2**31)))
        for group in self.optimiser.param_groups:
            group["lr"] = self._rate()
        loss = self._loss(rng, self.train_set, train=True)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimiser.step()
        self.step += 1
        self.losses.append(loss.item())
        return self.losses[-1]

    @torch.no_grad()
    def held_out_loss(self, batches: int = 8) -> float:
        """Mean loss on held-out sequences, without augmentation or noise."""
        losses = [
            self._loss(keyed_rng("pretrain-held-out", index), self.held_out, train=False)
            for index in range(batches)
        ]
        return float(torch.stack(losses).mean())

    def save_state(self, path: Path) -> None:
        """Write everything a resumed run needs, atomically."""
        state = {
            "config": asdict(self.config),
            "step": self.step,
            "losses": self.losses,
            "network": self.network.state_dict(),
            "decoder": self.decoder.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        torch.save(state, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)

    def load_state(self, path: Path) -> None:
        """Continue a run.

        Raises:
            CheckpointError: the state belongs to other settings.
        """
        state = read_state(path)
        hold_settings(path, state, self.config)
        self.step, self.losses = state["step"], state["losses"]
        self.network.load_state_dict(state["network"])
        self.decoder.load_state_dict(state["decoder"])
        self.optimiser.load_state_dict(state["optimiser"])


def trainable_backbone(name: str) -> Any:
    """The class of a backbone that makes networks to be pretrained.

    Raises:
        ConfigError: it makes none.
    """
    backbone = BACKBONES.resolve(name)
    if not hasattr(backbone, "new_network"):
        raise ConfigError(f"backbone {name!r} cannot be pretrained here; neon_tiny can")
    return backbone


def read_state(path: Path) -> dict[str, Any]:
    """The state of a run, tensors and plain values alone.

    Raises:
        CheckpointError: no such file, or none that ``Trainer.save_state`` wrote.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist; give the state.pt of a run")
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True)
    except Exception as error:  # torch, zipfile and pickle raise many kinds, all about this file
        raise CheckpointError(
            f"{path} is no whole state of a pretraining ({type(error).__name__}); delete it to "
            "begin anew"
        ) from error
    absent = [key for key in STATE_KEYS if not isinstance(state, dict) or key not in state]
    if absent:
        raise CheckpointError(
            f"{path} is no state of a pretraining (it lacks {absent[0]}); give the state.pt of a "
            "run, or choose another out="
        )
    return state


def hold_settings(path: Path, state: dict[str, Any], config: PretrainConfig) -> None:
    """Hold a state to the settings of the run that would go on from it.

    Raises:
        CheckpointError: it belongs to others.
    """
    if state["config"] != asdict(config):
        raise CheckpointError(f"{path} belongs to other settings; choose another out=")


def export(trainer: Trainer, wall_s: float) -> Path:
    """Write the weights (fp16 safetensors) and the JSON record beside them."""
    config = trainer.config
    path = Path(config.out) / f"{config.backbone}.safetensors"
    state = {k: v.detach().half().contiguous() for k, v in trainer.network.state_dict().items()}
    metadata = {
        "backbone": config.backbone,
        "tower": trainer.backbone.TOWER,
        "architecture": trainer.network.architecture,
        "parameters": sum(p.numel() for p in trainer.network.parameters()),
        "config": asdict(config),
        "command": f"python -m neon_sim.pretrain {shlex.join(sys.argv[1:])}".rstrip(),
        "commit": trainer.commit,
        "seed": config.seed,
        "data_sha256": trainer.store.sha256(),
        "sequences": len(trainer.store.lengths),
        "train_loss": float(np.mean(trainer.losses[-50:])),
        "held_out_loss": trainer.held_out_loss(),
        "torch": torch.__version__,
    }
    content = save(state, metadata={"neon_sim": json.dumps(metadata, sort_keys=True)})
    digest = hashlib.sha256(content).hexdigest()
    record = {"sha256": digest, "wall_s": round(wall_s, 1), **metadata}
    # the weights last: where they lie, their record does
    write_whole(path.with_suffix(".json"), json.dumps(record, indent=1, sort_keys=True) + "\n")
    write_whole(path, content)
    path.chmod(0o644)
    return path


def pretrain(config: PretrainConfig) -> Path:
    """Run or resume a pretraining.

    Returns:
        Path of the weights.

    Raises:
        ConfigError: the backbone cannot be pretrained, or ``data`` holds something else; nothing
            is drawn or written then.
        CheckpointError: ``out`` holds a run of other settings, or ``init`` is no state of a run.
        RunError: another process writes into ``data`` or ``out``.
    """
    trainable_backbone(config.backbone)
    hold_folder("out", config.out)
    hold_folder("data", config.data)
    hold_camera(config.clips)
    state = Path(config.out) / "state.pt"
    if state.exists():
        hold_settings(state, read_state(state), config)
    if config.init:
        read_state(Path(config.init))
    torch.set_num_threads(config.threads)
    keep_memory()
    store = make_clips(Path(config.data), config.clips, config.workers)
    trainer = Trainer(config, store)
    with locked(state.parent):
        return _run(trainer, state)


def _run(trainer: Trainer, state: Path) -> Path:
    """Take the steps that are left, in a folder that is held; returns the weights."""
    config = trainer.config
    if state.exists():
        trainer.load_state(state)
        print(f"resumed at step {trainer.step}")
    began, first = time.monotonic(), trainer.step
    while trainer.step < config.steps:
        trainer.train_step()
        if trainer.step % 50 == 0:
            rate = (trainer.step - first) / (time.monotonic() - began)
            left = (config.steps - trainer.step) / rate
            print(
                f"{config.backbone} step {trainer.step}/{config.steps}  "
                f"loss {np.mean(trainer.losses[-50:]):.4f}  {rate * config.batch:.0f} clips/s  "
                f"{left:.0f} s left",
                flush=True,
            )
        if trainer.step % config.save_every == 0:
            trainer.save_state(state)
    trainer.save_state(state)
    path = export(trainer, time.monotonic() - began)
    print(f"held-out loss {json.loads(path.with_suffix('.json').read_text())['held_out_loss']:.4f}")
    print(f"wrote {path}")
    return path


@entry_point("pretrain", "the same command resumes from the last saved state")
def main(argv: list[str]) -> int:
    """Command line: ``key=value`` arguments over ``configs/pretrain/neon_tiny.yaml``."""
    pretrain(main_config(PretrainConfig, argv, "neon_tiny"))
    return 0
