"""What the feature cache saves: an epoch of head training with and without it.

One small dataset is collected. In turns, for every repetition: all of its windows are
encoded into a fresh cache (read, decoded, sent through the frozen backbone), and a head
takes as many steps as an epoch has batches, from the cache. An epoch that encodes again
costs both.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

from neon_sim.config.loading import load_config
from neon_sim.config.policy import PolicyConfig
from neon_sim.demonstrations.collection import collect
from neon_sim.demonstrations.settings import CollectConfig
from neon_sim.registry import POLICY_PARTS

from .rows import Options, Row, row_of, wall_s

TASK, EPISODES = "arm_block", 32
# The embedded backbone, and the smallest of the field's own encoders that comes in a wheel.
SUBJECTS = (
    ("neon_tiny", "frame"),
    ("neon_tiny", "stack"),
    ("neon_tiny", "video"),
    ("efficientnet_lite0", "frame"),
)
MIN_RATIO = 20.0
WARM_STEPS = 2


def measure(options: Options) -> list[Row]:
    """Ratio of the two epochs and windows a second, by condition."""
    rows: list[Row] = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            data = Path(folder) / "demos"
            collect(CollectConfig(task=[TASK], episodes=EPISODES, out=str(data)))
            for name, condition in SUBJECTS:
                policy = load_config(PolicyConfig, "policy", name, [])
                rows += _measure_condition(policy, condition, data, options.repeats)
    finally:
        torch.set_num_threads(threads)
    return rows


def _measure_condition(policy: Any, condition: str, data: Path, repeats: int) -> list[Row]:
    settings, head_trainer = (POLICY_PARTS.resolve(x) for x in ("train_settings", "head_trainer"))
    config = settings(condition=condition, data=[str(data)], out=str(data.parent / "heads"))
    trainer = head_trainer(config, policy, progress=False)
    windows = int((~trainer.windows.validation).sum())
    batches = max(round(windows / config.batch_size), 1)
    share = batches * config.batch_size / len(trainer.windows)  # of what the cache encodes
    _steps(trainer, WARM_STEPS)
    encode_s, train_s = [], []
    for repeat in range(repeats):
        root = data.parent / f"{policy.name}-{condition}-{repeat}"
        encode_s.append(share * wall_s(_encode, trainer, config, root))
        train_s.append(wall_s(_steps, trainer, batches))
    ratios = [(e + t) / t for e, t in zip(encode_s, train_s, strict=True)]
    subject, seen = f"{policy.name} {condition}", batches * config.batch_size
    return [
        row_of("epoch re-encoded / cached", subject, ratios, "x", at_least=MIN_RATIO),
        row_of("encoding", subject, [seen / s for s in encode_s], "windows/s"),
        row_of("training from the cache", subject, [seen / s for s in train_s], "windows/s"),
    ]


def _encode(trainer: Any, config: Any, root: Path) -> None:
    build_cache = POLICY_PARTS.resolve("build_cache")
    for dataset in trainer.datasets:
        build_cache(dataset, trainer.tower, config.window_stride, root, progress=False)


def _steps(trainer: Any, count: int) -> None:
    for _ in range(count):
        trainer.train_step()
