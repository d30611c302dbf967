"""What this process runs on: the commit of its code, the memory it may keep."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path


def git_commit() -> str:
    """Commit of the working tree, ``"unknown"`` outside a repository."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def keep_memory() -> None:
    """Let glibc keep freed memory: fresh pages for every batch cost a third of a step."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in ((-4, 0), (-1, 2**31 - 1), (-2, 2**28)):  # no mmap, trim, pad
            mallopt(option, value)
