"""How large a foundation backbone is, counted on the meta device: nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from .catalogue import CATALOGUE, HubModel

NF4_BYTES = 0.5 + 1 / 64 * (1 + 4 / 256)  # 4 bits, and a doubly quantised scale for 64 weights
BF16_BYTES = 2


@dataclass(frozen=True)
class Size:
    """Parameters of a backbone without its language head.

    Attributes:
        parameters: all. linear: those of the language model's linear layers, which NF4 packs.
        hidden: width of a token.
    """

    parameters: int
    linear: int
    hidden: int

    @property
    def bf16_gb(self) -> float:
        """Weights in bf16, GB (1e9 bytes)."""
        return self.parameters * BF16_BYTES / 1e9

    @property
    def nf4_gb(self) -> float:
        """Weights with the language model's linear layers in NF4 and the rest in bf16, GB."""
        rest = self.parameters - self.linear
        return (self.linear * NF4_BYTES + rest * BF16_BYTES) / 1e9


def count(row: HubModel) -> Size:
    """Size of a backbone of the catalogue."""
    return _count(row.name)


def count_part(row: HubModel, repository: str) -> Size:
    """Size of what one of a model's repositories brings.

    A model whose networks come from one repository each is counted by repository; the first
    repository of any other brings everything.
    """
    return _count(row.name, row.repositories.index(repository))


@lru_cache(maxsize=32)
def _count(name: str, part: int | None = None) -> Size:
    row = CATALOGUE[name]
    with torch.device("meta"):
        networks, hidden = BUILDERS[row.family](row)
    if part is not None and len(networks) > 1:
        networks = networks[part : part + 1]
    elif part:
        networks = []
    language = [m for network in networks for m in _linear_layers(network)]
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
    from .tribev2 import Fusion, FusionShape

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
    from .fvlm import FoveatedVLM

    transformers = _transformers()
    vision = transformers.Dinov2Config(**row.shape["vision"])
    text = transformers.LlamaConfig(**row.shape["text"])
    network = FoveatedVLM(transformers.Dinov2Model(vision), transformers.LlamaModel(text))
    return [network], text.hidden_size


def _transformers() -> Any:
    from .imports import import_transformers

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
