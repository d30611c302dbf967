"""`make matrix`: the test suite in fresh environments, one for each Python and each end of the
declared versions.

Every leg has a virtual environment of its own under `.venv-matrix/`, made from what
`pyproject.toml` declares, and a record of what ran there. A leg that passed is not run again until
the sources, the versions or the arguments change; an environment that is there is only brought up
to date. The table at the end is what `docs/VERSIONS.md` shows.

    python tests/tools/matrix.py                      every leg, the whole suite
    python tests/tools/matrix.py --legs 3.12,lowest -- -k clips
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
import tomllib
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / ".venv-matrix"
TESTED = ROOT / "tests" / "lower_bounds.json"  # what the lowest legs last passed at
SHOWN = ("torch", "triton", "mujoco", "gymnasium", "numpy", "transformers", "stable-baselines3")
UNPACKED = "openwakeword==0.5.1"  # for two files; see pyproject
COUNTS = ("passed", "failed", "errors", "skipped")


@dataclass(frozen=True)
class Leg:
    """One environment.

    Attributes:
        name: of the leg and its folder.
        python: the interpreter's version, major and minor.
        extras: what is installed besides the base and the tools.
        lowest: at the declared lower bounds, not at the pins of `constraints.txt`.
    """

    name: str
    python: str
    extras: tuple[str, ...] = ("encoders", "hub", "ray", "sound", "viz")
    lowest: bool = False


# Without `hub` the base's own bounds hold; with it, its higher ones.
LEGS = (
    Leg("3.11", "3.11"),
    Leg("3.12", "3.12"),
    Leg("3.13", "3.13"),
    Leg("lowest", "3.11", ("encoders", "ray", "sound", "viz"), lowest=True),
    Leg("lowest-hub", "3.11", lowest=True),
)


class MatrixError(Exception):
    """An environment that cannot be made; the message is for the user."""


# ---- what is declared ---------------------------------------------------------------------


def read_project() -> dict:
    """The table `project` of the repository."""
    return dict(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"])


def declared(extras: Iterable[str], project: dict | None = None) -> Iterator[Requirement]:
    """Requirements of the base, of extras and of the tools, as `pyproject.toml` has them.

    Args:
        extras: names of optional dependencies; the tools of `dev` always come along.
        project: the table `project`; by default the repository's.
    """
    project = project or read_project()
    groups = project["optional-dependencies"]
    lines = [*project["dependencies"], *(line for extra in extras for line in groups[extra])]
    yield from map(Requirement, [*lines, *tools(groups)])


def tools(groups: dict[str, list[str]]) -> list[str]:
    """What `dev` adds to the extras that it names."""
    return [line for line in groups["dev"] if not line.startswith("neon-sim[")]


def lower_bounds(extras: Iterable[str], project: dict | None = None) -> dict[str, str]:
    """The lowest version of every requirement that all its bounds allow, by canonical name.

    Raises:
        MatrixError: a requirement has no lower bound.
    """
    found: dict[str, Version] = {}
    for requirement in declared(extras, project):
        if requirement.name == "triton":  # every release of torch names its own
            continue
        low = [Version(s.version) for s in requirement.specifier if s.operator in (">=", "==")]
        if not low:
            raise MatrixError(f"{requirement} declares no lower bound; add one (>=)")
        name = canonicalize_name(requirement.name)
        found[name] = max(*low, found.get(name, low[0]))
    return {name: str(version) for name, version in sorted(found.items())}


def constraints(leg: Leg) -> str:
    """Text of the leg's constraints file."""
    if not leg.lowest:
        return (ROOT / "constraints.txt").read_text()
    return "".join(f"{name}=={version}\n" for name, version in lower_bounds(leg.extras).items())


# ---- environments -------------------------------------------------------------------------


def interpreter(version: str) -> str:
    """Path of a Python of this version: on PATH, or one of pyenv's.

    Raises:
        MatrixError: there is none.
    """
    pyenv = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    for path in (shutil.which(f"python{version}"), *map(str, reversed(pyenv))):
        if path is not None:
            ask = [path, "-c", "import sys, venv, ensurepip; print(*sys.version_info[:2], sep='.')"]
            told = subprocess.run(ask, capture_output=True, text=True)
            if told.stdout.strip() == version:
                return path
    raise MatrixError(f"no Python {version} with venv on PATH or under ~/.pyenv; install one")


