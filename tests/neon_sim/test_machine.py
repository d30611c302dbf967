"""Which commit a result names: that of our sources, never that of a repository around them."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from neon_sim import machine


def commit_of(file: Path) -> str | None:
    """What the module says of itself where it lies there."""
    spec = importlib.util.spec_from_file_location("elsewhere", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    ask: Callable[[], str | None] = module.git_commit
    return ask()


def test_an_installation_inside_a_users_repository_does_not_take_its_commit(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-C", str(tmp_path))
        done = subprocess.run(["git", *who, *words], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    file = tmp_path / "venv" / "machine.py"
    file.parent.mkdir()
    shutil.copy(machine.__file__, file)
    assert commit_of(file) is None  # no repository
    git("init", "-q")
    (tmp_path / "mine.txt").write_text("the user's own work")
    git("add", "mine.txt")
    git("commit", "-qm", "mine")
    assert commit_of(file) is None  # a repository that does not hold the module
    git("add", "venv")
    git("commit", "-qm", "ours")
    assert commit_of(file) == git("rev-parse", "HEAD")
    (tmp_path / "mine.txt").write_text("changed")
    assert commit_of(file) == f"{git('rev-parse', 'HEAD')}-dirty"
