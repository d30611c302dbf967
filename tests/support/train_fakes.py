"""Demonstrations of a drifting square that train in seconds, and the settings to train on them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from neon_sim.config.policy import PolicyConfig
from neon_sim.demonstrations.assemble import assemble
from neon_sim.demonstrations.shards import EpisodeIdentity, RecordedEpisode, shard_path, write_shard
from neon_sim.observation.batch import ClipBatch
from neon_sim.observation.clips import ClipConfig
from neon_sim.policies.training.settings import TrainConfig
from neon_sim.seeding import keyed_rng

SIZE = 48


TEXTS = {"arm_catch": "catch the moving ball", "arm_block": "stop the puck"}


def blob_episode(index: int) -> RecordedEpisode:
    """A bright square drifts; the label is where it is, and half of it for the other task."""
    rng = keyed_rng("blob", index)
    length = 40 + index % 5
    frames_count = -(-length // 2)
    start, speed = rng.uniform(8, 30, 2), rng.uniform(-0.6, 0.6, 2)
    frames = np.full((frames_count, SIZE, SIZE, 3), 60, dtype=np.uint8)
    places = np.clip(start + speed * np.arange(frames_count)[:, None], 0, SIZE - 10)
    for frame, (x, y) in zip(frames, places, strict=True):
        frame[round(y) : round(y) + 10, round(x) : round(x) + 10] = (250, 210, 40)
    task = ("arm_catch", "arm_block")[index % 2]
    now = np.repeat(places, 2, axis=0)[:length]
    action = np.zeros((length, 8), dtype=np.float32)
    action[:, :2] = (now / SIZE * 2 - 0.8) * (1.0 if task == "arm_catch" else 0.5)
    state = np.zeros((length, 16), dtype=np.float32)
    state[:, :2] = now / SIZE
    return RecordedEpisode(
        identity=EpisodeIdentity(
            task_name=task,
            version=0,
            seed=1000,
            episode=index // 2,
            source="expert",
            success=True,
            initial_hash=f"{index:064x}",
            description=TEXTS[task],
        ),
        agent_pos=rng.uniform(-1, 1, (length, 8)).astype(np.float32),
        environment_state=state,
        action=action,
        executed_action=action,
        success=np.ones(length, dtype=bool),
        frames={"front": frames},
    )


def blob_dataset(root: Path, episodes: range) -> Path:
    paths = [shard_path(root, i) for i in range(len(episodes))]
    for path, index in zip(paths, episodes, strict=True):
        write_shard(path, blob_episode(index))
    assemble(root, paths, {"made_with": {"neon_sim": "test"}})
    return root


def policy(**changes) -> PolicyConfig:
    base = PolicyConfig(
        name="tested",
        backbone="random",
        image_backbone="random_image",
        backbone_args={"dim": "24"},
        clip=ClipConfig(num_frames=4, image_size=SIZE),
    )
    return replace(base, **changes)


def run(data: Path, out: Path, **changes) -> TrainConfig:
    values = {
        "data": [str(data)],
        "out": str(out),
        "cache": str(data.parent / "features"),
        "steps": 30,
        "batch_size": 16,
        "val_fraction": 0.3,
        "device": "cpu",
    }
    return TrainConfig(**{**values, **changes})


def live_batch(episode, frames, plans, steps) -> ClipBatch:
    ticks = np.stack([plan.ticks for plan in plans])
    return ClipBatch(
        video=frames[ticks // 20],
        mask=np.stack([plan.mask for plan in plans]),
        time_s=np.stack([plan.time_s for plan in plans]),
        state=episode.environment_state[ticks // 10],
        agent_pos=episode.agent_pos[steps],
        text=[episode.description] * len(plans),
    )