def wishes(leg: Leg) -> list[list[str]]:
    """Arguments of the leg's calls of pip, in order: torch first, so that others take it."""
    extra = tools(read_project()["optional-dependencies"])
    return [
        ["torch"],
        ["-e", f"{ROOT}[{','.join(leg.extras)}]", *extra],
        ["--no-deps", UNPACKED],
    ]


def call(command: Sequence[str], log: Path) -> int:
    """Run a command with its output added to a log; returns its exit code."""
    with log.open("a") as file:
        print("$", *command, file=file, flush=True)
        return subprocess.run(command, stdout=file, stderr=subprocess.STDOUT).returncode


def make_environment(leg: Leg) -> Path:
    """Make the leg's environment, unless it holds the same already; returns its Python.

    Raises:
        MatrixError: no such Python, or pip failed.
    """
    folder, pins = HOME / leg.name, HOME / f"{leg.name}.constraints.txt"
    python, stamp, log = folder / "bin" / "python", folder / ".made-of", HOME / f"{leg.name}.log"
    asked = json.dumps([constraints(leg), wishes(leg)])
    if stamp.exists() and stamp.read_text() == asked:
        return python
    HOME.mkdir(exist_ok=True)
    pins.write_text(constraints(leg))
    log.unlink(missing_ok=True)
    outer = interpreter(leg.python)
    say(leg, f"installing into {folder} ({outer}); log: {log}")
    if not python.exists() and call([outer, "-m", "venv", "--clear", str(folder)], log):
        raise MatrixError(f"no environment: see {log}")
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "-c", str(pins)]
    for wish in wishes(leg):
        if call([*pip, *wish], log):
            tail = " ".join(log.read_text().strip().splitlines()[-2:])
            raise MatrixError(f"pip failed: {tail} (all of it: {log})")
    stamp.write_text(asked)
    return python


# ---- runs ---------------------------------------------------------------------------------


def sources() -> str:
    """Hash of every file that git knows or would take in, less documents and what a leg writes."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    digest = hashlib.sha256()
    for name in sorted(filter(None, listed.split("\0"))):
        path = ROOT / name
        if path.is_file() and path != TESTED and not name.startswith("docs/"):
            digest.update(f"{name}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def counts(report: Path) -> dict[str, int]:
    """Tests by outcome, from pytest's XML report; all 0 where it wrote none."""
    if not report.exists():
        return dict.fromkeys(COUNTS, 0)
    suites = list(ElementTree.parse(report).iter("testsuite"))
    found = {
        key: sum(int(suite.get(attribute, "0")) for suite in suites)
        for key, attribute in zip(COUNTS, ("tests", "failures", "errors", "skipped"), strict=True)
    }
    found["passed"] -= found["failed"] + found["errors"] + found["skipped"]
    return found


