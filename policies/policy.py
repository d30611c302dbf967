"""Policies as the runner drives them: a frozen tower and a trained network behind ``act``."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch

from neon_sim.config.policy import NO_AUDIO, PolicyConfig, base_name
from neon_sim.errors import CheckpointError
from neon_sim.observation.batch import ClipBatch, single_frames
from neon_sim.observation.conditions import Condition
from neon_sim.observation.conditions import condition as find_condition
from neon_sim.registry import BACKBONES, task_entry

from .backbones.base import Encoded, join
from .backbones.foundation.on_the_bench import RUNNING
from .backbones.published import published
from .backbones.weights.find import absent_text
from .blocks import BLOCK_ROWS, act_in_blocks
from .checkpoint import load_network, read_checkpoint, train_command
from .instruction import encode_texts
from .network import NeonPolicy, NetworkInput, network_spec, resolve_spec
from .tower import Tower, check_token_budget, tower_backbone


class TrainedPolicy:
    """Frozen tower and trained network; no call changes what another answers.

    What the tower saw is kept from one call to the next where it may be met again: whole clips
    where ``clip.refresh_steps`` lets it look seldom, single frames where it encodes each on its
    own. Neither is encoded twice.

    Attributes:
        clip: what to sample from the past. needs: what to observe, of ``"video"``, ``"state"`` and
            ``"audio"``.
        replan_steps: control steps of a chunk that are meant to be executed.
        condition: the row of the ladder it runs under. checkpoint: path of its head, or None.
        metadata: what the checkpoint says about itself.
    """

    def __init__(
        self,
        config: PolicyConfig,
        tower: Tower,
        network: NeonPolicy,
        checkpoint: Path | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self.config, self.tower, self.network = config, tower, network.eval()
        self.condition: Condition = tower.condition
        self.checkpoint, self.metadata = checkpoint, metadata or {}
        self.needs, self.replan_steps = tower.needs, config.replan_steps
        one = tower.condition.frames != "all"
        self.clip = replace(config.clip, num_frames=1) if one else config.clip
        self._by_frame = tower.per_frame and self.clip.num_frames > 1
        self._keeps = self._by_frame or self.clip.refresh_steps > 1
        self._kept: dict[bytes, Encoded] = {}  # clips or frames of the last call, encoded

    def reset(self, num_envs: int) -> None:
        """Forget what the tower saw; a policy sees its past in the clip or not at all."""
        del num_envs
        self._kept = {}

    def act(self, batch: ClipBatch) -> np.ndarray:
        """Action chunks for B observations.

        A row's answer is the same to the bit whatever other rows are in the batch: the work
        is done in blocks of 8 rows, the last one filled up by repetition.

        Returns:
            (B, 16, 8) float32 in [-1, 1].

        Raises:
            PolicyError: the network gave NaN or inf; names row, step and dimension.
            UnknownNameError: an instruction with a word the head was not trained on.
            ConfigError: the batch lacks what the condition needs.
        """
        seen = self._seen(batch) if self._keeps and len(batch) else None

        def answer(block: ClipBatch, rows: range) -> np.ndarray:
            index = [*rows] + [rows[-1]] * (len(block) - len(rows))
            encoded = self.tower.encode(block) if seen is None else seen.rows(index)
            return self._act_block(block, encoded, len(rows))

        who = f"policy {self.config.name!r} ({self.condition.name})"
        return act_in_blocks(batch, answer, self._chunk_shape, who)

    @property
    def action_dim(self) -> int:
        """A, numbers of an action."""
        return self.network.spec.action_dim

    @property
    def _chunk_shape(self) -> tuple[int, int]:
        return self.network.spec.chunk_steps, self.network.spec.action_dim

    def _seen(self, batch: ClipBatch) -> Encoded:
        """What the tower sees in each row."""
        if not self._by_frame:
            return self._look(batch)
        frames, shape = self._look(single_frames(batch)), batch.mask.shape
        return Encoded(
            frames.hidden[:, 0].unflatten(0, shape),
            frames.mask[:, 0].unflatten(0, shape),
            self.tower.times(batch.time_s),
        )

    def _look(self, batch: ClipBatch) -> Encoded:
        """Encode, in blocks of 8, the rows that the last call had not."""
        keys = self.tower.row_keys(batch)
        first = {key: row for row, key in reversed([*enumerate(keys)])}
        new = [key for key in first if key not in self._kept]
        for start in range(0, len(new), BLOCK_ROWS):
            part = new[start : start + BLOCK_ROWS]
            rows = [first[key] for key in part]
            block = self.tower.encode(batch.take(rows + rows[-1:] * (BLOCK_ROWS - len(rows))))
            self._kept |= {key: block.rows([place]) for place, key in enumerate(part)}
        self._kept = {key: self._kept[key] for key in first}
        return join([self._kept[key] for key in keys])

    def _act_block(self, block: ClipBatch, encoded: Encoded, count: int) -> np.ndarray:
        """Chunks of a block whose first ``count`` rows are real."""
        inputs = NetworkInput(
            tokens=encoded,
            agent_pos=torch.from_numpy(np.asarray(block.agent_pos, dtype=np.float32).copy()),
            text_ids=encode_texts(block.text, self.network.spec.words),
            audio=self._hear(block, count),
        )
        with torch.inference_mode():
            return self.network.sample(inputs).float().numpy()

    def _hear(self, block: ClipBatch, count: int) -> torch.Tensor | None:
        """Sound of a block; encoders take rows one by one, so only real ones are encoded."""
        heard = self.tower.hear(block.rows(0, count)) if "audio" in self.needs else None
        if heard is None:
            return None
        return torch.cat([heard, heard[-1:].expand(len(block) - count, -1, -1)])


@lru_cache(maxsize=4)
def _shared_backbone(name: str, arguments: tuple[tuple[str, str], ...]) -> Any:
    """One frozen backbone a process, however many tasks and seeds look through it."""
    return BACKBONES.resolve(name)(**dict(arguments))


def shipped_head(policy: str, condition: Condition, train_seed: int, task: str) -> Path:
    """Where the head of a policy, condition and training seed ships that was trained on a task.

    A policy may have heads for several sets of tasks, each set in a folder of its own below the
    policy's. Of those that were trained on ``task`` it is the one with the fewest tasks besides;
    where there is none, the path is that of the first.
    """
    folder = Path(str(resources.files("neon_sim"))) / "assets" / "heads" / policy
    name = head_file(condition, train_seed)
    found = [path for path in (folder / name, *sorted(folder.glob(f"*/{name}"))) if path.is_file()]
    tasks = {path: read_checkpoint(path)[1].get("tasks", []) for path in found}
    knows = [path for path in found if task in tasks[path]]
    first = found[0] if found else folder / name
    return min(knows, key=lambda path: len(tasks[path]), default=first)


def shipped_heads(policy: str) -> list[str]:
    """Conditions whose heads ship for a policy, of any set of tasks, sorted; none for most."""
    folder = Path(str(resources.files("neon_sim"))) / "assets" / "heads" / policy
    return sorted({path.stem.rpartition("-")[0] for path in folder.rglob("*.safetensors")})


def head_file(condition: Condition, train_seed: int) -> str:
    """What ``neon_sim.train`` calls the head of a condition and a training seed."""
    return f"{condition.trained_as}-seed{train_seed}.safetensors"


def load_policy(
    config: PolicyConfig,
    condition: str,
    task: str,
    train_seed: int = 0,
    checkpoint: str | None = None,
) -> TrainedPolicy:
    """Load a trained policy.

    Args:
        config: the policy; what fixes its shape must be what the head was trained with.
        condition: row of the ladder to run under. task: registry name, class or id.
        train_seed: which of several trained heads. checkpoint: path; the shipped one by default.

    Raises:
        CheckpointError: missing (says the command that makes it), damaged, of another
            architecture, condition, seed, backbone or clip, or not trained on ``task``.
        UnknownNameError: no such condition or task. ConfigError: too many tokens.
    """
    row, name = find_condition(condition), task_entry(task).name
    check_token_budget(config, row)
    whose = config.name if row.tower in ("image", "video") else base_name(config.name)
    if checkpoint is not None and not checkpoint.strip():
        raise CheckpointError(
            "checkpoint names no file (got an empty text); None takes the head that ships"
        )
    path = Path(checkpoint) if checkpoint else shipped_head(whose, row, train_seed, name)
    if checkpoint and path.is_dir():
        path /= head_file(row, train_seed)
    backbone, arguments = tower_backbone(config, row)
    if not path.is_file():
        found = f"no head at {path}" if checkpoint else f"no trained head ships for {path.stem}"
        raise CheckpointError(
            f"{found} of policy {config.name!r}. {_how_to_make(config, row, train_seed)}"
        )
    network, metadata = load_network(path)
    _check_metadata(path, metadata, config, row, name, None if checkpoint else train_seed)
    trained = metadata.get("backbone", {}).get("name")
    if trained != backbone:  # said before any weight of the other one is read
        raise CheckpointError(
            f"{path} was trained behind backbone {trained!r}, not {backbone!r}; name that "
            f"backbone, or take another head. {_how_to_make(config, row, train_seed)}"
        )
    tower = Tower(config, row, _shared_backbone(backbone, tuple(sorted(arguments.items()))))
    _check_fingerprint(path, metadata, config, tower)
    _check_ears(path, metadata, config, tower)
    _check_spec(path, network, config, tower)
    return TrainedPolicy(config, tower, network, path, metadata)


def _how_to_make(config: PolicyConfig, row: Condition, train_seed: int) -> str:
    """The command that makes a head, after what has to be had first."""
    name, arguments = tower_backbone(config, row)
    weights = absent_text(name, published(name), arguments)
    command = train_command(config, row.trained_as, train_seed)
    return f"{weights}Make the head: {command}; then run it with checkpoint=DIR"


def _check_metadata(
    path: Path,
    metadata: dict[str, Any],
    config: PolicyConfig,
    condition: Condition,
    task: str,
    train_seed: int | None,
) -> None:
    """Hold a head to what it is asked to be.

    Raises:
        CheckpointError: names the first thing that differs.
    """
    again = train_command(config, condition.trained_as, train_seed or 0)
    if metadata.get("condition") != condition.trained_as:
        raise CheckpointError(
            f"{path} was trained under condition {metadata.get('condition')!r}, not "
            f"{condition.trained_as!r}. Make the right one: {again}"
        )
    if train_seed is not None and metadata.get("train_seed") != train_seed:
        raise CheckpointError(
            f"{path} was trained with seed {metadata.get('train_seed')}, not {train_seed}. "
            f"Make the right one: {again}"
        )
    tasks = metadata.get("tasks", [])
    if task not in tasks:
        raise CheckpointError(
            f"{path} was not trained on {task!r}, only on {', '.join(tasks) or 'nothing'}. Add "
            f"demonstrations of it to data= and train again: {again}"
        )
    asked = asdict(config.clip)
    # a head older than a setting was trained with its default
    trained = {"refresh_steps": 1, **(metadata.get("policy", {}).get("clip") or {})}
    if trained != asked:
        differs = [k for k in asked if trained.get(k) != asked[k]]
        raise CheckpointError(
            f"{path} was trained with clip.{differs[0]}={trained.get(differs[0])!r}, not "
            f"{asked[differs[0]]!r}. Ask for the same clip, or train again: {again}"
        )


def _check_fingerprint(
    path: Path, metadata: dict[str, Any], config: PolicyConfig, tower: Tower
) -> None:
    trained = metadata.get("backbone", {})
    if trained.get("fingerprint") != tower.fingerprint():
        had = (metadata.get("policy") or {}).get("backbone_args") or {}
        for key in sorted({*had, *config.backbone_args} - {*RUNNING, "device"}):
            was, now = had.get(key, "its default"), config.backbone_args.get(key, "its default")
            if was != now:
                raise CheckpointError(
                    f"{path} was trained with backbone.{key}={was}, not {now}; ask for the same, "
                    "or train again"
                )
        raise CheckpointError(
            f"{path} was trained behind other weights of backbone {tower.backbone_name!r} "
            f"({str(trained.get('fingerprint'))[:12]}, here {tower.fingerprint()[:12]}); put those "
            "weights back, or train again"
        )


def _check_ears(path: Path, metadata: dict[str, Any], config: PolicyConfig, tower: Tower) -> None:
    trained = metadata.get("policy", {}).get("audio", NO_AUDIO)
    if trained != config.audio:
        raise CheckpointError(
            f"{path} was trained with audio={trained}, not audio={config.audio}; ask for that, or "
            "train again"
        )
    if tower.ears is None or "audio" not in tower.needs:  # no weight is read for the deaf
        return
    found = metadata.get("ears", {}).get("fingerprint")
    if found != tower.ears.fingerprint():
        raise CheckpointError(
            f"{path} was trained with other weights or settings of the audio encoder "
            f"{config.audio!r}; install the pinned version, or train again"
        )


def _check_spec(path: Path, network: NeonPolicy, config: PolicyConfig, tower: Tower) -> None:
    trained = resolve_spec(network.spec).to_json()
    spec = network.spec
    asked = network_spec(config, tower, spec.words, spec.proprio_dim, spec.action_dim).to_json()
    for key, value in asked.items():
        if trained[key] != value:
            raise CheckpointError(
                f"{path} is of another architecture: {key} is {trained[key]!r}, the policy "
                f"{config.name!r} asks for {value!r}. Change the config, or train again"
            )
