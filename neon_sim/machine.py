"""What this process runs on: the commit of its code, the memory it may keep."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path


def git_commit() -> str | None:
    """Commit of the sources, ``-dirty`` when tracked files differ; None outside a checkout.

    An installed package may lie inside a repository of somebody else, whose commit says nothing
    of it: only a repository that tracks this file counts.
    """
    here = Path(__file__).resolve()

    def ask(*words: str) -> str | None:
        command = ["git", "-C", str(here.parent), *words]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if not ask("ls-files", here.name):
        return None
    commit = ask("rev-parse", "HEAD")
    if commit and ask("status", "--porcelain", "--untracked-files=no"):
        return f"{commit}-dirty"
    return commit or None


def keep_memory() -> None:
    """Let glibc keep freed memory: fresh pages for every batch cost a third of a step."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in ((-4, 0), (-1, 2**31 - 1), (-2, 2**28)):  # no mmap, trim, pad
            mallopt(option, value)
