"""A policy that ends the process it runs in, and runs of it; for the tests of workers that die."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from neon_sim.benchmarks.running.runner import Resources, run
from neon_sim.benchmarks.runs.folder import Row, RunFolder, without_timing
from neon_sim.benchmarks.runs.plan import RunPlan, make_plan

# Drifts as bench_fakes does; what goes wrong is set by the name of the factory. A flag is a file
# that the first process which dies leaves behind.
MORTAL = """
import os, signal
from pathlib import Path
import numpy as np
from bench_fakes import Fake, content_key

FLAG = Path({flag!r})


class Mortal(Fake):
    looks = 0

    def __init__(self, how):
        super().__init__()
        self.how = how

    def act(self, batch):
        self.looks += 1
        if self.how == "once" and self.looks == 5 and not FLAG.exists():
            FLAG.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "always":
            os._exit(9)
        return super().act(batch)

    def trouble(self, chunk, key):
        if self.how == "sometimes" and key % 100 == 0:
            os.kill(os.getpid(), signal.SIGSEGV)
        return chunk


def once(**_): return Mortal("once")
def always(**_): return Mortal("always")
def sometimes(**_): return Mortal("sometimes")
def never(**_): return Mortal("never")
"""


@pytest.fixture
def mortal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The module ``mortal``, for this process and its workers; its flag."""
    flag = tmp_path / "died"
    (tmp_path / "mortal.py").write_text(MORTAL.format(flag=str(flag)))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "mortal", raising=False)
    importlib.invalidate_caches()
    return flag


def plan(how: str, episodes: int = 12) -> RunPlan:
    """A run of ``mortal``."""
    return make_plan(
        policies=[f"mortal:{how}"],
        conditions=[],
        tasks=["arm_block"],
        suite=None,
        episodes=episodes,
        seed=3,
        train_seeds=[0],
        latency_steps=0,
        until_decided=False,
        alpha=0.05,
        overrides=[],
    )


def rows_of(folder: Path, how: str, **resources: Any) -> list[Row]:
    """Rows without timing, as if the policy had another name."""
    rows = run(plan(how), RunFolder(folder), Resources(**{"batch": 2, **resources}))
    return [{**row, "policy": "mortal"} for row in without_timing(rows)]
