"""Training windows: what the policy knew at one control step, and what the expert did next.

A window is an episode and a control step. Its label is the next 16 expert labels; beyond
the episode's end the last one repeats with weight 0. Which episodes validate is decided by
their identity, so it is the same for every condition, and stays so when data is added.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from neon_sim.clock import CHUNK_STEPS
from neon_sim.demonstrations.dataset import DemoDataset, no_flow, no_sound, no_state
from neon_sim.demonstrations.episode_table import EpisodeMeta
from neon_sim.demonstrations.layout import ACTION_KEY, FLOW_KEY, robot_of
from neon_sim.demonstrations.values import ScaleCheck
from neon_sim.errors import DatasetError
from neon_sim.seeding import keyed_rng

PHASE_STEP = 4  # control steps, the default replan interval


@dataclass(frozen=True)
class WindowSet:
    """N windows of one or more datasets, in the order of the datasets' episodes.

    Attributes:
        agent_pos: (N, 8) float32. actions: (N, 16, 8) float32. weight: (N, 16) float32.
        task: (N,) index into ``tasks``. text: (N,) index into ``texts``.
        validation: (N,) bool.
        tasks, texts: registry names and instructions that occur.
    """

    agent_pos: np.ndarray
    actions: np.ndarray
    weight: np.ndarray
    task: np.ndarray
    text: np.ndarray
    validation: np.ndarray
    tasks: list[str]
    texts: list[str]

    def __len__(self) -> int:
        return len(self.agent_pos)


def window_steps(length: int, stride: int, episode: int = 0) -> np.ndarray:
    """Control steps at which an episode of ``length`` rows is cut: every ``stride``.

    Episodes start ``PHASE_STEP`` apart (modulo the stride), so that a wide stride still shows
    every multiple of ``PHASE_STEP``, and with it every number of frames seen so far.
    """
    return np.arange(PHASE_STEP * episode % stride % length, length, stride)


def chunk_labels(action: np.ndarray, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels of windows.

    Args:
        action: (L, 8) expert labels. steps: (n,) control steps.

    Returns:
        (n, 16, 8) chunks, the last label repeated beyond the end, and (n, 16) weights.
    """
    rows = steps[:, None] + np.arange(CHUNK_STEPS)
    weight = (rows < len(action)).astype(np.float32)
    return action[np.minimum(rows, len(action) - 1)].astype(np.float32), weight


def is_validation(meta: EpisodeMeta, fraction: float) -> bool:
    """Whether an episode validates; all recordings of one initial state go together."""
    rng = keyed_rng("validation", meta.task_name, meta.version, meta.seed, meta.episode)
    return bool(rng.random() < fraction)


def build_windows(datasets: Sequence[DemoDataset], stride: int, val_fraction: float) -> WindowSet:
    """Cut datasets into windows.

    Raises:
        DatasetError: no episode, a value that is not finite or outside its range, or one that
            has another scale than the robot or than the dataset's own statistics.
    """
    metas = [meta for dataset in datasets for meta in dataset.episodes]
    if not metas:
        raise DatasetError("the datasets hold no episode; collect some first")
    tasks = sorted({meta.task_name for meta in metas})
    texts = sorted({meta.description for meta in metas})
    columns: dict[str, list[np.ndarray]] = {name: [] for name in WindowSet.__annotations__}
    for dataset in datasets:
        scale = ScaleCheck(robot_of(dataset.info), action_dim(dataset))
        for index, meta in enumerate(dataset.episodes):
            episode = dataset.load(index)
            scale.add(f"{dataset.root}: episode {meta.index} ({meta.task_name})", episode)
            steps = window_steps(meta.length, stride, meta.episode)
            actions, weight = chunk_labels(episode.action, steps)
            columns["agent_pos"].append(episode.agent_pos[steps])
            columns["actions"].append(actions)
            columns["weight"].append(weight)
            for name, value in (
                ("task", tasks.index(meta.task_name)),
                ("text", texts.index(meta.description)),
                ("validation", is_validation(meta, val_fraction)),
            ):
                columns[name].append(np.full(len(steps), value))
        dataset.check_statistics()
        scale.finish(dataset.root)
    joined = {name: np.concatenate(parts) for name, parts in columns.items() if parts}
    return WindowSet(**joined, tasks=tasks, texts=texts)


def check_datasets(datasets: Sequence[DemoDataset], needs: Collection[str]) -> None:
    """Hold datasets to one robot and one length of action, and to what a policy needs of them.

    Args:
        datasets: to train on together. needs: what the policy observes under its condition.

    Raises:
        DatasetError: names the two that differ, or the one without true positions, sound or flow,
            and the mend.
    """
    kinds = {}
    for dataset in datasets:
        kind = f"{dataset.info.get('robot_type')} with actions of {action_dim(dataset)}"
        kinds[kind] = dataset.root
    if len(kinds) > 1:
        (first, one), (second, other) = list(kinds.items())[:2]
        raise DatasetError(
            f"a policy is of one robot: {one} is of {first}, {other} of {second}; train one policy "
            "for each (data=)"
        )
    for dataset in datasets:
        if "state" in needs and not dataset.has_state:
            raise no_state(dataset.root, dataset.task_names[0])
        if "flow" in needs:
            dataset.check_statistics([FLOW_KEY])
        for meta in dataset.episodes:
            if "audio" in needs and not meta.audio_file:
                raise no_sound(dataset.root, meta.task_name)
            if "flow" in needs and not meta.flow_ticks:
                raise no_flow(dataset.root, meta.task_name)


def action_dim(dataset: DemoDataset) -> int:
    """A, numbers of an action of a dataset."""
    return int(dataset.info["features"][ACTION_KEY]["shape"][0])


class BalancedBatches:
    """Batches that hold every task equally often, fixed by seed and step alone.

    Batch ``step`` never depends on earlier calls, so a resumed run sees the same ones, and
    every condition sees the same windows in the same order.

    Args:
        task: (N,) task of each window. allowed: (N,) bool, windows to draw from.
        batch_size: windows a batch. seed: of the order.

    Raises:
        DatasetError: nothing to draw from.
    """

    def __init__(self, task: np.ndarray, allowed: np.ndarray, batch_size: int, seed: int) -> None:
        self.pools = [np.flatnonzero(allowed & (task == k)) for k in np.unique(task[allowed])]
        if not self.pools:
            raise DatasetError("no window to train on; lower val_fraction or collect more")
        self.batch_size, self.seed = batch_size, seed
        self._orders: dict[tuple[int, int], np.ndarray] = {}

    def batch(self, step: int) -> np.ndarray:
        """Window numbers (batch_size,) of one training step."""
        slots = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        rows = np.empty(self.batch_size, dtype=np.int64)
        for k, pool in enumerate(self.pools):
            mine = slots % len(self.pools) == k
            place = slots[mine] // len(self.pools)
            rows[mine] = [
                pool[self._order(k, int(p) // len(pool))[int(p) % len(pool)]] for p in place
            ]
        return rows

    def _order(self, k: int, epoch: int) -> np.ndarray:
        """The shuffled order in which an epoch walks through pool ``k``."""
        if (k, epoch) not in self._orders:
            self._orders.pop((k, epoch - 2), None)
            rng = keyed_rng("batches", self.seed, k, epoch)
            self._orders[k, epoch] = rng.permutation(len(self.pools[k]))
        return self._orders[k, epoch]
