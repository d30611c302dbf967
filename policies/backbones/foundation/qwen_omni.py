"""Qwen2.5-Omni's thinker: sees, reads, and hears through a tower of its own.

Source: Qwen2.5-Omni Technical Report, arXiv 2503.20215: 25 time positions a second, 128 mel
bands at 100 frames a second, 25 sound tokens a second. The talker is never loaded.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .inputs import AUDIO_HZ, Sight, frame_interval_s
from .vision_language import VisionLanguage


class QwenOmni(VisionLanguage):
    """The thinker without its language head."""

    MODEL_TYPES = ("qwen2_5_omni", "qwen2_5_omni_thinker")
    IMAGE = "<|vision_bos|><|IMAGE|><|vision_eos|>"
    VIDEO = "<|vision_bos|><|VIDEO|><|vision_eos|>"
    AUDIO = "<|audio_bos|><|AUDIO|><|audio_eos|>"
    hears = True

    def core_config(self, config: Any) -> Any:
        """The thinker's part, also of a repository that holds the talker too."""
        return getattr(config, "thinker_config", config)

    def loader(self, transformers: Any) -> Any:
        """The auto class would load the talker."""
        return transformers.Qwen2_5OmniThinkerModel

    def sound(self, row: Sight) -> str:
        """The place of the sound, before the video."""
        return "" if row.audio is None else self.AUDIO

    def heard(self, row: Sight) -> dict[str, Any]:
        """The sound at its own length; by default the processor pads to 300 s."""
        if row.audio is None:
            return {}
        settings = {"sampling_rate": AUDIO_HZ, "max_length": len(row.audio), "truncation": True}
        return {"audio": [row.audio], "audio_kwargs": settings}

    def timed(self, row: Sight) -> dict[str, Tensor]:
        """Seconds between places; the processor knows only one rate for all."""
        if row.is_image:
            return {}
        seconds = self.frames_per_place * frame_interval_s(row.time_s, self.config.fps)
        return {"video_second_per_grid": torch.tensor([seconds])}
