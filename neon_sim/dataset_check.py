"""``python -m neon_sim.dataset_check data=DIR``: is a dataset whole, and may it be trained on?

Looks at every file, row, picture and sound of a dataset. With ``accept=true`` it also records the
dataset as it lies there, hashes of all files included: for what another tool wrote or edited on
purpose, and for datasets from before hashes were recorded. Nothing but the record is written.
"""

from __future__ import annotations

import hashlib
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neon_sim.audio.pcm import to_pcm
from neon_sim.command import entry_point
from neon_sim.config.loading import main_config
from neon_sim.demonstrations.dataset import DemoDataset, hash_of_bytes
from neon_sim.demonstrations.layout import FLOW_KEY, find_dataset
from neon_sim.demonstrations.record import (
    CHECK,
    FORMAT,
    RECORD_FILE,
    changed_files,
    read_record,
    sealed,
    verify,
)
from neon_sim.demonstrations.shards import EpisodeIdentity, RecordedEpisode
from neon_sim.demonstrations.video_io import ROWS_PER_FRAME
from neon_sim.demonstrations.windows import build_windows
from neon_sim.errors import ConfigError, DatasetError
from neon_sim.files import write_json

SEAL = ("files", "format", "sha256", "record_sha256", "content_hash")
MAX_NAMED = 5  # files that a record names


@dataclass
class CheckConfig:
    """What to look at.

    Attributes:
        data: folder of a dataset.
        accept: record it as it is, where nothing vouches for it or it was edited on purpose.
    """

    data: str = ""
    accept: bool = False

    def validate(self) -> None:
        """Raise ``ConfigError`` unless a folder is named."""
        if not self.data:
            raise ConfigError("data must name the folder of a dataset (got nothing): data=DIR")


@entry_point("dataset_check")
def main(argv: list[str]) -> int:
    """Run the command; returns the exit code."""
    config = main_config(CheckConfig, argv, None, group="dataset_check", prog=CHECK)
    print(check(Path(config.data), config.accept))
    return 0


def check(root: Path, accept: bool = False) -> str:
    """Look at all of a dataset, and record it where that was asked for.

    Args:
        root: its folder. accept: see ``CheckConfig``.

    Returns:
        What was found, for people.

    Raises:
        DatasetError: it is not whole, or was edited and ``accept`` is not set, or cannot be trained
            on at all.
        RunError: the record cannot be written.
    """
    find_dataset(root)
    record = read_record(root)
    changed = changed_files(root, record)
    if changed and not accept:
        verify(root, record)
    dataset = DemoDataset.open_unverified(root)
    content = look(dataset)
    what = f"{root}: {dataset.num_episodes} episodes, {dataset.num_rows} rows"
    if record.get("format") == FORMAT and not changed:
        return f"{what}; every file is what was recorded, every row and picture can be read"
    former = "content_hash" in record and content == record["content_hash"]
    if not accept:
        if record and not former:
            raise DatasetError(
                f"{root} is damaged: its content is not what {RECORD_FILE} says; copy it again or "
                f"collect it again into a new folder. Where another tool edited it on purpose, "
                f"record it as it is: {CHECK} {shlex.quote(f'data={root}')} accept=true"
            )
        known = "its content is what was collected" if record else f"it has no {RECORD_FILE}"
        return (
            f"{what}; every row and picture can be read, {known}. So that damage is told from data "
            f"from now on: {CHECK} {shlex.quote(f'data={root}')} accept=true"
        )
    kept = {key: value for key, value in record.items() if key not in SEAL}
    if former:
        kept["content_hash"] = content
    else:
        kept["content_hash"] = hash_of_bytes(root)
        kept["edits"] = [*record.get("edits", []), _edit(record, changed)]
    write_json(root / RECORD_FILE, sealed(root, kept), indent=2)
    return f"{what}; recorded as it is in {root / RECORD_FILE}"


def _edit(record: dict[str, Any], changed: dict[str, str]) -> str:
    """One line of the record: what is not as ``neon_sim.collect`` wrote it."""
    if not record:
        return "written by another tool, recorded as it was found"
    named = ", ".join([*changed][:MAX_NAMED]) or "content"
    more = f" and {len(changed) - MAX_NAMED} more" if len(changed) > MAX_NAMED else ""
    return f"edited after it was collected ({named}{more}), recorded as it was found"


def look(dataset: DemoDataset) -> str:
    """Read everything that a dataset holds, with all checks of training.

    Returns:
        Hex SHA-256 over the content of all episodes, as ``neon_sim.collect`` computes it; empty
        where the dataset lacks a part of it.

    Raises:
        DatasetError: the first thing that is not whole.
    """
    build_windows([dataset], stride=1000, val_fraction=0.0)
    if any(meta.flow_ticks for meta in dataset.episodes):
        dataset.check_statistics([FLOW_KEY])
    digest = hashlib.sha256()
    whole = dataset.num_episodes > 0
    for number in range(dataset.num_episodes):
        episode = recorded(dataset, number)
        whole = whole and episode is not None
        if episode is not None:
            digest.update(episode.content_hash().encode())
    return digest.hexdigest() if whole else ""


def recorded(dataset: DemoDataset, number: int) -> RecordedEpisode | None:
    """An episode as ``neon_sim.collect`` recorded it; None where another tool left something out.

    Raises:
        DatasetError: it is damaged.
    """
    meta, episode = dataset.episodes[number], dataset.load(number)
    frames = {
        key.removeprefix("observation.images."): dataset.frames(
            number, key.removeprefix("observation.images.")
        )
        for key in meta.videos
    }
    there = (dataset.root / meta.audio_file).exists() if meta.audio_file else False
    audio = to_pcm(dataset.sound(number)) if there else None
    success = dataset.column(number, "next.success", bool)
    if episode.environment_state is None or episode.executed_action is None or success is None:
        return None
    identity = {name: getattr(meta, name) for name in EpisodeIdentity.__dataclass_fields__}
    flow = dataset.flow_rows(number)[::ROWS_PER_FRAME] if meta.flow_ticks else None
    return RecordedEpisode(
        identity=EpisodeIdentity(**identity),
        agent_pos=episode.agent_pos,
        environment_state=episode.environment_state,
        action=episode.action,
        executed_action=episode.executed_action,
        success=success,
        frames=frames,
        audio=audio,
        audio_channels=meta.audio_channels,
        flow=None if flow is None else flow.reshape(len(flow), -1, 2).astype(np.float32),
        flow_ticks=meta.flow_ticks,
    )


if __name__ == "__main__":
    sys.exit(main())
