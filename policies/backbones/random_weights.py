"""Checkpoints with random weights: any family, tiny or as large as the published model.

They are folders like a published one (config, processor, tokenizer, safetensors) and are loaded by
the user's own path. Tiny ones let the whole way from demonstrations to a report be tried where
there is no hub, and are what the tests load; published sizes have the real cost in time and memory
(``neon_sim.benchmarks.perf.foundation``). Only what they say means nothing::

    python -m neon_sim.policies.backbones.random_weights qwen_omni_3b FOLDER
"""

from __future__ import annotations

import gc
import json
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from neon_sim.command import Parser, entry_point
from neon_sim.errors import ConfigError
from neon_sim.files import hold_folder
from neon_sim.observation.clips import ClipConfig
from neon_sim.rules import option

from .counting import size_of
from .foundation.inputs import AUDIO_HZ, Sight
from .foundation.on_the_bench import backbone_config
from .foundation.video_backbone import VideoBackbone
from .random_shapes import ONE_SIZE, TINY, Shape, sized, with_positions
from .weights.catalogue import CATALOGUE, LAYOUTS, HubModel, hub_model
from .weights.find import DTYPES
from .weights.libraries import import_transformers
from .weights.sources import RANDOM_MARK

SPECIAL = {
    "qwen_vl": ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"),
    "qwen_omni": (
        *("<|vision_bos|>", "<|vision_eos|>", "<|IMAGE|>", "<|VIDEO|>"),
        *("<|audio_bos|>", "<|audio_eos|>", "<|AUDIO|>"),
    ),
}
CHAT = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
VL_IDS = {
    "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
    "image_token_id": "<|image_pad|>",
    "video_token_id": "<|video_pad|>",
}
OMNI_IDS = {
    "vision_start_token_id": "<|vision_bos|>",
    "vision_end_token_id": "<|vision_eos|>",
    "audio_start_token_id": "<|audio_bos|>",
    "audio_end_token_id": "<|audio_eos|>",
    "image_token_index": "<|IMAGE|>",
    "video_token_index": "<|VIDEO|>",
    "audio_token_index": "<|AUDIO|>",
}
OMNI_NAMES = {
    "image_token": "<|IMAGE|>",
    "audio_token": "<|AUDIO|>",
    "video_token": "<|VIDEO|>",
    "vision_bos_token": "<|vision_bos|>",
    "vision_eos_token": "<|vision_eos|>",
    "audio_bos_token": "<|audio_bos|>",
    "audio_eos_token": "<|audio_eos|>",
}
WORDS = "catch the moving ball, touch the red post, put the green block into the bowl. 0.123456789"