def versions(python: Path, names: Sequence[str] = SHOWN) -> dict[str, str]:
    """What an environment holds, and its Python's own version."""
    code = (
        "import importlib.metadata as m, json, platform, sys; have = {d.name.lower().replace("
        "'_', '-'): d.version for d in m.distributions()}; print(json.dumps({'python': "
        "platform.python_version()} | {n: have.get(n, '-') for n in sys.argv[1:]}))"
    )
    done = subprocess.run([python, "-c", code, *names], capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def run_leg(leg: Leg, workers: int, arguments: Sequence[str]) -> dict:
    """Make the environment, run the suite there, and return the leg's record."""
    python = make_environment(leg)
    report = HOME / f"{leg.name}.xml"
    report.unlink(missing_ok=True)
    say(leg, f"testing; log: {HOME / leg.name}.tests.log")
    log = HOME / f"{leg.name}.tests.log"
    log.unlink(missing_ok=True)
    command = [str(python), "-m", "pytest", "-n", str(workers), "--dist", "loadfile"]
    command += ["-p", "no:cacheprovider", f"--junitxml={report}", *arguments]
    environ = os.environ | {"NEON_MATRIX_LEG": leg.name}
    began = time.monotonic()
    with log.open("w") as file:
        code = subprocess.run(
            command, cwd=ROOT, env=environ, stdout=file, stderr=subprocess.STDOUT
        ).returncode
    return {
        "status": "passed" if code == 0 else f"failed ({code})",
        "seconds": round(time.monotonic() - began),
        "counts": counts(report),
        "versions": versions(python),
    }


def say(leg: Leg, text: str) -> None:
    """Tell what goes on, beside the table that stdout is for."""
    print(f"matrix: {leg.name}: {text}", file=sys.stderr, flush=True)


def read_records() -> dict[str, dict]:
    """What earlier calls recorded, by leg; nothing where the file is damaged."""
    try:
        found = json.loads((HOME / "results.json").read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_records(records: dict[str, dict]) -> None:
    """Write the records in one step, so that a kill leaves the old ones or the new ones."""
    HOME.mkdir(exist_ok=True)
    half = HOME / "results.json.part"
    half.write_text(json.dumps(records, indent=1))
    half.replace(HOME / "results.json")


def note_tested(leg: Leg) -> None:
    """Write down the lower bounds at which the whole suite passed; tests hold `pyproject` to it."""
    known = json.loads(TESTED.read_text()) if TESTED.exists() else {}
    known[leg.name] = lower_bounds(leg.extras)
    TESTED.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")


def table(records: dict[str, dict], legs: Sequence[Leg]) -> str:
    """The records as Markdown, a row a leg."""
    head = ["leg", "result", *COUNTS, "s", "python", *SHOWN]
    rows = [head, ["---"] * len(head)]
    for leg in legs:
        record = records.get(leg.name)
        if record is None:
            rows.append([leg.name, "not run", *["-"] * (len(head) - 2)])
            continue
        numbers = [str(record["counts"][key]) for key in COUNTS]
        held = [record["versions"].get(name, "-") for name in ("python", *SHOWN)]
        rows.append([leg.name, record["status"], *numbers, str(record["seconds"]), *held])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the legs that have not passed yet; 0 when all of them have, else 1."""
    parser = argparse.ArgumentParser(prog="make matrix", description=__doc__.split("\n\n")[0])
    names = [leg.name for leg in LEGS]
    parser.add_argument("--legs", default=",".join(names), help=f"of {', '.join(names)}, by comma")
    parser.add_argument("--workers", type=int, default=2, help="processes of the tests")
    parser.add_argument("--fresh", action="store_true", help="make everything again")
    parser.add_argument("--remove", action="store_true", help="delete an environment that passed")
    parser.add_argument("arguments", nargs="*", help="of pytest, behind --")
    given = parser.parse_args(argv)
    if unknown := set(given.legs.split(",")) - set(names):
        parser.error(f"unknown legs {sorted(unknown)}; there are {', '.join(names)}")
    legs = [leg for leg in LEGS if leg.name in given.legs.split(",")]
    records = read_records()
    for leg in legs:
        same = hashlib.sha256(
            json.dumps([sources(), constraints(leg), wishes(leg), given.arguments]).encode()
        ).hexdigest()
        before = records.get(leg.name, {})
        if before.get("of") == same and before["status"] == "passed" and not given.fresh:
            say(leg, "passed before")
            continue
        if given.fresh:
            shutil.rmtree(HOME / leg.name, ignore_errors=True)
        try:
            record = run_leg(leg, given.workers, given.arguments)
        except MatrixError as error:
            say(leg, str(error))
            nothing = dict.fromkeys(COUNTS, 0)
            record = {"status": "no environment", "seconds": 0, "counts": nothing, "versions": {}}
        records = read_records()  # another call may have added its leg meanwhile
        records[leg.name] = {"of": same, "machine": platform.platform(), **record}
        write_records(records)
        if leg.lowest and record["status"] == "passed" and not given.arguments:
            note_tested(leg)
        say(leg, f"{record['status']}: {record['counts']}")
        if given.remove and record["status"] == "passed":
            shutil.rmtree(HOME / leg.name)
    print(table(records, legs))
    return int(any(records[leg.name]["status"] != "passed" for leg in legs))


if __name__ == "__main__":
    raise SystemExit(main())
