"""Files written whole or not at all, folders that one process at a time writes, names kept inside.

Every command that fills a folder (runs, certificates, datasets, caches) writes through here, so
that two commands on one folder never undo each other, a kill never leaves half a file, and a name
that was read from a file never leads out of the folder that the file lies in.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shlex
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from filelock import FileLock, Timeout

from neon_sim.errors import ConfigError, NeonError, RunError
from neon_sim.rules import is_text

LOCK_FILE = ".lock"
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
LONGEST_PATH = 4000  # bytes; Linux takes 4095, and files lie below a folder
OWN_BYTES = 60  # what names of our files may add to the one that a user gives a file
MAX_COMMAND = 120  # characters of a command that an error about a lock repeats

# ---- whole or not at all ----------------------------------------------------------------


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, never half of it.

    Raises:
        RunError: the disk is full or the folder cannot be written.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name.lstrip('.')}.{os.getpid()}.tmp")
    try:
        if path.exists() and not path.is_file():  # a device is never replaced, also not by root
            raise RunError(f"cannot write {str(path)!r} (no ordinary file); choose another place")
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, ValueError) as error:
        raise disk_error(path, error) from error
    finally:  # Ctrl-C too leaves nothing; after the replacement there is nothing to remove
        with contextlib.suppress(OSError, ValueError):
            temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any, indent: int | None = 1) -> None:
    """Write JSON whole; see ``write_whole``.

    Raises:
        RunError: the disk is full or the folder cannot be written.
        ValueError: NaN or infinity in the value.
    """
    text = json.dumps(value, indent=indent, allow_nan=False, ensure_ascii=False)
    write_whole(path, text + "\n")


def make_folder(path: Path) -> None:
    """Make a folder and those above it; one that is there is left as it is.

    Raises:
        RunError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise disk_error(path, error) from error


def disk_error(path: Path, error: Exception) -> RunError:
    """The error for a disk that does not take what is written.

    Args:
        path: of what was written.
        error: an ``OSError``, or the ``ValueError`` of a path that no disk can have.
    """
    number = getattr(error, "errno", None)
    if number in DISK_FULL:
        return RunError(
            f"no space left on the disk of {path}; what is finished is kept: free some space and "
            "run the same command again (neon-bench run: with --resume)"
        )
    reason = getattr(error, "strerror", None) or error
    return RunError(f"cannot write {str(path)!r} ({reason}); choose another place for it (out)")


# ---- one at a time ----------------------------------------------------------------------


class FolderLock:
    """Holds a folder against every other process (and every other lock of this one).

    ``with lock: ...`` may be nested. The kernel lets go when the holder ends, however it ends, so
    a kill blocks nobody. The file ``.lock`` stays in the folder: removing it would let a third
    process lock a new one while a second still waits at the old.

    Args:
        folder: what is written. It must exist when the lock is taken.
        wait_s: seconds to wait for another holder, for work of a moment.
        name: of one result in the folder, where several processes may each write another one;
            empty holds the folder itself.
    """

    def __init__(self, folder: str | Path, wait_s: float = 0.0, name: str = "") -> None:
        self.folder, self.held = Path(folder), Path(folder) / name
        self._wait_s = wait_s
        file = f"{LOCK_FILE}-{name}" if name else LOCK_FILE
        self._holder = self.folder / f"{file}.json"  # who; taking a lock empties its file
        self._lock = FileLock(self.folder / file)

    def __enter__(self) -> FolderLock:
        """Take the lock.

        Raises:
            RunError: somebody holds it (named, where known), the folder cannot be written, or its
                lock is a link.
        """
        first = not self._lock.is_locked
        file = Path(self._lock.lock_file)
        if file.is_symlink():  # taking the lock would empty what it leads to
            raise RunError(f"{file} is a symbolic link; delete it")
        try:
            self._lock.acquire(timeout=self._wait_s)
        except Timeout:
            raise RunError(
                f"{self.held} is being written by {_describe(self._holder)}; wait until that "
                "ends or stop it, or choose another folder"
            ) from None
        except (OSError, NotImplementedError) as error:
            raise disk_error(self.folder, error) from error
        if first:
            try:
                write_json(self._holder, _this_process())
            except BaseException:
                self._lock.release()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        """Let go, of the outermost ``with``."""
        if self._lock.lock_counter == 1:
            with contextlib.suppress(OSError):
                self._holder.unlink(missing_ok=True)
        self._lock.release()