@lru_cache(maxsize=8)
def tokenizer(special: tuple[str, ...], names: tuple[tuple[str, str], ...] = ()) -> Any:
    """A byte-level BPE of 400 entries with the special tokens of a family."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator([WORDS] * 4, trainer)
    return import_transformers().PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(special),
        extra_special_tokens=dict(names),
    )


def spread(network: Any, seed: int = 0) -> Any:
    """Draw weights that make a random network react to all of its inputs."""
    generators: dict[torch.device, torch.Generator] = {}
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                place = parameter.device
                if place not in generators:
                    generators[place] = torch.Generator(place).manual_seed(seed)
                values = torch.empty_like(parameter).normal_(generator=generators[place])
                parameter.copy_(values.mul_(min(parameter[0].numel() ** -0.5 * 1.5, 0.5)))
    return network


def _ids(words: Any, names: dict[str, str]) -> dict[str, int]:
    return {key: words.convert_tokens_to_ids(token) for key, token in names.items()}


def _save(folder: Path, network: Any, *more: Any) -> Path:
    for part in (network, *more):
        part.save_pretrained(folder)
    return folder


def _qwen_vl(folder: Path, shape: Shape) -> Path:
    t = import_transformers()
    words = tokenizer((*CHAT, *SPECIAL["qwen_vl"]))
    config = t.Qwen2_5_VLConfig(
        text_config=with_positions(shape["text_config"]),
        vision_config=shape["vision_config"] | {"tokens_per_second": 2},
        **_ids(words, VL_IDS),
    )
    processor = t.Qwen2_5_VLProcessor(
        t.Qwen2VLImageProcessor(), words, t.Qwen2VLVideoProcessor(), chat_template="-"
    )
    return _save(folder, spread(t.Qwen2_5_VLModel(config)), processor)


def _qwen_omni(folder: Path, shape: Shape) -> Path:
    """The thinker."""
    t = import_transformers()
    words = tokenizer((*CHAT, *SPECIAL["qwen_omni"]), tuple(OMNI_NAMES.items()))
    config = t.Qwen2_5OmniThinkerConfig(
        text_config=with_positions(shape["text_config"]),
        vision_config=shape["vision_config"],
        audio_config=shape["audio_config"],
        **_ids(words, OMNI_IDS),
    )
    processor = t.Qwen2_5OmniProcessor(
        t.Qwen2VLImageProcessor(),
        t.Qwen2VLVideoProcessor(),
        t.WhisperFeatureExtractor(feature_size=128),
        words,
        chat_template="-",
    )
    return _save(folder, spread(t.Qwen2_5OmniThinkerModel(config)), processor)


def _qwen3_vl(folder: Path, shape: Shape) -> Path:
    """The architecture of Cosmos-Reason2."""
    t = import_transformers()
    words = tokenizer((*CHAT, *SPECIAL["qwen_vl"]))
    config = t.Qwen3VLConfig(
        text_config=with_positions(shape["text_config"]),
        vision_config=shape["vision_config"],
        **_ids(words, VL_IDS),
    )
    processor = t.Qwen3VLProcessor(
        t.Qwen2VLImageProcessor(patch_size=16), words, t.Qwen3VLVideoProcessor(), chat_template="-"
    )
    return _save(folder, spread(t.Qwen3VLModel(config)), processor)


def _vjepa2(folder: Path, shape: Shape) -> Path:
    t = import_transformers()
    config = t.VJEPA2Config(**shape)
    processor = t.VJEPA2VideoProcessor(crop_size=config.crop_size)
    return _save(folder, spread(t.VJEPA2Model(config)), processor)


def _videomae(folder: Path, shape: Shape) -> Path:
    t = import_transformers()
    config = t.VideoMAEConfig(**shape)
    size = config.image_size
    processor = t.VideoMAEVideoProcessor(size={"shortest_edge": size}, crop_size=size)
    return _save(folder, spread(t.VideoMAEModel(config)), processor)


def _tribev2(folder: Path, shape: Shape) -> Path:
    """Three encoders, each in a folder of its own, and ``fusion.safetensors``."""
    from .foundation.tribev2 import Fusion, FusionShape, save_fusion

    t = import_transformers()
    video = t.VJEPA2Config(**shape["video"])
    audio = t.Wav2Vec2BertConfig(**shape.get("audio", {}))
    text = t.LlamaConfig(**shape["text"])
    _vjepa2(folder / "video", shape["video"])
    cutter = t.SeamlessM4TFeatureExtractor()
    _save(folder / "audio", spread(t.Wav2Vec2BertModel(audio)), cutter)
    _save(folder / "text", spread(t.LlamaModel(text)), tokenizer(CHAT))
    widths = (video.hidden_size, audio.hidden_size, text.hidden_size)
    fusion = Fusion(FusionShape(*widths, **shape.get("fusion", {})))
    save_fusion(spread(fusion), folder / "fusion.safetensors")
    return folder


def _fvlm(folder: Path, shape: Shape) -> Path:
    """The network of this project over DINOv2 and Llama."""
    from safetensors.torch import save_file

    from .foundation.fvlm import VISUAL_SCALE, FoveatedVLM

    t = import_transformers()
    vision, text = t.Dinov2Config(**shape["vision"]), t.LlamaConfig(**shape["text"])
    network = spread(FoveatedVLM(t.Dinov2Model(vision), t.LlamaModel(text)))
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    save_file(state, folder / "model.safetensors")
    config = {"model_type": "fvlm", "visual_scale": VISUAL_SCALE}
    (folder / "config.json").write_text(json.dumps(config))
    _save(folder / "vision", vision)
    return _save(folder / "text", text, tokenizer(CHAT)).parent


MAKERS: dict[str, Callable[[Path, Shape], Path]] = {
    "qwen_vl": _qwen_vl,
    "qwen_omni": _qwen_omni,
    "qwen3_vl": _qwen3_vl,
    "vjepa2": _vjepa2,
    "videomae": _videomae,
    "tribev2": _tribev2,
    "fvlm": _fvlm,
}


@contextmanager
def _made_in(dtype: torch.dtype, device: str) -> Iterator[None]:
    """New tensors are of that type and place, and the same whatever was drawn before."""
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(dtype)
        with torch.random.fork_rng(devices=[]), torch.device(device):
            torch.manual_seed(0)
            yield
    finally:
        torch.set_default_dtype(before)


def make_tiny(family: str, folder: Path, image_size: int = 0) -> Path:
    """Write a tiny checkpoint of a family (float32, hidden size 64, two layers, about 1 MB).

    Args:
        family: of ``MAKERS``. folder: new or empty. image_size: of a family that takes one size
            alone, a multiple of 16; that of ``TINY_IMAGE_SIZES`` when 0.
    """
    shape = TINY[family]
    if image_size and family in ONE_SIZE:
        shape = sized(shape, ONE_SIZE[family], image_size)
    with _made_in(torch.float32, "cpu"):
        return _make(family, folder, shape)


def _make(family: str, folder: Path, shape: Shape) -> Path:
    """Write one, and beside it what a report will say of it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RANDOM_MARK).write_text("drawn, not trained: what it scores says nothing\n")
    return MAKERS[family](folder, shape)


