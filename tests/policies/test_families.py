"""One family of foundation models is one file: nothing else in the source names it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from neon_sim.policies.backbones.weights.catalogue import CATALOGUE
from neon_sim.registry import FAMILIES

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("neon_sim", "envs", "policies", "benchmarks")
NAMES = sorted({word for entry in FAMILIES.values() for word in (entry.name, *entry.models)})
ALLOWED = {
    "neon_sim/registry.py",  # the line that names it
    "policies/backbones/weights/sizes.py",  # printed by ``counting``
    # A family may be built on another.
    *(f"policies/backbones/foundation/{name}.py" for name in FAMILIES),
}


def test_nothing_else_names_a_family() -> None:
    titles = [entry.resolve().TITLE for entry in FAMILIES.values()]
    classes = [entry.entry_point.partition(":")[2] for entry in FAMILIES.values()]
    pattern = re.compile(rf"\b({'|'.join(map(re.escape, {*NAMES, *titles, *classes}))})(_image)?\b")
    found = []
    for room in ROOMS:
        for folder, _, files in os.walk(ROOT / room):
            for file in (Path(folder, name) for name in files if name.endswith(".py")):
                if str(file.relative_to(ROOT)) not in ALLOWED:
                    lines = file.read_text().splitlines()
                    found += [f"{file}: {line}" for line in lines if pattern.search(line)]
    assert found == []


@pytest.mark.parametrize("name", FAMILIES)
def test_the_registry_knows_the_models_of_a_family(name: str) -> None:
    entry = FAMILIES[name]
    assert entry.models == tuple(row.name for row in entry.resolve().PUBLISHED)
    assert [CATALOGUE[model].family for model in entry.models] == [name] * len(entry.models)


def test_listing_names_imports_no_family() -> None:
    assert list(CATALOGUE) == [name for entry in FAMILIES.values() for name in entry.models]
    assert "qwen_vl_3b" in CATALOGUE
    assert "qwen_vl" not in CATALOGUE
    assert CATALOGUE.get("nobody") is None
