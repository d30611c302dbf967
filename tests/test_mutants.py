"""The table of ``make mutants`` names what there is, and says why each fault in it is none."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TABLE = tomllib.loads((ROOT / "tests" / "tools" / "mutants.toml").read_text())
MUST = {
    "neon_sim/chunks.py",
    "neon_sim/seeding.py",
    *(f"neon_sim/observation/{name}.py" for name in ("batch", "clips", "conditions", "ladder")),
    "benchmarks/analysis/statistics.py",
    *(f"benchmarks/running/{name}.py" for name in ("episode", "runner")),
}


def names_in(file: str) -> set[str]:
    """Functions and classes of a file, ``Class.method`` and ``outer.inner`` too."""
    found = {"<module>"}

    def walk(body: list[ast.stmt], before: str) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.add(before + node.name)
                walk(node.body, f"{before}{node.name}.")

    walk(ast.parse((ROOT / file).read_text()).body, "")
    return found


def test_what_decides_a_number_is_in_the_table() -> None:
    assert {entry["file"] for entry in TABLE["files"]} >= MUST


@pytest.mark.parametrize("entry", TABLE["files"], ids=lambda entry: entry["file"])
def test_files_functions_and_tests_of_the_table_exist(entry):
    assert set(entry.get("where", [])) <= names_in(entry["file"])
    assert entry["tests"]
    assert [test for test in entry["tests"] if not (ROOT / test.partition("::")[0]).exists()] == []


def test_a_fault_that_is_none_has_a_reason_and_a_place() -> None:
    files = {entry["file"] for entry in TABLE["files"]}
    for entry in TABLE.get("equivalent", []):
        assert entry["file"] in files
        assert entry["where"] in names_in(entry["file"])
        assert len(entry["why"].split()) >= 5
        assert all(before != after for before, after in entry["mutants"])
