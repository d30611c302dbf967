"""How large a backbone is, counted on the meta device: nothing is downloaded.

What is counted takes seconds of imports, so the numbers are written down in ``sizes``, which
``python -m neon_sim.policies.backbones.counting`` prints anew; a test counts again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple
from functools import lru_cache, partial
from typing import Any

import torch
from torch import nn

from neon_sim.command import Parser, entry_point
from neon_sim.registry import BACKBONES

from .encoders.catalogue import PAIR
from .encoders.hf_image import ARCHITECTURES
from .encoders.hf_video import NETWORKS
from .weights.catalogue import CATALOGUE, HubModel
from .weights.sizes import SIZES, Size


def count(row: HubModel) -> Size:
    """Size of a backbone of the catalogue."""
    return size_of(row.name)


def size_of(name: str) -> Size:
    """Size of a backbone by registry name, as written down, or else counted.

    Raises:
        KeyError: nobody says how it is built. MissingPackageError: what builds it is missing.
    """
    return Size(*SIZES[name]) if name in SIZES else counted(name)


def count_part(row: HubModel, repository: str) -> Size:
    """Size of what one of a model's repositories brings.

    A model whose networks come from one repository each is counted by repository; the first
    repository of any other brings everything.
    """
    return counted(row.name, row.repositories.index(repository))


@lru_cache(maxsize=32)
def counted(name: str, part: int | None = None) -> Size:
    """Size of a backbone by registry name, its networks built on the meta device.

    Args:
        name: of the registry. part: place of the one of its repositories to count; None for all.

    Raises:
        KeyError: nobody says how it is built. MissingPackageError: what builds it is missing.
    """
    row = CATALOGUE.get(name)
    with torch.device("meta"):
        networks, hidden = BUILDERS[row.family](row) if row else ENCODER_BUILDERS[name]()
    if part is not None and len(networks) > 1:
        networks = networks[part : part + 1]
    elif part:
        networks = []
    packed = row is not None and row.family not in WHOLE
    language = [m for network in networks if packed for m in _linear_layers(network)]
    return Size(
        parameters=sum(p.numel() for network in networks for p in network.parameters()),
        linear=sum(layer.weight.numel() for layer in language),
        hidden=hidden,
    )


def _linear_layers(network: nn.Module) -> list[nn.Linear]:
    """Linear layers of a network's language model, none where it has none."""
    language = getattr(network, "language_model", None)
    if language is None and getattr(getattr(network, "config", None), "model_type", "") == "llama":
        language = network
    return [m for m in language.modules() if isinstance(m, nn.Linear)] if language else []


Built = tuple[list[nn.Module], int]
WHOLE = ("fvlm",)  # families with a language model that refuse load_in_4bit


def _vision_language(config_name: str, model_name: str) -> Callable[[HubModel], Built]:
    def build(row: HubModel) -> Built:
        transformers = _transformers()
        config = getattr(transformers, config_name)(**row.shape)
        return [getattr(transformers, model_name)(config)], config.text_config.hidden_size

    return build


def _vjepa2(row: HubModel) -> Built:
    transformers = _transformers()
    config = transformers.VJEPA2Config(**row.shape)
    model = transformers.VJEPA2Model(config)
    return [model.encoder], config.hidden_size


def _videomae(row: HubModel) -> Built:
    transformers = _transformers()
    config = transformers.VideoMAEConfig(**row.shape)
    return [transformers.VideoMAEModel(config)], config.hidden_size


def _tribev2(row: HubModel) -> Built:
    from .foundation.tribev2 import Fusion, FusionShape

    transformers = _transformers()
    video = transformers.VJEPA2Config(**row.shape["video"])
    audio = transformers.Wav2Vec2BertConfig()
    text = transformers.LlamaConfig(**row.shape["text"])
    fusion = Fusion(FusionShape(video.hidden_size, audio.hidden_size, text.hidden_size))
    networks = [
        transformers.VJEPA2Model(video).encoder,
        transformers.Wav2Vec2BertModel(audio),
        transformers.LlamaModel(text),
    ]
    return [*networks, fusion], fusion.shape.dim


