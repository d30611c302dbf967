"""The frozen half of a policy: condition, backbone and parameter-free connector in one call.

The live policy and the feature cache call the same ``Tower.encode``, and both see its
output rounded to the type the cache stores, so what a head is trained on is what it gets.
"""

from __future__ import annotations

import hashlib
import inspect
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neon_sim.config.policy import PolicyConfig
from neon_sim.errors import ConfigError
from neon_sim.observation.batch import ClipBatch
from neon_sim.observation.conditions import Condition
from neon_sim.observation.conditions import condition as find_condition
from neon_sim.observation.ladder import apply_condition, condition_needs
from neon_sim.registry import BACKBONES, CONNECTORS, FUSIONS
from neon_sim.vocabulary import MAX_WORDS

from .audio.ears import NEEDS_AUDIO, backbone_hears, check_hearing, make_ears
from .backbones.base import (
    Encoded,
    fingerprint,
    known_rows,
    known_shape,
    largest_frame,
    shape_of,
)
from .connectors.base import Connector
from .connectors.identity import Identity
from .fusion.base import PROPRIO_TOKENS

ANY_WIDTH = 64  # of features; it plays no part in how many tokens a connector leaves


def tower_backbone(config: PolicyConfig, condition: Condition) -> tuple[str, dict[str, str]]:
    """Registry name and arguments of the backbone that a condition looks through."""
    names = {
        "none": "none",
        "state": "state",
        "image": config.image_backbone,
        "video": config.backbone,
    }
    seeing = condition.tower in ("image", "video")
    return names[condition.tower], dict(config.backbone_args) if seeing else {}


def tower_connector(config: PolicyConfig, condition: Condition) -> tuple[str, dict[str, float]]:
    """Registry name and arguments of the connector under a condition."""
    if condition.tower in ("none", "state"):
        return "identity", {}
    if stacks(config, condition):
        return config.stack_connector, dict(config.stack_connector_args)
    return config.connector, dict(config.connector_args)


def stacks(config: PolicyConfig, condition: Condition) -> bool:
    """Whether every frame of a clip brings its own tokens: an encoder of single frames sees it."""
    single = condition.tower == "image" or config.backbone == config.image_backbone
    return single and condition.tower in ("image", "video") and condition.frames == "all"


