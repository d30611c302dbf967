"""The embedded default: a small convolutional video network and its image twin.

Every frame passes one convolutional stem (96 px -> 12 x 12 places of 64); the eight
frames' features of a place are joined and mixed over places by dilated residual blocks,
so that a token can compare where a thing is with where it was up to 0.56 s ago. The
output keeps the 12 x 12 places: 144 tokens of 64 for the whole clip.

The twin is the same network with the same number of parameters, pretrained on the same
clips for the same number of steps, with time removed: it gets one frame in every place.
Both are pretrained by ``python -m neon_sim.pretrain`` and shipped frozen in ``assets/``,
each beside a JSON file with the command, commit, seed and data hash that made it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from annotated_types import Interval
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import TypedDict

from neon_sim.errors import CheckpointError, ConfigError
from neon_sim.observation.batch import ClipBatch
from neon_sim.rules import Width
from neon_sim.schema import checked, parse_json, read_json

from ..base import Tokens, masked_mean, one_place

IMAGE_SIZE = 96
PATCH = 8  # pixels of a token a side
NUM_FRAMES = 8
FEATURE_DIM = 64
BLOCK_ROWS = 8  # inference always runs on this many rows: results never depend on the batch


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    padding = dilation * (kernel // 2)
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=padding, dilation=dilation)


class Residual(nn.Module):
    """``x + 1x1(relu(3x3(relu(x))))`` with a dilated 3x3; the 1x1 starts at zero."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.spread = _conv(width, width, 3, dilation=dilation)
        self.mix = _conv(width, width, 1)
        nn.init.zeros_(self.mix.weight)
        nn.init.zeros_(self.mix.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        added: Tensor = self.mix(functional.relu(self.spread(functional.relu(x))))
        return x + added


class NeonTinyNet(nn.Module):
    """The trainable network of both towers.

    Args:
        num_frames: T, places in time.
        stem: channels at half the stem's depth.
        width: channels of the trunk.
        dim: channels of a token.
    """

    def __init__(self, num_frames: int, stem: int, width: int, dim: int) -> None:
        super().__init__()
        self.num_frames, self.dim, self.pixel_dtype = num_frames, dim, torch.float32
        self.architecture = {"num_frames": num_frames, "stem": stem, "width": width, "dim": dim}
        self.stem1 = _conv(12, stem, 3, stride=2)
        self.stem2 = _conv(stem, dim, 3, stride=2)
        self.stem3 = Residual(dim, 1)
        self.absent = nn.Linear(num_frames, width, bias=False)  # learned stand-in for padding
        self.join = _conv(num_frames * dim, width, 1)
        self.place = nn.Parameter(torch.zeros(width, IMAGE_SIZE // PATCH, IMAGE_SIZE // PATCH))
        self.trunk = nn.Sequential(*[Residual(width, dilation) for dilation in (1, 2, 4, 1)])
        self.out = _conv(width, dim, 1)
        nn.init.normal_(self.place, std=0.02)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def frame_features(self, frames: Tensor) -> Tensor:
        """Features of single frames: (N, 96, 96, 3) uint8 -> (N, 12, 12, dim)."""
        n, height, width, _ = frames.shape
        x = frames.reshape(n, height // 2, 2, width // 2, 2, 3).permute(0, 1, 3, 2, 4, 5)
        x = x.reshape(n, height // 2, width // 2, 12).to(self.pixel_dtype).sub_(128)  # exact
        weight = self.stem1.weight * (1 / 64)
        x = functional.conv2d(x.permute(0, 3, 1, 2), weight, self.stem1.bias, 2, 1).relu_()
        maps: Tensor = self.stem3(functional.relu(self.stem2(x)))
        return maps.permute(0, 2, 3, 1)

    def fuse(self, features: Tensor, mask: Tensor) -> Tensor:
        """Join frames: (B, T, 12, 12, dim) and (B, T) bool -> tokens (B, 144, dim), unit scale."""
        b, t, height, width, dim = features.shape
        if not mask.all():
            features = features * mask[:, :, None, None, None].to(features.dtype)
        x = features.permute(0, 2, 3, 1, 4).reshape(b, height, width, t * dim)
        stand_in = self.absent((~mask).to(torch.float32))
        x = self.join(x.permute(0, 3, 1, 2)) + self.place + stand_in[:, :, None, None]
        x = self.out(functional.relu(self.trunk(x)))
        tokens = x.permute(0, 2, 3, 1).reshape(b, height * width, dim).to(torch.float32)
        return functional.layer_norm(tokens, (dim,))

    def forward(self, video: Tensor, mask: Tensor) -> Tensor:
        """Video tower: (B, T, 96, 96, 3) uint8, (B, T) bool -> (B, 144, dim) float32."""
        features = self.frame_features(video.flatten(0, 1))
        features = torch.unflatten(features, 0, video.shape[:2])
        return self.fuse(features, mask)

    def forward_images(self, frames: Tensor) -> Tensor:
        """Image twin: (N, 96, 96, 3) uint8 -> (N, 144, dim); the frame fills every place."""
        features = self.frame_features(frames)
        places = features[:, None].expand(-1, self.num_frames, -1, -1, -1)
        mask = torch.ones(len(frames), self.num_frames, dtype=torch.bool, device=frames.device)
        return self.fuse(places, mask)


def weights_path(name: str) -> Path:
    """Where the shipped weights of ``neon_tiny`` or ``neon_tiny_image`` lie."""
    return Path(str(resources.files("neon_sim"))) / "assets" / "backbones" / f"{name}.safetensors"


class Record(TypedDict):
    """The checked part of the JSON beside a weights file."""

    sha256: str


class Architecture(TypedDict):
    """Sizes of a network."""

    num_frames: Annotated[int, Interval(ge=1, le=64)]
    stem: Width
    width: Width
    dim: Width


DEFAULT_ARCHITECTURE: Architecture = {
    "num_frames": NUM_FRAMES,
    "stem": 48,
    "width": 128,
    "dim": FEATURE_DIM,
}


class Header(TypedDict):
    """The checked part of the metadata in a weights file."""

    tower: str
    architecture: Architecture


def read_weights(path: Path, tower: str) -> tuple[dict[str, Tensor], Header]:
    """Read and check a weights file.

    Args:
        path: ``.safetensors`` written by ``neon_sim.pretrain``; a ``.json`` of the same stem
            beside it, when there is one, must carry the file's SHA-256.
        tower: ``"video"`` or ``"image"``: what it must have been trained as.

    Returns:
        State dict in float32, and the metadata.

    Raises:
        CheckpointError: missing, damaged, of the other tower, or not the file of its record.
    """
    if not path.is_file():
        raise CheckpointError(
            f"no weights at {path}. Make them: python -m neon_sim.pretrain "
            f"backbone={'neon_tiny' if tower == 'video' else 'neon_tiny_image'} out=DIR"
        )
    record = path.with_suffix(".json")
    if record.is_file():
        mend = "copy it again with its weights, or delete it"
        wanted = read_json(record, Record, CheckpointError, mend)["sha256"]
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if wanted != found:
            raise CheckpointError(f"{path} is not the file of its record: sha256 {found[:12]}")
    try:
        with safe_open(str(path), "pt") as file:
            metadata = parse_json((file.metadata() or {})["neon_sim"])
            state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    except Exception as error:  # safetensors raises its own and KeyError
        raise CheckpointError(f"{path} is no neon_tiny weights file ({error})") from error
    checked(metadata, Header, f"{path} (metadata)", CheckpointError, "pretrain it again")
    if metadata["tower"] != tower:
        raise CheckpointError(f"{path} holds the {metadata['tower']} tower, not the {tower} tower")
    return state, metadata


@dataclass(frozen=True)
class NeonTinySettings:
    """Where the weights are; see ``_NeonTiny``."""

    model_id: str = ""
    weights: str = ""


class _NeonTiny:
    """What both towers share: the frozen network, and inference in fixed blocks of rows.

    Args:
        model_id: path of a weights file, or of a folder that holds ``<NAME>.safetensors``;
            the shipped one when empty. weights: the same.

    Raises:
        CheckpointError: the weights are missing, damaged or of another architecture.
    """

    NAME = ""
    TOWER = ""
    SETTINGS = NeonTinySettings
    feature_dim = FEATURE_DIM
    tokens_per_frame = (IMAGE_SIZE // PATCH) ** 2

    def __init__(self, model_id: str = "", weights: str = "") -> None:
        asked = one_place(model_id, weights)
        path = Path(asked) if asked else weights_path(self.NAME)
        path = path / f"{self.NAME}.safetensors" if path.is_dir() else path
        state, self.metadata = read_weights(path, self.TOWER)
        self.network = self.new_network(self.metadata["architecture"])
        try:
            self.network.load_state_dict(state, strict=True)
        except RuntimeError as error:
            raise CheckpointError(f"{path} is of another architecture: {error}") from error
        self.network.eval().requires_grad_(False)

    @staticmethod
    def new_network(architecture: Architecture | None = None) -> NeonTinyNet:
        """A fresh network to be pretrained, initialised from torch's global generator."""
        return NeonTinyNet(**(architecture or DEFAULT_ARCHITECTURE))

    def _run(self, video: Tensor, mask: Tensor) -> Tensor:
        raise NotImplementedError

    def encode(self, clip: ClipBatch) -> Tokens:
        """Encode a batch of clips; a row's tokens are the same to the bit in every batch.

        Args:
            clip: ``ClipBatch`` with ``video`` (B, T, 96, 96, 3) uint8 and ``mask`` (B, T) bool.

        Returns:
            ``Tokens``: hidden (B, S, 64) float32, mask (B, S) all True where a frame was
            real, pooled (B, 64) the mean over real tokens.

        Raises:
            ConfigError: no video, or frames of another size or number.
        """
        if clip.video is None:
            raise ConfigError(f"{self.NAME} needs video, but the clip holds none")
        video = torch.as_tensor(np.ascontiguousarray(clip.video))
        mask = torch.as_tensor(np.ascontiguousarray(clip.mask)).bool()
        if video.shape[2:] != (IMAGE_SIZE, IMAGE_SIZE, 3):
            raise ConfigError(
                f"clip.image_size must be {IMAGE_SIZE} for {self.NAME} (got {video.shape[2:4]})"
            )
        rows = len(video)
        spare = -rows % BLOCK_ROWS
        if spare:
            video = torch.cat([video, video[-1:].expand(spare, *video.shape[1:])])
            mask = torch.cat([mask, mask[-1:].expand(spare, -1)])
        with torch.inference_mode():
            blocks = zip(torch.split(video, BLOCK_ROWS), torch.split(mask, BLOCK_ROWS), strict=True)
            hidden = torch.cat([self._run(*block) for block in blocks])[:rows].clone()
        return self._tokens(hidden, mask[:rows])

    def _tokens(self, hidden: Tensor, mask: Tensor) -> Tokens:
        raise NotImplementedError


class NeonTinyVideo(_NeonTiny):
    """The video tower: 144 tokens for the whole clip.

    The clip may be shorter than eight frames (it is padded in front); its frames must be
    0.08 s apart, as in pretraining, since ages are not an input.
    """

    NAME = "neon_tiny"
    TOWER = "video"

    def num_tokens(self, num_frames: int) -> int:
        """Tokens of a clip of ``num_frames`` frames: 144, however many."""
        del num_frames
        return self.tokens_per_frame

    def _run(self, video: Tensor, mask: Tensor) -> Tensor:
        missing = self.network.num_frames - video.shape[1]
        if missing < 0:
            raise ConfigError(
                f"clip.num_frames must be at most {self.network.num_frames} for {self.NAME} "
                f"(got {video.shape[1]})"
            )
        features = self.network.frame_features(video.flatten(0, 1))
        features = torch.unflatten(features, 0, video.shape[:2])
        if missing:
            features = functional.pad(features, (0, 0, 0, 0, 0, 0, missing, 0))
            mask = functional.pad(mask, (missing, 0))
        return self.network.fuse(features, mask)

    def _tokens(self, hidden: Tensor, mask: Tensor) -> Tokens:
        everything = torch.ones(hidden.shape[:2], dtype=torch.bool)
        return Tokens(hidden=hidden, mask=everything, pooled=hidden.mean(dim=1))


class NeonTinyImage(_NeonTiny):
    """The image twin: every frame on its own, 144 tokens a frame."""

    NAME = "neon_tiny_image"
    TOWER = "image"

    def num_tokens(self, num_frames: int) -> int:
        """Tokens of a clip of ``num_frames`` frames: 144 each."""
        return self.tokens_per_frame * num_frames

    def _run(self, video: Tensor, mask: Tensor) -> Tensor:
        del mask
        hidden = [self.network.forward_images(frames) for frames in video.unbind(1)]
        return torch.cat(hidden, dim=1)

    def _tokens(self, hidden: Tensor, mask: Tensor) -> Tokens:
        places = mask.repeat_interleave(self.tokens_per_frame, dim=1)
        hidden = torch.where(places[..., None], hidden, torch.zeros(()))
        return Tokens(hidden=hidden, mask=places, pooled=masked_mean(hidden, places))
