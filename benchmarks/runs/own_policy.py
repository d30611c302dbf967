"""What a user's own policy says of itself, for the manifest, the table and the page.

Nothing about it is guessed: its clip and its needs are what the bench hands over, ``name``,
``version`` and ``files`` (paths of weights and the like) are what the object has of these
attributes, and the module's file and those files are written down by their hashes, so that a run
is not continued by other code.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict

from neon_sim.errors import PolicyError

MAX_WORD = 200  # characters of a name or a version


class ClipRecord(TypedDict):
    """``ClipConfig`` as a manifest holds it."""

    num_frames: int
    fps: float
    sampler: str
    camera: str
    image_size: int
    refresh_steps: int


class OwnPolicyRecord(TypedDict):
    """``OwnPolicy`` as a manifest and a summary hold it."""

    cells: list[str]
    clip: ClipRecord
    needs: list[str]
    module: str
    sha256: str
    name: str
    version: str
    files: dict[str, str]


@dataclass(frozen=True)
class OwnPolicy:
    """One ``module:function`` as it described itself.

    Attributes:
        cells: ``condition/train_seed/task`` that it was made for.
        clip: ``ClipConfig`` as a dict. needs: what it is handed besides proprioception.
        module: name of the module's file; empty where it has none. sha256: of that file.
        name, version: what it calls itself; empty where it does not.
        files: path as it names it -> SHA-256.
    """

    cells: list[str]
    clip: dict[str, Any]
    needs: list[str]
    module: str = ""
    sha256: str = ""
    name: str = ""
    version: str = ""
    files: dict[str, str] = field(default_factory=dict)


def file_hash(path: str | Path) -> str:
    """Hex SHA-256 of a file."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe_own(policy: str, player: Any) -> dict[str, Any]:
    """What a policy of the user's own says of itself, as JSON values of ``OwnPolicy``, no cells.

    Args:
        policy: ``module:function``. player: what it returned, checked by ``factory.make_player``.

    Raises:
        PolicyError: ``name``, ``version`` or ``files`` of another kind, or a file that is missing.
    """
    module = sys.modules.get(policy.partition(":")[0])
    source = inspect.getsourcefile(module) if module is not None else None
    found = Path(source) if source and Path(source).is_file() else None
    return {
        "clip": asdict(player.clip),
        "needs": sorted(player.needs),
        "module": found.name if found else "",
        "sha256": file_hash(found) if found else "",
        **{key: _word(policy, player, key) for key in ("name", "version")},
        "files": _files(policy, player),
    }


def _word(policy: str, player: Any, key: str) -> str:
    value = getattr(player, key, "")
    if not isinstance(value, str) or len(value) > MAX_WORD:
        raise PolicyError(
            f"{key} of policy {policy!r} must be a text of at most {MAX_WORD} characters (got "
            f"{str(value)[:40]!r}); change it, or leave it out"
        )
    return value


def _files(policy: str, player: Any) -> dict[str, str]:
    """Hashes of ``files`` and of ``checkpoint``, where the policy has them."""
    named = getattr(player, "files", ())
    if isinstance(named, (str, Path)) or not isinstance(named, Iterable):
        raise PolicyError(
            f"files of policy {policy!r} must be a list of paths (got {named!r}); "
            'files = ["weights.pt"] names one'
        )
    paths = [*named, getattr(player, "checkpoint", None)]
    hashes: dict[str, str] = {}
    for path in paths:
        if path is None:
            continue
        try:
            hashes[str(path)] = file_hash(path)
        except (OSError, TypeError, ValueError) as error:
            raise PolicyError(
                f"policy {policy!r} names {path!r} among its files, which cannot be read "
                f"({getattr(error, 'strerror', None) or error}); name files that are there"
            ) from error
    return hashes


def merged(cells: Iterable[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Descriptions that are the same, once, with the cells they are of."""
    found: list[dict[str, Any]] = []
    for cell, says in cells:
        alike = [entry for entry in found if entry == {"cells": entry["cells"], **says}]
        if alike:
            alike[0]["cells"].append(cell)
        else:
            found.append({"cells": [cell], **says})
    return found


def own_sentences(policies: dict[str, list[OwnPolicyRecord]]) -> list[str]:
    """Who the policies of the user's own are, a sentence each."""
    return [
        f"{policy} is a policy of the user's own: {'; or '.join(map(_says, entries))}."
        for policy, entries in policies.items()
    ]


def _says(entry: OwnPolicyRecord) -> str:
    clip, needs = entry["clip"], ", ".join(entry["needs"]) or "proprioception alone"
    called = " ".join(word for word in (entry["name"], entry["version"]) if word)
    parts = [f"it calls itself {called}"] if called else ["it gives no name"]
    if "video" in entry["needs"]:
        frames = "1 frame" if clip["num_frames"] == 1 else f"{clip['num_frames']} frames"
        parts.append(f"sees {frames} of {clip['image_size']} pixels")
    parts.append(f"is handed {needs}")
    if entry["module"]:
        parts.append(f"code {entry['module']} ({entry['sha256'][:12]})")
    files = [f"{name} ({digest[:12]})" for name, digest in entry["files"].items()]
    parts.append(f"files {', '.join(files)}" if files else "names no files")
    return ", ".join(parts)
