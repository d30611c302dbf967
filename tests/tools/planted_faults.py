"""Plants faults in what decides success, one at a time, and asks ``test_success.py``.

    python tests/tools/planted_faults.py              all of planted_faults.toml (minutes)
    python tests/tools/planted_faults.py arm_catch    those of some tasks

Nothing on disk is touched: a process forked for each fault imports the changed source and runs the
tests that name the task. The exit code is 1 while a fault is not found.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import multiprocessing
import os
import sys
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests" / "envs" / "test_success.py"
PRELOADED = ("torch", "gymnasium", "hypothesis", "scipy.signal", "neon_sim.simulation.world")
WALL_S = 300  # of a process; a fault may make a loop endless


@dataclass(frozen=True)
class Fault:
    """One fault: in ``file`` the text ``before``, which stands there once, becomes ``after``."""

    task: str
    file: str
    before: str
    after: str

    def source(self) -> str:
        """The file with the fault.

        Raises:
            ValueError: ``before`` does not stand there exactly once.
        """
        text = (ROOT / self.file).read_text()
        if text.count(self.before) != 1:
            raise ValueError(f"{self.file} must hold {self.before!r} once")
        return text.replace(self.before, self.after)


def read_faults() -> list[Fault]:
    """``planted_faults.toml``."""
    text = Path(__file__).with_suffix(".toml").read_text()
    return [Fault(**entry) for entry in tomllib.loads(text)["faults"]]


def _plant(fault: Fault) -> None:
    """Let the import of the file, which is still to come, read the fault."""
    target = (ROOT / fault.file).resolve()
    compiled = compile(fault.source(), str(target), "exec")
    loader: Any = importlib.machinery.SourceFileLoader
    read = loader.get_code

    def get_code(self: Any, name: str) -> Any:
        return compiled if Path(self.path).resolve() == target else read(self, name)

    loader.get_code = get_code


def _play(fault: Fault | None, words: str) -> None:
    """Run the tests whose names hold ``words``; the exit code is pytest's."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if fault is not None:
        _plant(fault)
    os._exit(pytest.main([str(TESTS), "-x", "-q", "-k", words, "-p", "no:cacheprovider"]))


def ask(fault: Fault | None) -> str:
    """``found``, ``lives``, or what else came of it; of no fault at all: of every test."""
    words = "" if fault is None else f"{fault.task} or ends_an_episode"
    process = multiprocessing.get_context("fork").Process(target=_play, args=(fault, words))
    process.start()
    process.join(WALL_S)
    if process.is_alive():
        process.kill()
        return "timeout"
    said = {pytest.ExitCode.TESTS_FAILED: "found", pytest.ExitCode.OK: "lives"}
    code = process.exitcode
    return said.get(code, f"exit code {code}")  # type: ignore[call-overload,no-any-return]


def main(tasks: list[str]) -> int:
    """Plant the faults of some tasks, all by default, and print what came of each."""
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    for name in PRELOADED:
        importlib.import_module(name)
    if ask(None) != "lives":
        sys.exit("tests/envs/test_success.py does not pass as it is")
    faults = [fault for fault in read_faults() if not tasks or fault.task in tasks]
    counts: Counter[str] = Counter()
    for fault in faults:
        said = ask(fault)
        counts[said] += 1
        print(f"{said:8} {fault.task:20} {fault.file}: {fault.after.strip()[:70]!r}", flush=True)
    print(", ".join(f"{count} {said}" for said, count in sorted(counts.items())))
    print(f"{len(faults)} faults in {len({fault.task for fault in faults})} tasks")
    return 0 if counts["found"] == len(faults) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
