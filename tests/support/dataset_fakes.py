"""Small made-up episodes, for tests of the dataset format that need no simulator."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from neon_sim.demonstrations.assemble import assemble
from neon_sim.demonstrations.shards import EpisodeIdentity, RecordedEpisode, shard_path, write_shard
from neon_sim.seeding import keyed_rng

TASKS = ("arm_catch", "arm_block")


def fake_episode(
    index: int, length: int | None = None, size: int = 32, channels: int = 0
) -> RecordedEpisode:
    """An episode of random numbers and of a coloured square that moves one pixel a frame.

    With ``channels`` it has sound: noise.
    """
    rng = keyed_rng("fake", index)
    length = 21 + 4 * index if length is None else length
    num_frames = -(-length // 2)
    frames = np.full((num_frames, size, size, 3), 90, dtype=np.uint8)
    frames += rng.integers(0, 20, (1, size, size, 1), dtype=np.uint8)
    for j in range(num_frames):
        at = (index + j) % (size - 6)
        frames[j, 4:10, at : at + 6] = (255, 16 * index % 256, j % 256)
    task, expert = TASKS[index % 2], index % 3 == 0
    agent_pos, state, action, executed = (
        rng.uniform(-1, 1, (length, width)).astype(np.float32) for width in (8, 16, 8, 8)
    )
    return RecordedEpisode(
        identity=EpisodeIdentity(
            task_name=task,
            version=0,
            seed=1000,
            episode=index // 2,
            source="expert" if expert else "noisy",
            success=index % 4 != 3,
            initial_hash=f"{index:064x}",
            description=f"do {task} number {index % 3}",
        ),
        agent_pos=agent_pos,
        environment_state=state,
        action=action,
        executed_action=action if expert else executed,
        success=(np.arange(length) > length - 6) & (index % 4 != 3),
        frames={"front": frames},
        audio=_noise(index, channels, length) if channels else None,
        audio_channels=tuple(f"ear.{k}" for k in range(channels)),
    )


def _noise(index: int, channels: int, length: int) -> np.ndarray:
    """(C, 16000 + 320 * L) int16."""
    noise = keyed_rng("fake sound", index).normal(0, 900, (channels, 16_000 + 320 * length))
    return np.clip(noise, -32768, 32767).astype(np.int16)


def fake_dataset(root: Path, num_episodes: int = 6, channels: int = 0) -> list[RecordedEpisode]:
    """Write ``num_episodes`` made-up episodes as a dataset; returns what went in."""
    episodes = [fake_episode(i, channels=channels) for i in range(num_episodes)]
    paths = [shard_path(root, i) for i in range(num_episodes)]
    for path, episode in zip(paths, episodes, strict=True):
        write_shard(path, episode)
    assemble(root, paths, {"made_with": {"neon_sim": "test"}})
    return episodes
