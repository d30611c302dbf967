"""Plants small faults one at a time and asks the tests: ``make mutants``.

Every mutant of ``mutant_operators`` is run against the quick tests that ``mutants.toml`` names for
its file, in a process forked from one that has imported the large packages already; nothing on
disk is touched. A mutant that no test kills must stand in ``mutants.toml`` with the reason why it
changes nothing; the exit code is 1 while one does not, or while one stands there that is killed
or is no more.

    python tests/tools/mutants.py                      every file of mutants.toml
    python tests/tools/mutants.py benchmarks/analysis/statistics.py    one file
    python tests/tools/mutants.py --again              those that lived in the last run, unlisted
"""

from __future__ import annotations

import argparse
import ast
import functools
import gc
import importlib
import importlib.machinery
import inspect
import json
import os
import resource
import signal
import sys
import tomllib
import types
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from mutant_operators import Mutant, mutants_of

ROOT = Path(__file__).resolve().parents[2]
TABLE = Path(__file__).with_suffix(".toml")
LAST = ROOT / "runs" / "mutants.json"
TEST_S, CPU_S, WALL_S = 4, 30, 600  # of a test, of all tests: a fault may make a loop endless
PRELOADED = ("numpy", "scipy.stats", "scipy.optimize", "statsmodels.stats.multitest",
             "statsmodels.stats.proportion", "torch", "gymnasium", "hypothesis.strategies",
             "hydra", "filelock", "pydantic")  # fmt: skip
PYTEST = ("-x", "-q", "--no-header", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:logging")


@dataclass(frozen=True)
class Verdict:
    """What the tests said of a mutant.

    Attributes:
        killer: the test that failed, ``"timeout"``, or None when it lives.
    """

    mutant: Mutant
    killer: str | None


class _Eager:
    """A pytest plugin: likely tests first, no shrinking, the name of the first that failed."""

    def __init__(self, kills: Counter[str]) -> None:
        self.all_kills = kills
        self.failed: str | None = None

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: -self.all_kills[item.nodeid])

    def pytest_sessionstart(self) -> None:
        phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
        hypothesis.settings.register_profile("mutants", hypothesis.settings(), phases=phases)
        hypothesis.settings.load_profile("mutants")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed = self.failed or report.nodeid

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.failed = self.failed or report.nodeid


class _Server(_Eager):
    """Collects the tests once, then forks for every mutant that lies inside a function."""

    def __init__(self, work: Sequence[Mutant], tell: Callable[[int, str | None], None]) -> None:
        super().__init__(Counter())
        self.work, self.tell = work, tell
        self.items: list[pytest.Item] = []
        self.kills: dict[str, Counter[str]] = defaultdict(Counter)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self.items = session.items
        gc.freeze()  # what is shared with the forks stays shared
        for index, mutant in enumerate([None, *self.work]):
            where = mutant.where if mutant else ""
            killer = _forked(lambda m=mutant, w=where: self.play(m, w))  # type: ignore[misc]
            if killer:
                self.kills[where][killer] += 1
                self.all_kills[killer] += 1
            self.tell(index - 1, killer)
            if mutant is None and killer:
                break
        return True

    def play(self, mutant: Mutant | None, where: str) -> str | None:
        """Run the tests, the likeliest first, until one fails."""
        here, all_over = self.kills[where], self.all_kills
        items = sorted(self.items, key=lambda i: (-here[i.nodeid], -all_over[i.nodeid]))
        if mutant is not None:
            _transplant(mutant)
        for item, following in zip(items, [*items[1:], None], strict=True):
            signal.setitimer(signal.ITIMER_VIRTUAL, TEST_S)
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if self.failed:
                break
        return self.failed


