"""Open checkpoints of other people with transformers, without running code of theirs.

Every ``from_pretrained`` of this project is in this file. Python that a checkpoint brings
(``auto_map``) and kernels that it names are never run. Where transformers has the architecture
itself, its own code is used; any other checkpoint is refused. Pickles are not read. Any other fault
in the files, from JSON of another shape to NaN in a weight, is one ``CheckpointError`` that names
the place.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from neon_sim.command import is_out_of_memory
from neon_sim.errors import CheckpointError, NeonError
from neon_sim.schema import read_json

from .libraries import import_transformers

if TYPE_CHECKING:
    from transformers import BitsAndBytesConfig, PretrainedConfig, PreTrainedModel

Opened = TypeVar("Opened", covariant=True)
# A keyword argument of ``from_pretrained``.
Setting: TypeAlias = "bool | str | torch.dtype | dict[str, str] | BitsAndBytesConfig"
# A value of a JSON file.
Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


class Loader(Protocol[Opened]):
    """A class of transformers, which reads itself from a folder or repository."""

    def from_pretrained(self, where: str | Path, **settings: Setting) -> Opened:
        """Read it."""
        ...


TRUST = {"trust_remote_code": False}  # passed to every ``from_pretrained``
AGAIN = "download the checkpoint again, or name another folder"
OTHER = "name a checkpoint of an architecture that transformers knows itself"
JSON_FILES = (
    "config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "processor_config.json",
    "tokenizer_config.json",
)
KNOWN_ATTENTION = ("eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention")
MAX_DEPTH = 16  # of nested configs
ADAPTERS = "adapter_config.json"
# Numbers of a config that decide how large a network is, and a limit far above every published
# one. A damaged or planted number would otherwise fill the memory before it is noticed.
LIMITS = (
    (re.compile(r"(^|_)(layers|depth|depths|blocks)$"), 1_000),
    (re.compile(r"(^|_)(size|dim|d_model|heads|channels|frames|frames_per_clip)$"), 2**24),
)
MAY_BE_ZERO = re.compile(r"^(pred|encoder|decoder|projection|type|moe|expert)_|window|adapter")
SPARE_FACTOR = 4  # networks may be so much larger than their files: NF4 packs two numbers in one
SPARE = 50_000_000  # and so many weights on top


class Unreadable(CheckpointError):
    """The error for files that transformers cannot open.

    Attributes:
        reason: one line.
    """

    def __init__(self, where: str | Path, reason: str) -> None:
        super().__init__(f"{where} cannot be read as a checkpoint ({reason}); {AGAIN}")
        self.reason = reason


def opened(loader: Loader[Opened], where: str | Path, **settings: Setting) -> Opened:
    """Call ``loader.from_pretrained(where, ...)`` after the files are checked.

    Args:
        loader: the class. where: a folder, or a repository on the hub.

    Raises:
        Unreadable: missing, damaged, or of another shape.
        CheckpointError: only code that it brings could read it, or it holds adapters alone.
    """
    folder = Path(str(where))
    if folder.is_dir():
        hold_folder(folder)
    with reading(where):
        return loader.from_pretrained(where, **TRUST, **settings)


def opened_config(where: str | Path, **settings: Setting) -> PretrainedConfig:
    """Read the config of a checkpoint as the class that transformers has for its ``model_type``.

    Raises:
        CheckpointError: see ``opened``; or it asks for the kernel of somebody's repository.
    """
    config = opened(import_transformers().AutoConfig, where, **settings)
    hold_attention(config, where)
    return config


def opened_network(
    loader: type[PreTrainedModel],
    where: str | Path,
    unused: tuple[str, ...] = (),
    **settings: Setting,
) -> PreTrainedModel:
    """Load a network from safetensors; every weight must be there.

    Args:
        loader: its class. where: see ``opened``. unused: prefixes of weights that nothing here
            reads.

    Raises:
        CheckpointError: see ``opened``; or weights are missing, of other shapes, NaN or infinite.
    """
    folder = Path(str(where))
    if folder.is_dir():
        hold_shapes(loader, folder)
    elif getattr(loader, "config_class", None) is not None:
        hold_attention(opened(loader.config_class, where), where)
    with reading(where):
        network, report = loader.from_pretrained(
            where, **TRUST, use_safetensors=True, output_loading_info=True, **settings
        )
    check_complete(report["missing_keys"], where, unused)
    return network


@contextmanager
def reading(where: str | Path) -> Iterator[None]:
    """Turn any exception of a library while it reads files into an error that names them.

    Raises:
        Unreadable, CheckpointError: see ``opened``.
    """
    try:
        yield
    except (NeonError, MemoryError):
        raise
    except Exception as error:  # transformers, the hub and torch raise many kinds
        if is_out_of_memory(error):
            raise
        if "custom code" in str(error) or "trust_remote_code" in str(error):
            raise CheckpointError(
                f"{where} can only be opened by code that it brings itself (auto_map), which is "
                f"never run; {OTHER}"
            ) from error
        if "mismatch" in str(error):
            raise CheckpointError(
                f"{where} holds weights of other shapes than its config.json says; download the "
                "checkpoint again"
            ) from error
        raise Unreadable(where, first_line(error)) from error


def first_line(error: BaseException) -> str:
    """The first line of an error, after the name of its class where the line alone says little."""
    said = (str(error).strip().splitlines() or [""])[0][:200]
    plain = isinstance(error, OSError | RuntimeError) or (isinstance(error, ValueError) and said)
    return said if plain else f"{type(error).__name__}: {said}".rstrip(": ")


# ---- before anything is built -----------------------------------------------------------


def hold_folder(folder: Path) -> None:
    """Check that the JSON files of a checkpoint are safe to hand to transformers.

    Raises:
        CheckpointError: a file is no JSON object, a size in it is none, or the folder holds
            adapters of another model.
    """
    if (folder / ADAPTERS).is_file():
        raise CheckpointError(
            f"{folder} holds adapters ({ADAPTERS}) of a model that lies elsewhere; merge them into "
            "it first: VideoBackbone.save, or merge_and_unload() and save_pretrained() of peft"
        )
    for name in JSON_FILES:
        if (folder / name).is_file():
            values = read_json(folder / name, dict[str, Any], CheckpointError, AGAIN)
            if name == JSON_FILES[0]:
                _hold_values(values, folder / name)


def hold_attention(config: PretrainedConfig, where: str | Path) -> None:
    """Check that a config and the configs in it ask for known attention only.

    Raises:
        CheckpointError: another, which transformers would fetch from the hub and run.
    """
    for part in (config, *(getattr(config, name, None) for name in config.sub_configs)):
        _hold_attention(getattr(part, "_attn_implementation", None), where)


def _hold_attention(asked: Json, place: str | Path) -> None:
    for name in asked.values() if isinstance(asked, dict) else [asked]:
        if name is not None and name not in KNOWN_ATTENTION:
            raise CheckpointError(
                f"{place} asks for the attention {name!r}, a program from the hub, which is "
                "never run; take the line out of its config.json"
            )


def _hold_values(values: Json, place: Path, depth: int = 0) -> None:
    """Check the numbers of a config against ``LIMITS``, and its attention, at every depth."""
    if not isinstance(values, dict) or depth > MAX_DEPTH:
        return
    for key, value in values.items():
        if key.endswith("attn_implementation"):
            _hold_attention(value, place)
        for pattern, most in LIMITS:
            if pattern.search(key):
                _hold_size(key, value, most, place)
        _hold_values(value, place, depth + 1)


def _hold_size(key: str, value: Json, most: int, place: Path) -> None:
    for number in value if isinstance(value, list) else [value]:
        if isinstance(number, bool) or not isinstance(number, int | float):
            continue  # transformers holds types
        least = 0 if MAY_BE_ZERO.search(key) else 1
        if not least <= number <= most:
            raise CheckpointError(
                f"{place} says {key}={value}, which must be {least} to {most}; {AGAIN}"
            )


def hold_shapes(loader: type[PreTrainedModel], folder: Path) -> None:
    """Check that a config fits the weights beside it, before a network takes time and memory.

    Args:
        loader: its class. folder: with ``config.json`` and ``*.safetensors``.

    Raises:
        CheckpointError: none of the weights is as wide as the config says, or the network is far
            larger than all of them; or a file of them is damaged.
    """
    shapes = [shape for file in sorted(folder.glob("*.safetensors")) for shape in shapes_of(file)]
    own = getattr(loader, "config_class", None)
    config = opened_config(folder) if own is None else opened(own, folder)
    with reading(folder):
        width = config.get_text_config().hidden_size
        if not any(width in shape for shape in shapes):
            raise CheckpointError(
                f"{folder} holds weights of other shapes than its config.json says (none is "
                f"{width} wide, its hidden_size); download the checkpoint again"
            )
        build = loader.from_config if own is None else loader
        wanted = meta_numel(lambda: build(config, **(TRUST if own is None else {})))
    hold_numel(wanted, sum(map(math.prod, shapes)), folder)


def numel_of(file: Path) -> int:
    """How many numbers a safetensors file holds; see ``shapes_of``."""
    return sum(map(math.prod, shapes_of(file)))


def shapes_of(file: Path) -> list[list[int]]:
    """Shapes of the tensors in a safetensors file, by its header.

    Raises:
        CheckpointError: truncated or damaged.
    """
    with reading_tensors(file), safe_open(str(file), "pt") as tensors:
        return [tensors.get_slice(key).get_shape() for key in tensors.keys()]  # noqa: SIM118


def read_tensor_file(file: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file; NaN and infinity are refused.

    Raises:
        CheckpointError: truncated, damaged, NaN or infinite.
    """
    with reading_tensors(file):
        state = load_file(file)
    check_finite(state, file)
    return state


