"""Places that a user names for results are tried before the work, and not after hours of it.

Nothing is made or left: a place is tried by an unnamed file in the folder that is there already.
"""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from neon_sim.errors import ConfigError
from neon_sim.rules import is_text

LONGEST_PATH = 4000  # bytes; Linux takes 4095, and files lie below a folder
OWN_BYTES = 60  # what names of our files may add to the one that a user gives a file


def hold_folder(key: str, path: str | Path) -> None:
    """Refuse a folder that cannot be made, or written into.

    Args:
        key: of the setting, as the user writes it (``"out"``, ``"--out"``). path: its value.

    Raises:
        ConfigError: names key, path, reason and mend.
    """
    _hold(key, Path(path), "a folder")


def hold_file(key: str, path: str | Path) -> None:
    """Refuse a file that cannot be written; one that is there must be an ordinary file.

    Args:
        key: of the setting. path: of the file; folders above it are made later.

    Raises:
        ConfigError: names key, path, reason and mend.
    """
    path = Path(path)
    try:
        other = path.exists() and not path.is_file()
        other = other or (path.is_relative_to("/dev") and not path.is_relative_to("/dev/shm"))
    except (OSError, ValueError) as error:
        raise _refused(key, path, "a file", error) from error
    if other:
        what = "a folder" if path.is_dir() else "no ordinary file"
        raise ConfigError(f"{key} must be a file (got {path}, which is {what}); name another")
    if len(os.fsencode(path.name)) > 255 - OWN_BYTES:
        too_long = OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        raise _refused(key, path, "a file", too_long)
    _hold(key, path.parent, "a file in a folder")


def _hold(key: str, folder: Path, what: str) -> None:
    try:
        if not is_text(str(folder)):
            raise ValueError("embedded null byte")
        if len(os.fsencode(folder)) > LONGEST_PATH:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        standing = folder
        while not standing.exists() and not standing.is_symlink() and standing != standing.parent:
            standing = standing.parent
        if not standing.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{standing} is no folder")
        longest = os.pathconf(standing, "PC_NAME_MAX")
        if any(len(os.fsencode(part)) > longest for part in folder.parts):
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        with tempfile.TemporaryFile(dir=standing):
            pass
    except (OSError, ValueError) as error:
        raise _refused(key, folder, what, error) from error


def _refused(key: str, path: Path, what: str, error: Exception) -> ConfigError:
    reason = getattr(error, "strerror", None) or error
    return ConfigError(
        f"{key} must be {what} that can be written (got {path}: {reason}); name another"
    )