def _forked(task: Callable[[], str | None]) -> str | None:
    """What a task says in a process of its own; ``"timeout"`` where it did not come to an end."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
            signal.alarm(WALL_S)
            quiet = os.open(os.devnull, os.O_WRONLY)
            os.dup2(quiet, 1)
            if not os.environ.get("MUTANTS_DEBUG"):
                os.dup2(quiet, 2)
            os.write(write, (task() or "").encode())
        except BaseException as error:  # what the fault raised outside of any test
            os.write(write, f"{type(error).__name__}: {error}".encode()[:4000])
        finally:
            os._exit(0)
    os.close(write)
    _, status = os.waitpid(pid, 0)
    said = os.read(read, 4096).decode()
    os.close(read)
    return "timeout" if status else said or None


def _module(mutant: Mutant) -> Any:
    """The imported module whose file a mutant changes."""
    target = (ROOT / mutant.file).resolve()
    for name, module in sys.modules.items():
        path = getattr(module, "__file__", None)
        if name.startswith("neon_sim") and path and Path(path).resolve() == target:
            return module
    raise LookupError(f"no test imports {mutant.file}")


def _function(owner: Any, where: str) -> Any:
    """The function of that name, without its decorators; None where it is none."""
    found: Any = owner
    for part in where.split("."):
        if inspect.isfunction(found):
            break  # of a nested function the outer one
        found = vars(found).get(part)
        found = getattr(found, "fget", None) or getattr(found, "__func__", None) or found
        found = getattr(found, "__wrapped__", found)
    return found if inspect.isfunction(found) else None


def _transplant(mutant: Mutant) -> None:
    """Give the function that a mutant changes the mutant's code, whoever holds it already."""
    module = _module(mutant)
    changed = types.ModuleType(module.__name__)
    changed.__file__, changed.__package__ = module.__file__, module.__package__
    exec(compile(mutant.source, str(module.__file__), "exec"), vars(changed))
    old, new = _function(module, mutant.where), _function(changed, mutant.where)
    old.__code__ = new.__code__
    old.__defaults__, old.__kwdefaults__ = new.__defaults__, new.__kwdefaults__


def _plant(mutant: Mutant) -> None:
    """Let the import of a mutant's file, which is still to come, read the mutant."""
    target = (ROOT / mutant.file).resolve()
    compiled = compile(mutant.source, str(target), "exec")
    loader: Any = importlib.machinery.SourceFileLoader
    read = loader.get_code

    def get_code(self: Any, name: str) -> Any:
        return compiled if Path(self.path).resolve() == target else read(self, name)

    loader.get_code = get_code


def run(work: Sequence[Mutant], tests: Sequence[str]) -> Iterator[Verdict]:
    """Ask the tests of every mutant of a file: first those inside functions, then the others."""
    inside = [m for m in work if _is_function(m.file, m.where)]
    kills: Counter[str] = Counter()
    for verdict in _served(inside, tests):
        kills[verdict.killer or ""] += 1
        yield verdict
    for mutant in work:
        if not _is_function(mutant.file, mutant.where):
            killer = _forked(lambda m=mutant: _whole(m, tests, kills))  # type: ignore[misc]
            kills[killer or ""] += 1
            yield Verdict(mutant, killer)


@functools.cache
def _is_function(file: str, where: str) -> bool:
    """Whether a name is that of a function, or of something in one."""
    scope: Any = ast.parse((ROOT / file).read_text())
    for part in where.split("."):
        named = [n for n in scope.body if getattr(n, "name", None) == part]
        if not named:
            return False
        scope = named[-1]
        if isinstance(scope, ast.FunctionDef):
            return True
    return False


def _served(work: Sequence[Mutant], tests: Sequence[str]) -> Iterator[Verdict]:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        said = os.fdopen(write, "w")
        server = _Server(work, lambda i, k: print(json.dumps([i, k]), file=said, flush=True))
        pytest.main([*PYTEST, *tests], plugins=[server])
        if server.failed:
            print(json.dumps([-1, server.failed]), file=said, flush=True)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as lines:
        for line in lines:
            index, killer = json.loads(line)
            if index >= 0:
                yield Verdict(work[index], killer)
            elif killer:  # without a fault the tests must pass: all else would be no finding
                sys.exit(f"{' '.join(tests)} do not pass as it is: {killer}")
    os.waitpid(pid, 0)


def _whole(mutant: Mutant, tests: Sequence[str], kills: Counter[str]) -> str | None:
    """Import everything with a mutant in place and run the tests."""
    _plant(mutant)
    eager = _Eager(kills)
    code = pytest.main([*PYTEST, *tests], plugins=[eager])
    return eager.failed or (f"exit code {int(code)}" if code else None)