def _fvlm(row: HubModel) -> Built:
    from .foundation.fvlm import FoveatedVLM

    transformers = _transformers()
    vision = transformers.Dinov2Config(**row.shape["vision"])
    text = transformers.LlamaConfig(**row.shape["text"])
    network = FoveatedVLM(transformers.Dinov2Model(vision), transformers.LlamaModel(text))
    return [network], text.hidden_size


def _transformers() -> Any:
    from .weights.libraries import import_transformers

    return import_transformers()


BUILDERS: dict[str, Callable[[HubModel], Built]] = {
    "qwen_vl": _vision_language("Qwen2_5_VLConfig", "Qwen2_5_VLModel"),
    "qwen_omni": _vision_language("Qwen2_5OmniThinkerConfig", "Qwen2_5OmniThinkerModel"),
    "qwen3_vl": _vision_language("Qwen3VLConfig", "Qwen3VLModel"),
    "vjepa2": _vjepa2,
    "videomae": _videomae,
    "tribev2": _tribev2,
    "fvlm": _fvlm,
}

# Shapes of the published encoders of images where they differ from the architecture's defaults;
# from their names, model cards and papers (SoViT-400m: Alabdulmohsin et al. 2023).
_IMAGE: dict[str, tuple[str, dict[str, int]]] = {
    "siglip": ("siglip_vision_model", {}),
    "siglip2": ("siglip_vision_model", {}),
    "clip": ("clip_vision_model", {"patch_size": 16}),
    "dinov2": ("dinov2", {"patch_size": 14, "image_size": 518}),
    "dinov3": ("dinov3_vit", {"num_register_tokens": 4}),
}
_SO400M = {
    "hidden_size": 1152,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "intermediate_size": 4304,
    "patch_size": 14,
}
_LARGE_REGISTERS = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "patch_size": 14,
    "image_size": 518,
    "num_register_tokens": 4,
}


def _image(architecture: str, shape: dict[str, int]) -> Built:
    loader = ARCHITECTURES[architecture].loader
    config = getattr(_transformers(), loader.replace("Model", "Config"))(**shape)
    return [getattr(_transformers(), loader)(config)], config.hidden_size


def _pair() -> Built:
    siglip, first = _image("siglip_vision_model", _SO400M)
    dinov2, second = _image("dinov2_with_registers", _LARGE_REGISTERS)
    return siglip + dinov2, first + second


def _video(name: str) -> Built:
    spec = NETWORKS[name]
    config = getattr(_transformers(), spec.config)()
    return [getattr(_transformers(), spec.loader)(config)], config.hidden_size


def _torchvision(name: str) -> Built:
    from .encoders import torchvision_video

    network = getattr(torchvision_video.import_torchvision(), name)(weights=None)
    return [network], list(torchvision_video.NETWORKS[name].layers.values())[-1][1]


def _as_it_is(name: str) -> Built:
    """What comes with this package or a wheel is small enough to be made."""
    with torch.device("cpu"):
        backbone = BACKBONES.resolve(name)()
    holder = getattr(backbone, "encoder", backbone)
    return [m for m in vars(holder).values() if isinstance(m, nn.Module)], backbone.feature_dim


OWN = ("neon_tiny", "neon_tiny_image", "random", "exact_motion", "exact_flow", "state", "none")
ENCODER_BUILDERS: dict[str, Callable[[], Built]] = {
    **{name: partial(_image, *told) for name, told in _IMAGE.items()},
    PAIR: _pair,
    **{name: partial(_video, name) for name in NETWORKS},
    **{name: partial(_torchvision, name) for name in ("r3d_18", "mc3_18", "r2plus1d_18")},
    **{name: partial(_torchvision, name) for name in ("s3d", "mvit_v2_s")},
    **{name: partial(_as_it_is, name) for name in ("efficientnet_lite0", "transnetv2", *OWN)},
}


def written_down() -> str:
    """The body of ``sizes``."""
    lines = [f'    "{name}": {astuple(counted(name))},' for name in (*CATALOGUE, *ENCODER_BUILDERS)]
    return "\n".join(["SIZES: dict[str, tuple[int, int, int]] = {", *lines, "}"])


def build_parser() -> Parser:
    """The command line, which takes nothing."""
    return Parser(prog="python -m neon_sim.policies.backbones.counting", description=__doc__)


@entry_point("counting")
def main(argv: list[str]) -> int:
    """Print ``SIZES`` anew; returns the exit code."""
    build_parser().parse_args(argv)
    print(written_down())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
