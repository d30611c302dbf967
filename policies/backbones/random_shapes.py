"""Shapes of tiny checkpoints: small enough for a test, with every part that the published have."""

from __future__ import annotations

from typing import Any

Shape = dict[str, Any]

_TEXT: Shape = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "vocab_size": 512,
    "max_position_embeddings": 4096,
}
_VISION: Shape = {
    "depth": 2,
    "hidden_size": 64,
    "num_heads": 4,
    "intermediate_size": 128,
    "out_hidden_size": 64,
}
_QWEN_VISION = _VISION | {"fullatt_block_indexes": [1]}
_VJEPA2: Shape = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "crop_size": 64,
    "frames_per_clip": 16,
    "pred_hidden_size": 24,
    "pred_num_attention_heads": 2,
    "pred_num_hidden_layers": 1,
}
_ENCODER: Shape = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
}
# Shapes of tiny checkpoints by family, in the layout of ``HubModel.shape``.
TINY: dict[str, Shape] = {
    "qwen_vl": {"text_config": _TEXT, "vision_config": _QWEN_VISION},
    "qwen_omni": {
        "text_config": _TEXT,
        "vision_config": _QWEN_VISION,
        "audio_config": {
            "d_model": 64,
            "encoder_layers": 2,
            "encoder_attention_heads": 4,
            "encoder_ffn_dim": 128,
            "output_dim": 64,
        },
    },
    "qwen3_vl": {
        "text_config": _TEXT | {"head_dim": 16},
        "vision_config": _VISION
        | {"deepstack_visual_indexes": [0, 1], "num_position_embeddings": 64},
    },
    "vjepa2": _VJEPA2,
    "videomae": _ENCODER | {"image_size": 48},
    "tribev2": {
        "video": _VJEPA2,
        "audio": _ENCODER,
        "text": _TEXT,
        "fusion": {"width": 16, "layers": 2},
    },
    "fvlm": {
        "vision": {
            "hidden_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": 56,
            "patch_size": 14,
            "layerscale_value": 1.0,
        },
        "text": _TEXT,
    },
}
# ``backbone.image_size`` that a tiny checkpoint is quick at, or the only one it takes
TINY_IMAGE_SIZES = {
    "qwen_vl": 56,
    "qwen_omni": 56,
    "qwen3_vl": 64,
    "vjepa2": 64,
    "videomae": 48,
    "tribev2": 64,
    "fvlm": 56,
}
# Where the shape of a family that takes one size alone says it.
ONE_SIZE: dict[str, tuple[str, ...]] = {
    "vjepa2": ("crop_size",),
    "videomae": ("image_size",),
    "tribev2": ("video", "crop_size"),
}


def sized(shape: Shape, path: tuple[str, ...], size: int) -> Shape:
    """A shape with the number at a path of keys replaced."""
    key, *rest = path
    return shape | {key: sized(shape[key], tuple(rest), size) if rest else size}


def with_positions(text: Shape) -> Shape:
    """The shape of a language model with positions in time, height and width (M-RoPE).

    A quarter of the rotated pairs tells time, the rest height and width, as in Qwen2.5-VL's
    ``mrope_section`` of 16, 24 and 24.
    """
    width = text.get("head_dim", text["hidden_size"] // text["num_attention_heads"]) // 2
    sections = [width // 4, 3 * width // 8, 3 * width // 8]
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": sections}
    return text | {"rope_parameters": rope}
