"""fVLM: every frame is one token, gathered by a query that the language model may point.

Source: the model card of sanps/fVLM-135M. DINOv2 encodes each frame once and keeps the keys and
values of every layer; a query goes through all layers, attending to them, and its last state is
the frame's token. Three modes: ``coarse_only`` (one fixed query), ``coarse_fine`` (the language
model reads the coarse tokens, and its state at a frame is the query for the next one: two
passes), ``autoregressive`` (frame by frame, each query from what was seen so far).

Frames come before the text, as in training, so a frame's token never reads the instruction; and
a still image is shown as eight frames. The network is written here from the card's description,
with names of its own: a checkpoint of these names loads, another is an error that says so.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from neon_sim.errors import CheckpointError, ConfigError
from neon_sim.schema import checked

from ..base import find_device
from ..weights.catalogue import APACHE, Published, Shape, part_of, text_shape
from ..weights.drawing import CHAT, TINY_TEXT, save, spread, tokenizer
from ..weights.find import DTYPES, find_weights, read_config
from ..weights.libraries import import_transformers
from ..weights.opening import (
    AGAIN,
    hold_numel,
    meta_numel,
    numel_of,
    opened,
    read_tensor_file,
    reading,
)
from .family import WHOLE, Built, EncodedRow, Family, Folders, Layout, equal_blocks
from .inputs import Sight, resize_frames
from .settings import BackboneConfig

if TYPE_CHECKING:
    from transformers import Dinov2Model, LlamaModel
    from transformers.models.dinov2.modeling_dinov2 import Dinov2Layer

MODES = ("coarse_only", "coarse_fine", "autoregressive")
ATTENTIONS = ("sdpa", "eager")
STILL_FRAMES = 8  # a still image in training; the model card
VISUAL_SCALE = 0.14
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
PARTS = ("vision", "text")  # subfolders with the shape of each half

KeyValues = list[tuple[Tensor, Tensor]]  # of every layer, each (N, heads, patches, head_dim)


class FoveatedVLM(nn.Module):
    """DINOv2, read out through a query, and the language model that sets the query.

    Args:
        vision: ``Dinov2Model``. language: ``LlamaModel``. visual_scale: standard deviation that
            a visual token enters the language model with.
    """

    def __init__(
        self, vision: Dinov2Model, language: LlamaModel, visual_scale: float = VISUAL_SCALE
    ) -> None:
        super().__init__()
        self.vision, self.language_model, self.visual_scale = vision, language, visual_scale
        width, dim = vision.config.hidden_size, language.config.hidden_size
        self.static_query = nn.Parameter(torch.randn(width) * 0.02)
        self.enter = nn.Linear(width, dim)
        self.point = nn.Linear(dim, width)

    def frame_memory(self, pixels: Tensor) -> KeyValues:
        """Keys and values of every layer for frames (N, 3, H, W)."""
        x = self.vision.embeddings(pixels)
        memory = []
        for layer in self.vision.encoder.layer:
            normed = layer.norm1(x)
            memory.append(
                (self._heads(layer, "k_proj", normed), self._heads(layer, "v_proj", normed))
            )
            x = layer(x)
        return memory

    def look(self, query: Tensor, memory: KeyValues) -> Tensor:
        """Visual tokens (N, D) of frames, seen with queries (N, Q)."""
        x = query.unsqueeze(1)
        eager = self.vision.config._attn_implementation == "eager"
        attend = eager_attention if eager else functional.scaled_dot_product_attention
        for layer, (keys, values) in zip(self.vision.encoder.layer, memory, strict=True):
            asked = self._heads(layer, "q_proj", layer.norm1(x))
            seen = attend(asked, keys, values)
            seen = layer.attention.o_proj(seen.transpose(1, 2).flatten(2))
            x = x + layer.layer_scale1(seen)
            x = x + layer.layer_scale2(layer.mlp(layer.norm2(x)))
        token: Tensor = self.enter(self.vision.layernorm(x)).squeeze(1)
        return token / token.std(dim=-1, keepdim=True).clamp(min=1e-6) * self.visual_scale

    def forward(self, pixels: Tensor, ids: Tensor, mode: str) -> Tensor:
        """States of the language model over frames and words.

        Args:
            pixels: (B, T, 3, H, W), normalised. ids: (B, L) words after the frames, L may be 0.
            mode: of ``MODES``.

        Returns:
            (B, T + L, D).
        """
        rows, frames = pixels.shape[:2]
        memory = self.frame_memory(pixels.flatten(0, 1))
        static = self.static_query.expand(rows * frames, -1)
        words = self.language_model.get_input_embeddings()(ids)
        if mode == "autoregressive":
            tokens = self._step_by_step(memory, rows, frames)
        else:
            tokens = torch.unflatten(self.look(static, memory), 0, (rows, frames))
        if mode == "coarse_fine":
            tokens = self._refined(tokens, memory)
        return self._read(torch.cat([tokens, words], dim=1))

    def _refined(self, coarse: Tensor, memory: KeyValues) -> Tensor:
        """Second pass over all frames; the query of each comes from the state one frame before."""
        rows, frames = coarse.shape[:2]
        pointed = self.point(self._read(coarse)[:, :-1])
        first = self.static_query.expand(rows, 1, -1)
        queries = torch.cat([first, pointed], dim=1).flatten(0, 1)
        return torch.unflatten(self.look(queries, memory), 0, (rows, frames))

    def _step_by_step(self, memory: KeyValues, rows: int, frames: int) -> Tensor:
        """Frame after frame, each query from the state after the frame before."""
        query, cache = self.static_query.expand(rows, -1), None
        tokens = []
        for frame in range(frames):
            part = [(k[frame::frames], v[frame::frames]) for k, v in memory]
            tokens.append(self.look(query, part))
            output = self.language_model(
                inputs_embeds=tokens[-1].unsqueeze(1), past_key_values=cache, use_cache=True
            )
            query, cache = self.point(output.last_hidden_state[:, -1]), output.past_key_values
        return torch.stack(tokens, dim=1)

    def _read(self, embeddings: Tensor) -> Tensor:
        output = self.language_model(inputs_embeds=embeddings, use_cache=False)
        states: Tensor = output.last_hidden_state
        return states

    @staticmethod
    def _heads(layer: Dinov2Layer, name: str, x: Tensor) -> Tensor:
        """(N, S, W) -> (N, heads, S, head_dim) through one projection of a layer."""
        attention = layer.attention
        projected: Tensor = getattr(attention, name)(x)
        return torch.unflatten(projected, -1, (-1, attention.head_dim)).transpose(1, 2)


def eager_attention(asked: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Attention (N, heads, 1, head_dim) written out, the softmax in float32."""
    scores = asked @ keys.transpose(-1, -2) * asked.shape[-1] ** -0.5
    attended: Tensor = scores.float().softmax(dim=-1).to(values.dtype) @ values
    return attended


