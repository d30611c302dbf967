"""Bases of the encoders with other people's weights: fixed blocks, padding, sizes, still twins.

An image encoder writes ``frame_tokens``, a video encoder ``clip_tokens``; the two bases
here make backbones of them. Padded frames never reach an image encoder; in a clip for a
video encoder they are replaced by the first real frame, so that what they show is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from annotated_types import Interval
from torch import Tensor, nn
from torch.nn import functional

from neon_sim.errors import ConfigError
from neon_sim.observation.batch import ClipBatch
from neon_sim.observation.clips import MAX_CLIP_FRAMES

from ..base import Argument, Tokens, known_rows, known_shape, masked_mean, read_settings

CPU = torch.device("cpu")
STILL_FRAMES = 8  # length of a clip in which nothing moves
BLOCK_ROWS = 8  # inference always runs on this many rows: results never depend on the batch


def identity(*settings: object) -> Tensor:
    """Settings as a tensor, so that they are part of the fingerprint of features."""
    return torch.tensor(list(repr(settings).encode()), dtype=torch.uint8)


def clip_tensors(clip: ClipBatch, name: str) -> tuple[Tensor, Tensor]:
    """Video (B, T, H, W, 3) uint8 and mask (B, T) bool of a batch.

    Raises:
        ConfigError: no video, no uint8, or not of that shape; ``name`` stands in the message.
    """
    if clip.video is None:
        raise ConfigError(f"{name} needs video, but the clip holds none")
    if clip.video.dtype != np.uint8 or clip.video.ndim != 5 or clip.video.shape[-1] != 3:
        raise ConfigError(
            f"{name} needs video of (B, T, H, W, 3) uint8 (got {clip.video.shape} "
            f"{clip.video.dtype})"
        )
    video = torch.from_numpy(np.ascontiguousarray(clip.video))
    return video, torch.from_numpy(np.ascontiguousarray(clip.mask)).bool()


def _exact(device: torch.device) -> AbstractContextManager[None]:
    """Make convolutions on a GPU deterministic, without rounding to TF32."""
    if device.type == "cpu":
        return nullcontext()
    return torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)


def in_blocks(
    function: Callable[[Tensor], Tensor],
    rows: Tensor,
    size: int = BLOCK_ROWS,
    device: torch.device = CPU,
) -> Tensor:
    """``function`` over blocks of exactly ``size`` rows, the last filled up by repetition.

    Without gradients. A row's result is the same to the bit in every batch, for every
    matrix product has the same shape. Blocks are moved to ``device`` and results back; its
    convolutions do not round to TF32, so that features of a GPU are those of a CPU.

    Raises:
        ConfigError: no rows.
    """
    count = len(rows)
    if not count:
        raise ConfigError("an encoder needs at least one frame (got none)")
    spare = -count % size
    if spare:
        rows = torch.cat([rows, rows[-1:].expand(spare, *rows.shape[1:])])
    with torch.inference_mode(), _exact(device):
        blocks = (block.to(device) for block in torch.split(rows, size))
        parts = [function(block).to(CPU, torch.float32) for block in blocks]
        return torch.cat(parts)[:count].clone()


def pixels(
    frames: Tensor, size: tuple[int, int], mean: tuple[float, ...], std: tuple[float, ...]
) -> Tensor:
    """Resized and standardised frames: (N, H, W, 3) uint8 -> (N, 3, *size) float32.

    Bicubic, with antialiasing where it shrinks; ``mean`` and ``std`` are of pixels in [0, 1].
    """
    x = frames.permute(0, 3, 1, 2).to(torch.float32).div_(255.0)
    if tuple(x.shape[2:]) != size:
        x = functional.interpolate(x, size=size, mode="bicubic", antialias=True).clamp_(0.0, 1.0)
    shift, scale = (torch.tensor(values, device=x.device) for values in (mean, std))
    return (x - shift[:, None, None]) / scale[:, None, None]


def hold_padding(video: Tensor, mask: Tensor) -> Tensor:
    """Replace padding by the first real frame of the row; black where no frame is real."""
    first = mask.to(torch.int8).argmax(dim=1)
    rows = torch.arange(len(video))
    stand_in = video[rows, first] * mask.any(dim=1).to(video.dtype)[:, None, None, None]
    return torch.where(mask[:, :, None, None, None], video, stand_in[:, None])


def hold_length(num_frames: int, most: int, name: str) -> None:
    """Check that a clip is not longer than a network takes; frames are never dropped.

    Raises:
        ConfigError: more frames than ``most``; ``name`` stands in the message.
    """
    if not 1 <= num_frames <= most:
        raise ConfigError(
            f"clip.num_frames must be 1 to {most} for {name} (got {num_frames}); show fewer "
            "frames (clip.num_frames)"
        )


def resample_time(video: Tensor, num_frames: int) -> Tensor:
    """(B, T, ...) to ``num_frames`` >= T places in time, each the nearest frame."""
    have = video.shape[1]
    places = (torch.arange(num_frames) + 0.5) * have / num_frames
    return video if have == num_frames else video[:, places.long()]


def merge_time(tokens: Tensor, places: int) -> Tensor:
    """Mean of neighbouring places in time: (B, P, S, D) -> (B, ``places``, S, D)."""
    if tokens.shape[1] == places:
        return tokens
    flat = tokens.flatten(2).transpose(1, 2)
    pooled = functional.adaptive_avg_pool1d(flat, places).transpose(1, 2)
    return torch.unflatten(pooled, 2, tokens.shape[2:])


def place_mask(mask: Tensor, places: int) -> Tensor:
    """(B, T) to (B, ``places``): a place is real where any frame it covers is."""
    return functional.adaptive_max_pool1d(mask.float(), places) > 0


class ImageEncoder:
    """A backbone that looks at every frame on its own.

    A subclass sets the attributes and writes ``frame_tokens``.

    Attributes:
        name: what errors call it. feature_dim: D. tokens_per_frame: S.
        device: that ``frame_tokens`` is handed frames on.
    """

    single_frames = True

    name: str
    feature_dim: int
    tokens_per_frame: int
    device: torch.device = CPU

    def frame_tokens(self, frames: Tensor) -> Tensor:
        """(N, H, W, 3) uint8 -> (N, S, D)."""
        raise NotImplementedError

    def num_tokens(self, num_frames: int) -> int:
        """S tokens a frame."""
        return num_frames * self.tokens_per_frame

    def encode(self, clip: ClipBatch) -> Tokens:
        """(B, T) frames -> hidden (B, T * S, D) float32; padding gives masked zeros.

        Raises:
            ConfigError: no video, or not (B, T, H, W, 3) uint8.
        """
        video, mask = clip_tensors(clip, self.name)
        hidden = torch.zeros(mask.numel(), self.tokens_per_frame, self.feature_dim)
        real = mask.flatten()
        if real.any():
            rows = video.flatten(0, 1)[real]
            hidden[real] = in_blocks(self.frame_tokens, rows, device=self.device)
        hidden = hidden.reshape(len(video), -1, self.feature_dim)
        places = mask.repeat_interleave(self.tokens_per_frame, dim=1)
        return Tokens(hidden, places, masked_mean(hidden, places))


class ClipEncoder:
    """A backbone that looks at the whole clip and keeps P places in time.

    A subclass sets the attributes and writes ``time_places`` and ``clip_tokens``.

    Attributes:
        name: what errors call it. feature_dim: D. tokens_per_frame: S of a place in time.
        network: the weights. identity: the settings, as ``identity`` makes it.
        max_frames: longest clip, the network's where it has a length.
        block_rows: clips of one inference. device: that ``clip_tokens`` is handed clips on.
    """

    name: str
    feature_dim: int
    tokens_per_frame: int
    network: nn.Module
    identity: Tensor
    max_frames: int = MAX_CLIP_FRAMES
    block_rows: int = BLOCK_ROWS
    device: torch.device = CPU

    def time_places(self, num_frames: int) -> int:
        """P of a clip of ``num_frames`` frames, at most that."""
        raise NotImplementedError

    def clip_tokens(self, video: Tensor) -> Tensor:
        """(B, T, H, W, 3) uint8 -> (B, P, S, D)."""
        raise NotImplementedError

    def num_tokens(self, num_frames: int) -> int:
        """P * S.

        Raises:
            ConfigError: more frames than ``max_frames``.
        """
        hold_length(num_frames, self.max_frames, self.name)
        return self.time_places(num_frames) * self.tokens_per_frame

    def encode(self, clip: ClipBatch) -> Tokens:
        """(B, T) frames -> hidden (B, P * S, D) float32, oldest place first.

        Raises:
            ConfigError: no video, not (B, T, H, W, 3) uint8, or more frames than ``max_frames``.
        """
        video, mask = clip_tensors(clip, self.name)
        hold_length(video.shape[1], self.max_frames, self.name)
        held = hold_padding(video, mask)
        hidden = in_blocks(self.clip_tokens, held, self.block_rows, self.device)
        places = place_mask(mask, hidden.shape[1]).repeat_interleave(self.tokens_per_frame, dim=1)
        hidden = torch.where(places[..., None], hidden.flatten(1, 2), torch.zeros(()))
        return Tokens(hidden, places, masked_mean(hidden, places))


@dataclass(frozen=True)
class StillSettings:
    """Settings of an image twin, beside those of its video encoder.

    Attributes:
        num_frames: places that a frame fills; eight, or all where the network has fewer.
    """

    num_frames: Annotated[int, Interval(ge=1, le=64)] | None = None


class StillTwin(ImageEncoder):
    """The image twin of a video encoder: a frame is a clip in which nothing moves.

    The frame fills ``num_frames`` places and the tokens of the newest are kept, so that
    ``frame`` and ``video_repeat`` see the same through the same weights. It costs a whole
    clip for each frame.

    Args:
        video: the video encoder's class or maker.
        arguments: fields of ``StillSettings``, and what the video encoder takes.
    """

    SETTINGS = StillSettings

    @classmethod
    def token_shape(
        cls, frames: int, /, video: Callable[..., ClipEncoder], **arguments: Argument
    ) -> tuple[int, int] | None:
        """A place a frame, each with the tokens of the video encoder's newest."""
        shape = known_shape(video, 1, _split(arguments)[1])
        return shape and (frames, shape[1])

    @classmethod
    def grid_rows(cls, /, video: Callable[..., ClipEncoder], **arguments: Argument) -> int:
        """The video encoder's."""
        return known_rows(video, _split(arguments)[1])

    def __init__(self, video: Callable[..., ClipEncoder], **arguments: Argument) -> None:
        settings, others = _split(arguments)
        num_frames = settings.num_frames
        encoder = video(**others)
        usual = min(STILL_FRAMES, encoder.max_frames)
        self._encoder, self.num_frames = encoder, usual if num_frames is None else num_frames
        self.device = encoder.device
        if not 1 <= self.num_frames <= encoder.max_frames:
            raise ConfigError(
                f"backbone_args.num_frames must be 1 to {encoder.max_frames} for "
                f"{encoder.name} (got {num_frames})"
            )
        self.network = encoder.network  # both are fingerprinted
        self.identity = torch.cat([encoder.identity, identity(self.num_frames)])
        self.name, self.feature_dim = f"{encoder.name}_image", encoder.feature_dim
        self.tokens_per_frame = encoder.tokens_per_frame
        self.token_rows = int(getattr(encoder, "token_rows", 0))

    def frame_tokens(self, frames: Tensor) -> Tensor:
        """(N, H, W, 3) uint8 -> (N, S, D)."""
        still = frames[:, None].expand(-1, self.num_frames, -1, -1, -1)
        blocks = torch.split(still, self._encoder.block_rows)
        return torch.cat([self._encoder.clip_tokens(block)[:, -1] for block in blocks])


def _split(arguments: Mapping[str, Argument]) -> tuple[StillSettings, dict[str, Argument]]:
    """The settings of a twin, and what its video encoder is made with."""
    own = {key: value for key, value in arguments.items() if key == "num_frames"}
    others = {key: value for key, value in arguments.items() if key not in own}
    return read_settings(StillSettings, own), others
