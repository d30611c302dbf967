"""A run as it lies on disk, held to its types and to its own manifest before anything believes it.

What is read: the manifest, its plan, the rows of exactly that plan, each once. Certificates and
the index of the videos are held to their types where they are read. A file of another shape, a row
of a cell that the manifest does not have, or one that is there twice is an error that names it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Le, MinLen
from typing_extensions import TypedDict

from neon_sim.errors import RunError
from neon_sim.files import inside
from neon_sim.schema import checked, read_json

from .folder import Row, RunFolder, describe, key_of_row
from .own_policy import OwnPolicy
from .plan import Cell, RunPlan, plan_of

MANIFEST_VERSION = 1
Text = Annotated[str, MinLen(1)]
Count = Annotated[int, Ge(0)]
Rate = Annotated[float, Ge(0), Le(1)]


class Decision(TypedDict):
    """What sequential stopping said of a task: its first two columns, and their evidence."""

    columns: list[list[str]]
    episodes: Count
    e_value: Annotated[float, Ge(0)]
    decided: bool


@dataclass(frozen=True)
class Manifest:
    """``manifest.json``; what runs of before some date lack has a default.

    Attributes:
        config: ``RunPlan.resolved()``; held to its own types by ``plan_of``.
        checkpoints: SHA-256 of heads, by ``policy/condition/train_seed/task``.
        drawn_weights: policies with weights that nobody trained -> settings that say so.
        own_policies: what policies of the user's own say of themselves, by ``module:function``.
        training_seeds: sentences on episodes of training among those played, where allowed.
        decisions: of sequential stopping, by task; empty until the run is finished.
    """

    config: dict[str, Any]
    version: int = MANIFEST_VERSION
    command: list[str] = field(default_factory=list)
    started: str = ""
    finished: str | None = None
    resumed: list[str] = field(default_factory=list)
    checkpoints: dict[str, str] = field(default_factory=dict)
    drawn_weights: dict[str, list[str]] = field(default_factory=dict)
    own_policies: dict[str, list[OwnPolicy]] = field(default_factory=dict)
    training_seeds: list[str] = field(default_factory=list)
    decisions: dict[str, Decision] = field(default_factory=dict)
    git_commit: str | None = None
    workers: int = 1
    batch: int = 1
    executor: str = "local"
    versions: dict[str, str] = field(default_factory=dict)
    renderer: dict[str, str | bool | None] = field(default_factory=dict)
    platform: str = ""
    cpu: str = ""
    cores: int = 0


@dataclass(frozen=True)
class StoredRun:
    """A run that was read: its manifest as JSON values, its plan, its rows."""

    manifest: dict[str, Any]
    plan: RunPlan
    rows: list[Row]

    @property
    def decisions(self) -> dict[str, Decision]:
        """Of sequential stopping, by task."""
        return dict(self.manifest.get("decisions", {}))


def read_manifest(folder: RunFolder) -> dict[str, Any]:
    """``manifest.json`` of a run, held to ``Manifest``.

    Raises:
        RunError: no run, a damaged file, or one of another version.
    """
    path = folder.manifest
    if not path.exists():
        raise folder.no_run(path)
    folder.hold_inside()
    mend = "restore it from a copy, or run again into another folder"
    body = read_json(path, dict[str, Any], RunError, mend)
    checked(body, Manifest, str(path), RunError, mend)
    if body.get("version", MANIFEST_VERSION) != MANIFEST_VERSION:
        raise RunError(
            f"{path} is of version {body['version']}, this code reads {MANIFEST_VERSION}; use the "
            "neon_sim that made it"
        )
    return body


def read_run(folder: RunFolder) -> StoredRun:
    """Everything of a run that was measured.

    Raises:
        RunError: no run, a damaged file, or rows that are not of the manifest's plan.
    """
    manifest = read_manifest(folder)
    plan = plan_of(manifest["config"], str(folder.manifest))
    _check_decisions(manifest.get("decisions", {}), plan, folder.manifest)
    rows = folder.read_rows()
    check_rows(rows, plan, folder)
    return StoredRun(manifest, plan, rows)


def check_rows(rows: Collection[Row], plan: RunPlan, folder: RunFolder) -> None:
    """Hold rows to a plan.

    Raises:
        RunError: a row of another task, policy, condition, training seed, run seed or episode.
    """
    cells = cells_of(plan)
    strange = [row for row in rows if not holds(plan, row, cells)]
    if strange:
        raise RunError(
            f"{folder.episodes} holds {len(strange)} rows that {folder.manifest.name} does not "
            f"have (the first: {describe(strange[0])}, run seed {strange[0]['seed']}); they are of "
            "another run or damaged: delete these lines, or restore the manifest"
        )


def cells_of(plan: RunPlan) -> set[Cell]:
    """Every cell of every task."""
    return {cell for task in plan.tasks for _, cell in plan.cells(task)}


def holds(plan: RunPlan, row: Row, cells: Collection[Cell] | None = None) -> bool:
    """Whether a row belongs to a plan; ``cells`` are its ``cells_of``, for who asks often."""
    key = key_of_row(row)
    return (
        key.cell in (cells_of(plan) if cells is None else cells)
        and key.seed == plan.seed
        and key.episode < plan.episodes
    )


def _check_decisions(decisions: dict[str, Decision], plan: RunPlan, path: Path) -> None:
    for task, entry in decisions.items():
        if task not in plan.tasks or entry["episodes"] > plan.episodes:
            raise RunError(
                f"{path}: decisions.{task} must be of a task of the run and of at most "
                f"{plan.episodes} episodes (got {entry['episodes']}); restore it from a copy"
            )


# ---- videos -----------------------------------------------------------------------------


def inside_folder(folder: Path, name: str, suffix: str) -> bool:
    """Whether a name from an index is that of a file in a folder, of a kind that is made there."""
    try:
        path = inside(folder, name)
    except RunError:
        return False
    return path.parent == folder and path.suffix == suffix


# ---- certificates -----------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """One column of a certificate: skipped with the reason, or its rate."""

    skipped: bool = False
    why: str = ""
    errors: Count = 0
    n: Count = 0
    successes: Count = 0
    rate: Rate | None = None
    wilson: tuple[float, float] | None = None
    clopper_pearson: tuple[float, float] | None = None
    cluster: tuple[float, float] | None = None
    train_seeds: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Gain:
    """History oracle minus memoryless oracle."""

    n: int
    difference: Annotated[float, Ge(-1), Le(1)]
    interval: tuple[float, float]
    p: Rate
    margin: Rate
    p_equivalent: Rate


@dataclass(frozen=True)
class Twins:
    """``certify.TwinCheck``."""

    checked: Count
    equal: Count
    differing: Count
    action_gap: float
    holds: bool


@dataclass(frozen=True)
class Sound:
    """``certify_sound.SoundCheck``."""

    episodes: Count
    tapes: list[str]
    rollouts: Count
    steps: Count
    keys: list[str]
    cues: Count
    chance: Rate
    even_p: Rate
    pairs: Count
    heard: Count
    quietest_db: float
    faults: list[str]
    holds: bool


@dataclass(frozen=True)
class Certificate:
    """``assets/certificates/TASK.json``."""

    version: int
    task: Text
    env_id: Text
    kind: Text
    policy: str
    seed: Count
    date: str
    entries: dict[str, Entry]
    history_gain: Gain | None
    twins: Twins | None
    status: Text
    reasons: list[str]
    verdict: Text
    git_commit: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    command: str = ""
    clip: dict[str, Any] = field(default_factory=dict)
    sound: Sound | None = None
    chance_interval: tuple[float, float] | None = None


STATUSES = ("certified", "refused", "incomplete")


def check_certificate(body: dict[str, Any], path: Path) -> None:
    """Hold a certificate to its types and to what its own numbers say.

    Raises:
        RunError: damaged; names the place and how to make it again.
    """
    mend = f"make it again: neon-bench certify --task {path.stem}"
    found = checked(body, Certificate, str(path), RunError, mend)
    if found.task != path.stem or found.status not in STATUSES:
        raise RunError(
            f"{path} must be of task {path.stem} and {', '.join(STATUSES)} (got {found.task}, "
            f"{found.status}); {mend}"
        )
    for word, entry in found.entries.items():
        if entry.skipped:
            continue
        if not 0 <= entry.successes <= entry.n or not entry.n or entry.wilson is None:
            raise RunError(f"{path}: entries.{word} counts no episodes; {mend}")
        if entry.rate is None or abs(entry.rate - entry.successes / entry.n) > 1e-9:
            raise RunError(
                f"{path}: entries.{word}.rate must be {entry.successes} / {entry.n} (got "
                f"{entry.rate}); {mend}"
            )
