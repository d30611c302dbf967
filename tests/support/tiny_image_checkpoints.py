"""Tiny random checkpoints of image and video transformers, saved as a user would have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from neon_sim.policies.backbones.weights.libraries import import_transformers

transformers = import_transformers()

SIZE, PATCH = 32, 8  # pixels; a grid of 4 x 4 tokens
WIDTHS = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
TEXT = {**WIDTHS, "intermediate_size": 16, "vocab_size": 20, "max_position_embeddings": 8}
VISION = {**WIDTHS, "intermediate_size": 16, "image_size": SIZE, "patch_size": PATCH}
DINO = {**WIDTHS, "image_size": SIZE, "patch_size": PATCH, "mlp_ratio": 1}


def _siglip(patch: int = PATCH) -> torch.nn.Module:
    vision = {**VISION, "patch_size": patch, "image_size": 4 * patch}
    return transformers.SiglipModel(
        transformers.SiglipConfig(text_config=TEXT, vision_config=vision)
    )


def _clip() -> torch.nn.Module:
    return transformers.CLIPModel(
        transformers.CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=8)
    )


def _dinov2() -> torch.nn.Module:
    return transformers.Dinov2Model(transformers.Dinov2Config(**DINO))


def _dinov2_registers() -> torch.nn.Module:
    config = transformers.Dinov2WithRegistersConfig(**DINO, num_register_tokens=3)
    return transformers.Dinov2WithRegistersModel(config)


def _dinov3() -> torch.nn.Module:
    config = {**WIDTHS, "image_size": SIZE, "patch_size": PATCH, "intermediate_size": 16}
    return transformers.DINOv3ViTModel(
        transformers.DINOv3ViTConfig(**config, num_register_tokens=2)
    )


def _timesformer() -> torch.nn.Module:
    return transformers.TimesformerModel(
        transformers.TimesformerConfig(**VISION, num_frames=4, num_labels=2)
    )


def _vivit() -> torch.nn.Module:
    config = {**WIDTHS, "intermediate_size": 16, "image_size": SIZE}
    return transformers.VivitModel(
        transformers.VivitConfig(**config, num_frames=8, tubelet_size=[2, PATCH, PATCH])
    )


MAKERS = {
    "siglip": _siglip,
    "siglip2": _siglip,
    "siglip_patch4": lambda: _siglip(4),
    "clip": _clip,
    "dinov2": _dinov2,
    "dinov2_registers": _dinov2_registers,
    "dinov3": _dinov3,
    "timesformer": _timesformer,
    "vivit": _vivit,
}


def save_tiny(kind: str, folder: Path) -> Path:
    """Make the checkpoint ``kind`` with fixed weights, save it as safetensors, return its folder.

    Every weight is drawn anew with a wide spread, position tables that start at zero too, so
    that features differ between places, frames and images.
    """
    target = folder / kind
    if target.is_dir():
        return target
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        model: Any = MAKERS[kind]()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.normal_(std=0.3)
        model.save_pretrained(target)
    return target
