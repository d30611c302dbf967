"""Tiny random checkpoints: every architecture at hidden size 64, with tokenizer and processor.

They are saved with ``save_pretrained`` and go through the user's own path, so that what is
tested is what loads a published model; only the numbers mean nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from neon_sim.policies.backbones.imports import import_transformers

SPECIAL = {
    "qwen_vl": ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"],
    "qwen_omni": [
        *("<|vision_bos|>", "<|vision_eos|>", "<|IMAGE|>", "<|VIDEO|>"),
        *("<|audio_bos|>", "<|audio_eos|>", "<|AUDIO|>"),
    ],
}
CHAT = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
VL_IDS = {
    "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
    "image_token_id": "<|image_pad|>",
    "video_token_id": "<|video_pad|>",
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
    transformers = import_transformers()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(special),
        extra_special_tokens=dict(names),
    )


def text_shape() -> dict[str, Any]:
    """A language model of two layers."""
    return {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 128,
        "vocab_size": 512,
        "max_position_embeddings": 4096,
    }


def multimodal_text() -> dict[str, Any]:
    """The same with positions in time, height and width."""
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}
    return text_shape() | {"rope_parameters": rope}


def vision_shape() -> dict[str, Any]:
    """A vision tower of two layers."""
    return {
        "depth": 2,
        "hidden_size": 64,
        "num_heads": 4,
        "intermediate_size": 128,
        "out_hidden_size": 64,
        "fullatt_block_indexes": [1],
    }


def _ids(words: Any, **names: str) -> dict[str, int]:
    return {key: words.convert_tokens_to_ids(token) for key, token in names.items()}


def _save(folder: Path, network: Any, *more: Any) -> Path:
    for part in (network, *more):
        part.save_pretrained(folder)
    return folder


def _spread(network: Any, seed: int = 0) -> Any:
    """Weights that make a random network react to all of its inputs."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                fan = parameter[0].numel()
                values = torch.randn(parameter.shape, generator=generator)
                parameter.copy_(values * min(fan**-0.5 * 1.5, 0.5))
    return network


def make_qwen_vl(folder: Path) -> Path:
    """Qwen2.5-VL."""
    t = import_transformers()
    words = tokenizer((*CHAT, *SPECIAL["qwen_vl"]))
    ids = _ids(words, **VL_IDS)
    config = t.Qwen2_5_VLConfig(
        text_config=multimodal_text(),
        vision_config=vision_shape() | {"tokens_per_second": 2},
        **ids,
    )
    processor = t.Qwen2_5_VLProcessor(
        t.Qwen2VLImageProcessor(), words, t.Qwen2VLVideoProcessor(), chat_template="-"
    )
    return _save(folder, _spread(t.Qwen2_5_VLModel(config)), processor)


def make_qwen_omni(folder: Path) -> Path:
    """The thinker of Qwen2.5-Omni."""
    t = import_transformers()
    words = tokenizer((*CHAT, *SPECIAL["qwen_omni"]), tuple(OMNI_NAMES.items()))
    ids = _ids(
        words,
        vision_start_token_id="<|vision_bos|>",
        vision_end_token_id="<|vision_eos|>",
        audio_start_token_id="<|audio_bos|>",
        audio_end_token_id="<|audio_eos|>",
        image_token_index="<|IMAGE|>",
        video_token_index="<|VIDEO|>",
        audio_token_index="<|AUDIO|>",
    )
    audio = {
        "d_model": 64,
        "encoder_layers": 2,
        "encoder_attention_heads": 4,
        "encoder_ffn_dim": 128,
        "output_dim": 64,
    }
    config = t.Qwen2_5OmniThinkerConfig(
        text_config=multimodal_text(), vision_config=vision_shape(), audio_config=audio, **ids
    )
    processor = t.Qwen2_5OmniProcessor(
        t.Qwen2VLImageProcessor(),
        t.Qwen2VLVideoProcessor(),
        t.WhisperFeatureExtractor(feature_size=128),
        words,
        chat_template="-",
    )
    return _save(folder, _spread(t.Qwen2_5OmniThinkerModel(config)), processor)


