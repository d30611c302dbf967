"""The floor plan: no circle of imports, also not through functions, and no folder too full."""

from __future__ import annotations

import ast
import os
from collections import Counter
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("envs", "policies", "benchmarks", "assets", "configs")
MAX_FILES = 20
EXEMPT = {"envs/arm"}  # the tasks of one robot stand side by side


def modules() -> dict[str, Path]:
    """Every source file by its dotted name, links not followed."""
    found = {}
    for top in ("neon_sim", *ROOMS):
        for folder, _, files in os.walk(ROOT / top):
            for file in files:
                path = Path(folder, file)
                if path.suffix == ".py":
                    found[dotted(path)] = path
    return found


def dotted(path: Path) -> str:
    """The name that a file is imported by."""
    parts = [*path.relative_to(ROOT).with_suffix("").parts]
    parts = ["neon_sim", *parts] if parts[0] in ROOMS else parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(name: str, path: Path) -> Iterator[str]:
    """Modules that a file imports anywhere in it; of a package, the submodule where it is one."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                base = ".".join([*parts[: len(parts) - node.level + 1], *filter(None, [base])])
            yield from (f"{base}.{alias.name}" for alias in node.names)
            yield base


def graph() -> dict[str, set[str]]:
    """What every module imports of the project; a name of a submodule hides that of its package."""
    files = modules()
    edges: dict[str, set[str]] = {}
    for name, path in files.items():
        found = set(imports(name, path)) & set(files)
        parents = {target.rpartition(".")[0] for target in found}
        is_package = {target for target in found if files[target].name == "__init__.py"}
        edges[name] = found - (parents & is_package) - {name}
    return edges


def test_no_circle_also_not_through_a_function() -> None:
    try:
        TopologicalSorter(graph()).prepare()
    except CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from error


def test_no_folder_is_too_full() -> None:
    counts = Counter(str(path.parent.relative_to(ROOT)) for path in modules().values())
    assert {f: n for f, n in counts.items() if n > MAX_FILES and f not in EXEMPT} == {}
