"""One safetensors file with all that made it in its metadata: how weights of a policy lie on disk.

Nothing in such a file is executed when it is read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open

from neon_sim.errors import CheckpointError
from neon_sim.schema import parse_json

KEY = "neon_sim"
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


def write_tensors(path: str | Path, state: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
    """Write tensors and JSON values; the file is whole or absent, also after a kill."""
    from safetensors.torch import save

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.part")
    kept = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    partial.write_bytes(save(kept, metadata={KEY: json.dumps(metadata, sort_keys=True)}))
    os.replace(partial, path)


def read_tensors(
    path: str | Path, wanted: str, again: str, framework: str = "pt"
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read tensors and metadata.

    Args:
        path: of the file. wanted: what its metadata must call its ``format``.
        again: the command that makes such a file, for errors.
        framework: ``"pt"`` for torch tensors, ``"np"`` for arrays.

    Raises:
        CheckpointError: no such file, a pickle, truncated or damaged, or of another format.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}. Make one: {again}")
    if path.suffix in PICKLE_SUFFIXES:
        raise CheckpointError(
            f"{path} is a pickle, which can run code when it is read, and is not loaded. Convert "
            "it where you trust it: neon_sim.tensor_file.write_tensors("
            f"{str(path.with_suffix('.safetensors'))!r}, torch.load({str(path)!r}, "
            f"weights_only=True), {{'format': {wanted!r}, ...}}), with all metadata of such a "
            f"file; or make it again: {again}"
        )
    try:
        with safe_open(str(path), framework) as file:
            metadata = _described(file.metadata())
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:  # safetensors raises kinds of its own
        raise _unreadable(path, error, again) from error
    if metadata.get("format") != wanted:
        raise CheckpointError(
            f"{path} must be of format {wanted!r} (got {metadata.get('format')!r}). Make one: "
            f"{again}"
        )
    return state, metadata


def read_metadata(path: str | Path, again: str = "train it again") -> dict[str, Any]:
    """Read what a checkpoint of any format says of itself, without its tensors.

    Args:
        path: of the file. again: how such a file is made, for errors.

    Raises:
        CheckpointError: no such file, or damaged.
    """
    if not Path(path).is_file():
        raise CheckpointError(f"no checkpoint at {path}; {again}")
    try:
        with safe_open(str(path), "np") as file:
            return _described(file.metadata())
    except Exception as error:  # safetensors raises kinds of its own
        raise _unreadable(path, error, again) from error


def _described(header: Mapping[str, str] | None) -> dict[str, Any]:
    """The JSON values in a file's header; empty where another program wrote it."""
    metadata = parse_json((header or {}).get(KEY) or "{}")
    if not isinstance(metadata, dict):
        raise ValueError(f"its metadata are {type(metadata).__name__}, not an object")
    return metadata


def _unreadable(path: str | Path, error: Exception, again: str) -> CheckpointError:
    return CheckpointError(
        f"{path} is truncated or no safetensors file ({error}); copy it again, or make it "
        f"again: {again}"
    )


def check_shapes(
    path: str | Path, wanted: dict[str, Any], state: dict[str, Any], again: str
) -> None:
    """Hold tensors to the names and shapes of an architecture.

    Args:
        again: the command that makes a right file.

    Raises:
        CheckpointError: one is missing, left over or of another shape.
    """
    for name in sorted(set(wanted) | set(state)):
        found = tuple(state[name].shape) if name in state else "nothing"
        needed = tuple(wanted[name].shape) if name in wanted else "nothing"
        if found != needed:
            raise CheckpointError(
                f"{path} is of another architecture: tensor {name!r} must be {needed} (got "
                f"{found}); train it again: {again}"
            )
