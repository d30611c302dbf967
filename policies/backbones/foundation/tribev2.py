"""TRIBEv2's shape: one encoder a modality, projected, joined, and fused by a transformer over time.

V-JEPA 2 (video), w2v-BERT 2.0 (sound) and Llama 3.2 (text) are projected to 384 each, joined to
1152 and run through eight self-attention layers over the places in time. A modality that is
absent, or dropped in training (0.3), is a learned mask token: never a crash, and never a
narrower join. Every modality is brought to the places in time before the join: sound by the
times of the clip, words to every place. None is ever cut off by a longer one.

The fusion here has the published shape and names of its own; it does not read the official
checkpoint. Its weights are a safetensors file (``backbone.fusion=/path``), or, asked for by
name, ``backbone.fusion=untrained``: a fixed random fusion, which passes the encoders on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from neon_sim.errors import CheckpointError, ConfigError

from ..weights.catalogue import Published, Shape, part_of, text_shape, whole_number
from ..weights.drawing import CHAT, TINY_ENCODER, TINY_TEXT, save, spread, tokenizer
from ..weights.find import file_hash, find_weights, refuse_pickles
from ..weights.libraries import import_transformers
from ..weights.opening import (
    AGAIN,
    Json,
    hold_numel,
    meta_numel,
    numel_of,
    opened,
    read_tensor_file,
    reading_tensors,
)
from ..weights.sources import UNTRAINED
from .family import WHOLE, Built, EncodedRow, Family, Folders, Layout, equal_blocks
from .inputs import AUDIO_HZ, Sight, frame_times_s
from .settings import BackboneConfig
from .vjepa2 import VJEPA2

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PARTS = ("video", "audio", "text")
UNTRAINED_SEED = 0
MAX_PLACES = 512


@dataclass(frozen=True)
class FusionShape:
    """Widths of the fusion.

    Attributes:
        video, audio, text: hidden sizes of the encoders.
        width: of each projection. layers, heads: of the transformer. dropout: of modalities.
    """

    video: int
    audio: int
    text: int
    width: int = 384
    layers: int = 8
    heads: int = 8
    dropout: float = 0.3

    @property
    def dim(self) -> int:
        """Width of the joined token, 1152."""
        return len(PARTS) * self.width


class Fusion(nn.Module):
    """Projections, mask tokens, places in time and the transformer."""

    def __init__(self, shape: FusionShape) -> None:
        super().__init__()
        self.shape = shape
        self.project = nn.ModuleDict({p: nn.Linear(getattr(shape, p), shape.width) for p in PARTS})
        self.absent = nn.ParameterDict(
            {p: nn.Parameter(torch.randn(shape.width) * 0.02) for p in PARTS}
        )
        self.age = nn.Parameter(torch.randn(MAX_PLACES, shape.dim) * 0.02)
        layer = nn.TransformerEncoderLayer(
            shape.dim, shape.heads, 4 * shape.dim, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, shape.layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(shape.dim)

    def forward(
        self, features: dict[str, Tensor | None], places: int, heard: Tensor | None = None
    ) -> Tensor:
        """Fuse the modalities that are present.

        Args:
            features: by modality (B, F, D_m), or None where it is absent for all rows.
            places: F; places are counted back from the newest, so that it is always the same.
            heard: (B, F) bool, places that have sound; all of them by default.

        Returns:
            (B, F, 1152).
        """
        rows = next(len(value) for value in features.values() if value is not None)
        there = {"audio": heard}
        joined = [self._part(name, features[name], rows, places, there.get(name)) for name in PARTS]
        hidden = torch.cat(joined, dim=2) + self.age[:places].flip(0)
        fused: Tensor = self.norm(self.layers(hidden))
        return fused

    def _part(
        self,
        name: str,
        value: Tensor | None,
        rows: int,
        places: int,
        there: Tensor | None = None,
    ) -> Tensor:
        stand_in: Tensor = self.absent[name].expand(rows, places, -1)
        if value is None:
            return stand_in
        projected: Tensor = self.project[name](value)
        if there is not None:
            projected = torch.where(there.unsqueeze(2), projected, stand_in)
        if not self.training:
            return projected
        dropped = torch.rand(rows, 1, 1, device=projected.device) < self.shape.dropout
        return torch.where(dropped, stand_in, projected)


class TribeV2(Family):
    """Three frozen encoders and the fusion; one token of 1152 a place (two frames).

    ``model_id`` is a folder with the subfolders ``video``, ``audio`` and ``text`` (and perhaps
    ``fusion.safetensors``), or the repository's name: then each encoder comes from its own.
    """

    TITLE = "TRIBEv2"
    MODEL_TYPES = ("tribev2",)
    PUBLISHED = (
        Published(
            name="tribev2",
            model_id="facebook/tribev2",
            licence="CC-BY-NC-4.0 (Llama 3.2 Community for its text encoder)",
            gated=True,
            image_size=256,
            shape={
                "video": {
                    "hidden_size": 1408,
                    "num_hidden_layers": 40,
                    "num_attention_heads": 22,
                    "mlp_ratio": 48 / 11,
                },
                "text": text_shape(3072, 28, 24, 8, 8192, 128256) | {"head_dim": 128},
            },
            parts={
                "video": "facebook/vjepa2-vitg-fpc64-256",
                "audio": "facebook/w2v-bert-2.0",
                "text": "meta-llama/Llama-3.2-3B",
            },
            gated_parts=("meta-llama/Llama-3.2-3B",),
            also="Its fusion has to be named: backbone.fusion=untrained (fixed and random, it "
            "passes the encoders on) or backbone.fusion=/path/fusion.safetensors",
        ),
    )
    LAYOUT = Layout(pixels=0)
    TINY: ClassVar[Shape] = {
        "video": VJEPA2.TINY,
        "audio": TINY_ENCODER,
        "text": TINY_TEXT,
        "fusion": {"width": 16, "layers": 2},
    }
    TINY_IMAGE_SIZE = VJEPA2.TINY_IMAGE_SIZE
    SIZE_KEYS = ("video", *VJEPA2.SIZE_KEYS)
    OPTIONS = ("fusion",)
    KEPT_OUT_OF_4BIT = ("lm_head",)
    UNUSED = ("masked_spec_embed",)  # of w2v-BERT, in training alone
    needs_sight = False
    hears = True

    def __init__(self, config: BackboneConfig, folders: Folders) -> None:
        super().__init__(config, folders)
        self.fusion_file = fusion_file(config)
        seen = replace(config, load_in_4bit=False, fusion=None)
        self.video = VJEPA2(seen, {WHOLE: folders["video"]})
        self.frames_per_place = self.video.frames_per_place
        widths = {part: int(self.read_config(folders[part]).hidden_size) for part in PARTS}
        self.shape = fusion_shape(self.fusion_file, widths)
        self.feature_dim = self.shape.dim

    @classmethod
    def check_settings(cls, config: BackboneConfig) -> None:
        """Refuse tuning: the encoders stay frozen.

        Raises:
            ConfigError: ``freeze_backbone=false``, or a setting of another family.
        """
        super().check_settings(config)
        if not config.freeze_backbone:
            raise ConfigError(
                "freeze_backbone must be true for TRIBEv2 (got false): its encoders are never "
                "tuned; leave it out"
            )

    @classmethod
    def claims(cls, folder: Path) -> bool:
        """A folder with an encoder of video in it."""
        return (folder / "video" / "config.json").is_file()

    @classmethod
    def find(cls, config: BackboneConfig) -> Folders:
        """The folder of each encoder.

        Raises:
            ConfigError: no fusion is named; found out before gigabytes are downloaded.
            CheckpointError: an encoder or the fusion is not to be had.
        """
        fusion_file(config)
        folder = Path(config.model_id).expanduser()
        if folder.is_dir():
            return {part: find_weights(str(folder / part)) for part in PARTS}
        (model,) = cls.PUBLISHED
        if config.model_id != model.model_id:
            raise CheckpointError(
                f"model_id={config.model_id!r} must be {model.model_id} or a folder with the "
                f"subfolders {', '.join(PARTS)}"
            )
        return {part: find_weights(model.parts[part], config.revision) for part in PARTS}

    @classmethod
    def build(cls, shape: Shape) -> Built:
        """Three encoders and the fusion."""
        transformers = import_transformers()
        (video,), video_width = VJEPA2.build(part_of(shape, "video"))
        audio = transformers.Wav2Vec2BertConfig(**part_of(shape, "audio"))
        text = transformers.LlamaConfig(**part_of(shape, "text"))
        fusion = Fusion(FusionShape(video_width, audio.hidden_size, text.hidden_size))
        heard, read = transformers.Wav2Vec2BertModel(audio), transformers.LlamaModel(text)
        return [video, heard, read, fusion], fusion.shape.dim

    @classmethod
    def write_random(cls, folder: Path, shape: Shape) -> None:
        """A folder for each encoder, and the fusion beside them."""
        t = import_transformers()
        audio = t.Wav2Vec2BertConfig(**part_of(shape, "audio"))
        text = t.LlamaConfig(**part_of(shape, "text"))
        VJEPA2.write_random(folder / "video", part_of(shape, "video"))
        heard = spread(t.Wav2Vec2BertModel(audio))
        save(folder / "audio", heard, t.SeamlessM4TFeatureExtractor())
        save(folder / "text", spread(t.LlamaModel(text)), tokenizer(CHAT))
        sizes = part_of(shape, "fusion")
        fusion = FusionShape(
            VJEPA2.new_config(part_of(shape, "video")).hidden_size,
            audio.hidden_size,
            text.hidden_size,
            width=whole_number(sizes, "width", FusionShape.width),
            layers=whole_number(sizes, "layers", FusionShape.layers),
        )
        save_fusion(spread(Fusion(fusion)), folder / "fusion.safetensors")

    def identity(self) -> dict[str, Json]:
        """The hash of the fusion's weights, and how sound is assigned to places in time."""
        file = self.fusion_file
        return {"fusion": UNTRAINED if file is None else file_hash(file), "sound": "by time"}

    def load(self) -> None:
        """Read three encoders and the fusion."""
        transformers = import_transformers()
        self.video.load()
        self.network = self.video.network
        audio, text = self.folders["audio"], self.folders["text"]
        self.ears = self._encoder(transformers.Wav2Vec2BertModel, audio, quantised=False)
        self.reader = self._encoder(transformers.AutoModel, text, quantised=True)
        self.cutter = opened(transformers.AutoFeatureExtractor, audio)
        self.tokenizer = opened(transformers.AutoTokenizer, text)
        self.fusion = read_fusion(self.shape, self.fusion_file).to(self.device)

    def _encoder(
        self, loader: type[PreTrainedModel], folder: Path, quantised: bool
    ) -> PreTrainedModel:
        settings = self.config
        if not quantised:
            self.config = replace(settings, load_in_4bit=False)
        try:
            return self.from_pretrained(loader, folder)
        finally:
            self.config = settings

    def encode_rows(self, rows: Sequence[Sight], block_rows: int | None = None) -> list[EncodedRow]:
        """Encode each modality on its own, then fuse; rows of equal lengths go together."""
        clips = [self._clip(row) for row in rows]
        seen = self._see(clips, block_rows)
        sounds = self._hear(clips, block_rows)
        words = self._read([row.text for row in rows], block_rows)
        kinds = [
            (len(clip.time_s) // self.frames_per_place, n in seen, n in sounds, n in words)
            for n, clip in enumerate(clips)
        ]
        done: dict[int, EncodedRow] = {}
        for block in equal_blocks(kinds, block_rows):
            places, sees, hears, reads = kinds[block[0]]
            video = torch.stack([seen[n] for n in block]) if sees else None
            audio = torch.stack([sounds[n][0] for n in block]) if hears else None
            heard = torch.stack([sounds[n][1] for n in block]) if hears else None
            text = torch.stack([words[n].expand(places, -1) for n in block]) if reads else None
            features = {"video": video, "audio": audio, "text": text}
            for number, hidden in zip(block, self.fusion(features, places, heard), strict=True):
                done[number] = EncodedRow(hidden, hidden.unsqueeze(1))
        return [done[number] for number in range(len(rows))]

    def _clip(self, row: Sight) -> Sight:
        """Fill up the row to whole places in time, also where it has no frames."""
        if len(row.frames):
            return self.video.aligned(replace(row, is_image=False))
        spare = -len(row.time_s) % self.frames_per_place
        return replace(row, time_s=np.concatenate([np.repeat(row.time_s[:1], spare), row.time_s]))

    def _see(self, clips: Sequence[Sight], block_rows: int | None) -> dict[int, Tensor]:
        """Video by place (F, D) of the rows that have frames."""
        numbers = [number for number, clip in enumerate(clips) if len(clip.frames)]
        rows = self.video.encode_rows([clips[number] for number in numbers], block_rows)
        means = [row.places.float().mean(dim=1) for row in rows]
        return dict(zip(numbers, means, strict=True))

    def _hear(
        self, clips: Sequence[Sight], block_rows: int | None
    ) -> dict[int, tuple[Tensor, Tensor]]:
        """Sound by place (F, D), and where there is some (F,), of the rows that have sound."""
        sounds = {number: row.audio for number, row in enumerate(clips) if row.audio is not None}
        numbers = list(sounds)
        found = {}
        for block in equal_blocks([len(sounds[number]) for number in numbers], block_rows):
            rows = [numbers[i] for i in block]
            made = [
                self.cutter(sounds[n], sampling_rate=AUDIO_HZ, return_tensors="pt") for n in rows
            ]
            batch = {k: torch.cat([row[k] for row in made]).to(self.device) for k in made[0]}
            batch["input_features"] = batch["input_features"].to(self.ears.dtype)
            heard = self.ears(**batch).last_hidden_state.float()
            for number, tokens in zip(rows, heard, strict=True):
                ends = place_ends_s(clips[number], self.frames_per_place, self.config.fps)
                found[number] = by_place(tokens, len(sounds[number]) / AUDIO_HZ, ends)
        return found

    def _read(self, texts: Sequence[str], block_rows: int | None) -> dict[int, Tensor]:
        """The mean (D,) of the instruction's tokens of the rows that have one, each read once."""
        said = sorted({text for text in texts if text})
        ids = [self.tokenizer(text, return_tensors="pt")["input_ids"] for text in said]
        read: dict[str, Tensor] = {}
        for block in equal_blocks([value.shape[1] for value in ids], block_rows):
            batch = torch.cat([ids[i] for i in block]).to(self.device)
            words = self.reader(input_ids=batch, use_cache=False).last_hidden_state.float()
            read |= {said[i]: mean for i, mean in zip(block, words.mean(dim=1), strict=True)}
        return {number: read[text] for number, text in enumerate(texts) if text}


def place_ends_s(row: Sight, frames_per_place: int, fps: float) -> np.ndarray:
    """Seconds before the clip's end at which each place in time ends: (F,), <= 0, the last 0."""
    times = frame_times_s(row.time_s, fps)[frames_per_place - 1 :: frames_per_place]
    since_last: np.ndarray = times - times[-1]
    return since_last


def by_place(tokens: Tensor, length_s: float, ends_s: np.ndarray) -> tuple[Tensor, Tensor]:
    """Means of sound tokens over the places in time in which they were heard.

    Sound ends with the clip. What is older than the clip counts to its oldest place, so that
    none is cut off; a place that was over before the sound began has none.

    Args:
        tokens: (N, D), evenly spread over the sound. length_s: of the sound.
        ends_s: (F,) see ``place_ends_s``.

    Returns:
        (F, D), zero where a place has no sound, and (F,) bool, whether it has some.
    """
    count = len(tokens)
    heard_s = (np.arange(count) + 0.5 - count) * length_s / count
    owner = torch.from_numpy(np.searchsorted(ends_s[:-1], heard_s)).to(tokens.device)
    share = functional.one_hot(owner, len(ends_s)).T.to(tokens.dtype)
    total = share.sum(dim=1)
    return share @ tokens / total.clamp(min=1.0).unsqueeze(1), total > 0


def fusion_file(config: BackboneConfig) -> Path | None:
    """The file of the fusion's weights; None for the untrained one that was asked for.

    Raises:
        ConfigError: nothing was asked for. CheckpointError: no such file, or a pickle.
    """
    own = Path(config.model_id).expanduser() / "fusion.safetensors"
    if config.fusion is None and own.is_file():
        return own
    if config.fusion == UNTRAINED:
        return None
    if config.fusion is None:
        if own.with_suffix(".pt").is_file():
            refuse_pickles(own.with_suffix(".pt"))
        raise ConfigError(
            "TRIBEv2 needs the weights of its fusion: backbone.fusion=/path/fusion.safetensors, or "
            f"backbone.fusion={UNTRAINED} for a fixed random one that passes the encoders on"
        )
    file = Path(config.fusion).expanduser()
    if file.is_file():
        refuse_pickles(file)
    if file.suffix != ".safetensors" or not file.is_file():
        raise CheckpointError(f"backbone.fusion={config.fusion}: no such *.safetensors file")
    return file


def save_fusion(fusion: Fusion, file: Path) -> None:
    """Write the tensors of a fusion; the metadata of the file hold its width and depth."""
    sizes = {name: str(getattr(fusion.shape, name)) for name in ("width", "layers", "heads")}
    save_file(fusion.state_dict(), file, metadata=sizes)


def fusion_shape(file: Path | None, encoders: dict[str, int]) -> FusionShape:
    """The published shape, or that of a file of ``save_fusion``.

    Raises:
        CheckpointError: the file is damaged, or says what is no shape.
    """
    if file is None:
        return FusionShape(**encoders)
    with reading_tensors(file), safe_open(str(file), "pt") as tensors:
        said = tensors.metadata() or {}
        sizes = {name: int(said[name]) for name in ("width", "layers", "heads") if name in said}
    shape = FusionShape(**encoders, **sizes)
    beyond = {name: size for name, size in sizes.items() if not 1 <= size <= 2**16}
    if beyond or shape.dim % shape.heads:
        raise CheckpointError(
            f"{file} says it is of {beyond or sizes}, which is no fusion: each at least 1, and "
            f"heads a divisor of 3 x width; {AGAIN}"
        )
    return shape


def read_fusion(shape: FusionShape, file: Path | None) -> Fusion:
    """The frozen fusion, from a file or from a fixed seed.

    Raises:
        CheckpointError: the file holds other tensors, or NaN.
    """
    if file is not None:
        hold_numel(meta_numel(lambda: Fusion(shape)), numel_of(file), file)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(UNTRAINED_SEED)
        fusion = Fusion(shape)
    if file is not None:
        try:
            fusion.load_state_dict(read_tensor_file(file))
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(f"{file} is no fusion of this shape ({reason})") from error
    return fusion.eval().requires_grad_(False)
