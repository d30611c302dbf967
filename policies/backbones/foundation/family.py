"""The base of all families of foundation models: from settings to a network to encoded rows.

A family is one file: how its checkpoints are found, loaded and run, which models of it are
published, how they are counted, and how a checkpoint with random weights is made.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from neon_sim.errors import ConfigError
from neon_sim.observation.clips import MAX_CLIP_FRAMES
from neon_sim.registry import FAMILIES

from ..base import find_device
from ..weights.catalogue import Published, Shape
from ..weights.find import DTYPES, find_weights, quantisation
from ..weights.opening import Json, Setting, check_finite, opened_config, opened_network
from .inputs import Sight
from .settings import OWN_SETTINGS, BackboneConfig

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

WHOLE = "model"  # role of the folder that holds the weights
Folders = dict[str, Path]  # of a checkpoint, by role
Built = tuple[list[nn.Module], int]  # networks and the width of a token


@dataclass(frozen=True)
class Layout:
    """How the visual tokens of the published models lie in a clip.

    Attributes:
        pixels: of a visual token a side; 0 where a place in time is one token.
        frames: that share a place in time.
        places: most places in time.
        multiple: of which ``image_size`` must be one; 0 where only the published size fits.
        longest: most frames of a clip.
    """

    pixels: int
    frames: int = 2
    places: int = MAX_CLIP_FRAMES
    multiple: int = 0
    longest: int = MAX_CLIP_FRAMES

    def token_shape(self, model: Published, num_frames: int, image_size: int) -> tuple[int, int]:
        """Places in time F of a clip and visual tokens a place P.

        Raises:
            ConfigError: a size or length that the published model does not take.
        """
        if self.multiple and image_size % self.multiple:
            raise ConfigError(
                f"image_size must be a multiple of {self.multiple} for {model.name} (got "
                f"{image_size}); take {model.image_size}"
            )
        if not self.multiple and image_size != model.image_size:
            raise ConfigError(
                f"image_size must be {model.image_size} for {model.name}, whose positions are for "
                f"that size (got {image_size}); leave it out"
            )
        if num_frames > self.longest:
            raise ConfigError(
                f"a clip must have at most {self.longest} frames for {model.name} (got "
                f"{num_frames}); show fewer (clip.num_frames)"
            )
        side = image_size // self.pixels if self.pixels else 1
        return min(-(-num_frames // self.frames), self.places), side * side


@dataclass(frozen=True)
class EncodedRow:
    """The tokens of one row.

    Attributes:
        hidden: (S, D) every token of the last layer.
        places: (F, P, D) the visual tokens by place in time, oldest first.
    """

    hidden: Tensor
    places: Tensor


class Family:
    """One architecture and its published models; families derive from it.

    Args:
        config: settings.
        folders: of the checkpoint, as ``find`` returns them.

    Attributes:
        TITLE: what people call it.
        MODEL_TYPES: ``model_type`` of the ``config.json`` files that it reads.
        PUBLISHED: its models. LAYOUT: of their visual tokens.
        PACKS: whether the language model can be loaded in NF4.
        KEPT_OUT_OF_4BIT: modules that NF4 leaves as they are.
        LORA_TARGETS: regular expression of the layers that adapters are attached to.
        OPTIONS: those of ``OWN_SETTINGS`` that it has.
        UNUSED: prefixes of weights that nothing here reads.
        TINY: shape of a checkpoint for tests. TINY_IMAGE_SIZE: ``image_size`` to show it, px.
        SIZE_KEYS: where a shape holds the one image size that a checkpoint takes; empty where a
            checkpoint takes several sizes.
        feature_dim: D.
        frames_per_place: camera frames that share a place in time.
        needs_sight: whether a row must have frames.
        hears, reads: whether sound and text reach the model.
        reads_before_looking: whether the text changes visual tokens too.
        folder: of the weights, the first of ``folders``.
        network: the loaded weights, None before ``load``.

    Raises:
        ConfigError: settings that the architecture does not fit.
    """

    TITLE: ClassVar[str]
    MODEL_TYPES: ClassVar[tuple[str, ...]]
    PUBLISHED: ClassVar[tuple[Published, ...]]
    LAYOUT: ClassVar[Layout]
    PACKS: ClassVar[bool] = True
    KEPT_OUT_OF_4BIT: ClassVar[tuple[str, ...]] = ("visual", "audio_tower", "lm_head")
    LORA_TARGETS: ClassVar[str] = r".*language_model\.layers\.\d+\.self_attn\.(q|k|v|o)_proj"
    OPTIONS: ClassVar[tuple[str, ...]] = ()
    UNUSED: ClassVar[tuple[str, ...]] = ()
    TINY: ClassVar[Shape]
    TINY_IMAGE_SIZE: ClassVar[int]
    SIZE_KEYS: ClassVar[tuple[str, ...]] = ()
    frames_per_place = 2
    has_language_model = True
    needs_sight = True
    hears = False
    reads = True
    reads_before_looking = True
    feature_dim: int

    def __init__(self, config: BackboneConfig, folders: Folders) -> None:
        self.config, self.folders = config, folders
        self.folder = next(iter(folders.values()))
        self.network: nn.Module | None = None
        self.check_settings(config)

    # ---- from the class alone -------------------------------------------------------------

    @classmethod
    def check_settings(cls, config: BackboneConfig) -> None:
        """Check settings against the architecture, before any file is read.

        Raises:
            ConfigError: a setting that this architecture does not have.
        """
        if not cls.has_language_model and (config.load_in_4bit or not config.freeze_backbone):
            setting = "load_in_4bit=true" if config.load_in_4bit else "freeze_backbone=false"
            raise ConfigError(
                f"{setting} is for a language model, and {cls.__name__} has none; leave it out"
            )
        for name in OWN_SETTINGS:
            value = getattr(config, name)
            if name not in cls.OPTIONS and value != getattr(BackboneConfig, name):
                raise ConfigError(
                    f"{name} is a setting that {cls.__name__} does not have (got {value!r}); leave "
                    "it out"
                )

    @classmethod
    def claims(cls, folder: Path) -> bool:
        """Whether a folder without a ``config.json`` of its own holds a model of this family."""
        del folder
        return False

    @classmethod
    def find(cls, config: BackboneConfig) -> Folders:
        """Folders of the checkpoint that ``config`` names, downloaded where they are not here.

        Raises:
            CheckpointError: the weights are not to be had.
        """
        return {WHOLE: find_weights(config.model_id, config.revision)}

    @classmethod
    def build(cls, shape: Shape) -> Built:
        """The networks of a model of some shape, to be counted, and the width of a token.

        A model of several repositories has one network a repository, in their order.
        """
        raise NotImplementedError

    @classmethod
    def write_random(cls, folder: Path, shape: Shape) -> None:
        """Write a checkpoint of some shape with random weights, as the published one is laid out.

        Args:
            folder: exists. shape: as in ``PUBLISHED``, or ``TINY``.
        """
        raise NotImplementedError

    # ---- from the checkpoint ----------------------------------------------------------------

    def read_config(self, folder: Path | None = None) -> PretrainedConfig:
        """The architecture's own config.

        Raises:
            ConfigError: the folder holds another architecture.
        """
        config = opened_config(folder or self.folder)
        if folder is None and config.model_type not in self.MODEL_TYPES:
            raise ConfigError(
                f"{self.folder} holds a model of type {config.model_type!r}, {type(self).__name__} "
                f"needs {' or '.join(self.MODEL_TYPES)}; name the policy of that model instead"
            )
        return config

    def places(self, num_frames: int) -> int:
        """Places in time that a clip of ``num_frames`` frames gets."""
        return -(-num_frames // self.frames_per_place)

    def aligned(self, row: Sight) -> Sight:
        """Repeat the oldest frame until every place in time is full."""
        spare = 0 if row.is_image else -len(row.frames) % self.frames_per_place
        if not spare:
            return row
        frames = np.concatenate([np.repeat(row.frames[:1], spare, axis=0), row.frames])
        time_s = np.concatenate([np.repeat(row.time_s[:1], spare), row.time_s])
        return replace(row, frames=frames, time_s=time_s)

    def identity(self) -> dict[str, Json]:
        """What else is hashed into the fingerprint: how a row is presented to the model."""
        return {}

    def tokens_per_place(self) -> int:
        """P, visual tokens of one place in time of a square clip; one unless a family says more."""
        return 1

    def load(self) -> None:
        """Read the weights."""
        raise NotImplementedError

    def save(self, folder: Path) -> None:
        """Write the tuned model.

        Raises:
            ConfigError: this family is never tuned.
        """
        raise ConfigError(
            f"{type(self).__name__} is never tuned, so there is nothing to save in {folder}; its "
            f"weights are in {self.folder}"
        )

    def encode_rows(self, rows: Sequence[Sight], block_rows: int | None = None) -> list[EncodedRow]:
        """Encode rows; the result of a row never depends on the others.

        Args:
            rows: what to encode. block_rows: every call of the network gets exactly this many
                rows, the last repeated, so that a row is the same to the bit in every batch.
        """
        raise NotImplementedError

    def from_pretrained(
        self, loader: type[PreTrainedModel], folder: Path | None = None
    ) -> PreTrainedModel:
        """Load a frozen network of transformers from safetensors with the settings of this config.

        Raises:
            CheckpointError: the files lack weights of the architecture, have others' shapes, are
                damaged, or hold NaN.
        """
        settings = self.config
        device = find_device(settings.device_map, "device_map")
        quantised = quantisation(
            settings.load_in_4bit, settings.use_double_quant, self.KEPT_OUT_OF_4BIT
        )
        packing: dict[str, Setting] = {}
        if quantised is not None:
            packing = {"quantization_config": quantised, "device_map": {"": str(device)}}
        where = folder or self.folder
        model = opened_network(
            loader,
            where,
            self.UNUSED,
            dtype=DTYPES[settings.torch_dtype],
            attn_implementation=settings.attn_implementation,
            **packing,
        )
        model = model if quantised is not None else model.to(device)
        check_finite(model, where)
        return model.eval().requires_grad_(False)

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        assert self.network is not None
        return next(self.network.parameters()).device


def family_class(name: str) -> type[Family]:
    """The class of a family, by the name of its file."""
    kind: type[Family] = FAMILIES[name].resolve()
    return kind


def family_classes() -> list[type[Family]]:
    """Every registered family."""
    return [family_class(name) for name in FAMILIES]


def blocks(numbers: Sequence[int], block_rows: int | None) -> list[list[int]]:
    """Split row numbers into blocks of one size; the last row fills the last block."""
    if block_rows is None:
        return [list(numbers)]
    parts = [list(numbers[i : i + block_rows]) for i in range(0, len(numbers), block_rows)]
    return [part + part[-1:] * (block_rows - len(part)) for part in parts]


def equal_blocks(kinds: Sequence[Hashable], block_rows: int | None) -> list[list[int]]:
    """Group rows of equal shape into the blocks of each call of the network.

    Args:
        kinds: one a row; rows of one kind have tensors of one shape. block_rows: see ``blocks``.
    """
    groups: dict[Hashable, list[int]] = {}
    for number, kind in enumerate(kinds):
        groups.setdefault(kind, []).append(number)
    return [block for numbers in groups.values() for block in blocks(numbers, block_rows)]