def make_qwen3_vl(folder: Path) -> Path:
    """Qwen3-VL, the architecture of Cosmos-Reason2."""
    t = import_transformers()
    words = tokenizer((*CHAT, *SPECIAL["qwen_vl"]))
    ids = _ids(words, **VL_IDS)
    vision = vision_shape() | {"deepstack_visual_indexes": [0, 1], "num_position_embeddings": 64}
    vision.pop("fullatt_block_indexes")
    text = multimodal_text() | {"head_dim": 16}
    config = t.Qwen3VLConfig(text_config=text, vision_config=vision, **ids)
    processor = t.Qwen3VLProcessor(
        t.Qwen2VLImageProcessor(patch_size=16), words, t.Qwen3VLVideoProcessor(), chat_template="-"
    )
    return _save(folder, _spread(t.Qwen3VLModel(config)), processor)


def make_vjepa2(folder: Path) -> Path:
    """V-JEPA 2."""
    t = import_transformers()
    config = t.VJEPA2Config(
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        crop_size=64,
        frames_per_clip=16,
        pred_hidden_size=24,
        pred_num_attention_heads=2,
        pred_num_hidden_layers=1,
    )
    processor = t.VJEPA2VideoProcessor(crop_size=64)
    return _save(folder, _spread(t.VJEPA2Model(config)), processor)


def make_videomae(folder: Path) -> Path:
    """VideoMAE."""
    t = import_transformers()
    config = t.VideoMAEConfig(
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        image_size=48,
    )
    processor = t.VideoMAEVideoProcessor(size={"shortest_edge": 48}, crop_size=48)
    return _save(folder, _spread(t.VideoMAEModel(config)), processor)


def make_tribev2(folder: Path) -> Path:
    """The three encoders of TRIBEv2, and a fusion of width 48."""
    from neon_sim.policies.backbones.tribev2 import Fusion, FusionShape, save_fusion

    t = import_transformers()
    make_vjepa2(folder / "video")
    audio = t.Wav2Vec2BertConfig(
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
    )
    cutter = t.SeamlessM4TFeatureExtractor()
    _save(folder / "audio", _spread(t.Wav2Vec2BertModel(audio)), cutter)
    _save(folder / "text", _spread(t.LlamaModel(t.LlamaConfig(**text_shape()))), tokenizer(CHAT))
    save_fusion(
        _spread(Fusion(FusionShape(64, 64, 64, width=16, layers=2))), folder / "fusion.safetensors"
    )
    return folder


def make_fvlm(folder: Path) -> Path:
    """fVLM: the network of this project over a tiny DINOv2 and a tiny Llama."""
    from safetensors.torch import save_file

    from neon_sim.policies.backbones.fvlm import FoveatedVLM

    t = import_transformers()
    vision = t.Dinov2Config(
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=56,
        patch_size=14,
        layerscale_value=1.0,
    )
    text = t.LlamaConfig(**text_shape())
    network = _spread(FoveatedVLM(t.Dinov2Model(vision), t.LlamaModel(text)))
    folder.mkdir(exist_ok=True)
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "fvlm", "visual_scale": 0.14}))
    _save(folder / "vision", vision)
    _save(folder / "text", text, tokenizer(CHAT))
    return folder


MAKERS: dict[str, Callable[[Path], Path]] = {
    "qwen_vl": make_qwen_vl,
    "qwen_omni": make_qwen_omni,
    "qwen3_vl": make_qwen3_vl,
    "vjepa2": make_vjepa2,
    "videomae": make_videomae,
    "tribev2": make_tribev2,
    "fvlm": make_fvlm,
}
IMAGE_SIZES = {
    "qwen_vl": 56,
    "qwen_omni": 56,
    "qwen3_vl": 64,
    "vjepa2": 64,
    "videomae": 48,
    "tribev2": 64,
    "fvlm": 56,
}
