"""Qwen2.5-VL: time positions from the clip's own rate, 2 frames a place, 28 pixels a token.

Source: Qwen2.5-VL Technical Report, arXiv 2502.13923. Its temporal positions are whole numbers,
``floor(place * tokens_per_second * 2 / fps)``, and the published models have 2 tokens a second:
up to 4 frames a second each place has a position of its own; above, several places share one,
and only the order in the sequence tells them apart. Its policies are shown 3.5 a second, for a
25 Hz camera has no two frames 0.25 s apart.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ..weights.catalogue import APACHE, Published, Shape, part_of
from ..weights.drawing import TINY_TEXT
from ..weights.libraries import import_transformers
from .family import Layout
from .vision_language import (
    QWEN2_3B,
    QWEN2_7B,
    QWEN_RESEARCH,
    TINY_VISION,
    VisionLanguage,
    qwen2_vision,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, ProcessorMixin

TOKENS_PER_SECOND = 2  # positions in time a second, of the published models


class QwenVL(VisionLanguage):
    """Qwen2.5-VL without its language head."""

    TITLE = "Qwen2.5-VL"
    MODEL_TYPES = ("qwen2_5_vl",)
    CONFIG, NETWORK = "Qwen2_5_VLConfig", "Qwen2_5_VLModel"
    PUBLISHED = (
        Published(
            name="qwen_vl_3b",
            model_id="Qwen/Qwen2.5-VL-3B-Instruct",
            licence=QWEN_RESEARCH,
            gated=False,
            image_size=224,
            shape={"text_config": QWEN2_3B, "vision_config": qwen2_vision(2048)},
        ),
        Published(
            name="qwen_vl_7b",
            model_id="Qwen/Qwen2.5-VL-7B-Instruct",
            licence=APACHE,
            gated=False,
            image_size=224,
            shape={"text_config": QWEN2_7B, "vision_config": qwen2_vision(3584)},
        ),
    )
    LAYOUT = Layout(pixels=28, multiple=28)
    TINY: ClassVar[Shape] = {
        "text_config": TINY_TEXT,
        "vision_config": TINY_VISION | {"fullatt_block_indexes": [1]},
    }
    TINY_IMAGE_SIZE = 56

    @classmethod
    def write_random(cls, folder: Path, shape: Shape) -> None:
        """One folder, with the positions in time of the published models."""
        vision = part_of(shape, "vision_config") | {"tokens_per_second": TOKENS_PER_SECOND}
        super().write_random(folder, shape | {"vision_config": vision})

    @classmethod
    def new_processor(cls, words: PreTrainedTokenizerFast) -> ProcessorMixin:
        """Pictures and clips."""
        t = import_transformers()
        return t.Qwen2_5_VLProcessor(
            t.Qwen2VLImageProcessor(), words, t.Qwen2VLVideoProcessor(), chat_template="-"
        )
