"""Files are whole or absent, a folder has one writer, and names from files stay inside."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from neon_sim import files
from neon_sim.errors import DatasetError, RunError
from neon_sim.files import FolderLock, inside, locked, make_folder, write_json, write_whole

HOLDER = """
import sys, time
from pathlib import Path
from neon_sim.files import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def hold_elsewhere(folder: Path) -> subprocess.Popen[str]:
    """Another process that holds a folder."""
    command = [sys.executable, "-c", HOLDER, str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_a_held_folder_says_who_holds_it_and_a_kill_lets_go(tmp_path: Path) -> None:
    process = hold_elsewhere(tmp_path / "run")
    try:
        with pytest.raises(RunError) as caught, locked(tmp_path / "run"):
            pytest.fail("two at once")
        assert f"process {process.pid} (" in str(caught.value)
        assert "wait until that ends or stop it" in str(caught.value)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    with locked(tmp_path / "run"):  # nothing that the dead one left behind is in the way
        body = json.loads((tmp_path / "run" / ".lock.json").read_text())
        assert body["pid"] == os.getpid()
    assert not (tmp_path / "run" / ".lock.json").exists()


def test_a_lock_may_be_nested_and_two_of_one_process_exclude_each_other(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    with lock:
        with lock:
            pass
        with pytest.raises(RunError, match=f"process {os.getpid()} "), FolderLock(tmp_path):
            pytest.fail("the inner with let go of the outer one's lock")
    with FolderLock(tmp_path):
        pass


def test_an_unreadable_holder_is_another_process(tmp_path: Path) -> None:
    with locked(tmp_path):
        for text in ("", "[]", '{"pid": 3}', "\udce4"):
            (tmp_path / ".lock.json").write_bytes(text.encode(errors="surrogateescape"))
            with pytest.raises(RunError, match="another process"), locked(tmp_path):
                pytest.fail("two at once")


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.json"
    write_json(path, {"old": 1})

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(RunError, match=r"no space left on the disk of .*--resume"):
        write_json(path, {"new": 2})
    assert json.loads(path.read_text()) == {"old": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["/dev/null/x", "a" * 300, "nul\0here"])
def test_a_place_that_takes_no_file_is_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(RunError, match="choose another place"):
        make_folder(tmp_path / name)
    with pytest.raises(RunError, match="choose another place"):
        write_whole(tmp_path / name, b"")


def test_names_that_lead_out_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "run"
    (root / "videos").mkdir(parents=True)
    (tmp_path / "precious.txt").write_text("years of work")
    (root / "link").symlink_to(tmp_path / "precious.txt")
    (root / "up").symlink_to(tmp_path)
    (root / "loop").symlink_to(root / "loop")
    (root / "videos" / "near").symlink_to(root / "videos")
    for good in ("a.mp4", "videos/a.mp4", "videos/near/a.mp4", "..a", "a b\u00e4"):
        assert inside(root, good) == root / good
    bad = ["", ".", "..", "../precious.txt", "videos/../../precious.txt", "/etc/passwd"]
    bad += ["link", "up/precious.txt", "loop/x", "nul\0", "..\\precious.txt", "C:\\x", "videos/.."]
    for name in bad:
        with pytest.raises(DatasetError, match="names a file"):
            inside(root, name, DatasetError, "take another folder")


def test_a_folder_reached_over_a_link_is_a_root_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert inside(tmp_path / "link", "a.mp4") == tmp_path / "link" / "a.mp4"
