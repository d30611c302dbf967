"""Trained heads on disk: one safetensors file whose metadata says all that made it.

Weights are stored in half precision (statistics in full); the metadata holds the resolved
policy, condition, tasks, seed, backbone fingerprint, data, versions and the network's spec.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import TypedDict

from neon_sim.config.policy import PolicyConfig, base_name, settings_beside
from neon_sim.errors import CheckpointError
from neon_sim.schema import checked
from neon_sim.tensor_file import check_shapes, read_tensors, write_tensors

from .network import NeonPolicy, NetworkSpec

FORMAT = "neon_sim.head/1"
TRAIN = "python -m neon_sim.train policy=... condition=... data=... out=..."
FULL_PRECISION = ("_mean", "_std", "limit")
Size = Annotated[int, Field(ge=0, le=10**6)]


class NetworkMeta(TypedDict, total=False):
    """Widths of a network, as a head stores them; ``NetworkSpec`` says what they are."""

    feature_dim: Size
    num_frames: Size
    tokens_per_frame: Size
    words: list[str]
    connector: str
    connector_args: dict[str, Any]
    temporal: str
    temporal_args: dict[str, Any]
    fusion: str
    fusion_args: dict[str, Any]
    head: str
    head_args: dict[str, Any]
    text_dim: Size
    proprio_dim: Size
    action_dim: Size
    chunk_steps: Size
    audio_tokens: Size
    audio_dim: Size
    audio_dropout: float


class PolicyMeta(TypedDict, total=False):
    """What is read of the policy that a head was trained for."""

    clip: dict[str, Any]
    backbone_args: dict[str, Any]
    audio: str


class EncoderMeta(TypedDict, total=False):
    """A frozen encoder that a head was trained behind."""

    name: str
    fingerprint: str


class HeadMeta(TypedDict, total=False):
    """What is read of a head's metadata; whatever lacks is named where it is needed."""

    network: NetworkMeta
    policy: PolicyMeta
    condition: str
    tasks: list[str]
    train_seed: int
    train: dict[str, Any]
    backbone: EncoderMeta
    ears: EncoderMeta
    validation: dict[str, dict[str, Any]]


def train_command(policy: PolicyConfig, condition: str, seed: int) -> str:
    """The command that makes a head, with what the policy has otherwise than its YAML."""
    more = [
        f"backbone.{key.removeprefix('backbone_args.')}"
        if key.startswith("backbone_args.")
        else f"policy.{key}"
        for key in settings_beside(policy)
    ]
    words = [f"policy={base_name(policy.name)}", *more, f"condition={condition}", f"seed={seed}"]
    return f"python -m neon_sim.train {shlex.join(words)} data=DATASET out=DIR"


def save_checkpoint(path: str | Path, network: NeonPolicy, metadata: Mapping[str, Any]) -> None:
    """Write a head; the file is whole or absent, also after a kill.

    Args:
        path: ``.safetensors``. network: what to store.
        metadata: JSON values: ``policy``, ``condition``, ``tasks``, ``train_seed``,
            ``backbone`` and whatever else describes the run.
    """
    state: dict[str, Tensor] = {}
    for name, tensor in network.state_dict().items():
        kept = tensor.detach().cpu().float().contiguous()
        state[name] = kept if name.endswith(FULL_PRECISION) else kept.half()
    described = {"format": FORMAT, "network": network.spec.to_json(), **metadata}
    write_tensors(path, state, described)


def read_checkpoint(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors (float32) and the metadata of a head.

    Raises:
        CheckpointError: no such file, truncated or damaged, not a head of this project, or its
            metadata are of another shape.
    """
    state, metadata = read_tensors(path, FORMAT, TRAIN)
    checked(metadata, HeadMeta, str(path), CheckpointError, f"train it again: {TRAIN}")
    return {name: tensor.float() for name, tensor in state.items()}, metadata


def load_network(path: str | Path) -> tuple[NeonPolicy, dict[str, Any]]:
    """Rebuild a network from its checkpoint, in evaluation mode.

    Raises:
        CheckpointError: see ``read_checkpoint``; also a tensor that is missing, left over or
            of another shape than the architecture the metadata names.
    """
    state, metadata = read_checkpoint(path)
    try:
        network = NeonPolicy(NetworkSpec.from_json(metadata["network"]))
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} describes a network of another version ({error}); train it again"
        ) from error
    check_shapes(path, network.state_dict(), state, TRAIN)
    network.load_state_dict(state)
    bad = [name for name, tensor in state.items() if not torch.isfinite(tensor).all()]
    if bad:
        raise CheckpointError(f"{path}: tensor {bad[0]!r} holds NaN or inf; train it again")
    return network.eval().requires_grad_(False), metadata
