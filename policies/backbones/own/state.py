"""Backbones without a camera: the simulator's visible positions (oracles), and nothing (blind)."""

from __future__ import annotations

import torch

from neon_sim.errors import ConfigError
from neon_sim.observation.batch import ClipBatch

from ..base import Tokens, masked_mean

STATE_DIM = 16


class StateBackbone:
    """True visible positions: a frame has 16 tokens, one for each number.

    A token a number lets a query pick the numbers that the instruction names (the red
    block's place) by attention. Beside the number itself a token holds its Fourier features
    (Tancik et al. 2020, "Fourier features let networks learn high frequency functions"), so
    that a centimetre, which decides about a grasp, is not lost beside a metre. A memoryless
    oracle gets one frame, a history oracle all.
    """

    WAVELENGTHS_M = (2.0, 0.5, 0.125)
    feature_dim = 1 + 2 * len(WAVELENGTHS_M)
    tokens_per_frame = STATE_DIM

    def num_tokens(self, num_frames: int) -> int:
        """Sixteen tokens a frame."""
        return STATE_DIM * num_frames

    def encode(self, clip: ClipBatch) -> Tokens:
        """(B, T, 16) float32 -> hidden (B, T * 16, 7), frame by frame.

        Raises:
            ConfigError: the clip holds no state.
        """
        if clip.state is None:
            raise ConfigError("the state backbone needs environment_state, the clip holds none")
        number = torch.from_numpy(clip.state.astype("float32")).flatten(1).unsqueeze(2)
        phase = number * (2 * torch.pi / torch.tensor(self.WAVELENGTHS_M))
        hidden = torch.cat([number, phase.sin(), phase.cos()], dim=2)
        mask = torch.from_numpy(clip.mask.copy()).repeat_interleave(STATE_DIM, dim=1)
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