@dataclass(frozen=True)
class OwnConfig:
    """The part of the folder's ``config.json`` that is read.

    Attributes:
        visual_scale: length of a visual token as the language model sees it.
    """

    visual_scale: float = VISUAL_SCALE


class FVLM(Family):
    """One token of the language model a frame.

    ``model_id`` is a folder with ``model.safetensors``, ``config.json`` and the subfolders
    ``vision`` and ``text`` (configs and tokenizer), or the repository's name.
    """

    TITLE = "fVLM"
    MODEL_TYPES = ("fvlm",)
    PUBLISHED = (
        Published(
            name="fvlm_135m",
            model_id="sanps/fVLM-135M",
            licence=APACHE,
            gated=False,
            image_size=224,
            shape={
                "text": text_shape(576, 30, 9, 3, 1536, 49152),
                "vision": {
                    "hidden_size": 384,
                    "num_hidden_layers": 12,
                    "num_attention_heads": 6,
                    "patch_size": 14,
                    "image_size": 518,
                },
            },
            parts={
                WHOLE: "sanps/fVLM-135M",
                "vision": "facebook/dinov2-small",
                "text": "HuggingFaceTB/SmolLM2-135M-Instruct",
            },
        ),
    )
    LAYOUT = Layout(pixels=0, frames=1, multiple=14)
    PACKS = False
    OPTIONS = ("mode",)
    TINY: ClassVar[Shape] = {
        "vision": {
            "hidden_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": 56,
            "patch_size": 14,
            "layerscale_value": 1.0,
        },
        "text": TINY_TEXT,
    }
    TINY_IMAGE_SIZE = 56
    frames_per_place = 1
    reads_before_looking = False

    def __init__(self, config: BackboneConfig, folders: Folders) -> None:
        super().__init__(config, folders)
        self.vision = self.read_config(folders["vision"])
        self.text = self.read_config(folders["text"])
        self.feature_dim = int(self.text.hidden_size)
        if config.image_size % self.vision.patch_size:
            raise ConfigError(
                f"image_size must be a multiple of {self.vision.patch_size} (got "
                f"{config.image_size})"
            )

    @classmethod
    def check_settings(cls, config: BackboneConfig) -> None:
        """Check the mode, and refuse adapters, NF4 and attention that the query cannot use.

        Raises:
            ConfigError: another setting.
        """
        super().check_settings(config)
        if config.mode not in MODES:
            raise ConfigError(f"mode must be one of {', '.join(MODES)} (got {config.mode!r})")
        if config.load_in_4bit or not config.freeze_backbone:
            setting = "load_in_4bit=true" if config.load_in_4bit else "freeze_backbone=false"
            raise ConfigError(f"fVLM is small and stays whole (got {setting}); leave it out")
        if config.attn_implementation not in ATTENTIONS:
            raise ConfigError(
                f"attn_implementation must be {' or '.join(ATTENTIONS)} for fVLM, whose query "
                f"looks at every layer (got {config.attn_implementation!r})"
            )

    @classmethod
    def find(cls, config: BackboneConfig) -> Folders:
        """Weights, and the folders that say the shapes of both halves.

        Raises:
            CheckpointError: one is not to be had.
        """
        (model,) = cls.PUBLISHED
        folder = find_weights(config.model_id, config.revision)
        if config.model_id == model.model_id:
            return {WHOLE: folder, **{part: find_weights(model.parts[part]) for part in PARTS}}
        for part in PARTS:
            if not (folder / part / "config.json").is_file():
                raise CheckpointError(
                    f"{folder} holds no {part}/config.json; copy it from the model"
                )
        return {WHOLE: folder, **{part: folder / part for part in PARTS}}

    @classmethod
    def build(cls, shape: Shape) -> Built:
        """Both halves as one network."""
        network = new_network(shape)
        return [network], network.language_model.config.hidden_size

    @classmethod
    def write_random(cls, folder: Path, shape: Shape) -> None:
        """One folder of weights, and the subfolders that say the shapes."""
        network = spread(new_network(shape))
        state = {name: value.contiguous() for name, value in network.state_dict().items()}
        save_file(state, folder / "model.safetensors")
        said = {"model_type": cls.MODEL_TYPES[0], "visual_scale": VISUAL_SCALE}
        (folder / "config.json").write_text(json.dumps(said))
        save(folder / "vision", network.vision.config)
        save(folder / "text", network.language_model.config, tokenizer(CHAT))

    def load(self) -> None:
        """Build the network and read its weights.

        Raises:
            CheckpointError: the file holds tensors of other names or shapes.
        """
        transformers = import_transformers()
        self.tokenizer = opened(transformers.AutoTokenizer, self.folders["text"])
        attention = self.config.attn_implementation
        self.vision._attn_implementation = self.text._attn_implementation = attention
        place = self.folder / "config.json"
        scale = checked(read_config(self.folder), OwnConfig, str(place), CheckpointError, AGAIN)

        def build() -> FoveatedVLM:
            vision, text = transformers.Dinov2Model(self.vision), transformers.LlamaModel(self.text)
            return FoveatedVLM(vision, text, scale.visual_scale)

        file = self.folder / "model.safetensors"
        if not file.is_file():
            found = ", ".join(sorted(path.name for path in self.folder.glob("*.safetensors")))
            raise CheckpointError(f"{file} is not there (found {found}); name the weights so")
        with reading(self.folder):
            hold_numel(meta_numel(build), numel_of(file), self.folder)
            network = build()
        try:
            network.load_state_dict(read_tensor_file(file))
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(
                f"{file} holds tensors of other names than this network's ({reason}); rename them"
            ) from error
        device = find_device(self.config.device_map, "device_map")
        network = network.to(device, DTYPES[self.config.torch_dtype])
        self.network = network.eval().requires_grad_(False)

    def pixels(self, row: Sight) -> Tensor:
        """(T, 3, H, W) normalised; a single frame is shown eight times."""
        size = self.config.image_size
        frames = resize_frames(row.frames, size, size)
        if len(frames) == 1:
            frames = np.repeat(frames, STILL_FRAMES, axis=0)
        x = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / 255.0
        mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
        return (x - mean[:, None, None]) / std[:, None, None]

    def encode_rows(self, rows: Sequence[Sight], block_rows: int | None = None) -> list[EncodedRow]:
        """Encode rows in groups of equal numbers of frames and words."""
        assert self.network is not None
        pixels = [self.pixels(row) for row in rows]
        words = [self._words(row.text) for row in rows]
        lengths = [(len(seen), len(said)) for seen, said in zip(pixels, words, strict=True)]
        done: dict[int, EncodedRow] = {}
        for block in equal_blocks(lengths, block_rows):
            seen = torch.stack([pixels[number] for number in block])
            said = torch.stack([words[number] for number in block]).to(self.device)
            seen = seen.to(self.device, next(self.network.parameters()).dtype)
            states = self.network(seen, said, self.config.mode)
            for number, hidden in zip(block, states, strict=True):
                frames = len(pixels[number])
                kept = hidden[frames - len(rows[number].frames) : frames]
                done[number] = EncodedRow(hidden, kept.unsqueeze(1))
        return [done[number] for number in range(len(rows))]

    def _words(self, text: str) -> Tensor:
        if not text:
            return torch.empty(0, dtype=torch.int64)
        ids: Tensor = self.tokenizer(text, return_tensors="pt")["input_ids"][0]
        return ids


def new_network(shape: Shape) -> FoveatedVLM:
    """The network of some shape, its weights drawn from torch's generator."""
    transformers = import_transformers()
    vision = transformers.Dinov2Config(**part_of(shape, "vision"))
    text = transformers.LlamaConfig(**part_of(shape, "text"))
    return FoveatedVLM(transformers.Dinov2Model(vision), transformers.LlamaModel(text))
