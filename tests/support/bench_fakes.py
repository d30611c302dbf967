"""Policies for tests of the bench, named as ``bench_fakes:function`` so that workers find them."""

from __future__ import annotations

import hashlib
import time
from typing import Any

import numpy as np

from neon_sim.observation.batch import ClipBatch
from neon_sim.observation.clips import ClipConfig


class Fake:
    """Drifts from where the arm is; what it does depends on what it sees and nothing else."""

    def __init__(self, needs: frozenset[str] = frozenset({"state"})) -> None:
        self.clip = ClipConfig(num_frames=2)
        self.needs = needs

    def reset(self, num_envs: int) -> None:
        """Nothing to forget."""

    def trouble(self, chunk: np.ndarray, key: int) -> np.ndarray:
        """What subclasses do to one row."""
        return chunk

    def act(self, batch: ClipBatch) -> np.ndarray:
        """(B, 16, 8) towards a target that the row's own content decides."""
        chunks = []
        for row in range(len(batch)):
            key = content_key(batch, row)
            target = np.random.default_rng(key).uniform(-0.3, 0.3, 8)
            steps = np.linspace(0, 1, 16)[:, None]
            chunk = (1 - steps) * batch.agent_pos[row] + steps * target
            chunks.append(self.trouble(chunk.astype(np.float32), key))
        return np.stack(chunks)


def content_key(batch: ClipBatch, row: int) -> int:
    """A number that the row's first look decides."""
    seen = batch.agent_pos[row].tobytes() + batch.text[row].encode()
    for array in (batch.state, batch.video):
        if array is not None:
            seen += np.ascontiguousarray(array[row]).tobytes()
    return int.from_bytes(hashlib.blake2b(seen, digest_size=8).digest(), "little")


class NanSometimes(Fake):
    """Returns NaN for one look in fifty."""

    def trouble(self, chunk: np.ndarray, key: int) -> np.ndarray:
        if key % 50 == 0:
            chunk[3, 5] = np.nan
        return chunk


class RaiseSometimes(Fake):
    """Raises for one look in fifty."""

    def trouble(self, chunk: np.ndarray, key: int) -> np.ndarray:
        if key % 50 == 0:
            raise RuntimeError("the network is on fire")
        return chunk


class Slow(Fake):
    """Takes its time, so that a run can be stopped in the middle."""

    def act(self, batch: ClipBatch) -> np.ndarray:
        time.sleep(0.01)
        return super().act(batch)


def drift(**_: Any) -> Fake:
    return Fake()


def watching(**_: Any) -> Fake:
    return Fake(frozenset({"video"}))


def nan_sometimes(**_: Any) -> Fake:
    return NanSometimes()


def raise_sometimes(**_: Any) -> Fake:
    return RaiseSometimes()


def slow(**_: Any) -> Fake:
    return Slow()
