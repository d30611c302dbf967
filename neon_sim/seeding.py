"""Random numbers keyed by what an episode is, never by who ran it or when.

``(task, version, seed, episode)`` alone fixes the initial state, the latent and the
noise of an episode. Named streams keep draws apart, so that adding a draw to one stream
never changes another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

# Run seeds below the first are evaluation's; each kind of training adds its own to its ``seed``.
COLLECTION_SEED = 1000  # of neon_sim.collect
RL_SEED = 500_000  # of neon_sim.rl


def key_of(text: str) -> int:
    """Map a name to a stable 64-bit integer (BLAKE2b; the builtin ``hash`` is per process)."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def episode_rng(
    task: str, version: int, seed: int, episode: int, stream: str = "init"
) -> np.random.Generator:
    """Generator of one named stream of one episode.

    Args:
        task: registry name of the task, such as ``"arm_catch"``.
        version: version of the task (``0`` for ``-v0``).
        seed: the run's seed, >= 0.
        episode: index of the episode, >= 0.
        stream: what the numbers are for (``"init"``, ``"expert"``, ``"collect"`` ...).
    """
    entropy = [key_of(task), version, seed, episode, key_of(stream)]
    return np.random.default_rng(np.random.SeedSequence(entropy))


def keyed_rng(*keys: int | str | Sequence[int]) -> np.random.Generator:
    """Generator keyed by integers and names, for anything that is not an episode."""
    flat: list[int] = []
    for key in keys:
        if isinstance(key, str):
            flat.append(key_of(key))
        elif isinstance(key, int):
            flat.append(key)
        else:
            flat.extend(int(part) for part in key)
    return np.random.default_rng(np.random.SeedSequence(flat))
