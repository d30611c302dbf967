"""The frozen half of hearing: which encoder a policy listens with, and the sound as tokens.

Looks like a ``Tower`` to the feature cache, so that sound is encoded once and kept beside the
visual features, in a folder of its own: conditions that hear the same share it.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neon_sim.config.policy import NO_AUDIO, OWN_EARS, PolicyConfig
from neon_sim.errors import ConfigError
from neon_sim.observation.batch import ClipBatch
from neon_sim.observation.clips import ClipConfig
from neon_sim.observation.conditions import Condition
from neon_sim.observation.conditions import condition as find_condition

from ..backbones.base import Encoded
from ..backbones.weights.catalogue import hearing_models
from .base import AudioEncoder, make_encoder

NEEDS_AUDIO = frozenset(("audio",))


class Ears:
    """A frozen encoder of sound, as the live policy and the feature cache call it.

    Args:
        encoder: what listens. name: its registry name.

    Attributes:
        tokens_per_frame: S. feature_dim: D. The rest is what ``Tower`` has, for one place in
        time; the clip plays no part in it.
    """

    num_frames = 1
    per_frame = False
    hears = True
    needs = NEEDS_AUDIO
    storage = torch.float16
    connector_key = "sound"

    def __init__(self, encoder: AudioEncoder, name: str) -> None:
        self.encoder, self.name = encoder, name
        self.tokens_per_frame, self.feature_dim = encoder.num_tokens, encoder.feature_dim
        self.condition, self.clip = find_condition("audio_only"), ClipConfig(num_frames=1)

    @cached_property
    def _fingerprint(self) -> str:
        return self.encoder.fingerprint()

    def fingerprint(self) -> str:
        """Hash of the encoder's weights and settings."""
        return self._fingerprint

    def times(self, time_s: np.ndarray) -> Tensor:
        """Ages (B, 1): now."""
        return torch.zeros(len(time_s), 1)

    def encode(self, batch: ClipBatch) -> Encoded:
        """The sound of B rows: hidden (B, 1, S, D) float16, every token real.

        Raises:
            ConfigError: the batch has no sound.
        """
        if batch.audio is None:
            raise ConfigError("the policy listens, the batch has no sound")
        hidden = self.encoder.encode(batch.audio).unsqueeze(1).to(self.storage)
        mask = torch.ones(hidden.shape[:3], dtype=torch.bool)
        return Encoded(hidden, mask, self.times(batch.time_s))


def make_ears(config: PolicyConfig) -> Ears | None:
    """What a policy listens with; None where it does not, or its backbone hears by itself.

    Raises:
        ConfigError: arguments that the encoder does not take.
    """
    if config.audio in (NO_AUDIO, OWN_EARS):
        return None
    return Ears(make_encoder(config.audio, dict(config.audio_args)), config.audio)


def check_hearing(config: PolicyConfig, condition: Condition) -> None:
    """Hold a condition to what the policy can do with sound, before any weight is read.

    Raises:
        ConfigError: names the policy, the condition and the mend.
    """
    where = f"policy {config.name!r} under condition {condition.name!r}"
    if config.audio == NO_AUDIO and condition.about_sound:
        raise ConfigError(
            f"{where} would show nothing: it does not listen (audio=none). Take one that does, "
            "such as neon_tiny_hear, or set audio=log_mel"
        )
    if config.audio == OWN_EARS and condition.sound != "none":
        if condition.tower not in ("image", "video"):
            raise ConfigError(
                f"{where} has no backbone to hear with (audio=backbone); set audio=log_mel"
            )
        if condition.tower == "image" and condition.frames == "all":
            raise ConfigError(
                f"{where} cannot hear: sound cannot be told frame by frame (audio=backbone). Use "
                "frame or video, or audio=log_mel, or audio=none"
            )


def backbone_hears(config: PolicyConfig, condition: Condition, backbone: Any) -> bool:
    """Whether the backbone is handed the sound.

    Raises:
        ConfigError: it is told to listen and cannot hear.
    """
    if config.audio != OWN_EARS or condition.tower not in ("image", "video"):
        return False
    if not getattr(backbone, "hears", False):
        hearing = " or ".join(models[0] for models in hearing_models())
        raise ConfigError(
            f"audio=backbone needs a backbone that hears, such as {hearing} (got "
            f"{config.backbone!r}); set audio=log_mel"
        )
    return condition.sound != "none"
