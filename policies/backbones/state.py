"""Backbones without a camera: the simulator's visible positions (oracles), and nothing (blind)."""

from __future__ import annotations

import torch

from neon_sim.errors import ConfigError
from neon_sim.observation import ClipBatch

from .base import Tokens, masked_mean

STATE_DIM = 16


class StateBackbone:
    """True visible positions as they are: one token of 16 numbers a frame.

    A memoryless oracle gets one frame, a history oracle the whole clip.
    """

    feature_dim = STATE_DIM
    tokens_per_frame = 1

    def num_tokens(self, num_frames: int) -> int:
        """One token a frame."""
        return num_frames

    def encode(self, clip: ClipBatch) -> Tokens:
        """(B, T, 16) float32 -> hidden of the same shape.

        Raises:
            ConfigError: the clip holds no state.
        """
        if clip.state is None:
            raise ConfigError("the state backbone needs environment_state, the clip holds none")
        hidden = torch.from_numpy(clip.state.astype("float32"))
        mask = torch.from_numpy(clip.mask.copy())
        return Tokens(hidden, mask, masked_mean(hidden, mask))


class NoBackbone:
    """Sees nothing: one masked token a clip, so that shapes stay what they are."""

    feature_dim = 1
    tokens_per_frame = 1

    def num_tokens(self, num_frames: int) -> int:
        """One token, masked."""
        del num_frames
        return 1

    def encode(self, clip: ClipBatch) -> Tokens:
        """hidden (B, 1, 1) of zeros, mask all False."""
        rows = len(clip)
        return Tokens(
            torch.zeros(rows, 1, 1), torch.zeros(rows, 1, dtype=torch.bool), torch.zeros(rows, 1)
        )
