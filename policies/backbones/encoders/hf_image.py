"""SigLIP, SigLIP 2, CLIP, DINOv2 and DINOv3 through transformers: patch tokens of each frame.

One class and two tables: what is published where, and how each architecture is driven.
``model_id`` takes a hub name or a local folder of any architecture in the second table.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import torch
from annotated_types import Interval
from torch import Tensor

from neon_sim.errors import CheckpointError, ConfigError

from ..base import AUTO, Argument, find_device, read_settings
from ..weights.catalogue import APACHE, Published
from ..weights.find import missing_text, refuse_pickles
from ..weights.libraries import import_transformers
from ..weights.opening import Unreadable, check_finite, opened_config, opened_network
from ..weights.sources import folder_config, freeze
from .base import ImageEncoder, identity, pixels

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

# Tokens a side of the published networks, from their names and, for DINOv2, its 518 pixels.
GRIDS = {
    "siglip": 14,
    "siglip_so400m": 16,
    "siglip2": 14,
    "clip": 14,
    "dinov2": 37,
    "dinov2_reg_large": 37,
    "dinov3": 14,
}

# Sizes are those of the float32 files, rounded; dual models include their text tower.
# SigLIP and DINOv2 of ``siglip_dinov2`` are two subfolders of one folder.
_BOTH = "backbone.model_id=weights/siglip_dinov2 (both in it), or of this one alone backbone."


def _half(name: str, model_id: str, size: str, role: str) -> Published:
    """One of the two networks of ``siglip_dinov2``."""
    command = f"hf download {model_id} --local-dir weights/siglip_dinov2/{role}"
    setting = f"{_BOTH}{role}_id=/path"
    return Published(name, model_id, APACHE, size=size, command=command, setting=setting)


_PUBLISHED = (
    Published("siglip", "google/siglip-base-patch16-224", APACHE, size="0.8 GB"),
    _half("siglip_so400m", "google/siglip-so400m-patch14-224", "3.5 GB", "siglip"),
    Published("siglip2", "google/siglip2-base-patch16-224", APACHE, size="1.5 GB"),
    Published("clip", "openai/clip-vit-base-patch16", "MIT", size="0.6 GB"),
    Published("dinov2", "facebook/dinov2-base", APACHE, size="0.35 GB"),
    _half("dinov2_reg_large", "facebook/dinov2-with-registers-large", "1.2 GB", "dinov2"),
    Published(
        "dinov3",
        "facebook/dinov3-vits16-pretrain-lvd1689m",
        "DINOv3 licence",
        gated=True,
        size="0.09 GB",
    ),
)
PUBLISHED = {model.name: model for model in _PUBLISHED}

HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
OPENAI = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


Grid = Annotated[int, Interval(ge=0, le=64)]  # tokens a side, 0 for the published
Layer = Annotated[int, Interval(ge=-100, le=-1)]  # from the end


@dataclass(frozen=True)
class ImageSettings:
    """Settings of an image transformer.

    Attributes:
        model_id: hub name or local folder; the published one when empty.
        grid: tokens a side; the frame is resized to ``grid`` patches. The checkpoint's own when 0.
        layer: hidden state to take, counted from the end: -1 is the network's output with its
            last norm, -2 the state before the last block.
        device: where it runs, ``auto``, ``cpu`` or ``cuda``.
    """

    model_id: str = ""
    grid: Grid = 0
    layer: Layer = -1
    device: str = AUTO


@dataclass(frozen=True)
class Architecture:
    """How a transformers image network is driven.

    Attributes:
        loader: class of the image tower. mean_std: of pixels in [0, 1], as its processor has it.
        class_tokens: tokens before the patches, registers not counted.
        resize_places: must be asked to interpolate its position table.
    """

    loader: str
    mean_std: tuple[tuple[float, ...], tuple[float, ...]]
    class_tokens: int
    resize_places: bool


_SIGLIP = Architecture("SiglipVisionModel", HALF, 0, True)
_CLIP = Architecture("CLIPVisionModel", OPENAI, 1, True)
ARCHITECTURES = {
    "siglip": _SIGLIP,
    "siglip_vision_model": _SIGLIP,
    "clip": _CLIP,
    "clip_vision_model": _CLIP,
    "dinov2": Architecture("Dinov2Model", IMAGENET, 1, False),
    "dinov2_with_registers": Architecture("Dinov2WithRegistersModel", IMAGENET, 1, False),
    "dinov3_vit": Architecture("DINOv3ViTModel", IMAGENET, 1, False),
}


class HFImage(ImageEncoder):
    """Patch tokens of a frozen image transformer; class and register tokens are left out.

    Args:
        name: a key of ``PUBLISHED``. arguments: fields of ``ImageSettings``.

    Raises:
        CheckpointError: no weights, or pickles only. ConfigError: an architecture that is not
            in ``ARCHITECTURES``, or a bad ``grid``, ``layer`` or ``device``.
    """

    SETTINGS = ImageSettings

    @classmethod
    def token_shape(
        cls, frames: int, /, name: str, **arguments: Argument
    ) -> tuple[int, int] | None:
        """A place a frame; None for a repository of one's own without a ``grid``."""
        settings = read_settings(ImageSettings, arguments)
        side = settings.grid or published_grid(name, settings.model_id)
        return None if side is None else (frames, _grid(side) ** 2)

    def __init__(self, name: str, **arguments: Argument) -> None:
        settings = read_settings(ImageSettings, arguments)
        self.name, self.layer = name, settings.layer
        self.device = find_device(settings.device)
        self.model_id = settings.model_id or PUBLISHED[name].model_id
        self.network, self.architecture = load_image_network(name, self.model_id)
        config: PretrainedConfig = self.network.config
        self.feature_dim = int(config.hidden_size)
        self.grid = _grid(settings.grid or config.image_size // config.patch_size)
        self.image_size = self.grid * config.patch_size
        self.tokens_per_frame = self.grid * self.grid
        self.identity = identity(self.architecture, self.grid, self.layer)
        self._skip = self.architecture.class_tokens + getattr(config, "num_register_tokens", 0)
        if not -config.num_hidden_layers <= self.layer <= -1:
            raise ConfigError(
                f"backbone_args.layer must be -{config.num_hidden_layers} to -1 for "
                f"{self.model_id} (got {self.layer})"
            )
        self.network.to(self.device)

    def frame_tokens(self, frames: Tensor) -> Tensor:
        """(N, H, W, 3) uint8 -> (N, grid * grid, D), row by row from the top left."""
        x = pixels(frames, (self.image_size, self.image_size), *self.architecture.mean_std)
        options: dict[str, bool] = {"output_hidden_states": self.layer < -1}
        if self.architecture.resize_places:
            options["interpolate_pos_encoding"] = True
        out = self.network(pixel_values=x, **options)
        hidden: Tensor = (
            out.last_hidden_state if self.layer == -1 else out.hidden_states[self.layer]
        )
        return hidden[:, self._skip :]


def _grid(side: int) -> int:
    if not 1 <= side <= 64:
        raise ConfigError(f"backbone_args.grid must be 1 to 64 tokens a side (got {side})")
    return side


def published_grid(name: str, model_id: str) -> int | None:
    """Tokens a side of a network, of its folder's ``config.json`` or as published.

    None where only the hub knows.
    """
    if model_id in ("", PUBLISHED[name].model_id):
        return GRIDS[name]
    config = folder_config(model_id)
    config = getattr(config, "vision_config", config)
    if config is None or not hasattr(config, "patch_size"):
        return None
    return int(config.image_size) // int(config.patch_size)


def load_image_network(name: str, model_id: str) -> tuple[PreTrainedModel, Architecture]:
    """The image tower of a hub repository or local folder, frozen, in float32.

    Raises:
        CheckpointError: no weights, or pickles only. ConfigError: another architecture.
    """
    transformers = import_transformers()
    refuse_pickles(Path(model_id))
    try:
        model_type = opened_config(model_id).model_type
        if model_type not in ARCHITECTURES:
            raise ConfigError(
                f"backbone.model_id must be one of {', '.join(sorted(ARCHITECTURES))} "
                f"(got {model_type!r} at {model_id})"
            )
        architecture = ARCHITECTURES[model_type]
        network = opened_network(
            getattr(transformers, architecture.loader), model_id, dtype=torch.float32
        )
    except Unreadable as error:  # absent, unreachable, or no config that is known
        text = missing_text(model_id, error.reason, PUBLISHED[name])
        raise CheckpointError(text) from error
    check_finite(network, model_id)
    return freeze(network), architecture


NAMES = ("siglip", "siglip2", "clip", "dinov2", "dinov3")  # one network each
siglip = partial(HFImage, "siglip")
siglip2 = partial(HFImage, "siglip2")
clip = partial(HFImage, "clip")
dinov2 = partial(HFImage, "dinov2")
dinov3 = partial(HFImage, "dinov3")
