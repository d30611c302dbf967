"""Helpers that load the weights of other people's encoders.

Weights come from the hub or a local folder, as safetensors. Nothing is unpickled, and nothing is
replaced by random numbers unless the word ``random`` is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn

from neon_sim.errors import CheckpointError

from .catalogue import Published
from .find import RANDOM, missing_text, refuse_pickles
from .opening import opened_config, read_tensor_file

if TYPE_CHECKING:
    from transformers import PretrainedConfig

T = TypeVar("T")
Network = TypeVar("Network", bound=nn.Module)

RANDOM_SEED = 0
RANDOM_MARK = "RANDOM_WEIGHTS"  # file that marks a checkpoint with random weights
UNTRAINED = "untrained"  # in place of the path of a fusion: draw its weights


def drawn_weights(arguments: Mapping[str, str]) -> list[str]:
    """The settings of a policy that ask for untrained weights, as a user types them.

    Args:
        arguments: ``backbone_args`` of a policy.

    Returns:
        ``backbone.model_id=random``, ``backbone.fusion=untrained``, or a folder of
        ``random_weights``; empty for weights that were trained somewhere.
    """
    return [
        f"backbone.{key}={value}"
        for key, value in arguments.items()
        if str(value) in (RANDOM, UNTRAINED)
        or (Path(str(value)).expanduser() / RANDOM_MARK).is_file()
    ]


def read_state(model: Published, asked: str) -> dict[str, Tensor]:
    """Read the state dict of a ``.safetensors`` file, or of the one in a folder.

    Args:
        model: whose weights. asked: the file or folder.

    Raises:
        CheckpointError: missing, a pickle, damaged, or NaN.
    """
    path = Path(asked).expanduser()
    refuse_pickles(path)
    if asked and path.is_dir():
        files = (path / f"{name}.safetensors" for name in (model.name, "model"))
        path = next((file for file in files if file.is_file()), path)
    if not asked or not path.is_file():
        cause = "no such file" if asked else f"none named for {model.name}"
        raise CheckpointError(missing_text(asked, cause, model))
    return read_tensor_file(path)


def folder_config(where: str) -> PretrainedConfig | None:
    """transformers' config of a local folder; None where none can be read.

    Raises:
        CheckpointError: the folder holds pickles only.
    """
    refuse_pickles(Path(where))
    try:
        return opened_config(where, local_files_only=True)
    except CheckpointError:
        return None  # the caller that reads the weights raises the error


def load_strictly(network: nn.Module, state: dict[str, Tensor], where: str) -> None:
    """Load a state dict into a network; every name and shape must fit.

    Raises:
        CheckpointError: the first lines of what does not fit.
    """
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{where} is of another architecture: {reason}") from error


def seeded(build: Callable[[], T], seed: int = RANDOM_SEED) -> T:
    """Build with torch's generator at ``seed``, and restore the generator afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def freeze(network: Network) -> Network:
    """Put a network into evaluation mode without gradients."""
    return network.eval().requires_grad_(False)
