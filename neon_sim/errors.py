"""The errors a user sees: each names the value, the rule it broke and how to mend it.

Every room raises these, so that the command lines can print one line instead of a
traceback and still exit non-zero. Nothing in the project answers a broken input with a
default number.
"""

from __future__ import annotations

import difflib
import importlib
import os
import shlex
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import gymnasium.error

# Exit codes of every command, which ``neon_sim.command`` gives.
EXIT_FAILED = 1  # it ran, and what was measured failed: an episode raised, a target was missed
EXIT_USER = 2  # a NeonError: an option, a file or the machine is the user's to mend
EXIT_BUG = 70  # a fault of this package, with its traceback; EX_SOFTWARE of sysexits.h
EXIT_INTERRUPTED = 130  # Ctrl-C, as shells have it: 128 + SIGINT
EXIT_CLOSED = 141  # nobody reads the output any more: 128 + SIGPIPE


class NeonError(Exception):
    """Base of every error that is the user's to mend; commands print it in one line."""


class UnknownNameError(NeonError):
    """A name that no registry knows; the message lists the known ones."""


class ConfigError(NeonError):
    """A configuration value of the wrong type or outside its rule."""


class DatasetError(NeonError):
    """A dataset that is truncated, of another version, or of another task."""


class CheckpointError(NeonError):
    """A checkpoint that is missing, damaged, or of another architecture."""


class RunError(NeonError):
    """A run folder or another output that cannot be written, read, resumed or compared."""


class PolicyError(NeonError):
    """A policy that returned something that is no action chunk (shape, NaN, range)."""


class ActionError(NeonError, ValueError):
    """An action of another shape, or with a number that is not finite."""


class ResetNeededError(NeonError, gymnasium.error.ResetNeeded):
    """A step before the first reset, or after the end of the episode."""


class MissingPackageError(NeonError):
    """An optional package that is not installed; the message ends in the install command."""


class RendererError(NeonError):
    """No renderer of the requested kind can run on this machine."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """Build the error for a name no registry knows.

    Args:
        kind: what was looked up, singular (``"task"``).
        name: what the user typed.
        known: every name that would have worked.

    Returns:
        The error to raise, with the closest known name first when there is one.
    """
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return UnknownNameError(f"unknown {kind} {name!r}.{hint} Known: {', '.join(known)}.")


def clone_root() -> Path | None:
    """The clone that this package runs from, or None where it was installed from a wheel."""
    root = Path(__file__).resolve().parents[1]
    there = all((root / name).is_file() for name in ("constraints.txt", "pyproject.toml"))
    return root if there else None


def _pip(root: Path | None) -> tuple[str, str]:
    """The start of an install command, and the clone as seen from the working directory."""
    if root is None:
        return "pip install", ""
    place = "." if os.path.samefile(root, ".") else str(root)
    pins = shlex.quote("constraints.txt" if place == "." else str(root / "constraints.txt"))
    return f"pip install -c {pins}", place


def install_command(*packages: str, options: str = "") -> str:
    """The command that installs packages, in a clone under the versions it was tested with.

    Args:
        packages: as pip takes them. options: of pip, such as ``--no-deps``.
    """
    return " ".join((_pip(clone_root())[0], *options.split(), *map(shlex.quote, packages)))


def install_extra(extra: str) -> str:
    """The command that installs an optional extra, as it runs from the working directory.

    It names the clone and its pins where the package runs from one, and the installed package
    where it came as a wheel.
    """
    command, place = _pip(clone_root())
    if not place:
        return f'{command} "neon-sim[{extra}]"'
    target = shlex.quote(f"{place}[{extra}]") if place != "." else f'".[{extra}]"'
    return f"{command} -e {target}"


def require_package(module: str, *, why: str, install: str) -> ModuleType:
    """Import an optional package or say what it is for and how to install it.

    Args:
        module: import name.
        why: what needs it, as the start of a sentence (``"Running on Ray"``).
        install: the command that mends it.

    Raises:
        MissingPackageError: the package cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingPackageError(
            f"{why} needs the package {module!r} ({error}). Install it: {install}"
        ) from error
