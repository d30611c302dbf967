"""Statistics of a dataset as LeRobot stores them, per episode and over all of it.

LeRobot's policies normalise with them. Its aggregation is followed exactly: means and
variances are pooled by count, quantiles are averaged by count (an approximation that is
LeRobot's own, ``lerobot/datasets/compute_stats.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
MAX_STATS_FRAMES = 20  # evenly spaced frames of an episode that image statistics look at

Stats = dict[str, np.ndarray]


def feature_stats(values: np.ndarray) -> Stats:
    """Statistics over the rows of a feature.

    Args:
        values: (L,) or (L, K), any numeric or bool dtype.

    Returns:
        min, max, mean, std and quantiles (K,) float64, ``count`` (1,) int64; K = 1 for (L,).
    """
    table = values.reshape(len(values), -1).astype(np.float64)
    stats = {
        "min": table.min(axis=0),
        "max": table.max(axis=0),
        "mean": table.mean(axis=0),
        "std": table.std(axis=0),
        "count": np.array([len(table)]),
    }
    levels = np.quantile(table, list(QUANTILES.values()), axis=0)
    return stats | dict(zip(QUANTILES, levels, strict=True))


def image_stats(frames: np.ndarray) -> Stats:
    """Statistics by colour channel, values scaled to [0, 1].

    Args:
        frames: (F, H, W, 3) uint8.

    Returns:
        The keys of ``feature_stats`` with shape (3, 1, 1); ``count`` is the frames looked at.
    """
    chosen = sampled_frames(frames)
    pixels = chosen.reshape(-1, 3)
    counts = np.stack([np.bincount(pixels[:, c], minlength=256) for c in range(3)])
    stats = {key: value.reshape(3, 1, 1) for key, value in _from_counts(counts).items()}
    return stats | {"count": np.array([len(chosen)])}


def sampled_frames(frames: np.ndarray) -> np.ndarray:
    """The frames (F, H, W, 3) that statistics look at, evenly spaced."""
    chosen = np.linspace(0, len(frames) - 1, min(len(frames), MAX_STATS_FRAMES))
    sampled: np.ndarray = frames[chosen.round().astype(int)]
    return sampled


def _from_counts(counts: np.ndarray) -> Stats:
    """Statistics (3,) of byte values / 255 from their histogram (3, 256)."""
    levels = np.arange(256) / 255.0
    share = counts / counts.sum(axis=1, keepdims=True)
    mean = share @ levels
    present = counts > 0
    stats = {
        "min": levels[present.argmax(axis=1)],
        "max": levels[255 - present[:, ::-1].argmax(axis=1)],
        "mean": mean,
        "std": np.sqrt(np.maximum(share @ levels**2 - mean**2, 0.0)),
    }
    below = share.cumsum(axis=1)
    return stats | {
        key: levels[(below < q - 1e-12).sum(axis=1).clip(max=255)] for key, q in QUANTILES.items()
    }


def pool_stats(parts: Sequence[Stats]) -> Stats:
    """Join the statistics of disjoint parts of one feature.

    Args:
        parts: results of ``feature_stats`` or ``image_stats``, at least one.
    """
    counts = np.array([float(part["count"][0]) for part in parts])
    share = counts / counts.sum()

    def pooled(key: str) -> np.ndarray:
        return np.tensordot(share, np.stack([part[key] for part in parts]), axes=1)

    mean = pooled("mean")
    spread = np.stack([part["std"] ** 2 + (part["mean"] - mean) ** 2 for part in parts])
    joined = {
        "min": np.min([part["min"] for part in parts], axis=0),
        "max": np.max([part["max"] for part in parts], axis=0),
        "mean": mean,
        "std": np.sqrt(np.tensordot(share, spread, axes=1)),
        "count": np.array([int(counts.sum())]),
    }
    return joined | {key: pooled(key) for key in QUANTILES}


def to_lists(stats: dict[str, Stats]) -> dict[str, dict[str, Any]]:
    """Turn arrays into nested lists, for JSON and parquet."""
    return {
        feature: {key: value.tolist() for key, value in values.items()}
        for feature, values in stats.items()
    }


def from_lists(stats: dict[str, dict[str, Any]]) -> dict[str, Stats]:
    """Inverse of ``to_lists``."""
    return {
        feature: {key: np.asarray(value) for key, value in values.items()}
        for feature, values in stats.items()
    }
