"""V-JEPA 2: a self-supervised video encoder, two frames a tubelet, rotary positions.

Source: V-JEPA 2, arXiv 2506.09985. Positions are relative, so clips may be shorter than those of
pretraining; the predictor is not run.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from ..weights.libraries import import_transformers
from .settings import BackboneConfig
from .vision_only import VideoEncoder


class VJEPA2(VideoEncoder):
    """The encoder; T frames give T / 2 places of (size / 16)^2 tokens."""

    MODEL_TYPES = ("vjepa2",)
    UNUSED = ("predictor.",)

    def __init__(self, config: BackboneConfig, folder: Path) -> None:
        super().__init__(config, folder)
        self.frame_size, self.patch = int(self.shape.crop_size), int(self.shape.patch_size)
        self.frames_per_place = int(self.shape.tubelet_size)
        self.check_size()

    def load(self) -> None:
        """Read the weights."""
        self.network = self.from_pretrained(import_transformers().VJEPA2Model)

    def run(self, clips: Tensor) -> Tensor:
        """The encoder's last layer."""
        assert self.network is not None
        return self.network(clips, skip_predictor=True).last_hidden_state