def make_published(
    row: HubModel, folder: Path, dtype: torch.dtype = torch.bfloat16, device: str = "cpu"
) -> Path:
    """Write a checkpoint of a catalogue row's published shape; gigabytes, see ``sizes``.

    Args:
        row: of the catalogue. folder: new or empty. dtype: of the weights on disk. device: where
            they are drawn.
    """
    with _made_in(dtype, device):
        return _make(row.family, folder, row.shape)


class RandomModel:
    """A foundation model of the published size with random weights, opened as users open one.

    Time and memory do not depend on what weights say, so this is what a look costs.

    Args:
        name: of the catalogue. folder: for the checkpoint, see ``make_published``.
        device: ``cuda`` (in bf16) or ``cpu`` (in float32).

    Raises:
        UnknownNameError: no such model.
    """

    def __init__(self, name: str, folder: Path, device: str) -> None:
        self.row, self.device = hub_model(name), device
        dtype = "bfloat16" if device == "cuda" else "float32"
        self.settings: dict[str, Any] = {
            "model_id": str(make_published(self.row, folder, DTYPES[dtype], device)),
            "device_map": device,
            "torch_dtype": dtype,
        }
        if self.row.family == "tribev2":
            self.settings["fusion"] = str(folder / "fusion.safetensors")
        self.model: VideoBackbone | None = None

    def open(self, packed: bool) -> None:
        """Load it, in NF4 where ``packed``; what was open is let go first."""
        self.model = None
        gc.collect()
        if self.device == "cuda":
            torch.cuda.empty_cache()
        settings = self.settings | {"load_in_4bit": packed}
        self.model = VideoBackbone(backbone_config(self.row.name, settings))
        self.model.load()

    def look(self, num_frames: int, rows: int) -> Callable[[], None]:
        """A call that encodes ``rows`` clips of noise, with words and a second of sound where the
        model reads and hears, and waits for the result."""
        model = self.model
        assert model is not None
        assert model.family is not None
        family, rng, size = model.family, np.random.default_rng(0), model.config.image_size
        sights = [
            Sight(
                frames=rng.integers(0, 256, (num_frames, size, size, 3), dtype=np.uint8),
                time_s=np.arange(num_frames) / model.config.fps,
                text="catch the moving ball" if family.reads else "",
                audio=rng.normal(0, 0.1, AUDIO_HZ).astype(np.float32) if family.hears else None,
            )
            for _ in range(rows)
        ]

        def encode() -> None:
            with torch.inference_mode():
                model.encode_sights(sights)
            if self.device == "cuda":
                torch.cuda.synchronize()

        return encode


def foundation_gb() -> dict[str, tuple[float, bool]]:
    """Of every foundation model: GB of its weights in bf16, and whether NF4 packs any."""
    sizes = {name: size_of(name) for name in CATALOGUE}
    return {name: (size.bf16_gb, size.linear > 0) for name, size in sizes.items()}


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(
        prog="python -m neon_sim.policies.backbones.random_weights",
        description="Write a checkpoint with random weights, to try a policy without the hub.",
    )
    parser.add_argument("name", type=option(str), help=f"backbone: {', '.join(CATALOGUE)}")
    parser.add_argument("folder", type=option(Path), help="new or empty folder for the checkpoint")
    parser.add_argument(
        "--published", action="store_true", help="the published size (bf16), in place of 1 MB"
    )
    return parser


@entry_point("random_weights", "delete the folder, it is not whole")
def main(arguments: list[str]) -> int:
    """Run the command; returns the exit code."""
    args = build_parser().parse_args(arguments)
    row = hub_model(args.name)
    hold_folder("folder", args.folder)
    if args.folder.exists() and (not args.folder.is_dir() or any(args.folder.iterdir())):
        raise ConfigError(f"folder must be new or empty (got {args.folder}); name another")
    if args.published:
        make_published(row, args.folder)
    else:
        make_tiny(row.family, args.folder, ClipConfig().image_size)
    print("random weights: what they score says nothing of the model. To use them:")
    for words in uses(row, args.folder, args.published):
        print(shlex.join(words))
    return 0


def uses(row: HubModel, folder: Path, published: bool) -> list[list[str]]:
    """The two commands that a checkpoint is for, word by word: train a head behind it, run it.

    ``DATA``, ``HEADS``, ``TASK`` and ``RUN`` are the user's to fill in.
    """
    seen = [f"backbone.model_id={folder}", *_size(row, published)]
    train = ["python", "-m", "neon_sim.train", f"policy={row.name}", *seen]
    run = ["neon-bench", "run", "--policy", row.name, *seen, "checkpoint=HEADS"]
    return [[*train, "data=DATA", "out=HEADS"], [*run, "--task", "TASK", "--out", "RUN"]]


def _size(row: HubModel, published: bool) -> list[str]:
    """The setting of size that a tiny checkpoint asks for, so that a default clip fits."""
    if published:
        return []
    unit, seen = LAYOUTS[row.family].multiple or 1, ClipConfig().image_size
    return [f"backbone.image_size={-(-seen // unit) * unit}"]


if __name__ == "__main__":
    raise SystemExit(main())
