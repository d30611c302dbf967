"""TimeSformer and ViViT through transformers: patch tokens of a whole clip, time kept.

``model_id`` takes a hub name or a local folder, or ``random`` for a network of the published
shape that has learned nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from neon_sim.errors import CheckpointError, ConfigError

from ..base import AUTO, Argument, find_device, one_place, read_settings
from ..weights.catalogue import Published
from ..weights.find import RANDOM, missing_text, refuse_pickles
from ..weights.libraries import import_transformers
from ..weights.opening import Unreadable, check_finite, opened_config, opened_network
from ..weights.sources import folder_config, freeze, seeded
from .base import ClipEncoder, StillTwin, hold_length, identity, merge_time, pixels, resample_time

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
KINETICS = ((0.45, 0.45, 0.45), (0.225, 0.225, 0.225))


@dataclass(frozen=True)
class Network:
    """One architecture: its transformers classes, pixels, and where it is published.

    Attributes:
        model_type: what its config calls itself. loader / config: transformers classes; the
            config's defaults have the published shape. mean_std: of pixels in [0, 1].
        places_first: tokens run over places, then time (else over time, then places).
        layout: of the published network: frames it takes, places in time, tokens a place.
    """

    model_type: str
    loader: str
    config: str
    mean_std: tuple[tuple[float, ...], tuple[float, ...]]
    places_first: bool
    layout: tuple[int, int, int]
    published: Published


NETWORKS = {
    "timesformer": Network(
        "timesformer",
        "TimesformerModel",
        "TimesformerConfig",
        KINETICS,
        True,
        (8, 8, 196),
        Published(
            "timesformer",
            "facebook/timesformer-base-finetuned-k400",
            "CC-BY-NC-4.0",
            size="0.5 GB",
        ),
    ),
    "vivit": Network(
        "vivit",
        "VivitModel",
        "VivitConfig",
        HALF,
        False,
        (32, 16, 196),
        Published("vivit", "google/vivit-b-16x2-kinetics400", "MIT", size="0.36 GB"),
    ),
}


@dataclass(frozen=True)
class VideoSettings:
    """Settings of a video transformer.

    Attributes:
        model_id: hub name or local folder, or ``random`` (drawn with a fixed seed); the published
            one when empty.
        weights: the same.
        device: where it runs, ``auto``, ``cpu`` or ``cuda``.
    """

    model_id: str = ""
    weights: str = ""
    device: str = AUTO


class HFVideo(ClipEncoder):
    """Patch tokens of a frozen video transformer; the class token is left out.

    A clip shorter than the network's is shown with frames repeated, a longer one is an error;
    places in time are averaged until there are at most as many as frames.

    Args:
        name: a key of ``NETWORKS``. arguments: fields of ``VideoSettings``.

    Raises:
        CheckpointError: no weights, or pickles only. ConfigError: another architecture.
    """

    SETTINGS = VideoSettings
    block_rows = 1  # the networks are large enough to fill a core with one clip

    @classmethod
    def token_shape(
        cls, frames: int, /, name: str, **arguments: Argument
    ) -> tuple[int, int] | None:
        """The network's places, at most one a frame; None for a repository of one's own.

        Raises:
            ConfigError: more frames than the network takes.
        """
        settings = read_settings(VideoSettings, arguments)
        spec, asked = NETWORKS[name], one_place(settings.model_id, settings.weights)
        layout: tuple[int, int, int] | None = spec.layout
        if asked not in ("", RANDOM, spec.published.model_id):
            config = folder_config(asked)
            known = getattr(config, "model_type", None) == spec.model_type
            layout = _layout(config) if known else None
        if layout is None:
            return None
        most, places, tokens = layout
        hold_length(frames, most, name)
        return min(places, frames), tokens

    def __init__(self, name: str, **arguments: Argument) -> None:
        settings = read_settings(VideoSettings, arguments)
        self.name, self._spec, self.device = name, NETWORKS[name], find_device(settings.device)
        asked = one_place(settings.model_id, settings.weights)
        self.network = load_video_network(name, asked).to(self.device)
        config: PretrainedConfig = self.network.config
        self.feature_dim, self.image_size = int(config.hidden_size), int(config.image_size)
        self.max_frames, self._places, self.tokens_per_frame = _layout(config)
        self.identity = identity(name)

    def time_places(self, num_frames: int) -> int:
        """The network's own, at most one a frame."""
        return min(self._places, num_frames)

    def clip_tokens(self, video: Tensor) -> Tensor:
        """(B, T, H, W, 3) uint8 -> (B, P, S, D)."""
        size = (self.image_size, self.image_size)
        shown = resample_time(video, self.max_frames)
        x = pixels(shown.flatten(0, 1), size, *self._spec.mean_std)
        out = self.network(pixel_values=torch.unflatten(x, 0, shown.shape[:2])).last_hidden_state[
            :, 1:
        ]
        if self._spec.places_first:
            tokens = torch.unflatten(out, 1, (self.tokens_per_frame, self._places)).transpose(1, 2)
        else:
            tokens = torch.unflatten(out, 1, (self._places, self.tokens_per_frame))
        return merge_time(tokens, self.time_places(video.shape[1]))


def _layout(config: PretrainedConfig) -> tuple[int, int, int]:
    """Frames that the network takes, its places in time and tokens a place."""
    tubelet = getattr(config, "tubelet_size", None) or (1, config.patch_size)
    frames = int(config.num_frames)
    return frames, frames // tubelet[0], (config.image_size // tubelet[1]) ** 2


def load_video_network(name: str, weights: str) -> PreTrainedModel:
    """A frozen network in float32.

    Raises:
        CheckpointError: no weights, or pickles only. ConfigError: another architecture.
    """
    transformers = import_transformers()
    spec = NETWORKS[name]
    loader: type[PreTrainedModel] = getattr(transformers, spec.loader)
    if weights == RANDOM:
        return freeze(seeded(lambda: loader(getattr(transformers, spec.config)())))
    where = weights or spec.published.model_id
    refuse_pickles(Path(where))
    try:
        found = opened_config(where).model_type
        if found != spec.model_type:
            raise ConfigError(
                f"backbone.model_id must be a {spec.model_type} network for {name} "
                f"(got {found!r} at {where})"
            )
        network = opened_network(loader, where, ("pooler.",), dtype=torch.float32)
    except Unreadable as error:  # absent, unreachable, or no config that is known
        raise CheckpointError(missing_text(where, error.reason, spec.published)) from error
    check_finite(network, where)
    return freeze(network)


timesformer = partial(HFVideo, "timesformer")
vivit = partial(HFVideo, "vivit")
timesformer_image = partial(StillTwin, timesformer)
vivit_image = partial(StillTwin, vivit)
