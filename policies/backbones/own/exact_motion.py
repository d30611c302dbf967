"""An image encoder plus the exact motion of every object: an upper bound, not a policy.

The motion stream of two-stream networks (Simonyan & Zisserman 2014) reads optical flow. Here it
reads what no camera gives: how far each visible position of the simulator moved since the frame
before. If a mechanism scores no better with exact motion than with an estimate, the estimate is
not what limits it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch

from neon_sim.errors import ConfigError
from neon_sim.observation.batch import ClipBatch
from neon_sim.registry import BACKBONES

from ..base import Tokens, fingerprint, known_shape, masked_mean
from .state import STATE_DIM


@dataclass(frozen=True)
class MotionSettings:
    """Which image encoder is used; its own arguments are given beside this one.

    Attributes:
        image: registry name.
    """

    image: str = "neon_tiny_image"


class ExactMotion:
    """Tokens of an encoder of single frames; the last 16 numbers of each are the exact motion.

    They are the change of the simulator's visible positions (m) since the frame before in the
    clip. They are the same at every place of a frame, and zero where the frame before is padding
    or absent.

    Args:
        image: registry name of the encoder. arguments: of it.

    Attributes:
        needs: what must be observed besides video.
        extra_dim: numbers appended to a token.
    """

    SETTINGS = MotionSettings
    OPEN = True
    needs = frozenset({"state"})
    extra_dim = STATE_DIM
    single_frames = True

    def __init__(self, image: str = "neon_tiny_image", **arguments: str) -> None:
        self.encoder = BACKBONES.resolve(image)(**arguments)
        self.feature_dim = int(self.encoder.feature_dim) + self.extra_dim
        self.tokens_per_frame = int(self.encoder.tokens_per_frame)

    @classmethod
    def token_shape(
        cls, frames: int, /, image: str = "neon_tiny_image", **arguments: str
    ) -> tuple[int, int] | None:
        """The encoder's."""
        return known_shape(BACKBONES.resolve(image), frames, arguments)

    def num_tokens(self, num_frames: int) -> int:
        """The encoder's."""
        return int(self.encoder.num_tokens(num_frames))

    def fingerprint(self) -> str:
        """Hash of the class name and the fingerprint of the encoder."""
        said = f"{type(self).__name__} {fingerprint(self.encoder)}"
        return hashlib.sha256(said.encode()).hexdigest()

    def encode(self, clip: ClipBatch) -> Tokens:
        """(B, T) frames -> hidden (B, T * S, D + ``extra_dim``), the extra numbers last.

        Raises:
            ConfigError: the clip holds no video, or not what ``needs`` names.
        """
        seen = self.encoder.encode(clip)
        extra = torch.where(seen.mask.unsqueeze(2), self.extra(clip), torch.zeros(()))
        hidden = torch.cat([seen.hidden.float(), extra], dim=2)
        return Tokens(hidden, seen.mask, masked_mean(hidden, seen.mask))

    def extra(self, clip: ClipBatch) -> torch.Tensor:
        """The numbers appended to every token: (B, T * S, ``extra_dim``) float32.

        Raises:
            ConfigError: the clip holds no state.
        """
        if clip.state is None:
            raise ConfigError("exact_motion needs environment_state, the clip holds none")
        state = torch.from_numpy(clip.state.astype("float32"))
        real = torch.from_numpy(clip.mask.copy())
        motion = torch.zeros_like(state)
        both = (real[:, 1:] & real[:, :-1]).unsqueeze(2)
        motion[:, 1:] = torch.where(both, state[:, 1:] - state[:, :-1], torch.zeros(()))
        return motion.repeat_interleave(self.tokens_per_frame, dim=1)
