"""V-JEPA 2: a self-supervised video encoder, two frames a tubelet, rotary positions.

Source: V-JEPA 2, arXiv 2506.09985. Positions are relative, so clips may be shorter than those of
pretraining; the predictor is not run.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from torch import Tensor

from ..weights.catalogue import Published, Shape
from ..weights.drawing import save, spread
from ..weights.libraries import import_transformers
from .family import Built, Folders, Layout
from .settings import BackboneConfig
from .vision_only import VisionOnly


class VJEPA2(VisionOnly):
    """The encoder; T frames give T / 2 places of (size / 16)^2 tokens."""

    TITLE = "V-JEPA 2"
    MODEL_TYPES = ("vjepa2",)
    CONFIG, NETWORK = "VJEPA2Config", "VJEPA2Model"
    PUBLISHED = (
        Published(
            name="vjepa2",
            model_id="facebook/vjepa2-vitl-fpc64-256",
            licence="MIT",
            gated=False,
            image_size=256,
            shape={"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16},
        ),
    )
    LAYOUT = Layout(pixels=16)
    UNUSED = ("predictor.",)
    TINY: ClassVar[Shape] = {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "crop_size": 64,
        "frames_per_clip": 16,
        "pred_hidden_size": 24,
        "pred_num_attention_heads": 2,
        "pred_num_hidden_layers": 1,
    }
    TINY_IMAGE_SIZE = 64
    SIZE_KEYS = ("crop_size",)

    def __init__(self, config: BackboneConfig, folders: Folders) -> None:
        super().__init__(config, folders)
        self.frame_size, self.patch = int(self.shape.crop_size), int(self.shape.patch_size)
        self.frames_per_place = int(self.shape.tubelet_size)
        self.check_size()

    @classmethod
    def build(cls, shape: Shape) -> Built:
        """The encoder without the predictor."""
        network = cls.draw(shape)
        return [network.encoder], network.config.hidden_size

    @classmethod
    def write_random(cls, folder: Path, shape: Shape) -> None:
        """One folder."""
        network = cls.draw(shape)
        size = network.config.crop_size
        processor = import_transformers().VJEPA2VideoProcessor(crop_size=size)
        save(folder, spread(network), processor)

    def run(self, clips: Tensor) -> Tensor:
        """The last layer of the encoder."""
        assert self.network is not None
        hidden: Tensor = self.network(clips, skip_predictor=True).last_hidden_state
        return hidden
