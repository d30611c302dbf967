"""Qwen2.5-VL: time positions from the clip's own rate, 2 frames a place, 28 pixels a token.

Source: Qwen2.5-VL Technical Report, arXiv 2502.13923. Its temporal positions are whole numbers,
``floor(place * tokens_per_second * 2 / fps)``, and the published models have 2 tokens a second:
up to 4 frames a second each place has a position of its own; above, several places share one,
and only the order in the sequence tells them apart. Its policies are shown 3.5 a second, for a
25 Hz camera has no two frames 0.25 s apart.
"""

from __future__ import annotations

from .vision_language import VisionLanguage


class QwenVL(VisionLanguage):
    """Qwen2.5-VL without its language head."""

    MODEL_TYPES = ("qwen2_5_vl",)
