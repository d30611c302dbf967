"""Places for results: tried before any work, with nothing left where they were tried."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from neon_sim.demonstrations.collection import collect
from neon_sim.demonstrations.settings import CollectConfig
from neon_sim.errors import ConfigError
from neon_sim.files import hold_file, hold_folder


def listed(folder: Path) -> list[str]:
    """Everything below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_place_that_takes_files_passes_and_stays_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "old.json").write_text("{}")
    before = listed(tmp_path)
    for folder in (tmp_path, tmp_path / "there", tmp_path / "new/below"):
        hold_folder("out", folder)
    for file in (tmp_path / "old.json", tmp_path / "new.json", tmp_path / "new/below.json"):
        hold_file("out", file)
    assert listed(tmp_path) == before


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("/dev/null/x", "is no folder"),
        ("/proc/x/y", "No such file"),
        ("FILE", "is no folder"),
        ("FILE/x", "is no folder"),
        ("loop/x", ""),
        ("n" * 256, "File name too long"),
        ("/".join(["d" * 200] * 25), "File name too long"),
        ("a\0b", "null byte"),
    ],
)
def test_a_place_that_takes_none_is_named_with_the_reason(
    place: str, why: str, tmp_path: Path
) -> None:
    (tmp_path / "FILE").write_text("")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    before = listed(tmp_path)
    with pytest.raises(ConfigError, match=rf"^out must be a folder .*{why}.*; name another$"):
        hold_folder("out", tmp_path / place)
    assert listed(tmp_path) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    with pytest.raises(ConfigError, match="Permission denied"):
        hold_folder("out", closed / "new")


@pytest.mark.parametrize("place", ["/dev/null", "/dev/full", "/dev/stdout", "."])
def test_a_device_or_folder_is_no_file_for_results(place: str, tmp_path: Path) -> None:
    """Writing whole replaces what stands there, and must never replace a device."""
    with pytest.raises(ConfigError, match=r"--out must be a file .*(ordinary|a folder)"):
        hold_file("--out", tmp_path / place)


def test_a_collection_without_an_episode_blocks_no_other(tmp_path: Path) -> None:
    """What was begun and failed at once may begin anew with other settings."""
    out = tmp_path / "demos"
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"no tensors")
    with pytest.raises(Exception, match="broken"):
        collect(CollectConfig(["arm_reach"], 1, str(out), policy=str(broken)))
    with pytest.raises(ConfigError, match="policy must be a file that is there"):
        collect(CollectConfig(["arm_reach"], 1, str(out), policy=str(tmp_path / "x.yaml")))
    assert not any(path.is_file() and path.name[0] != "." for path in out.rglob("*"))
    dataset = collect(CollectConfig(["arm_reach"], 1, str(out), image_size=32))
    assert dataset.num_episodes == 1
