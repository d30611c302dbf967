"""The trained half of a policy: instruction, connector (when trained), temporal, fusion, head."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from neon_sim.clock import CHUNK_STEPS
from neon_sim.config.policy import PolicyConfig
from neon_sim.registry import CONNECTORS, FUSIONS, HEADS, TEMPORAL, Registry

from .backbones.base import Encoded
from .fusion.base import FusionInput, FusionLayout
from .instruction import InstructionEncoder
from .tower import Tower

PROPRIO_DIM = 8
ACTION_DIM = 8
UNHEARD_STD = 0.02
MIN_STD = 0.02  # of [-1, 1]; a joint that hardly moves in the labels is not blown up


@dataclass(frozen=True)
class NetworkSpec:
    """Everything that fixes the shape of a ``NeonPolicy``; stored in its checkpoint.

    Attributes:
        feature_dim: D. num_frames: F. tokens_per_frame: S as they come from the tower.
        audio_tokens, audio_dim: of the sound; 0 for a policy that does not listen.
        audio_dropout: share of windows whose sound is taken away in training.
        words: the vocabulary, in the order of the embedding.
        connector, temporal, fusion, head: registry names, and their arguments.
        text_dim: of word embeddings. proprio_dim, action_dim, chunk_steps: widths.
    """

    feature_dim: int
    num_frames: int
    tokens_per_frame: int
    words: tuple[str, ...]
    connector: str = "identity"
    connector_args: dict[str, float] = field(default_factory=dict)
    temporal: str = "none"
    temporal_args: dict[str, float] = field(default_factory=dict)
    fusion: str = "cross_attention"
    fusion_args: dict[str, float] = field(default_factory=dict)
    head: str = "chunk_mlp"
    head_args: dict[str, float] = field(default_factory=dict)
    text_dim: int = 32
    proprio_dim: int = PROPRIO_DIM
    action_dim: int = ACTION_DIM
    chunk_steps: int = CHUNK_STEPS
    audio_tokens: int = 0
    audio_dim: int = 0
    audio_dropout: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "words": list(self.words)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> NetworkSpec:
        """Inverse of ``to_json``."""
        return cls(**{**values, "words": tuple(values["words"])})


@dataclass(frozen=True)
class NetworkInput:
    """One batch for the network.

    Attributes:
        tokens: what the tower made of the clips.
        agent_pos: (B, 8) float32 in [-1, 1]. text_ids: (B, 16) int64.
        audio: (B, S', D') tokens of the sound, or None where nothing is heard.
    """

    tokens: Encoded
    agent_pos: Tensor
    text_ids: Tensor
    audio: Tensor | None = None


def network_input(
    hidden: Tensor,
    mask: Tensor,
    time_s: Tensor,
    agent_pos: Tensor,
    text_ids: Tensor,
    audio: Tensor | None = None,
) -> NetworkInput:
    """Put cached features (B, F, S, D), their mask and ages together with the rest."""
    return NetworkInput(Encoded(hidden, mask, time_s), agent_pos, text_ids, audio)


class NeonPolicy(nn.Module):
    """From tokens, proprioception and text to an action chunk.

    Normalisation is part of it: tokens, proprioception and actions are standardised with
    the statistics of the training windows, which the checkpoint carries.
    """

    action_mean: Tensor
    action_std: Tensor
    audio_mean: Tensor
    audio_std: Tensor
    feature_mean: Tensor
    feature_std: Tensor
    proprio_mean: Tensor
    proprio_std: Tensor

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec
        self.instruction = InstructionEncoder(len(spec.words), spec.text_dim)
        self.connector = CONNECTORS.make(
            spec.connector, spec.connector_args, spec.feature_dim, spec.tokens_per_frame
        )
        sizes = spec.feature_dim, spec.num_frames, self.connector.out_tokens
        self.temporal = TEMPORAL.make(spec.temporal, spec.temporal_args, *sizes)
        layout = FusionLayout(
            token_dim=self.temporal.out_dim,
            num_frames=self.temporal.out_frames,
            tokens_per_frame=self.temporal.out_tokens,
            text_dim=spec.text_dim,
            proprio_dim=spec.proprio_dim,
            audio_tokens=spec.audio_tokens,
            audio_dim=spec.audio_dim,
        )
        self.fusion = FUSIONS.make(spec.fusion, spec.fusion_args, layout)
        context = self.fusion.context_dim + spec.proprio_dim
        more: dict[str, int] = {}
        if HEADS.resolve(spec.head).READS_TOKENS:
            tokens = self.fusion.context_tokens
            more = {"context_tokens": tokens, "state_dim": spec.proprio_dim}
        widths = context, spec.action_dim, spec.chunk_steps
        self.head = HEADS.make(spec.head, spec.head_args, *widths, **more)
        for name, size in (
            ("feature", spec.feature_dim),
            ("proprio", spec.proprio_dim),
            ("action", spec.action_dim),
            *([("audio", spec.audio_dim)] if spec.audio_dim else []),
        ):
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_std", torch.ones(size))
        if spec.audio_dim:  # what stands in every place of a sound that is not heard
            self.unheard = nn.Parameter(torch.randn(spec.audio_dim) * UNHEARD_STD)

    def set_normalisation(self, name: str, mean: Tensor, std: Tensor) -> None:
        """Set the statistics of ``"feature"``, ``"audio"``, ``"proprio"`` or ``"action"``.

        A standard deviation below its floor becomes 1 for features and sound (a constant says
        nothing) and 0.02 for proprioception and actions.
        """
        if name in ("feature", "audio"):
            std = torch.where(std < 1e-4, torch.ones_like(std), std)
        else:
            std = std.clamp(min=MIN_STD)
        getattr(self, f"{name}_mean").copy_(mean)
        getattr(self, f"{name}_std").copy_(std)
        if name == "action":
            self.head.set_limits(self.action_mean, self.action_std)

    def context(self, batch: NetworkInput) -> Tensor:
        """What the head decides on: (B, C + 8)."""
        mask = batch.tokens.mask
        scale = 1.0 / self.feature_std
        hidden = torch.addcmul(-self.feature_mean * scale, batch.tokens.hidden.float(), scale)
        b, frames = mask.shape[:2]
        hidden, mask = self.connector(hidden.flatten(0, 1), mask.flatten(0, 1))
        hidden, mask, time_s = self.temporal(
            hidden.unflatten(0, (b, frames)), mask.unflatten(0, (b, frames)), batch.tokens.time_s
        )
        proprio = (batch.agent_pos - self.proprio_mean) / self.proprio_std
        words, word_mask, pooled = self.instruction(batch.text_ids)
        joined = FusionInput(
            hidden=hidden,
            mask=mask,
            time_s=time_s,
            proprio=proprio,
            text_tokens=words,
            text_mask=word_mask,
            text_pooled=pooled,
            audio=self._listen(batch) if self.spec.audio_dim else None,
        )
        return torch.cat([self.fusion(joined).float(), proprio], dim=1)

    def _listen(self, batch: NetworkInput) -> Tensor:
        """Sound (B, S', D'), normalised; the mask token where it is muted, and in training where
        it is dropped."""
        rows = len(batch.agent_pos)
        unheard = self.unheard.expand(rows, self.spec.audio_tokens, -1)
        if batch.audio is None:
            return unheard
        heard = (batch.audio.float() - self.audio_mean) / self.audio_std
        if not (self.training and self.spec.audio_dropout):
            return heard
        dropped = torch.rand(rows, 1, 1, device=heard.device) < self.spec.audio_dropout
        return torch.where(dropped, unheard, heard)

    def loss(self, batch: NetworkInput, actions: Tensor, weight: Tensor) -> Tensor:
        """Loss against expert chunks (B, 16, 8) in [-1, 1]; weight (B, 16) is 0 on padding."""
        standard = (actions - self.action_mean) / self.action_std
        out: Tensor = self.head.loss(self.context(batch), standard, weight)
        return out

    def sample(self, batch: NetworkInput, seed: int = 0) -> Tensor:
        """Action chunk (B, 16, 8) in [-1, 1]."""
        standard = self.head.sample(self.context(batch), seed)
        out: Tensor = (standard * self.action_std + self.action_mean).clamp(-1.0, 1.0)
        return out

    def report(self, batch: NetworkInput) -> dict[str, float]:
        """What the fusion says of itself on a batch (loads of its experts); mostly nothing."""
        seen: dict[str, float]
        with torch.inference_mode(), self.fusion.recording() as seen:
            self.context(batch)
        return seen

    def num_parameters(self) -> int:
        """Trainable numbers."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)