@dataclass(frozen=True)
class Part:
    """A file of ``mutants.toml``.

    Attributes:
        tests: arguments of pytest. where: functions and classes that are meant, all if empty.
        equivalent: key of a mutant that changes nothing -> the reason.
    """

    file: str
    tests: list[str]
    where: list[str]
    equivalent: dict[tuple[str, ...], str]

    def mutants(self) -> list[Mutant]:
        """Every mutant of what is meant."""
        made = mutants_of(ROOT, self.file)
        return [m for m in made if not self.where or m.where.partition(".")[0] in self.where]

    def report(self, verdicts: Sequence[Verdict], known: Sequence[Mutant]) -> bool:
        """Print what was found; True when there is nothing to be done.

        Args:
            verdicts: of the mutants that were tried. known: every mutant there is.
        """
        living = [verdict.mutant for verdict in verdicts if verdict.killer is None]
        timeouts = sum(verdict.killer == "timeout" for verdict in verdicts)
        new = [mutant for mutant in living if mutant.key not in self.equivalent]
        killed = {v.mutant.key for v in verdicts if v.killer} - {m.key for m in living}
        gone = set(self.equivalent) - {mutant.key for mutant in known}
        print(
            f"{self.file}: {len(verdicts)} mutants, {len(verdicts) - len(living)} killed "
            f"({timeouts} by the clock), {len(living) - len(new)} known to change nothing, "
            f"{len(new)} live"
        )
        for mutant in new:
            print(f"  {self.file}:{mutant.line} {mutant.where}")
            print(f"    - {mutant.before}\n    + {mutant.after}")
        stale = sorted(gone | (set(self.equivalent) & killed))
        for key in stale:
            print(f"  in {TABLE.name}, but killed or no more: {' | '.join(key[1:])}")
        return not new and not stale


def read_table() -> dict[str, Part]:
    """``mutants.toml``, by file."""
    table = tomllib.loads(TABLE.read_text())
    reasons: dict[str, dict[tuple[str, ...], str]] = defaultdict(dict)
    for entry in table.get("equivalent", []):
        file, where, why = entry["file"], entry["where"], entry["why"]
        for before, after in entry["mutants"]:
            reasons[file][file, where, before, after] = why
    return {
        entry["file"]: Part(
            entry["file"], entry["tests"], entry.get("where", []), reasons[entry["file"]]
        )
        for entry in table["files"]
    }


def main() -> int:
    """Parse the command line, run, print what lives."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="*", help="of mutants.toml; all of them by default")
    parser.add_argument("--where", default="", help="only functions whose name begins so")
    parser.add_argument("--again", action="store_true", help="only what lived and is not listed")
    arguments = parser.parse_args()
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    table = read_table()
    if unknown := sorted(set(arguments.files) - set(table)):
        parser.error(f"{TABLE.name} names no tests of {', '.join(unknown)}")
    last = json.loads(LAST.read_text()) if LAST.exists() else {}
    for name in PRELOADED:
        importlib.import_module(name)
    gc.freeze()  # statsmodels collects garbage at every correction
    is_fine = True
    for file in arguments.files or table:
        known = table[file].mutants()
        work = [mutant for mutant in known if mutant.where.startswith(arguments.where)]
        if arguments.again:
            lived = {tuple(key) for *key, killer in last.get(file, []) if killer is None}
            lived -= set(table[file].equivalent)
            work = [mutant for mutant in work if mutant.key in lived]
        verdicts = list(_shown(run(work, table[file].tests), len(work)))
        is_fine &= table[file].report(verdicts, known)
        last[file] = [[*verdict.mutant.key, verdict.killer] for verdict in verdicts]
        LAST.parent.mkdir(exist_ok=True)
        LAST.write_text(json.dumps(last, indent=1))
    return 0 if is_fine else 1


def _shown(verdicts: Iterator[Verdict], total: int) -> Iterator[Verdict]:
    for number, verdict in enumerate(verdicts, 1):
        if sys.stderr.isatty() or number % 100 == 0:
            print(f"\r{number} of {total}", end="", file=sys.stderr, flush=True)
        yield verdict
    print("\r", end="", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
