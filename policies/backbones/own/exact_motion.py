"""An image encoder that is also told how everything moved: privileged, a ceiling and no policy.

The motion stream of two-stream networks (Simonyan & Zisserman 2014) reads optical flow. Here it
can read what no camera gives: by how much each visible position of the simulator changed since
the frame before. A mechanism that does no better with it than with an estimate is not held back
by the estimate.
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
    """Which encoder looks; its own arguments come beside this one.

    Attributes:
        image: registry name.
    """

    image: str = "neon_tiny_image"


class ExactMotion:
    """Tokens of an encoder of single frames; the last 16 numbers of each are the exact motion.

    They are the change of the simulator's visible positions (m) since the clip's frame before,
    the same at every place of a frame, and zero where that frame is padding or not there.

    Args:
        image: registry name of the encoder. arguments: of it.

    Attributes:
        needs: what must be observed besides video. told_dim: numbers appended to a token.
    """

    SETTINGS = MotionSettings
    OPEN = True
    needs = frozenset({"state"})
    told_dim = STATE_DIM
    single_frames = True

    def __init__(self, image: str = "neon_tiny_image", **arguments: str) -> None:
        self.encoder = BACKBONES.resolve(image)(**arguments)
        self.feature_dim = int(self.encoder.feature_dim) + self.told_dim
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
        """The encoder's, marked."""
        said = f"{type(self).__name__} {fingerprint(self.encoder)}"
        return hashlib.sha256(said.encode()).hexdigest()

    def encode(self, clip: ClipBatch) -> Tokens:
        """(B, T) frames and what is told of them -> hidden (B, T * S, D + ``told_dim``).

        Raises:
            ConfigError: the clip holds no video, or not what is told.
        """
        seen = self.encoder.encode(clip)
        told = torch.where(seen.mask.unsqueeze(2), self.told(clip), torch.zeros(()))
        hidden = torch.cat([seen.hidden.float(), told], dim=2)
        return Tokens(hidden, seen.mask, masked_mean(hidden, seen.mask))

    def told(self, clip: ClipBatch) -> torch.Tensor:
        """What is appended to every token: (B, T * S, ``told_dim``) float32.

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
