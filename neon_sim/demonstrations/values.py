"""What a dataset hands a network is held to what it must be: numbers, ranges, order and scale.

A wrong type or NaN is easy to see. A file that another tool wrote in degrees, doubled or with red
and blue exchanged is not: it trains, and the policy is bad. So every dataset is compared with
numbers that such a file breaks: the statistics that were written beside it, and the robot itself,
whose pose at rest is the action that it follows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import TypedDict

from neon_sim.demonstrations.episode_table import Episode
from neon_sim.demonstrations.files import column_names, read_table
from neon_sim.demonstrations.layout import (
    ACTION_KEY,
    EPISODES_FOLDER,
    EXECUTED_KEY,
    MEND,
    POSE_KEY,
    STATE_KEY,
    STATS_FILE,
)
from neon_sim.demonstrations.statistics import sampled_frames
from neon_sim.errors import DatasetError
from neon_sim.robots import Robot
from neon_sim.schema import checked, read_json

RANGE_TOLERANCE = 1e-5  # beyond [-1, 1]
STATE_LIMIT = 1000.0  # metres and metres a second; no hall is so large
STATS_TOLERANCE = 1e-3  # of a feature's range: rounding, and lerobot's own pooling
COLOUR_TOLERANCE = 0.01  # of [0, 1], mean of a channel; coding with loss stays below 0.005
LOUDNESS_TOLERANCE = 1e-4  # relative

REST_STEPS = 10  # control steps (0.2 s) for which an action must stand still
ACTION_STILL, POSE_STILL = 0.01, 0.003  # change a step, action units
REST_FROM = 0.05  # action units: closer to the middle a scale is not seen
REST_READINGS = 200  # below so many nothing is said
REST_TOLERANCE = 0.05  # relative; 0.002 in every task of the arm


class VectorStats(TypedDict):
    """The statistics of a vector feature that are compared."""

    min: list[float]
    max: list[float]
    mean: list[float]
    std: list[float]


def check_rows(where: str, columns: dict[str, np.ndarray]) -> None:
    """Hold the rows of one episode to finite numbers, ranges and order.

    Args:
        where: names dataset and episode. columns: by feature, L rows each.

    Raises:
        DatasetError: names the feature, the number and the rule.
    """
    for key in (POSE_KEY, ACTION_KEY, EXECUTED_KEY, STATE_KEY):
        values = columns.get(key)
        if values is None:
            continue
        if not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
            raise DatasetError(
                f"{where}: {key!r} holds NaN or inf in row {row}, all values must be finite; {MEND}"
            )
        limit = STATE_LIMIT if key == STATE_KEY else 1.0
        largest = float(np.abs(values).max())
        if largest > limit + RANGE_TOLERANCE:
            raise DatasetError(
                f"{where}: {key!r} must be in [-{limit:g}, {limit:g}] (got {largest:.3f}); it has "
                f"another scale (rad, degrees?) than neon_sim.collect writes; {MEND}"
            )
    frames = columns["frame_index"]
    if not np.array_equal(frames, np.arange(len(frames))):
        raise DatasetError(f"{where}: its rows must be in the order of frame_index; {MEND}")


def check_statistics(
    root: Path, columns: dict[str, list[np.ndarray]], names: dict[str, str]
) -> None:
    """Hold all rows of a dataset to ``meta/stats.json``.

    Args:
        columns: feature -> its rows in each data file. names: what the dataset calls it.

    Raises:
        DatasetError: the file is missing or damaged, or minimum, maximum, mean or standard
            deviation of a feature are others.
    """
    path = root / STATS_FILE
    stats = read_json(path, dict[str, Any], DatasetError, MEND)
    for key, parts in columns.items():
        name = names[key]
        place = f"{path}: {name}"
        wanted = checked(stats.get(name), VectorStats, place, DatasetError, MEND)
        low, high = (
            np.min([part.min(axis=0) for part in parts], axis=0),
            np.max([part.max(axis=0) for part in parts], axis=0),
        )
        count = sum(len(part) for part in parts)
        mean = sum(part.sum(axis=0, dtype=np.float64) for part in parts) / count
        square = sum(np.square(part - mean).sum(axis=0, dtype=np.float64) for part in parts)
        found = {"min": low, "max": high, "mean": mean, "std": np.sqrt(square / count)}
        slack = STATS_TOLERANCE * (high - low) + 1e-5
        for what, values in found.items():
            told = np.asarray(wanted[what], dtype=np.float64)  # type: ignore[literal-required]
            if told.shape != values.shape:
                raise DatasetError(
                    f"{place}: {what} must be {len(values)} numbers (got {told.shape}); {MEND}"
                )
            off = np.abs(told - values) > slack
            if off.any():
                j = int(np.flatnonzero(off)[0])
                raise DatasetError(
                    f"{root}: {name!r} number {j} has {what} {values[j]:.4f}, {STATS_FILE} says "
                    f"{told[j]:.4f}: the rows were rescaled or exchanged; {MEND}"
                )


class ScaleCheck:
    """Whether pose, executed action and label have the scale of the robot, over many episodes.

    Where the action has stood still for 0.2 s and the arm has come to rest, the arm is where the
    action sends it. In an episode that the expert moves, what is executed is the label.

    Args:
        robot: whose episodes they are. action_dim: numbers of an action.
    """

    def __init__(self, robot: Robot, action_dim: int) -> None:
        names = robot.action(action_dim)[: robot.num_joints(action_dim)]
        free = {name for part in ("arm", "arms") for name in robot.parts.get(part, ())}
        self._action = [i for i, name in enumerate(names) if name in free]  # legs carry the weight
        self._pose = [robot.state.index(names[i]) for i in self._action]
        self._readings: list[np.ndarray] = []
        self._rows = self._same = 0

    def add(self, where: str, episode: Episode) -> None:
        """Take an episode in; ``where`` names it.

        Raises:
            DatasetError: the expert moved it, and what was executed is not the label.
        """
        sent, source = episode.executed_action, episode.source
        if sent is None:
            return
        same = np.abs(episode.action - sent).max(axis=1) < RANGE_TOLERANCE
        if source == "expert" and not same.all():
            raise DatasetError(
                f"{where}: the expert moved it, but {EXECUTED_KEY!r} is not {ACTION_KEY!r} in row "
                f"{int(np.flatnonzero(~same)[0])}: one of them was rescaled; {MEND}"
            )
        if source in ("noisy", "delayed"):
            self._rows, self._same = self._rows + len(same), self._same + int(same.sum())
        self._readings.append(resting(episode.agent_pos[:, self._pose], sent[:, self._action]))

    def finish(self, root: Path) -> None:
        """Judge what was taken in.

        Raises:
            DatasetError: labels or poses have another scale than what was executed.
        """
        if self._rows >= REST_READINGS and not self._same:
            raise DatasetError(
                f"{root}: the expert takes over in noisy and delayed episodes, but in none of "
                f"{self._rows} rows is {EXECUTED_KEY!r} equal to {ACTION_KEY!r}: one of them was "
                f"rescaled; {MEND}"
            )
        readings = np.concatenate(self._readings) if self._readings else np.empty(0)
        if len(readings) >= REST_READINGS and np.median(readings) > REST_TOLERANCE:
            raise DatasetError(
                f"{root}: where the arm rests, {POSE_KEY!r} and {EXECUTED_KEY!r} must be equal to "
                f"{REST_TOLERANCE:.0%} (got {np.median(readings):.0%}, median of {len(readings)} "
                f"readings): one of them has another scale or zero; {MEND}"
            )


def resting(pose: np.ndarray, sent: np.ndarray) -> np.ndarray:
    """Relative distance of pose and action, of each joint that has come to rest.

    Args:
        pose, sent: (L, J) of the same joints.

    Returns:
        (n,) of all rows and joints at rest.
    """
    if len(pose) <= REST_STEPS:
        return np.empty(0)
    moves, slides = np.abs(np.diff(sent, axis=0)), np.abs(np.diff(pose, axis=0))
    windows = np.lib.stride_tricks.sliding_window_view
    still = windows(moves, REST_STEPS - 1, axis=0).max(axis=-1)[: len(pose) - REST_STEPS]
    calm = windows(slides, 3, axis=0).max(axis=-1)[REST_STEPS - 3 :]
    there, target = pose[REST_STEPS:], sent[REST_STEPS - 1 : -1]
    rests = (still < ACTION_STILL) & (calm < POSE_STILL) & (np.abs(target) > REST_FROM)
    shares: np.ndarray = np.abs(there - target)[rests] / np.abs(target)[rests]
    return shares


# ---- pictures and sound ------------------------------------------------------------------------


def picture_means(root: Path, key: str) -> np.ndarray:
    """Mean colour (N, 3) in [0, 1] of every episode's pictures, as ``meta/episodes`` has it.

    Empty (0, 3) where another tool left the statistics out.
    """
    column, means = f"stats/{key}/mean", dict[int, np.ndarray]()
    for path in sorted((root / EPISODES_FOLDER).glob("*/*.parquet")):
        if column not in column_names(path):
            return np.empty((0, 3))
        for row in read_table(path, ["episode_index", column]).to_pylist():
            try:
                means[row["episode_index"]] = np.array(row[column], dtype=np.float64).reshape(3)
            except (TypeError, ValueError) as error:
                raise DatasetError(f"{path}: {column} must be three numbers; {MEND}") from error
    return np.stack([means[index] for index in sorted(means)])


def check_pictures(
    where: str, frames: np.ndarray, shape: tuple[int, int], mean: np.ndarray | None
) -> None:
    """Hold an episode's frames to the declared size and to their mean colour.

    Args:
        frames: (F, H, W, 3) uint8. shape: (H, W) of ``info.json``.
        mean: (3,) in [0, 1] of the frames that statistics look at, where it is known.

    Raises:
        DatasetError: another size, or other colours.
    """
    if frames.shape[1:3] != shape:
        raise DatasetError(
            f"{where} holds pictures of {frames.shape[1]} x {frames.shape[2]}, meta/info.json says "
            f"{shape[0]} x {shape[1]}; correct the shape there, or {MEND}"
        )
    if mean is None:
        return
    found = sampled_frames(frames).reshape(-1, 3).mean(axis=0, dtype=np.float64) / 255
    if not np.all(np.abs(found - mean) <= COLOUR_TOLERANCE):
        raise DatasetError(
            f"{where} has the mean colour {_colour(found)}, its statistics say {_colour(mean)}: "
            f"pictures were exchanged, or rescaled, or red and blue swapped; {MEND}"
        )


def _colour(values: np.ndarray) -> str:
    return "(" + ", ".join(f"{value:.3f}" for value in values) + ")"


def check_loudness(path: Path, samples: np.ndarray, channels: int, rms: float | None) -> None:
    """Hold sound (C, n) int16 to its number of channels and its loudness.

    Raises:
        DatasetError: others than ``meta/episodes`` says.
    """
    if len(samples) != channels:
        raise DatasetError(
            f"{path} has {len(samples)} channels, meta/episodes names {channels}; {MEND}"
        )
    found = loudness(samples)
    if rms is not None and not abs(found - rms) <= LOUDNESS_TOLERANCE * rms + 1e-9:
        raise DatasetError(
            f"{path} has the loudness {found:.6f}, meta/episodes says {rms:.6f}: another "
            f"recording, or one that was rescaled; {MEND}"
        )


def loudness(samples: np.ndarray) -> float:
    """Root mean square of 16-bit samples, 1 = full scale."""
    return float(np.sqrt(np.square(samples, dtype=np.float64).mean()) / 32768)
