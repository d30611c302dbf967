"""Qwen2.5-Omni's thinker: sees, reads, and hears through a tower of its own.

Source: Qwen2.5-Omni Technical Report, arXiv 2503.20215: 25 time positions a second, 128 mel
bands at 100 frames a second, 25 sound tokens a second. The talker is never loaded.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from ..weights.catalogue import APACHE, Published, Shape
from ..weights.drawing import CHAT, TINY_TEXT, tokenizer
from ..weights.libraries import import_transformers
from .family import Layout
from .inputs import AUDIO_HZ, Sight, frame_interval_s
from .vision_language import (
    QWEN2_3B,
    QWEN2_7B,
    QWEN_RESEARCH,
    TINY_VISION,
    Given,
    VisionLanguage,
    qwen2_vision,
)

if TYPE_CHECKING:
    from transformers import (
        PretrainedConfig,
        PreTrainedModel,
        PreTrainedTokenizerFast,
        ProcessorMixin,
    )

MEL_BANDS = 128
# Attributes of the tokenizer that name its control tokens.
NAMES = {
    "image_token": "<|IMAGE|>",
    "audio_token": "<|AUDIO|>",
    "video_token": "<|VIDEO|>",
    "vision_bos_token": "<|vision_bos|>",
    "vision_eos_token": "<|vision_eos|>",
    "audio_bos_token": "<|audio_bos|>",
    "audio_eos_token": "<|audio_eos|>",
}


def audio_shape(out: int) -> Shape:
    """Shape of the sound tower; ``out`` is the width of the language model."""
    return {"d_model": 1280, "encoder_layers": 32, "encoder_ffn_dim": 5120, "output_dim": out}


class QwenOmni(VisionLanguage):
    """The thinker without its language head."""

    TITLE = "Qwen2.5-Omni"
    MODEL_TYPES = ("qwen2_5_omni", "qwen2_5_omni_thinker")
    CONFIG, NETWORK = "Qwen2_5OmniThinkerConfig", "Qwen2_5OmniThinkerModel"
    PUBLISHED = (
        Published(
            name="qwen_omni_3b",
            model_id="Qwen/Qwen2.5-Omni-3B",
            licence=QWEN_RESEARCH,
            gated=False,
            image_size=224,
            shape={
                "text_config": QWEN2_3B,
                "vision_config": qwen2_vision(2048),
                "audio_config": audio_shape(2048),
            },
        ),
        Published(
            name="qwen_omni_7b",
            model_id="Qwen/Qwen2.5-Omni-7B",
            licence=APACHE,
            gated=False,
            image_size=224,
            shape={
                "text_config": QWEN2_7B,
                "vision_config": qwen2_vision(3584),
                "audio_config": audio_shape(3584),
            },
        ),
    )
    LAYOUT = Layout(pixels=28, multiple=28)
    TINY: ClassVar[Shape] = {
        "text_config": TINY_TEXT,
        "vision_config": TINY_VISION | {"fullatt_block_indexes": [1]},
        "audio_config": {
            "d_model": 64,
            "encoder_layers": 2,
            "encoder_attention_heads": 4,
            "encoder_ffn_dim": 128,
            "output_dim": 64,
        },
    }
    TINY_IMAGE_SIZE = 56
    IDS: ClassVar[dict[str, str]] = {
        "vision_start_token_id": "<|vision_bos|>",
        "vision_end_token_id": "<|vision_eos|>",
        "image_token_index": "<|IMAGE|>",
        "video_token_index": "<|VIDEO|>",
        "audio_start_token_id": "<|audio_bos|>",
        "audio_end_token_id": "<|audio_eos|>",
        "audio_token_index": "<|AUDIO|>",
    }
    IMAGE = "<|vision_bos|><|IMAGE|><|vision_eos|>"
    VIDEO = "<|vision_bos|><|VIDEO|><|vision_eos|>"
    AUDIO = "<|audio_bos|><|AUDIO|><|audio_eos|>"
    hears = True

    @classmethod
    def tokenizer(cls) -> PreTrainedTokenizerFast:
        """A small tokenizer that also knows its control tokens by name."""
        return tokenizer((*CHAT, *cls.IDS.values()), tuple(NAMES.items()))

    @classmethod
    def new_processor(cls, words: PreTrainedTokenizerFast) -> ProcessorMixin:
        """Pictures, clips and sound."""
        t = import_transformers()
        return t.Qwen2_5OmniProcessor(
            t.Qwen2VLImageProcessor(),
            t.Qwen2VLVideoProcessor(),
            t.WhisperFeatureExtractor(feature_size=MEL_BANDS),
            words,
            chat_template="-",
        )

    def core_config(self, config: PretrainedConfig) -> PretrainedConfig:
        """The thinker's part, also of a repository that holds the talker too."""
        return getattr(config, "thinker_config", config)

    def loader(self, transformers: ModuleType) -> type[PreTrainedModel]:
        """The thinker; the auto class would load the talker too."""
        kind: type[PreTrainedModel] = transformers.Qwen2_5OmniThinkerModel
        return kind

    def sound(self, row: Sight) -> str:
        """The placeholder of the sound, before the video."""
        return "" if row.audio is None else self.AUDIO

    def heard(self, row: Sight) -> dict[str, Given]:
        """The sound at its own length; by default the processor pads to 300 s."""
        if row.audio is None:
            return {}
        settings = {"sampling_rate": AUDIO_HZ, "max_length": len(row.audio), "truncation": True}
        return {"audio": [row.audio], "audio_kwargs": settings}

    def timed(self, row: Sight) -> dict[str, Tensor]:
        """Seconds between places of this row; the processor assumes one rate for all."""
        if row.is_image:
            return {}
        seconds = self.frames_per_place * frame_interval_s(row.time_s, self.config.fps)
        return {"video_second_per_grid": torch.tensor([seconds])}
