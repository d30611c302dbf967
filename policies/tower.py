"""The frozen half of a policy: condition, backbone and parameter-free connector in one call.

The live policy and the feature cache call the same ``Tower.encode``, and both see its
output rounded to the type the cache stores, so what a head is trained on is what it gets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neon_sim.conditions import Condition
from neon_sim.conditions import condition as find_condition
from neon_sim.config import PolicyConfig
from neon_sim.errors import ConfigError
from neon_sim.observation import ClipBatch, apply_condition, condition_needs
from neon_sim.registry import BACKBONES, CONNECTORS

from .backbones.base import fingerprint
from .connectors.base import Connector
from .connectors.identity import Identity


@dataclass(frozen=True)
class Encoded:
    """Tokens of B clips by frame.

    Attributes:
        hidden: (B, F, S, D); F is 1 where the backbone joins time. mask: (B, F, S) bool.
        time_s: (B, F) float32 ages of the frames.
    """

    hidden: Tensor
    mask: Tensor
    time_s: Tensor


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
    if condition.tower == "image" and condition.frames == "all":
        return config.stack_connector, dict(config.stack_connector_args)
    return config.connector, dict(config.connector_args)


class Tower:
    """Condition -> backbone -> connector (when it has no parameters).

    Args:
        config: the policy. condition: a row of the ladder.
        backbone: use this instance instead of the registry's.

    Attributes:
        num_frames: F. tokens_per_frame: S after the connector here. feature_dim: D.
        per_frame: every camera frame is encoded on its own, whatever clip it is in.
        storage: dtype that features are rounded to.
        trained_connector: name and arguments of a connector the network has to bring.
        needs: what must be observed, of ``"video"`` and ``"state"``.

    Raises:
        ConfigError: more tokens than ``max_tokens``.
    """

    def __init__(self, config: PolicyConfig, condition: Condition, backbone: Any = None) -> None:
        self.condition, self.clip = condition, config.clip
        self.backbone_name, args = tower_backbone(config, condition)
        self.backbone = backbone or BACKBONES.resolve(self.backbone_name)(**args)
        self.feature_dim = int(self.backbone.feature_dim)
        self.needs = condition_needs(condition)
        self.per_frame = condition.tower == "image"
        self.storage = torch.float32 if condition.tower == "state" else torch.float16
        frames = config.clip.num_frames if condition.frames == "all" else 1
        raw = int(self.backbone.tokens_per_frame)
        self.num_frames = max(self.backbone.num_tokens(frames) // raw, 1)
        name, arguments = tower_connector(config, condition)
        connector: Connector = CONNECTORS.resolve(name)(self.feature_dim, raw, **arguments)
        check_token_budget(config, condition, self.num_frames * connector.out_tokens)
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
        seen = apply_condition(self.condition, batch)
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


def check_token_budget(config: PolicyConfig, condition: Condition, tokens: int) -> None:
    """Hold ``max_tokens`` before anything is encoded.

    Raises:
        ConfigError: more tokens than that.
    """
    if tokens > config.max_tokens:
        raise ConfigError(
            f"max_tokens must be at least the {tokens} tokens that condition "
            f"{condition.name!r} makes (got {config.max_tokens}); raise it, show fewer frames "
            "(clip.num_frames) or pool more (connector, stack_connector)"
        )


def make_tower(config: PolicyConfig, condition: str, backbone: Any = None) -> Tower:
    """The tower of a policy under a condition.

    Raises:
        ConfigError, UnknownNameError, CheckpointError: as its parts say.
    """
    return Tower(config, find_condition(condition), backbone)
