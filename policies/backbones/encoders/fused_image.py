"""SigLIP and DINOv2 side by side: the fused image encoder of Prismatic VLMs and OpenVLA.

Each place of the frame is described by what both networks say about it, one after the other
(Karamcheti et al. 2024; Kim et al. 2024). Both take the state before their last block, as
there, and both see the frame at the size that gives the same grid of patches.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from neon_sim.errors import ConfigError

from ..base import AUTO, Argument, read_settings
from .base import ImageEncoder
from .hf_image import Grid, HFImage, Layer

PARTS = ("siglip", "dinov2")  # subfolders of ``model_id``


@dataclass(frozen=True)
class PairSettings:
    """Settings of the pair.

    Attributes:
        model_id: folder with the subfolders ``siglip`` and ``dinov2``; by default the networks
            of OpenVLA (SigLIP So400m/14 and DINOv2 ViT-L/14 with registers, 224 px, 16 x 16
            places) from the hub.
        siglip_id, dinov2_id: hub name or local folder of one of them.
        grid: tokens a side; SigLIP's own when 0.
        layer: hidden state of both, counted from the end.
        device: where both run, ``auto``, ``cpu`` or ``cuda``.
    """

    model_id: str = ""
    siglip_id: str = ""
    dinov2_id: str = ""
    grid: Grid = 0
    layer: Layer = -2
    device: str = AUTO


class SiglipDinov2(ImageEncoder):
    """Channels of SigLIP, then of DINOv2, at each place.

    Args:
        arguments: fields of ``PairSettings``.

    Raises:
        CheckpointError, ConfigError: as ``HFImage``.
    """

    name = "siglip_dinov2"
    SETTINGS = PairSettings

    @classmethod
    def token_shape(cls, frames: int, /, **arguments: Argument) -> tuple[int, int] | None:
        """SigLIP's."""
        settings = read_settings(PairSettings, arguments)
        return HFImage.token_shape(
            frames, "siglip_so400m", model_id=_both(settings)[0], grid=settings.grid
        )

    def __init__(self, **arguments: Argument) -> None:
        settings = read_settings(PairSettings, arguments)
        siglip_id, dinov2_id = _both(settings)
        shared: dict[str, Argument] = {"layer": settings.layer, "device": settings.device}
        first = HFImage("siglip_so400m", model_id=siglip_id, grid=settings.grid, **shared)
        second = HFImage("dinov2_reg_large", model_id=dinov2_id, grid=first.grid, **shared)
        self.device = first.device
        self._encoders = (first, second)
        self.siglip, self.dinov2 = first.network, second.network
        self.identity = torch.cat([first.identity, second.identity])
        self.feature_dim = first.feature_dim + second.feature_dim
        self.tokens_per_frame = first.tokens_per_frame

    def frame_tokens(self, frames: Tensor) -> Tensor:
        """(N, H, W, 3) uint8 -> (N, grid * grid, D1 + D2)."""
        return torch.cat([encoder.frame_tokens(frames) for encoder in self._encoders], dim=2)


def _both(settings: PairSettings) -> tuple[str, str]:
    """Where SigLIP and DINOv2 are; each by its own name before the common folder's.

    Raises:
        ConfigError: ``model_id`` is no folder with both.
    """
    model_id = settings.model_id
    if not model_id:
        return settings.siglip_id, settings.dinov2_id
    parts = [Path(model_id).expanduser() / name for name in PARTS]
    missing = [part.name for part in parts if not part.is_dir()]
    if missing:
        raise ConfigError(
            f"backbone.model_id must be a folder with the subfolders {' and '.join(PARTS)} for "
            f"siglip_dinov2 (got {model_id!r} without {' and '.join(missing)}); or name each: "
            "backbone.siglip_id=, backbone.dinov2_id="
        )
    return settings.siglip_id or str(parts[0]), settings.dinov2_id or str(parts[1])
