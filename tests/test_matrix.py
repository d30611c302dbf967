"""What is declared is what was tested: versions of Python, lower bounds, and their matrix."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import matrix
import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

PROJECT = matrix.read_project()
TOY = {
    "dependencies": ["numpy>=1.26", "Torch>=2.6,<3"],
    "optional-dependencies": {"hub": ["torch>=2.10"], "dev": ["neon-sim[hub]", "pytest>=8.3"]},
}


# ---- what is declared ---------------------------------------------------------------------


@pytest.mark.skipif("NEON_MATRIX_LEG" in os.environ, reason="the matrix is about to write them")
def test_the_lower_bounds_are_those_the_whole_suite_passed_at():
    """A bound that moves is tested by `make matrix LEGS=lowest,lowest-hub`, which writes them."""
    if not matrix.TESTED.exists():
        pytest.skip("not tested yet")
    tested = json.loads(matrix.TESTED.read_text())
    assert tested == {
        leg.name: matrix.lower_bounds(leg.extras) for leg in matrix.LEGS if leg.lowest
    }


def test_the_declared_pythons_are_those_of_the_matrix():
    listed = {
        word.rsplit(" ", 1)[1] for word in PROJECT["classifiers"] if re.search(r"3\.\d", word)
    }
    assert listed == {leg.python for leg in matrix.LEGS}
    allowed = SpecifierSet(PROJECT["requires-python"])
    assert {f"3.{minor}" for minor in range(5, 20) if f"3.{minor}.9" in allowed} == listed


def test_every_pin_is_within_what_is_declared_and_everything_declared_is_pinned():
    text = (matrix.ROOT / "constraints.txt").read_text()
    pins = {canonicalize_name(n): v for n, v in re.findall(r"^([\w.-]+)==(\S+)$", text, re.M)}
    assert len(re.findall("==", text)) == len(pins), "a package is pinned twice"
    for requirement in matrix.declared(PROJECT["optional-dependencies"].keys() - {"dev"}):
        pin = pins.get(canonicalize_name(requirement.name))
        assert pin is not None, f"{requirement.name} has no pin in constraints.txt"
        assert pin in requirement.specifier, f"{requirement.name}=={pin} is not {requirement}"


def test_ci_installs_triton_where_users_have_it():
    (line,) = [line for line in PROJECT["optional-dependencies"]["dev"] if "triton" in line]
    marker = Requirement(line).marker
    assert marker is not None
    assert marker.evaluate({"sys_platform": "linux", "platform_machine": "x86_64"})
    assert not marker.evaluate({"sys_platform": "darwin", "platform_machine": "arm64"})


# ---- how an environment is made -----------------------------------------------------------


def test_the_highest_of_several_bounds_is_the_lowest_version():
    assert matrix.lower_bounds((), TOY) == {"numpy": "1.26", "pytest": "8.3", "torch": "2.6"}
    assert matrix.lower_bounds(("hub",), TOY)["torch"] == "2.10"


def test_a_requirement_without_a_bound_is_an_error():
    project = {"dependencies": ["numpy"], "optional-dependencies": {"dev": []}}
    with pytest.raises(matrix.MatrixError, match="numpy declares no lower bound"):
        matrix.lower_bounds((), project)


def test_a_python_that_is_not_there_is_named(monkeypatch: Any, tmp_path: Path):
    monkeypatch.setattr(matrix.shutil, "which", lambda name: None)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(matrix.MatrixError, match=r"no Python 3\.12"):
        matrix.interpreter("3.12")
    monkeypatch.setattr(matrix.shutil, "which", lambda name: sys.executable)
    with pytest.raises(matrix.MatrixError, match=r"no Python 2\.7"):
        matrix.interpreter("2.7")


# ---- what runs, and what is run again -----------------------------------------------------


@pytest.fixture
def home(monkeypatch: Any, tmp_path: Path) -> Path:
    """A matrix of its own whose sources never change."""
    monkeypatch.setattr(matrix, "HOME", tmp_path)
    monkeypatch.setattr(matrix, "TESTED", tmp_path / "lower_bounds.json")
    monkeypatch.setattr(matrix, "sources", lambda: "same")
    return tmp_path


def record(status: str) -> dict[str, Any]:
    numbers = {"passed": 3, "failed": 0, "errors": 0, "skipped": 1}
    return {"status": status, "seconds": 2, "counts": numbers, "versions": {"python": "3.12.1"}}


def test_what_passed_is_not_run_again_and_what_failed_is(home, monkeypatch, capsys):
    ran = []

    def run_leg(leg: matrix.Leg, workers: int, arguments: list[str]) -> dict[str, Any]:
        ran.append(leg.name)
        if leg.name == "3.13":
            raise matrix.MatrixError("no Python 3.13")
        return record("failed (1)" if ran.count(leg.name) == 1 and leg.name == "3.12" else "passed")

    monkeypatch.setattr(matrix, "run_leg", run_leg)
    words = ["--legs", "3.11,3.12,3.13,lowest"]
    assert matrix.main(words) == 1
    told = capsys.readouterr()
    assert "| 3.12 | failed (1) | 3 | 0 | 0 | 1 | 2 | 3.12.1 |" in told.out
    assert "| 3.13 | no environment |" in told.out
    assert "no Python 3.13" in told.err
    assert set(json.loads((home / "lower_bounds.json").read_text())) == {"lowest"}
    assert matrix.main([*words[:1], "3.11,3.12,lowest"]) == 0
    assert ran == ["3.11", "3.12", "3.13", "lowest", "3.12"]
    assert matrix.main(["--legs", "3.11", "--", "-k", "clip"]) == 0  # other arguments
    monkeypatch.setattr(matrix, "sources", lambda: "changed")
    assert matrix.main(["--legs", "3.11", "--", "-k", "clip"]) == 0
    assert ran[5:] == ["3.11", "3.11"]


def test_a_subset_is_no_proof_of_the_lower_bounds(home, monkeypatch):
    monkeypatch.setattr(matrix, "run_leg", lambda *_: record("passed"))
    assert matrix.main(["--legs", "lowest", "--", "-k", "clip"]) == 0
    assert not (home / "lower_bounds.json").exists()


def test_what_a_leg_writes_asks_for_no_other_run(monkeypatch: Any, tmp_path: Path):
    monkeypatch.setattr(matrix, "ROOT", tmp_path)
    monkeypatch.setattr(matrix, "TESTED", tmp_path / "tests" / "lower_bounds.json")
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "code.py").write_text("1")
    before = matrix.sources()
    for name in ("docs/VERSIONS.md", "tests/lower_bounds.json"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("new")
        assert matrix.sources() == before
    (tmp_path / "code.py").write_text("2")
    assert matrix.sources() != before


def test_an_unknown_leg_is_named(home, capsys):
    with pytest.raises(SystemExit) as stopped:
        matrix.main(["--legs", "3.9"])
    assert stopped.value.code == 2
    assert "3.11, 3.12, 3.13, lowest, lowest-hub" in capsys.readouterr().err


def test_a_leg_runs_pytest_and_counts_what_it_reports(home, monkeypatch):
    """With this environment in the place of one of its own."""
    (home / "test_toy.py").write_text(
        "import os, pytest\n"
        "def test_good(): assert os.environ['NEON_MATRIX_LEG'] == '3.11'\n"
        "def test_bad(): assert False\n"
        "@pytest.mark.skip\n"
        "def test_not(): pass\n"
        "@pytest.fixture\n"
        "def broken(): raise ValueError\n"
        "def test_error(broken): pass\n"
    )
    monkeypatch.setattr(matrix, "make_environment", lambda leg: Path(sys.executable))
    found = matrix.run_leg(matrix.LEGS[0], 1, [str(home / "test_toy.py"), "-c", "/dev/null"])
    assert found["status"] == "failed (1)"
    assert found["counts"] == {"passed": 1, "failed": 1, "errors": 1, "skipped": 1}
    assert found["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["versions"]["torch"].startswith("2.")


def test_every_extra_is_in_some_leg():
    covered = {extra for leg in matrix.LEGS for extra in leg.extras}
    assert set(PROJECT["optional-dependencies"]) == {"dev", *covered}
