"""Video networks of torchvision: r3d_18, mc3_18, r2plus1d_18, s3d and mvit_v2_s.

Built by torchvision, filled from a local safetensors file of its Kinetics-400 weights, cut
off before pooling and classifier, so that places stay places.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import torch
from annotated_types import Interval
from torch import Tensor, nn

from neon_sim.errors import ConfigError, clone_root, install_command, require_package
from neon_sim.observation.clips import MAX_CLIP_FRAMES

from ..base import AUTO, Argument, find_device, one_place, read_settings
from ..weights.catalogue import Published
from ..weights.find import RANDOM
from ..weights.libraries import mend_torchvision
from ..weights.sources import freeze, load_strictly, read_state, seeded
from .base import ClipEncoder, StillTwin, hold_length, identity, merge_time, pixels, resample_time

if TYPE_CHECKING:
    from torchvision.models.video import MViT

# torch 2.N is released together with torchvision 0.(N + 15); a clone's pins hold the pair
PAIRED = f"torchvision==0.{int(torch.__version__.split('.')[1]) + 15}.*"
INSTALL = install_command("torchvision" if clone_root() else PAIRED, options="--no-deps")
KINETICS = ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))
SLOWFAST = ((0.45, 0.45, 0.45), (0.225, 0.225, 0.225))


@dataclass(frozen=True)
class Network:
    """One network as torchvision publishes it (its weights' ``meta`` and ``transforms``).

    Attributes:
        file: of the weights at download.pytorch.org/models. size: of it, in words.
        image_size: pixels a side. mean_std: of pixels in [0, 1].
        num_frames: that it takes, shorter clips with frames repeated; any number when 0.
        layers: where tokens may be taken: name -> frames of the clip in one place in time,
            channels, and pixels of the input in one place.
    """

    file: str
    size: str
    image_size: int
    mean_std: tuple[tuple[float, ...], tuple[float, ...]]
    num_frames: int
    layers: dict[str, tuple[int, int, int]]


_RESNET = {"layer2": (2, 128, 4), "layer3": (4, 256, 8), "layer4": (8, 512, 16)}
_STILL = {"layer2": (1, 128, 4), "layer3": (1, 256, 8), "layer4": (1, 512, 16)}
_S3D = {"mixed4": (4, 832, 16), "mixed5": (8, 1024, 32)}
_MVIT = {"norm": (2, 768, 32)}
NETWORKS = {
    "r3d_18": Network("r3d_18-b3b3357e.pth", "127 MB", 112, KINETICS, 0, _RESNET),
    "mc3_18": Network("mc3_18-a90a0ba3.pth", "45 MB", 112, KINETICS, 0, _STILL),
    "r2plus1d_18": Network("r2plus1d_18-91a641e6.pth", "120 MB", 112, KINETICS, 0, _RESNET),
    "s3d": Network("s3d-d76dad2f.pth", "32 MB", 224, KINETICS, 0, _S3D),
    "mvit_v2_s": Network(
        "mvit_v2_s-ae3be167.pth", "132 MB", 224, SLOWFAST, 16, {"norm": (2, 768, 32)}
    ),
}
S3D_CUTS = {"mixed4": 13, "mixed5": 16}  # modules of ``features`` up to the end of that stage


def import_torchvision() -> Any:
    """``torchvision.models.video``, also beside a torch without CUDA.

    Raises:
        MissingPackageError: torchvision is not installed.
    """
    mend_torchvision()
    return require_package(
        "torchvision.models.video", why="A torchvision video network", install=INSTALL
    )


def published(name: str) -> Published:
    """Where the weights of a network are published and how to make them safetensors."""
    file, size = NETWORKS[name].file, NETWORKS[name].size
    code = (
        f"import torch, safetensors.torch as s; s.save_file(torch.load({file!r}, "
        f"weights_only=True), '{name}.safetensors')"
    )
    return Published(
        name,
        f"torchvision {file}",
        "BSD-3-Clause",
        size=size,
        kind="file",
        command=f"curl -LO https://download.pytorch.org/models/{file} && "
        f"python -c {shlex.quote(code)}",
        setting=f"backbone.model_id=/path/to/{name}.safetensors",
    )


@dataclass(frozen=True)
class TorchvisionSettings:
    """Settings of a video network of torchvision.

    Attributes:
        model_id: path of a safetensors state dict or of a folder with one, or ``random`` for
            weights drawn with a fixed seed (a network of that shape that has learned nothing).
        layer: a name in ``NETWORKS[name].layers``; the last one when empty.
        image_size: pixels a side; the published one when 0.
        weights: as ``model_id``.
        device: where it runs, ``auto``, ``cpu`` or ``cuda``.
    """

    model_id: str = ""
    layer: str = ""
    image_size: Annotated[int, Interval(ge=0, le=4096)] = 0
    weights: str = ""
    device: str = AUTO


class TorchvisionVideo(ClipEncoder):
    """Tokens of an inner feature map of one of torchvision's video networks.

    Args:
        name: a key of ``NETWORKS``. arguments: fields of ``TorchvisionSettings``.

    Raises:
        CheckpointError: no weights, a pickle, or of another architecture.
        ConfigError: a bad ``layer``, ``image_size`` or ``device``.
        MissingPackageError: no torchvision.
    """

    SETTINGS = TorchvisionSettings
    block_rows = 1  # the networks are large enough to fill a core with one clip

    @classmethod
    def token_shape(cls, frames: int, /, name: str, **arguments: Argument) -> tuple[int, int]:
        """A place for every 1, 2, 4 or 8 frames, by network and layer.

        Raises:
            ConfigError: more frames than the network takes, or a bad ``layer`` or ``image_size``.
        """
        settings = read_settings(TorchvisionSettings, arguments)
        one_place(settings.model_id, settings.weights)
        spec = NETWORKS[name]
        layer = settings.layer or list(spec.layers)[-1]
        if layer not in spec.layers:
            raise ConfigError(
                f"backbone_args.layer must be one of {', '.join(spec.layers)} for {name} "
                f"(got {layer!r})"
            )
        size = settings.image_size or spec.image_size
        if spec.num_frames and size != spec.image_size:
            raise ConfigError(
                f"backbone_args.image_size must be {spec.image_size} for {name}, whose "
                f"position tables have that size (got {settings.image_size})"
            )
        hold_length(frames, spec.num_frames or MAX_CLIP_FRAMES, name)
        step, _, stride = spec.layers[layer]
        return min(-(-(spec.num_frames or frames) // step), frames), (-(-size // stride)) ** 2

    def __init__(self, name: str, **arguments: Argument) -> None:
        settings = read_settings(TorchvisionSettings, arguments)
        asked = one_place(settings.model_id, settings.weights)
        where = find_device(settings.device)
        _, self.tokens_per_frame = self.token_shape(1, name, **arguments)
        self.name, self._spec = name, NETWORKS[name]
        self.max_frames = self._spec.num_frames or MAX_CLIP_FRAMES
        self.layer = settings.layer or list(self._spec.layers)[-1]
        self.image_size = settings.image_size or self._spec.image_size
        state = None if asked == RANDOM else read_state(published(name), asked)
        build = getattr(import_torchvision(), name)
        self.network = seeded(lambda: build(weights=None))
        if state is None:
            seeded(self._calibrate)
        else:
            load_strictly(self.network, state, asked)
        freeze(self.network).to(where)
        self.device = where
        self.feature_dim = self._spec.layers[self.layer][1]
        self.identity = identity(name, self.layer, self.image_size)

    def _frames(self, num_frames: int) -> int:
        return self._spec.num_frames or num_frames

    def _calibrate(self) -> None:
        """Calibrate the batch norms of random weights on noise, or signals fade with depth."""
        norms = [m for m in self.network.modules() if isinstance(m, nn.BatchNorm3d)]
        for norm in norms:
            norm.momentum = 1.0
        if norms:
            self.network.train()
            self._feature_map(torch.randint(0, 256, (2, 8, 64, 64, 3), dtype=torch.uint8))

    def time_places(self, num_frames: int) -> int:
        """One for every 1, 2, 4 or 8 frames, by network and layer."""
        chosen: dict[str, Argument] = {"layer": self.layer, "image_size": self.image_size}
        return self.token_shape(num_frames, self.name, **chosen)[0]

    def clip_tokens(self, video: Tensor) -> Tensor:
        """(B, T, H, W, 3) uint8 -> (B, P, S, D)."""
        x = self._feature_map(resample_time(video, self._frames(video.shape[1])))
        tokens = x.permute(0, 2, 3, 4, 1).flatten(2, 3)
        return merge_time(tokens, self.time_places(video.shape[1]))

    def _feature_map(self, video: Tensor) -> Tensor:
        """(B, T, H, W, 3) uint8 -> (B, D, T', H', W')."""
        size = (self.image_size, self.image_size)
        x = pixels(video.flatten(0, 1), size, *self._spec.mean_std)
        x = torch.unflatten(x, 0, video.shape[:2]).transpose(1, 2)
        with torch.inference_mode():
            if self.name == "mvit_v2_s":
                return _mvit_map(self.network, x)
            if self.name == "s3d":
                return self._s3d_map(x)
            return _resnet_map(self.network, x, self.layer)

    def _s3d_map(self, x: Tensor) -> Tensor:
        """S3D halves the clip three times, so a short clip repeats its first frame up to eight."""
        short = -x.shape[2] % 8
        x = torch.cat([x[:, :, :1].expand(-1, -1, short, -1, -1), x], dim=2)
        features = self.network.get_submodule("features")
        assert isinstance(features, nn.Sequential)
        found: Tensor = features[: S3D_CUTS[self.layer]](x)
        return found


def _resnet_map(network: nn.Module, x: Tensor, layer: str) -> Tensor:
    for name in ("stem", "layer1", "layer2", "layer3", "layer4"):
        x = network.get_submodule(name)(x)
        if name == layer:
            break
    return x


def _mvit_map(network: MViT, x: Tensor) -> Tensor:
    """As torchvision's forward, up to the norm; the class token is left out."""
    x = network.conv_proj(x).flatten(2).transpose(1, 2)
    x = network.pos_encoding(x)
    extent = (network.pos_encoding.temporal_size, *network.pos_encoding.spatial_size)
    for block in network.blocks:
        x, extent = block(x, extent)
    return torch.unflatten(network.norm(x)[:, 1:].transpose(1, 2), 2, tuple(extent))


r3d_18 = partial(TorchvisionVideo, "r3d_18")
mc3_18 = partial(TorchvisionVideo, "mc3_18")
r2plus1d_18 = partial(TorchvisionVideo, "r2plus1d_18")
s3d = partial(TorchvisionVideo, "s3d")
mvit_v2_s = partial(TorchvisionVideo, "mvit_v2_s")
r3d_18_image = partial(StillTwin, r3d_18)
mc3_18_image = partial(StillTwin, mc3_18)
r2plus1d_18_image = partial(StillTwin, r2plus1d_18)
s3d_image = partial(StillTwin, s3d)
mvit_v2_s_image = partial(StillTwin, mvit_v2_s)