@contextlib.contextmanager
def locked(folder: Path, wait_s: float = 0.0, name: str = "") -> Iterator[None]:
    """Make a folder where there is none and hold it, or one result in it; see ``FolderLock``.

    Raises:
        RunError: somebody else holds it, or it cannot be made.
    """
    make_folder(folder)
    with FolderLock(folder, wait_s, name):
        yield


def _this_process() -> dict[str, Any]:
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]) if sys.argv else ""
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "command": command[:MAX_COMMAND].encode(errors="replace").decode(),
        "since": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def _describe(holder: Path) -> str:
    """Who holds a lock; one that was just taken says so in a moment."""
    for _ in range(20):
        try:
            body = json.loads(holder.read_bytes())
            host = "" if body["host"] == socket.gethostname() else f" on {body['host']}"
            return f"process {body['pid']}{host} ({body['command']!r}, since {body['since']})"
        except (OSError, ValueError, KeyError, TypeError):
            time.sleep(0.05)
    return "another process"


# ---- names that stay inside -------------------------------------------------------------


def inside(root: Path, name: str, error: type[NeonError] = RunError, mend: str = "") -> Path:
    """The path of a name that was read from a file, held inside a folder.

    Args:
        root: the folder. name: relative, of something below it; it need not exist.
        error: the kind of ``NeonError`` to raise. mend: the end of its message.

    Returns:
        ``root / name``.

    Raises:
        NeonError: of class ``error``: the name is empty, absolute, climbs with ``..``, holds
            a NUL, or leads out over a symbolic link.
    """

    def refused(why: str) -> NeonError:
        ending = mend or "this was not written by neon_sim: do not trust the folder"
        return error(f"{str(root)!r} names a file {name!r} that {why}; {ending}")

    if not name or "\0" in name or not PurePosixPath(name).parts:
        raise refused("is no file name")
    if PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor:
        raise refused("is absolute")
    if ".." in PurePosixPath(name).parts or ".." in PureWindowsPath(name).parts:
        raise refused("lies outside (..)")
    path = root / name
    try:
        home, real = root.resolve(), path.resolve()
    except (OSError, RuntimeError, ValueError) as problem:  # a loop of links, a name too long
        raise refused(f"leads nowhere ({problem})") from problem
    if any(map(os.path.islink, (real, *real.parents))):  # Python 3.13 lets a loop pass
        raise refused("leads nowhere (a loop of symbolic links)")
    if not real.is_relative_to(home) or real == home:
        raise refused(f"lies outside, over a symbolic link ({real})")
    return path


# ---- places that a user names for results: tried before the work, nothing is made or left ----


def hold_folder(key: str, path: str | Path) -> None:
    """Refuse a folder that cannot be made, or written into.

    Args:
        key: of the setting, as the user writes it (``"out"``, ``"--out"``). path: its value.

    Raises:
        ConfigError: names key, path, reason and mend.
    """
    _hold_place(key, Path(path), "a folder")


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
        raise _refused_place(key, path, "a file", error) from error
    if other:
        what = "a folder" if path.is_dir() else "no ordinary file"
        raise ConfigError(f"{key} must be a file (got {path}, which is {what}); name another")
    if len(os.fsencode(path.name)) > 255 - OWN_BYTES:
        too_long = OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        raise _refused_place(key, path, "a file", too_long)
    _hold_place(key, path.parent, "a file in a folder")


def _hold_place(key: str, folder: Path, what: str) -> None:
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
        raise _refused_place(key, folder, what, error) from error


def _refused_place(key: str, path: Path, what: str, error: Exception) -> ConfigError:
    reason = getattr(error, "strerror", None) or error
    return ConfigError(
        f"{key} must be {what} that can be written (got {path}: {reason}); name another"
    )
