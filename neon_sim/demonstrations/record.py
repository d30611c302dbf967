"""What a dataset records of itself, and how damage is told from an edit.

``meta/neon_sim.json`` holds the SHA-256 of every file beside it and one of its own text, so that
a single turned bit is an error before anything is trained on. Other tools change files on
purpose. One that writes a new folder (lerobot's ``delete_episodes``, ``split_dataset``,
``merge_datasets``, ``remove_feature``) leaves the record behind: such a dataset opens, and says
that nothing vouches for it. One that edits in place (``modify_tasks``, ``reencode_dataset``)
looks like damage until somebody says that it is none: ``python -m neon_sim.dataset_check data=DIR
accept=true`` looks through the dataset and records it as it is.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from pathlib import Path
from typing import Any, NotRequired

from typing_extensions import TypedDict

from neon_sim.demonstrations.files import damaged
from neon_sim.demonstrations.layout import EPISODES_FOLDER, MEND, held
from neon_sim.errors import DatasetError
from neon_sim.schema import checked, read_json

RECORD_FILE = "meta/neon_sim.json"
FORMAT = 2  # 1 held sizes only, and privileged features under LeRobot's ``observation.``
CHECK = "python -m neon_sim.dataset_check"
HASHED = ("data", "videos", "audio", "meta")
CHUNK_BYTES = 1 << 20


class Record(TypedDict):
    """``meta/neon_sim.json``, as far as it is read; ``config`` and ``made_with`` describe."""

    content_hash: NotRequired[str]
    files: NotRequired[dict[str, int]]
    format: NotRequired[int]
    sha256: NotRequired[dict[str, str]]
    record_sha256: NotRequired[str]
    edits: NotRequired[list[str]]
    config: NotRequired[dict[str, Any]]
    made_with: NotRequired[dict[str, Any]]


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(CHUNK_BYTES):
            digest.update(part)
    return digest.hexdigest()


def content_files(root: Path) -> list[Path]:
    """Every file of a dataset but its record, sorted."""
    found = (path for name in HASHED for path in (root / name).rglob("*"))
    return sorted(p for p in found if p.is_file() and p != root / RECORD_FILE)


def sealed(root: Path, values: dict[str, Any]) -> dict[str, Any]:
    """The record of a dataset as it lies in ``root``: values, sizes and hashes of all files."""
    paths = {path.relative_to(root).as_posix(): path for path in content_files(root)}
    sizes = {name: path.stat().st_size for name, path in paths.items()}
    record = values | {
        "files": {name: size for name, size in sizes.items() if not name.startswith("meta/")},
        "format": FORMAT,
        "sha256": {name: file_sha256(path) for name, path in paths.items()},
    }
    return record | {"record_sha256": _own_hash(record)}


def _own_hash(record: dict[str, Any]) -> str:
    text = json.dumps({k: v for k, v in record.items() if k != "record_sha256"}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def read_record(root: Path) -> dict[str, Any]:
    """The record of a dataset; empty where another tool wrote it.

    Raises:
        DatasetError: it is damaged, of another shape, or of a later version.
    """
    path = root / RECORD_FILE
    if not path.exists():
        return {}
    record = read_json(path, dict[str, Any], DatasetError, f"the file is damaged: {MEND}")
    checked(record, Record, str(path), DatasetError, MEND)
    if record.get("format", 1) > FORMAT:
        raise DatasetError(
            f"{path}: format must be at most {FORMAT} (got {record['format']}); read the dataset "
            "with the version of neon_sim that wrote it, or a later one"
        )
    hashed = {"format", "sha256", "record_sha256"}
    if hashed & {*record} and (
        not hashed <= {*record} or record["record_sha256"] != _own_hash(record)
    ):
        raise damaged(path, "its text is not what was written")
    for name in (*record.get("files", {}), *record.get("sha256", {})):
        held(root, name)
    return record


def changed_files(root: Path, record: dict[str, Any]) -> dict[str, str]:
    """Files that are not what the record says, and in what, by name; empty where all are.

    Datasets from before hashes were recorded are held to the sizes of their files.
    """
    changed = {}
    for name, size in record.get("files", {}).items():
        path = root / name
        if not path.is_file():
            changed[name] = "no such file"
        elif path.stat().st_size != size:
            changed[name] = f"{path.stat().st_size} bytes, {RECORD_FILE} says {size}"
    for name, wanted in record.get("sha256", {}).items():
        if name in changed:
            continue
        if not (root / name).is_file():
            changed[name] = "no such file"
        elif file_sha256(root / name) != wanted:
            changed[name] = f"other content than {RECORD_FILE} says"
    if "sha256" in record:
        for path in content_files(root):
            name = path.relative_to(root).as_posix()
            if name.startswith(EPISODES_FOLDER) and name not in record["sha256"]:
                changed[name] = f"{RECORD_FILE} does not know it"
    return changed


def verify(root: Path, record: dict[str, Any]) -> None:
    """Hold every file of a dataset to its record. Reads all of it once, about 1 GB a second.

    Raises:
        DatasetError: names the first file that is not what was written, and the mend.
    """
    for name, why in changed_files(root, record).items():
        raise DatasetError(
            f"{root / name} is truncated or damaged ({why}); copy the dataset again or collect it "
            "again into a new folder. Where another tool edited it on purpose, look at it and "
            f"record it as it is: {CHECK} {shlex.quote(f'data={root}')} accept=true"
        )
