"""Qwen3-VL, the architecture of Cosmos-Reason2: times are written into the prompt as words.

Source: Qwen3-VL Technical Report, arXiv 2511.21631; Cosmos-Reason2's model card. Each place
(two frames) is preceded by ``<0.3 seconds>``, the mean time of its frames.
"""

from __future__ import annotations

from typing import Any

from .inputs import Sight, frame_times_s
from .vision_language import VisionLanguage

MILLISECONDS = 1000


class Qwen3VL(VisionLanguage):
    """Qwen3-VL without its language head; serves Cosmos-Reason2."""

    MODEL_TYPES = ("qwen3_vl",)

    def video_settings(self, row: Sight) -> dict[str, Any]:
        """Every frame at its own time, told in milliseconds so that any spacing is exact."""
        times = frame_times_s(row.time_s, self.config.fps) * MILLISECONDS
        indices = [round(float(time)) for time in times]
        metadata = {
            "total_num_frames": indices[-1] + 1,
            "fps": MILLISECONDS,
            "frames_indices": indices,
        }
        return super().video_settings(row) | {"video_metadata": [metadata]}