class Tower:
    """Condition -> backbone -> connector (when it has no parameters).

    Args:
        config: the policy. condition: a row of the ladder.
        backbone: use this instance instead of the registry's.

    Attributes:
        name: of the condition.
        num_frames: F. tokens_per_frame: S after the connector here. feature_dim: D.
        per_frame: every camera frame is encoded on its own, whatever clip it is in; not so
            where the backbone has ``needs`` besides video.
        storage: dtype that features are rounded to.
        trained_connector: name and arguments of a connector the network has to bring.
        ears: what the policy listens with, whatever the condition lets it hear; None for
            nothing, and where the backbone hears by itself. hears: whether that is so.
        needs: what must be observed, of ``"video"``, ``"state"``, ``"audio"`` and ``"flow"``.

    Raises:
        ConfigError: more tokens than ``max_tokens``; said before weights are read.
    """

    def __init__(self, config: PolicyConfig, condition: Condition, backbone: Any = None) -> None:
        self.name, self.condition, self.clip = condition.name, condition, config.clip
        check_token_budget(config, condition, backbone)
        self.backbone_name, args = tower_backbone(config, condition)
        self.backbone = backbone or BACKBONES.resolve(self.backbone_name)(**args)
        self.feature_dim = int(self.backbone.feature_dim)
        self.ears = make_ears(config)
        self.hears = backbone_hears(config, condition, self.backbone)
        listens = self.hears or (self.ears is not None and condition.sound != "none")
        more = frozenset(getattr(self.backbone, "needs", ()))
        self.needs = condition_needs(condition) | more | (NEEDS_AUDIO if listens else frozenset())
        self.per_frame = condition.tower == "image" and not self.hears and not more
        self.storage = torch.float32 if condition.tower == "state" else torch.float16
        self.num_frames, raw = shape_of(self.backbone, shown_frames(config, condition))
        name, arguments = tower_connector(config, condition)
        arguments = with_rows(name, arguments, int(getattr(self.backbone, "token_rows", 0)))
        connector = make_connector(name, arguments, self.feature_dim, raw)
        hold_budget(config, condition, self.num_frames, connector.out_tokens)
        self.trained_connector: tuple[str, dict[str, float]] = ("identity", {})
        if any(True for _ in connector.parameters()):
            self.trained_connector = (name, arguments)
            connector = Identity(self.feature_dim, raw)
        self.connector = connector
        self.connector_key = f"{name}{sorted(arguments.items())}"
        self.tokens_per_frame = connector.out_tokens
        self._raw_tokens = raw

    def fingerprint(self) -> str:
        """Hash of the backbone's weights."""
        return fingerprint(self.backbone)

    def encode(self, batch: ClipBatch) -> Encoded:
        """Encode what the condition leaves of a batch.

        Returns:
            ``Encoded`` with hidden in ``storage``; tokens of padding are zero and masked.
        """
        if self.hears and batch.audio is None:
            raise ConfigError("the policy listens, the batch has no sound")
        shown = batch if self.hears else replace(batch, audio=None)
        seen = apply_condition(self.condition, shown)
        with torch.inference_mode():
            tokens = self.backbone.encode(seen)
            rows = len(tokens.hidden)
            frames = tokens.hidden.shape[1] // self._raw_tokens
            hidden = tokens.hidden.float().reshape(rows * frames, self._raw_tokens, -1)
            mask = tokens.mask.reshape(rows * frames, self._raw_tokens)
            hidden, mask = self.connector(hidden, mask)
            hidden = torch.where(mask.unsqueeze(-1), hidden, torch.zeros(()))
            hidden = hidden.to(self.storage)
        return Encoded(
            hidden=hidden.reshape(rows, frames, self.tokens_per_frame, -1).clone(),
            mask=mask.reshape(rows, frames, self.tokens_per_frame).clone(),
            time_s=self.times(batch.time_s),
        )

    def hear(self, batch: ClipBatch) -> Tensor | None:
        """The sound that the condition leaves, as tokens (B, S', D') float16; None for none."""
        if self.ears is None or "audio" not in self.needs:
            return None
        return self.ears.encode(apply_condition(self.condition, batch)).hidden[:, 0]

    def row_keys(self, batch: ClipBatch) -> list[bytes]:
        """One a row: rows of one key are encoded alike."""
        seen = apply_condition(self.condition, batch)
        parts = (seen.video, seen.state, seen.audio, seen.flow, seen.mask, seen.time_s)
        keys = []
        for row, text in enumerate(seen.text):
            digest = hashlib.blake2b(text.encode(), digest_size=16)
            for part in parts:
                digest.update(b"" if part is None else np.ascontiguousarray(part[row]).tobytes())
            keys.append(digest.digest())
        return keys

    def times(self, time_s: np.ndarray) -> Tensor:
        """Ages (B, F) of the places in time, of the ages (B, T) of a clip's frames."""
        if self.condition.frames != "all":
            time_s = time_s[:, -1:]
        elif self.condition.order == "repeat":
            time_s = np.zeros_like(time_s)
        return frame_times(
            time_s, max(self.backbone.num_tokens(time_s.shape[1]) // self._raw_tokens, 1)
        )


def frame_times(time_s: np.ndarray, frames: int) -> Tensor:
    """Ages (B, F) of a backbone's F time places, of the (B, T) ages of its frames.

    A backbone that joins all time has one place, now; one that joins T / F frames, the newest
    place full, gives each place the age of its newest.
    """
    ages = torch.as_tensor(time_s, dtype=torch.float32)
    if ages.shape[1] == frames:
        return ages
    step = -(-ages.shape[1] // frames)
    return ages.flip(1)[:, ::step][:, :frames].flip(1).clone()


def shown_frames(config: PolicyConfig, condition: Condition) -> int:
    """Frames that the backbone is shown: the clip's, or one."""
    return config.clip.num_frames if condition.frames == "all" else 1


def make_connector(
    name: str, arguments: dict[str, float], feature_dim: int, tokens: int
) -> Connector:
    """A connector by its registry name.

    Raises:
        ConfigError: an argument it does not take, or as it says.
    """
    connector: Connector = CONNECTORS.make(name, arguments, feature_dim, tokens)
    return connector


def with_rows(name: str, arguments: dict[str, float], rows: int) -> dict[str, float]:
    """Arguments of a connector that pools a grid, told the rows of one that is no square.

    Args:
        name: of the connector. arguments: as configured, which win. rows: of the backbone's grid;
            0 for a square one, or none.
    """
    takes = "rows" in inspect.signature(CONNECTORS.resolve(name)).parameters
    return {"rows": float(rows), **arguments} if rows and takes else arguments


def check_token_budget(config: PolicyConfig, condition: Condition, backbone: Any = None) -> None:
    """Hold ``max_tokens`` from the config alone: no weight is read, no network is made.

    A backbone that cannot say how many tokens it makes is held to it once it is loaded.

    Args:
        config: the policy. condition: it would run under.
        backbone: use this instance instead of the registry's.

    Raises:
        ConfigError: more tokens than that, a connector that does not fit them, larger frames
            than the backbone takes, or a condition of sound for a policy that does not listen.
        CheckpointError: a folder that is named for weights holds none.
    """
    check_hearing(config, condition)
    frames, (name, arguments) = shown_frames(config, condition), tower_backbone(config, condition)
    if backbone is not None:
        shape: tuple[int, int] | None = shape_of(backbone, frames)
        rows = int(getattr(backbone, "token_rows", 0))
    else:
        shape = known_shape(BACKBONES.resolve(name), frames, arguments)
        rows = known_rows(BACKBONES.resolve(name), arguments)
        hold_frame_size(config, largest_frame(BACKBONES.resolve(name), arguments))
    if shape is not None:
        pool, pooling = tower_connector(config, condition)
        with torch.random.fork_rng(devices=[]):  # made only to be counted
            connector = make_connector(pool, with_rows(pool, pooling, rows), ANY_WIDTH, shape[1])
        hold_budget(config, condition, shape[0], connector.out_tokens)


def hold_frame_size(config: PolicyConfig, largest: int | None) -> None:
    """Hold ``clip.image_size`` to what the backbone takes.

    Raises:
        ConfigError: larger frames.
    """
    if largest is not None and config.clip.image_size > largest:
        raise ConfigError(
            f"clip.image_size must be at most {largest}, the backbone's image_size, for policy "
            f"{config.name!r} (got {config.clip.image_size}); lower it, or raise "
            "backbone.image_size where the model takes more"
        )


def hold_budget(config: PolicyConfig, condition: Condition, frames: int, tokens: int) -> None:
    """Hold ``max_tokens`` for F = ``frames`` places of S = ``tokens``, words and the arm.

    Nothing is ever cut off to fit: what the sequence has no room for is an error. Visual tokens
    that are only keys and values are in no sequence ("cross-attention only needs max_text_len <=
    max_seq_len", KempnerForge, "Train on video").

    Raises:
        ConfigError: names the sum and how to mend it.
    """
    if FUSIONS.resolve(config.fusion).READS_ASIDE:
        if config.max_tokens < MAX_WORDS:
            raise ConfigError(
                f"max_tokens must be at least {MAX_WORDS} for policy {config.name!r}, the words of "
                f"an instruction (got {config.max_tokens}); raise it"
            )
        return
    ears = make_ears(config)
    heard = 0 if ears is None else ears.tokens_per_frame
    total = frames * tokens + heard + MAX_WORDS + PROPRIO_TOKENS
    if total > config.max_tokens:
        raise ConfigError(
            f"max_tokens must be at least {total} for policy {config.name!r} under condition "
            f"{condition.name!r}: {frames} x {tokens} visual tokens + "
            f"{f'{heard} of sound + ' if heard else ''}{MAX_WORDS} words + "
            f"{PROPRIO_TOKENS} of proprioception (got {config.max_tokens}); raise it, show fewer "
            "frames (clip.num_frames) or pool more "
            f"({'stack_connector' if stacks(config, condition) else 'connector'}=avgpool)"
        )


def make_tower(config: PolicyConfig, condition: str, backbone: Any = None) -> Tower:
    """The tower of a policy under a condition.

    Raises:
        ConfigError, UnknownNameError, CheckpointError: as its parts say.
    """
    return Tower(config, find_condition(condition), backbone)
