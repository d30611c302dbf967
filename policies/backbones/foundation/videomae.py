"""VideoMAE: masked pretraining, a fixed clip of 16 frames with absolute positions.

Source: VideoMAE, arXiv 2203.12602. Its positions are for exactly 16 frames, so a clip is brought
to 16 in time: each frame is held for its share. What a held frame spreads over several tubelets
is averaged again, so that a place is a frame (or two frames, of 16).
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from neon_sim.errors import ConfigError

from ..weights.catalogue import Published, Shape
from ..weights.drawing import TINY_ENCODER, save, spread
from ..weights.libraries import import_transformers
from .family import Folders, Layout
from .inputs import Sight
from .settings import BackboneConfig
from .vision_only import VisionOnly


class VideoMAE(VisionOnly):
    """The encoder; a clip of T <= 8 frames gives T places, one of 16 gives 8."""

    TITLE = "VideoMAE"
    MODEL_TYPES = ("videomae",)
    CONFIG, NETWORK = "VideoMAEConfig", "VideoMAEModel"
    PUBLISHED = (
        Published(
            name="videomae",
            model_id="MCG-NJU/videomae-base",
            licence="CC-BY-NC-4.0",
            gated=False,
            image_size=224,
        ),
    )
    LAYOUT = Layout(pixels=16, frames=1, places=8, longest=16)
    TINY = TINY_ENCODER | {"image_size": 48}
    TINY_IMAGE_SIZE = 48
    SIZE_KEYS = ("image_size",)

    def __init__(self, config: BackboneConfig, folders: Folders) -> None:
        super().__init__(config, folders)
        self.frame_size, self.patch = int(self.shape.image_size), int(self.shape.patch_size)
        self.clip_frames = int(self.shape.num_frames)
        self.tubelets = self.clip_frames // int(self.shape.tubelet_size)
        self.frames_per_place = 1
        self.check_size()

    @classmethod
    def write_random(cls, folder: Path, shape: Shape) -> None:
        """One folder."""
        network = cls.draw(shape)
        size = network.config.image_size
        processor = import_transformers().VideoMAEVideoProcessor(
            size={"shortest_edge": size}, crop_size=size
        )
        save(folder, spread(network), processor)

    def places(self, num_frames: int) -> int:
        """Places in time.

        Raises:
            ConfigError: more frames than the model has.
        """
        if num_frames > self.clip_frames:
            raise ConfigError(
                f"a clip must have at most {self.clip_frames} frames for VideoMAE (got "
                f"{num_frames}); show fewer"
            )
        return min(num_frames, self.tubelets)

    def clip(self, row: Sight) -> Tensor:
        """Every frame, held for its share of 16."""
        pixels = self.pixels(row)
        self.places(len(pixels))
        index = torch.arange(self.clip_frames) * len(pixels) // self.clip_frames
        return pixels[index]

    def gather(self, hidden: Tensor, row: Sight) -> Tensor:
        """Means of the tubelets of each place."""
        tubes = torch.unflatten(hidden, 0, (self.tubelets, -1))
        count = self.places(len(row.frames))
        owner = torch.arange(self.tubelets) * count // self.tubelets
        return torch.stack([tubes[owner == place].mean(dim=0) for place in range(count)])