def resolve_spec(spec: NetworkSpec) -> NetworkSpec:
    """The spec with every argument written out, those left to their defaults too.

    So a checkpoint still says what it is after a default has changed.
    """
    return replace(
        spec,
        connector_args=_arguments(CONNECTORS, spec.connector, spec.connector_args),
        temporal_args=_arguments(TEMPORAL, spec.temporal, spec.temporal_args),
        fusion_args=_arguments(FUSIONS, spec.fusion, spec.fusion_args),
        head_args=_arguments(HEADS, spec.head, spec.head_args),
    )


def _arguments(registry: Registry, name: str, given: dict[str, float]) -> dict[str, float]:
    """Numeric defaults of a part, updated by what was given."""
    parameters = inspect.signature(registry.resolve(name)).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}
    for width in ("steps", "context_tokens", "state_dim", "rows"):  # no arguments but sizes, given
        defaults.pop(width, None)
    return {**defaults, **given}


def network_spec(
    config: PolicyConfig,
    tower: Tower,
    words: Sequence[str],
    proprio_dim: int = PROPRIO_DIM,
    action_dim: int = ACTION_DIM,
) -> NetworkSpec:
    """The spec of a policy's network behind a tower, for a robot of these widths (the arm's)."""
    connector, connector_args = tower.trained_connector
    ears = tower.ears
    spec = NetworkSpec(
        feature_dim=tower.feature_dim,
        num_frames=tower.num_frames,
        tokens_per_frame=tower.tokens_per_frame,
        words=tuple(words),
        connector=connector,
        connector_args=dict(connector_args),
        temporal=config.temporal,
        temporal_args=dict(config.temporal_args),
        fusion=config.fusion,
        fusion_args=dict(config.fusion_args),
        head=config.head,
        head_args=dict(config.head_args),
        proprio_dim=proprio_dim,
        action_dim=action_dim,
        audio_tokens=ears.tokens_per_frame if ears else 0,
        audio_dim=ears.feature_dim if ears else 0,
        audio_dropout=config.audio_dropout if ears else 0.0,
    )
    return resolve_spec(spec)


def new_network(
    config: PolicyConfig,
    tower: Tower,
    words: Sequence[str],
    seed: int,
    proprio_dim: int = PROPRIO_DIM,
    action_dim: int = ACTION_DIM,
) -> NeonPolicy:
    """A fresh network; the same seed gives the same weights, whatever was drawn before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NeonPolicy(network_spec(config, tower, words, proprio_dim, action_dim))
