"""The table of foundation backbones: where each comes from, its licence, and its shape.

The numbers of ``shape`` are those of the published ``config.json`` files, written down here
because parameters are counted, and memory is told, before anything is downloaded. Hidden
sizes, depths and patch sizes, and the licences of the Qwen, Cosmos, TRIBEv2 and fVLM models,
were looked up; heads, widths of MLPs, vocabularies and the licences of V-JEPA 2 and VideoMAE
are from memory: read a model's own card before you rely on them. A checkpoint on disk always
brings its own ``config.json``, which wins.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from neon_sim.errors import ConfigError, unknown_name
from neon_sim.observation.clips import MAX_CLIP_FRAMES

QWEN_RESEARCH = "Qwen Research (non-commercial)"
NVIDIA_OPEN = "NVIDIA Open Model"
APACHE = "Apache-2.0"


@dataclass(frozen=True)
class Layout:
    """How a family lays out what it sees.

    Attributes:
        pixels: of a visual token a side; 0 where a place in time is one token.
        frames: that share a place in time. places: most there are.
        multiple: of which ``image_size`` must be one; 0 where only the published size fits.
        longest: frames of a clip.
    """

    pixels: int
    frames: int = 2
    places: int = MAX_CLIP_FRAMES
    multiple: int = 0
    longest: int = MAX_CLIP_FRAMES


LAYOUTS = {
    "qwen_vl": Layout(28, multiple=28),
    "qwen_omni": Layout(28, multiple=28),
    "qwen3_vl": Layout(32, multiple=32),
    "vjepa2": Layout(16),
    "videomae": Layout(16, frames=1, places=8, longest=16),
    "tribev2": Layout(0),
    "fvlm": Layout(0, frames=1, multiple=14),
}


@dataclass(frozen=True)
class HubModel:
    """One foundation backbone.

    Attributes:
        name: registry name. model_id: repository on the hub.
        family: module of this folder that knows how to load it.
        licence: of the weights. gated: whether the hub asks for an accepted licence first.
        image_size: pixels per side that a bench policy shows it.
        shape: config values that differ from the architecture's defaults.
        parts: further repositories it is made of, by role.
        gated_parts: those of them that are gated; by default the model itself where ``gated``.
        also: what else it has to be told, in words; empty for nothing.
    """

    name: str
    model_id: str
    family: str
    licence: str
    gated: bool
    image_size: int
    shape: dict[str, Any] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)
    gated_parts: tuple[str, ...] = ()
    also: str = ""

    @property
    def gates(self) -> tuple[str, ...]:
        """Repositories whose terms have to be accepted on the hub first."""
        return self.gated_parts or ((self.model_id,) if self.gated else ())

    @property
    def repositories(self) -> tuple[str, ...]:
        """Every repository that has to be there."""
        return tuple(self.parts.values()) or (self.model_id,)

    def token_shape(self, num_frames: int, image_size: int) -> tuple[int, int]:
        """Places in time F of a clip and visual tokens a place P, as published.

        Raises:
            ConfigError: a size or length that the published model does not take.
        """
        layout = LAYOUTS[self.family]
        if layout.multiple and image_size % layout.multiple:
            raise ConfigError(
                f"image_size must be a multiple of {layout.multiple} for {self.name} (got "
                f"{image_size}); take {self.image_size}"
            )
        if not layout.multiple and image_size != self.image_size:
            raise ConfigError(
                f"image_size must be {self.image_size} for {self.name}, whose positions are for "
                f"that size (got {image_size}); leave it out"
            )
        if num_frames > layout.longest:
            raise ConfigError(
                f"a clip must have at most {layout.longest} frames for {self.name} (got "
                f"{num_frames}); show fewer (clip.num_frames)"
            )
        side = image_size // layout.pixels if layout.pixels else 1
        return min(-(-num_frames // layout.frames), layout.places), side * side


def _qwen2_text(hidden: int, layers: int, heads: int, kv: int, mlp: int, vocab: int) -> dict:
    return {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv,
        "intermediate_size": mlp,
        "vocab_size": vocab,
    }


QWEN2_3B = _qwen2_text(2048, 36, 16, 2, 11008, 151936)
QWEN2_7B = _qwen2_text(3584, 28, 28, 4, 18944, 152064)
QWEN3_2B = _qwen2_text(2048, 28, 16, 8, 6144, 151936) | {"head_dim": 128}
QWEN3_8B = _qwen2_text(4096, 36, 32, 8, 12288, 151936) | {"head_dim": 128}


def _vision(out: int) -> dict[str, Any]:
    return {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "out_hidden_size": out}


def _audio(out: int) -> dict[str, Any]:
    return {"d_model": 1280, "encoder_layers": 32, "encoder_ffn_dim": 5120, "output_dim": out}


def _qwen3_vision(depth: int, hidden: int, mlp: int, out: int, deep: list[int]) -> dict[str, Any]:
    return {
        "depth": depth,
        "hidden_size": hidden,
        "intermediate_size": mlp,
        "out_hidden_size": out,
        "deepstack_visual_indexes": deep,
    }


VJEPA2_LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}
VJEPA2_GIANT = {
    "hidden_size": 1408,
    "num_hidden_layers": 40,
    "num_attention_heads": 22,
    "mlp_ratio": 48 / 11,
}
LLAMA_3B = _qwen2_text(3072, 28, 24, 8, 8192, 128256) | {"head_dim": 128}
SMOLLM2 = _qwen2_text(576, 30, 9, 3, 1536, 49152)
DINOV2_SMALL = {
    "hidden_size": 384,
    "num_hidden_layers": 12,
    "num_attention_heads": 6,
    "patch_size": 14,
    "image_size": 518,
}

_ROWS = (
    HubModel(
        "qwen_vl_3b",
        "Qwen/Qwen2.5-VL-3B-Instruct",
        "qwen_vl",
        QWEN_RESEARCH,
        False,
        224,
        {"text_config": QWEN2_3B, "vision_config": _vision(2048)},
    ),
    HubModel(
        "qwen_vl_7b",
        "Qwen/Qwen2.5-VL-7B-Instruct",
        "qwen_vl",
        APACHE,
        False,
        224,
        {"text_config": QWEN2_7B, "vision_config": _vision(3584)},
    ),
    HubModel(
        "qwen_omni_3b",
        "Qwen/Qwen2.5-Omni-3B",
        "qwen_omni",
        QWEN_RESEARCH,
        False,
        224,
        {"text_config": QWEN2_3B, "vision_config": _vision(2048), "audio_config": _audio(2048)},
    ),
    HubModel(
        "qwen_omni_7b",
        "Qwen/Qwen2.5-Omni-7B",
        "qwen_omni",
        APACHE,
        False,
        224,
        {"text_config": QWEN2_7B, "vision_config": _vision(3584), "audio_config": _audio(3584)},
    ),
    HubModel(
        "cosmos_reason2_2b",
        "nvidia/Cosmos-Reason2-2B",
        "qwen3_vl",
        NVIDIA_OPEN,
        True,
        256,
        {
            "text_config": QWEN3_2B,
            "vision_config": _qwen3_vision(24, 1024, 4096, 2048, [5, 11, 17]),
        },
    ),
    HubModel(
        "cosmos_reason2_8b",
        "nvidia/Cosmos-Reason2-8B",
        "qwen3_vl",
        NVIDIA_OPEN,
        True,
        256,
        {
            "text_config": QWEN3_8B,
            "vision_config": _qwen3_vision(27, 1152, 4304, 4096, [8, 16, 24]),
        },
    ),
    HubModel("vjepa2", "facebook/vjepa2-vitl-fpc64-256", "vjepa2", "MIT", False, 256, VJEPA2_LARGE),
    HubModel("videomae", "MCG-NJU/videomae-base", "videomae", "CC-BY-NC-4.0", False, 224),
    HubModel(
        "tribev2",
        "facebook/tribev2",
        "tribev2",
        "CC-BY-NC-4.0 (Llama 3.2 Community for its text encoder)",
        True,
        256,
        {"video": VJEPA2_GIANT, "text": LLAMA_3B},
        {
            "video": "facebook/vjepa2-vitg-fpc64-256",
            "audio": "facebook/w2v-bert-2.0",
            "text": "meta-llama/Llama-3.2-3B",
        },
        ("meta-llama/Llama-3.2-3B",),
        "Its fusion has to be named: backbone.fusion=untrained (fixed and random, it passes the "
        "encoders on) or backbone.fusion=/path/fusion.safetensors",
    ),
    HubModel(
        "fvlm_135m",
        "sanps/fVLM-135M",
        "fvlm",
        APACHE,
        False,
        224,
        {"text": SMOLLM2, "vision": DINOV2_SMALL},
        {
            "model": "sanps/fVLM-135M",
            "vision": "facebook/dinov2-small",
            "text": "HuggingFaceTB/SmolLM2-135M-Instruct",
        },
    ),
)

CATALOGUE: dict[str, HubModel] = {row.name: row for row in _ROWS}


def hub_model(name: str) -> HubModel:
    """Look a foundation backbone up by registry name or by its repository.

    Raises:
        UnknownNameError: no such backbone.
    """
    for row in CATALOGUE.values():
        if name in (row.name, row.model_id):
            return row
    raise unknown_name("foundation backbone", name, CATALOGUE)
