"""The settings of a foundation model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval

from neon_sim.errors import ConfigError
from neon_sim.rules import hold_rules

from ..base import find_device
from ..weights.find import DTYPES, check_attention
from .lora import require_lora

OWN_SETTINGS = ("mode", "fusion")  # fields of ``BackboneConfig`` that single families have


@dataclass
class BackboneConfig:
    """How a foundation backbone is loaded, and the limits of its input.

    Two defaults differ from those of the layout this one follows (4 bit, eager attention):
    ``load_in_4bit`` is False, so that features are those of the published weights, and attention
    is ``sdpa``, which is faster and needs no package.

    Attributes:
        model_id: repository on the hub, or a local folder with config.json and safetensors.
        torch_dtype: ``bfloat16``, ``float16`` or ``float32``.
        device_map: ``auto`` (CUDA when there is a device), ``cpu``, ``cuda`` or ``cuda:1``; the
            model is never split over several.
        attn_implementation: ``sdpa``, ``eager``, ``flash_attention_2`` or ``flash_attention_3``.
        fps: frames per second of a clip whose times are not given; never set on the bench, where
            clips bring theirs (``clip.fps``).
        max_frames: most frames of a clip.
        image_size: pixels of the longer side as the model sees it; larger inputs are an error,
            smaller ones are scaled up.
        freeze_backbone: no gradient reaches any weight. False trains LoRA adapters on the
            language model's attention (``lora.py`` shows how; ``VideoBackbone.save`` keeps them).
        load_in_4bit: the language model's linear layers in NF4, towers in ``torch_dtype``.
        use_double_quant: quantise the scales of NF4 too.
        revision: branch, tag or commit on the hub.
        lora_r / lora_alpha: rank and scale of the adapters, with ``freeze_backbone=False`` alone.
        mode: of a model that points a query at each frame: ``coarse_only``, ``coarse_fine`` or
            ``autoregressive``.
        fusion: of a model that fuses several encoders: safetensors of the fusion, or
            ``untrained``.
        block_rows: rows of every call of the network on the bench, the last repeated, so that a row
            is the same to the bit in every batch; 1 is quickest for a single robot, more for a
            GPU that many environments feed. Another number changes only rounding.
    """

    model_id: str
    torch_dtype: str = "bfloat16"
    device_map: str = "auto"
    attn_implementation: str = "sdpa"
    fps: Annotated[float, Interval(ge=1e-3, le=1000)] = 4.0
    max_frames: Annotated[int, Interval(ge=1, le=64)] = 16
    image_size: Annotated[int, Interval(ge=14, le=4096)] = 224
    freeze_backbone: bool = True
    load_in_4bit: bool = False
    use_double_quant: bool = True
    revision: str | None = None
    lora_r: Annotated[int, Interval(ge=1, le=1024)] = 32
    lora_alpha: Annotated[int, Interval(ge=1, le=65536)] = 64
    mode: str = "coarse_fine"
    fusion: str | None = None
    block_rows: Annotated[int, Interval(ge=1, le=256)] = 4

    def validate(self) -> None:
        """Check the rules that are the same for every architecture.

        Raises:
            ConfigError: a value of another type, or outside its rule.
            MissingPackageError: attention or LoRA needs a package.
        """
        find_device(self.device_map, "device_map")  # first: it says more than hold_rules would
        hold_rules(self)
        for name in ("model_id", "revision", "fusion"):
            value = getattr(self, name)
            if (
                value is not None and not str(value).strip()
            ):  # an empty path would be the current folder
                mend = "name a folder or owner/name" if name == "model_id" else "leave it out"
                raise ConfigError(f"{name} must not be empty (got {value!r}); {mend}")
        if self.torch_dtype not in DTYPES:
            raise ConfigError(
                f"torch_dtype must be one of {', '.join(DTYPES)} (got {self.torch_dtype!r})"
            )
        check_attention(self.attn_implementation)
        if not self.freeze_backbone:
            require_lora()
            return
        for name in ("lora_r", "lora_alpha"):
            if getattr(self, name) != getattr(type(self), name):
                raise ConfigError(
                    f"{name} is of adapters, and freeze_backbone=true trains none (got "
                    f"{getattr(self, name)}); leave it out"
                )
