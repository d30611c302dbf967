"""What is published for every backbone that reads weights of other people."""

from __future__ import annotations

from .encoders import efficientnet_lite0, hf_image, hf_video, torchvision_video, transnetv2
from .weights.catalogue import CATALOGUE, Published

PAIR = "siglip_dinov2"
ENCODERS: dict[str, tuple[Published, ...]] = {
    **{name: (hf_image.PUBLISHED[name],) for name in hf_image.NAMES},
    PAIR: (hf_image.PUBLISHED["siglip_so400m"], hf_image.PUBLISHED["dinov2_reg_large"]),
    "efficientnet_lite0": (efficientnet_lite0.PUBLISHED,),
    "transnetv2": (transnetv2.PUBLISHED,),
    **{name: (network.published,) for name, network in hf_video.NETWORKS.items()},
    **{name: (torchvision_video.published(name),) for name in torchvision_video.NETWORKS},
}


def published(name: str) -> tuple[Published, ...]:
    """What a backbone or its image twin reads; nothing for one that comes with neon_sim."""
    base = name.removesuffix("_image")
    return (CATALOGUE[base],) if base in CATALOGUE else ENCODERS.get(base, ())