def hold_numel(wanted: int, held: int, where: str | Path) -> None:
    """Refuse a network far larger than the weights beside it, before it takes memory.

    Raises:
        CheckpointError: it is.
    """
    if wanted > SPARE_FACTOR * held + SPARE:
        raise CheckpointError(
            f"{where} describes a network of {wanted:.3g} weights and holds {held:.3g} of them; "
            f"{AGAIN}"
        )


def meta_numel(build: Callable[[], nn.Module]) -> int:
    """How many weights a network has; it is built on the meta device, without memory."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build().parameters())


@contextmanager
def reading_tensors(file: Path) -> Iterator[None]:
    """Turn an exception of safetensors into an error that names the file.

    Raises:
        CheckpointError: truncated or damaged.
    """
    try:
        yield
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise CheckpointError(
            f"{file} is truncated or no safetensors file ({first_line(error)}); {AGAIN}"
        ) from error


# ---- after it is read -------------------------------------------------------------------


def check_complete(missing: Iterable[str], where: str | Path, unused: tuple[str, ...] = ()) -> None:
    """Refuse a network with missing weights, which transformers fills with random numbers.

    Args:
        missing: names of weights that no file holds. where: for the message.
        unused: prefixes of weights that nothing here reads.

    Raises:
        CheckpointError: weights are missing (names the first and how many).
    """
    absent = sorted(name for name in missing if not name.startswith(unused))
    if absent:
        raise CheckpointError(
            f"{where} lacks {len(absent)} weights of this architecture, the first of them "
            f"{absent[0]}; they would be random numbers. Download the checkpoint again, or convert "
            "it: save_pretrained of the published class writes the names that are read"
        )


def check_finite(weights: nn.Module | dict[str, Tensor], where: str | Path) -> None:
    """Refuse NaN and infinity in weights: one NaN makes every token NaN.

    Raises:
        CheckpointError: NaN or infinity (names the first tensor that holds one).
    """
    named = weights.state_dict() if isinstance(weights, nn.Module) else weights
    for name, value in named.items():
        if value.is_floating_point() and not bool(value.sum(dtype=torch.float32).isfinite()):
            if value.dtype == torch.float32 and bool(value.isfinite().all()):
                continue  # only the sum overflows
            raise CheckpointError(f"{where} holds NaN or infinity in {name}; {AGAIN}")
