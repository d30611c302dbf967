"""Qwen3-VL, the architecture of Cosmos-Reason2: times are written into the prompt as words.

Source: Qwen3-VL Technical Report, arXiv 2511.21631; Cosmos-Reason2's model card. Each place
(two frames) is preceded by ``<0.3 seconds>``, the mean time of its frames.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ..weights.catalogue import Published, Shape, text_shape
from ..weights.drawing import TINY_TEXT
from ..weights.libraries import import_transformers
from .family import Layout
from .inputs import Sight, frame_times_s
from .vision_language import TINY_VISION, Given, VisionLanguage

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, ProcessorMixin

NVIDIA_OPEN = "NVIDIA Open Model"
MILLISECONDS = 1000  # in a second
PATCH = 16  # pixels of a patch a side; four patches are a visual token


def vision_shape(depth: int, hidden: int, mlp: int, out: int, deep: list[int]) -> Shape:
    """Shape of the vision tower.

    Args:
        mlp: inner width. out: width of the language model. deep: layers whose states reach the
            language model too.
    """
    return {
        "depth": depth,
        "hidden_size": hidden,
        "intermediate_size": mlp,
        "out_hidden_size": out,
        "deepstack_visual_indexes": deep,
    }


class Qwen3VL(VisionLanguage):
    """Qwen3-VL without its language head; serves Cosmos-Reason2."""

    TITLE = "Qwen3-VL"
    MODEL_TYPES = ("qwen3_vl",)
    CONFIG, NETWORK = "Qwen3VLConfig", "Qwen3VLModel"
    PUBLISHED = (
        Published(
            name="cosmos_reason2_2b",
            model_id="nvidia/Cosmos-Reason2-2B",
            licence=NVIDIA_OPEN,
            gated=True,
            image_size=256,
            shape={
                "text_config": text_shape(2048, 28, 16, 8, 6144, 151936) | {"head_dim": 128},
                "vision_config": vision_shape(24, 1024, 4096, 2048, [5, 11, 17]),
            },
        ),
        Published(
            name="cosmos_reason2_8b",
            model_id="nvidia/Cosmos-Reason2-8B",
            licence=NVIDIA_OPEN,
            gated=True,
            image_size=256,
            shape={
                "text_config": text_shape(4096, 36, 32, 8, 12288, 151936) | {"head_dim": 128},
                "vision_config": vision_shape(27, 1152, 4304, 4096, [8, 16, 24]),
            },
        ),
    )
    LAYOUT = Layout(pixels=32, multiple=32)
    TINY: ClassVar[Shape] = {
        "text_config": TINY_TEXT | {"head_dim": 16},
        "vision_config": TINY_VISION
        | {"deepstack_visual_indexes": [0, 1], "num_position_embeddings": 64},
    }
    TINY_IMAGE_SIZE = 64

    @classmethod
    def new_processor(cls, words: PreTrainedTokenizerFast) -> ProcessorMixin:
        """Pictures and clips."""
        t = import_transformers()
        pictures = t.Qwen2VLImageProcessor(patch_size=PATCH)
        return t.Qwen3VLProcessor(pictures, words, t.Qwen3VLVideoProcessor(), chat_template="-")

    def video_settings(self, row: Sight) -> dict[str, Given]:
        """Give every frame its own time, in milliseconds, so that any spacing is exact."""
        times = frame_times_s(row.time_s, self.config.fps) * MILLISECONDS
        indices = [round(float(time)) for time in times]
        metadata: dict[str, Given] = {
            "total_num_frames": indices[-1] + 1,
            "fps": MILLISECONDS,
            "frames_indices": indices,
        }
        return super().video_settings(row) | {"video_metadata": [metadata]}
