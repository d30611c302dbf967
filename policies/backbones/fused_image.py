"""SigLIP and DINOv2 side by side: the fused image encoder of Prismatic VLMs and OpenVLA.

Each place of the frame is described by what both networks say about it, one after the other
(Karamcheti et al. 2024; Kim et al. 2024). Both take the state before their last block, as
there, and both see the frame at the size that gives the same grid of patches.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .frames import ImageEncoder
from .hf_image import HFImage


class SiglipDinov2(ImageEncoder):
    """Channels of SigLIP, then of DINOv2, at each place.

    Args:
        siglip_id / dinov2_id: hub name or local folder; by default the networks of OpenVLA
            (SigLIP So400m/14 and DINOv2 ViT-L/14 with registers, 224 px, 16 x 16 places).
        grid: tokens per side; SigLIP's own when 0.
        layer: hidden state of both, counted from the end.

    Raises:
        CheckpointError, ConfigError: as ``HFImage``.
    """

    name = "siglip_dinov2"

    @classmethod
    def token_shape(
        cls,
        frames: int,
        /,
        siglip_id: str = "",
        dinov2_id: str = "",
        grid: int | str = 0,
        layer: int | str = -2,
    ) -> tuple[int, int] | None:
        """SigLIP's."""
        del dinov2_id
        return HFImage.token_shape(frames, "siglip_so400m", siglip_id, grid, layer)

    def __init__(
        self,
        siglip_id: str = "",
        dinov2_id: str = "",
        grid: int | str = 0,
        layer: int | str = -2,
    ) -> None:
        first = HFImage("siglip_so400m", siglip_id, grid, layer)
        second = HFImage("dinov2_reg_large", dinov2_id, first.grid, layer)
        self._encoders = (first, second)
        self.siglip, self.dinov2 = first.network, second.network
        self.identity = torch.cat([first.identity, second.identity])
        self.feature_dim = first.feature_dim + second.feature_dim
        self.tokens_per_frame = first.tokens_per_frame

    def frame_tokens(self, frames: Tensor) -> Tensor:
        """(N, H, W, 3) uint8 -> (N, grid * grid, D1 + D2)."""
        return torch.cat([encoder.frame_tokens(frames) for encoder in self._encoders], dim=2)
