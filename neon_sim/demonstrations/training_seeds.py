"""Which episodes a policy was trained on, so that no evaluation counts them without a word.

An episode is fixed by task, run seed and episode index. ``neon_sim.collect`` adds 1000 to its
seed and ``neon_sim.rl`` 500,000, so that an evaluation below 1000 meets none of them; nothing but
a record tells whether one from 1000 on does. A head keeps that record in its metadata::

    "demonstrations": [{"task": "arm_catch", "seed": 1000, "episodes": [[0, 1499]]}, ...]

Use it like this::

    seeds = training_seeds(player.checkpoint)
    clash = seeds.clash("arm_catch", seed=1000, episodes=range(200))
    if clash:  # "episodes 0 to 199 of seed 1000 of arm_catch were demonstrations ..."
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from neon_sim.errors import CheckpointError
from neon_sim.schema import checked
from neon_sim.seeding import COLLECTION_SEED, RL_SEED
from neon_sim.tensor_file import read_metadata

KEY = "demonstrations"
RL_FORMAT = "neon_sim.rl/1"
AGAIN = "train it again"


@dataclass(frozen=True)
class SeedUse:
    """Episodes of one task and run seed that a policy was trained on.

    Attributes:
        task: registry name. seed: run seed, as the bench's ``--seed`` counts it.
        episodes: ranges of episode indices, first and last of each included; none at all
            stands for every episode of the seed.
    """

    task: str
    seed: int
    episodes: tuple[tuple[int, int], ...]

    def holds(self, episode: int) -> bool:
        """Whether an episode index is among them."""
        return not self.episodes or any(first <= episode <= last for first, last in self.episodes)


@dataclass(frozen=True)
class TrainingSeeds:
    """What a checkpoint says, or can be held to, about the episodes of its training.

    Attributes:
        recorded: whether the checkpoint says it. Heads from before there was such a record (those
            that ship among them) do not: then every run seed from 1000 on counts as theirs,
            since ``neon_sim.collect`` uses these and no others.
        uses: what is recorded; empty where nothing is.
        tasks: registry names of the tasks it was trained on, where it says so.
    """

    recorded: bool
    uses: tuple[SeedUse, ...] = ()
    tasks: tuple[str, ...] = ()

    def clash(self, task: str, seed: int, episodes: Collection[int]) -> str | None:
        """Say whether an evaluation would repeat episodes of the training.

        Args:
            task: registry name. seed: the evaluation's run seed, >= 0.
            episodes: the indices it plays.

        Returns:
            One sentence without a full stop, or None where nothing is repeated.
        """
        if not self.recorded:
            if seed < COLLECTION_SEED or (self.tasks and task not in self.tasks):
                return None
            return (
                f"seed {seed} may be one of the training of {task}: the checkpoint does not record "
                f"its seeds, and demonstrations are collected on seeds from {COLLECTION_SEED} on"
            )
        mine = [use for use in self.uses if (use.task, use.seed) == (task, seed)]
        met = sorted(e for e in episodes if any(use.holds(e) for use in mine))
        if not met:
            return None
        return (
            f"{len(met)} of {len(episodes)} episodes of {task} with seed {seed} (the first is "
            f"{met[0]}) were demonstrations or training episodes of the checkpoint"
        )


def training_seeds(checkpoint: str | Path) -> TrainingSeeds:
    """The episodes that a checkpoint was trained on.

    Args:
        checkpoint: a ``.safetensors`` file of ``neon_sim.train`` or ``neon_sim.rl``, not its folder
            (a loaded policy has it as ``policy.checkpoint``). No weight is read.

    Returns:
        The record, or what stands in for one (``recorded=False``). PPO policies from before the
        record are held to the seed that their settings name.

    Raises:
        CheckpointError: no such file, damaged, or the record is of another shape.
    """
    return seeds_of(read_metadata(checkpoint), str(checkpoint))


def seeds_of(metadata: Mapping[str, Any], place: str) -> TrainingSeeds:
    """``training_seeds`` of metadata that were read already (``policy.metadata``).

    Args:
        metadata: of a checkpoint. place: what errors call it.

    Raises:
        CheckpointError: the record is of another shape.
    """
    if KEY in metadata:
        uses = checked(metadata[KEY], list[SeedUse], f"{place}: {KEY}", CheckpointError, AGAIN)
        return TrainingSeeds(True, tuple(uses), tuple(sorted({use.task for use in uses})))
    if metadata.get("format") == RL_FORMAT:
        task, seed = metadata.get("task"), metadata.get("train_seed")
        if not isinstance(task, str) or not isinstance(seed, int):
            raise CheckpointError(f"{place} names no task and seed of its training; {AGAIN}")
        return TrainingSeeds(True, (SeedUse(task, RL_SEED + seed, ()),), (task,))
    tasks = checked(metadata.get("tasks", []), list[str], f"{place}: tasks", CheckpointError, AGAIN)
    return TrainingSeeds(False, (), tuple(tasks))


def demonstration_record(episodes: Iterable[tuple[str, int, int]]) -> list[dict[str, Any]]:
    """What a head records of its demonstrations.

    Args:
        episodes: registry name, run seed and episode index of each demonstration, in any order.

    Returns:
        JSON values of ``SeedUse``, sorted by task and seed.
    """
    grouped: dict[tuple[str, int], set[int]] = {}
    for task, seed, episode in episodes:
        grouped.setdefault((task, seed), set()).add(episode)
    return [
        asdict(SeedUse(task, seed, _ranges(indices)))
        for (task, seed), indices in sorted(grouped.items())
    ]


def _ranges(indices: set[int]) -> tuple[tuple[int, int], ...]:
    """Runs of successive numbers, first and last of each."""
    runs: list[tuple[int, int]] = []
    for index in sorted(indices):
        if runs and index == runs[-1][1] + 1:
            runs[-1] = runs[-1][0], index
        else:
            runs.append((index, index))
    return tuple(runs)
