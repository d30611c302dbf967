"""Models that read pictures and words in one sequence: prompt, batch, and visual tokens.

A row is ``instruction, sound, video`` in the model's own chat format. The language models are
causal, so the video comes last: its tokens have read the instruction and heard the sound, and a
policy can use them alone. Rows whose tensors have the same shapes go through the network
together, without any padding, which is what makes a row's result independent of its batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, ClassVar, TypeAlias

import numpy as np
import torch
from torch import Tensor

from neon_sim.errors import ConfigError, require_package

from ..weights.catalogue import Shape, part_of, text_shape, whole_number
from ..weights.drawing import CHAT, save, spread, token_ids, tokenizer
from ..weights.find import INSTALL_HUB
from ..weights.libraries import import_transformers
from ..weights.opening import Json, opened
from .family import Built, EncodedRow, Family, Folders, equal_blocks
from .inputs import Sight, fitted_size, frame_interval_s, resize_frames
from .lora import attach_lora, merged_state, unwrapped
from .settings import BackboneConfig

if TYPE_CHECKING:
    from transformers import (
        PretrainedConfig,
        PreTrainedModel,
        PreTrainedTokenizerFast,
        ProcessorMixin,
    )

# An argument of a processor.
Given: TypeAlias = (
    "bool | int | float | str | np.ndarray | Sequence[Given] | Mapping[str, Given] | None"
)

QWEN_RESEARCH = "Qwen Research (non-commercial)"
START, END = "<|im_start|>", "<|im_end|>"
# Control tokens of the checkpoints whose prompts are ``IMAGE`` and ``VIDEO``, by the key of the
# config that holds their number.
VISION_IDS = {
    "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
    "image_token_id": "<|image_pad|>",
    "video_token_id": "<|video_pad|>",
}
TINY_VISION: Shape = {
    "depth": 2,
    "hidden_size": 64,
    "num_heads": 4,
    "intermediate_size": 128,
    "out_hidden_size": 64,
}


# Qwen2.5 at 3 and 7 billion parameters, and the vision tower that goes with them.
QWEN2_3B = text_shape(2048, 36, 16, 2, 11008, 151936)
QWEN2_7B = text_shape(3584, 28, 28, 4, 18944, 152064)


def qwen2_vision(out: int) -> Shape:
    """Shape of the vision tower; ``out`` is the width of the language model."""
    return {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "out_hidden_size": out}


def with_positions(text: Shape) -> Shape:
    """The shape of a language model with positions in time, height and width (M-RoPE).

    A quarter of the rotated pairs tells time, the rest height and width, as in the
    ``mrope_section`` of 16, 24 and 24 of the published models.
    """
    hidden = whole_number(text, "hidden_size")
    head = whole_number(text, "head_dim") or hidden // whole_number(text, "num_attention_heads")
    width = head // 2
    sections = [width // 4, 3 * width // 8, 3 * width // 8]
    rope: Shape = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": sections}
    return text | {"rope_parameters": rope}


class VisionLanguage(Family):
    """A vision-language model of the Qwen line.

    Attributes:
        CONFIG, NETWORK: names of its classes in transformers.
        IMAGE, VIDEO: what stands for a picture or a clip in the prompt.
        IDS: its control tokens besides those of every chat, by key of the config.
        factor: pixels of one visual token a side. processor: the checkpoint's own.

    Raises:
        ConfigError: ``image_size`` is no multiple of ``factor``.
    """

    CONFIG: ClassVar[str]
    NETWORK: ClassVar[str]
    SYSTEM: ClassVar[str] = "You are a helpful assistant."
    IMAGE: ClassVar[str] = "<|vision_start|><|image_pad|><|vision_end|>"
    VIDEO: ClassVar[str] = "<|vision_start|><|video_pad|><|vision_end|>"

    IDS: ClassVar[dict[str, str]] = VISION_IDS

    def __init__(self, config: BackboneConfig, folders: Folders) -> None:
        super().__init__(config, folders)
        self.shape = self.core_config(self.read_config())
        self.feature_dim = int(self.shape.text_config.hidden_size)
        vision = self.shape.vision_config
        self.factor = int(vision.patch_size) * int(vision.spatial_merge_size)
        self.frames_per_place = int(vision.temporal_patch_size)
        if config.image_size % self.factor:
            raise ConfigError(
                f"image_size must be a multiple of {self.factor}, the pixels of one visual token "
                f"(got {config.image_size})"
            )

    @classmethod
    def build(cls, shape: Shape) -> Built:
        """The model without its language head."""
        transformers = import_transformers()
        config = getattr(transformers, cls.CONFIG)(**shape)
        return [getattr(transformers, cls.NETWORK)(config)], config.text_config.hidden_size

    @classmethod
    def write_random(cls, folder: Path, shape: Shape) -> None:
        """One folder with processor and tokenizer."""
        transformers = import_transformers()
        words = cls.tokenizer()
        filled = shape | {"text_config": with_positions(part_of(shape, "text_config"))}
        config = getattr(transformers, cls.CONFIG)(**filled, **token_ids(words, cls.IDS))
        network = spread(getattr(transformers, cls.NETWORK)(config))
        save(folder, network, cls.new_processor(words))

    @classmethod
    def tokenizer(cls) -> PreTrainedTokenizerFast:
        """A small tokenizer with the control tokens."""
        return tokenizer((*CHAT, *cls.IDS.values()))

    @classmethod
    def new_processor(cls, words: PreTrainedTokenizerFast) -> ProcessorMixin:
        """A processor around a tokenizer."""
        raise NotImplementedError

    def core_config(self, config: PretrainedConfig) -> PretrainedConfig:
        """The part of the config that holds text and vision."""
        return config

    def tokens_per_place(self) -> int:
        """P, visual tokens of two frames."""
        return (self.config.image_size // self.factor) ** 2

    def loader(self, transformers: ModuleType) -> type[PreTrainedModel]:
        """The class of the network without its language head."""
        kind: type[PreTrainedModel] = transformers.AutoModel
        return kind

    def load(self) -> None:
        """Read processor and weights, and attach adapters when they are to be trained."""
        transformers = import_transformers()
        self.processor = opened(transformers.AutoProcessor, self.folder)
        self.network = self.from_pretrained(self.loader(transformers))
        self.special = sorted(self.processor.tokenizer.get_added_vocab())
        if not self.config.freeze_backbone:
            self.network = attach_lora(
                self.network, self.LORA_TARGETS, self.config.lora_r, self.config.lora_alpha
            )

    def save(self, folder: Path) -> None:
        """Config, processor and merged weights; see ``VideoBackbone.save``."""
        hub = require_package("huggingface_hub", why="Saving a model", install=INSTALL_HUB)
        assert self.network is not None
        core = unwrapped(self.network)
        config = deepcopy(core.config)
        config.architectures = [type(core).__name__]
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        folder.mkdir(parents=True, exist_ok=True)
        hub.save_torch_state_dict(merged_state(core), folder)
        self.processor.save_pretrained(folder)
        config.save_pretrained(folder)

    # ---- one row ------------------------------------------------------------------------

    def prompt(self, row: Sight) -> str:
        """The chat turn of one row, placeholders not yet expanded.

        Raises:
            ConfigError: the instruction holds a control token.
        """
        used = [word for word in self.special if word in row.text]
        if used:
            raise ConfigError(
                f"text must not hold a control token of the model (got {used[0]!r}); leave it out"
            )
        sight = self.IMAGE if row.is_image else self.VIDEO
        said = f"{row.text}{self.sound(row)}{sight}"
        system = f"{START}system\n{self.SYSTEM}{END}\n"
        return f"{system}{START}user\n{said}{END}\n{START}assistant\n"

    def identity(self) -> dict[str, Json]:
        """The prompt around an instruction."""
        return {"prompt": [START, END, self.SYSTEM, self.IMAGE, self.VIDEO]}

    def sound(self, row: Sight) -> str:
        """The placeholder of the sound in the prompt; empty where there is none."""
        del row
        return ""

    def process(self, row: Sight) -> dict[str, Tensor]:
        """Tensors of one row as the network takes them, without a padded place."""
        _, high, wide, _ = row.frames.shape
        height, width = fitted_size(high, wide, self.config.image_size, self.factor)
        frames = resize_frames(row.frames, height, width)
        seen: dict[str, Given] = {}
        if row.is_image:
            seen = {"images": [frames[0]], "images_kwargs": {"do_resize": False}}
        else:
            seen = {"videos": [frames], "videos_kwargs": self.video_settings(row)}
        made = self.processor(
            text=[self.prompt(row)], return_tensors="pt", **seen, **self.heard(row)
        )
        kept = {name: torch.as_tensor(value) for name, value in made.items()}
        return kept | self.timed(row)

    def video_settings(self, row: Sight) -> dict[str, Given]:
        """Arguments of the video processor, which keep every frame at its own time."""
        fps = 1.0 / frame_interval_s(row.time_s, self.config.fps)
        count = len(row.frames)
        return {
            "do_resize": False,
            "do_sample_frames": False,
            "cap_pixels_per_frame": False,
            "video_metadata": [
                {"total_num_frames": count, "fps": fps, "frames_indices": list(range(count))}
            ],
        }

    def heard(self, row: Sight) -> dict[str, Given]:
        """Arguments of the processor for sound."""
        del row
        return {}

    def timed(self, row: Sight) -> dict[str, Tensor]:
        """Tensors about time that replace wrong ones of the processor."""
        del row
        return {}

    # ---- many rows ----------------------------------------------------------------------

    def encode_rows(self, rows: Sequence[Sight], block_rows: int | None = None) -> list[EncodedRow]:
        """Encode rows in groups of equal shapes."""
        made = [self.process(row) for row in rows]
        shapes = [
            tuple(sorted((name, tuple(value.shape)) for name, value in tensors.items()))
            for tensors in made
        ]
        done: dict[int, EncodedRow] = {}
        for block in equal_blocks(shapes, block_rows):
            hidden, ids = self._forward([made[number] for number in block])
            for number, states, tokens in zip(block, hidden, ids, strict=True):
                done[number] = EncodedRow(states, self._places(rows[number], states, tokens))
        return [done[number] for number in range(len(rows))]

    def _forward(self, made: list[dict[str, Tensor]]) -> tuple[Tensor, Tensor]:
        assert self.network is not None
        batch = {name: torch.cat([row[name] for row in made]).to(self.device) for name in made[0]}
        output = self.network(**batch, use_cache=False)
        return output.last_hidden_state, batch["input_ids"]

    def _places(self, row: Sight, hidden: Tensor, ids: Tensor) -> Tensor:
        """(F, P, D): the visual tokens of one row."""
        word = self.processor.image_token if row.is_image else self.processor.video_token
        wanted = self.processor.tokenizer.convert_tokens_to_ids(word)
        visual = hidden[ids == wanted]
        return torch.unflatten(visual, 0, (self.places(len(row.frames)), -1))
