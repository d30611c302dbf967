"""The one boundary between every command and its user: what ends a command, in one line.

A command's ``main`` takes its arguments and returns its exit code; ``entry_point`` makes of it
the ``main`` that ``python -m`` and the console script call. What is the user's to mend (a
``NeonError``, a place that takes no file, a full disk, too little memory) becomes one line with
the thing, the rule and the mend, and exit code 2; Ctrl-C becomes 130, a reader of the output that
is gone 141. What remains is a fault of this package: its traceback, with a line that says so.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import functools
import importlib.metadata
import io
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, Protocol

from neon_sim.errors import (
    EXIT_BUG,
    EXIT_CLOSED,
    EXIT_INTERRUPTED,
    EXIT_USER,
    ConfigError,
    NeonError,
)
from neon_sim.rules import is_text
from neon_sim.simulation.gl_probe import check_wishes

Body = Callable[[list[str]], int]
SPACE = "make room on that disk, or name a place on another"
PLACE = "name a place that you may write to"
OTHERS = "use fewer workers, or raise the limit (ulimit -a)"
NETWORK = "check the connection and try again"
MEMORY = (
    "use fewer workers, smaller batches, smaller images or fewer frames, or a machine with more"
)
MENDS = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), SPACE),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), PLACE),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE, errno.EAGAIN), OTHERS),
    **dict.fromkeys((errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED), NETWORK),
    **dict.fromkeys((errno.ETIMEDOUT, errno.ENETUNREACH, errno.EHOSTUNREACH), NETWORK),
    errno.EADDRINUSE: "something else listens there; stop it first",
    errno.ENOMEM: MEMORY,
    errno.ENOTDIR: "a part of that path is a file; name another place",
    errno.EISDIR: "that is a folder; name a file",
    errno.EEXIST: "something stands there already; name another place",
    errno.ENOTEMPTY: "something stands there already; name another place",
    errno.ENOENT: "check that path",
    errno.ENAMETOOLONG: "name a shorter path",
    errno.ELOOP: "links go round there; name another place",
    errno.EIO: "the device failed; name a place on another",
    errno.ESTALE: "the device is gone; name a place on another",
    errno.ENXIO: "there is no such device; name a place for ordinary files",
    errno.ENODEV: "there is no such device; name a place for ordinary files",
    errno.EINVAL: "name a place for ordinary files",
    errno.EOPNOTSUPP: "name a place for ordinary files",
}


class Main(Protocol):
    """What a command line calls: the arguments, by default the process's own, to an exit code."""

    def __call__(self, argv: Sequence[str] | None = None) -> int: ...


class Parser(argparse.ArgumentParser):
    """An ``ArgumentParser`` whose errors are raised, in place of usage and exit."""

    def add_argument(self, *names: Any, **settings: Any) -> argparse.Action:
        """Add an argument; its help ends in the rule of its ``type`` (``rules.option``)."""
        action = super().add_argument(*names, **settings)
        rule = getattr(action.type, "rule", "")
        if rule and action.help:
            action.help += f" [{rule}]"
        return action

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong, and say where the options are listed."""
        message = re.sub(r"^argument (\S+): must ", r"\1 must ", message)
        raise ConfigError(f"{message}; `{self.prog} --help` lists the options")

    def print_help(self, file: Any = None) -> None:
        """Print the help; argparse's own says nothing when the output takes nothing."""
        (file or sys.stdout).write(self.format_help())


def entry_point(name: str, stopped: str = "") -> Callable[[Body], Main]:
    """Make the ``main`` of a command from a body.

    Args:
        name: what errors begin with, ``"train"``; ``""`` for none.
        stopped: how to go on after Ctrl-C; a body that knows more raises
            ``KeyboardInterrupt(text)``.

    Returns:
        A decorator of ``body(argv) -> exit code``. Its result never raises anything but
        ``SystemExit`` after ``--help``.
    """

    def decorate(body: Body) -> Main:
        @functools.wraps(body)
        def main(argv: Sequence[str] | None = None) -> int:
            try:
                arguments = hold_arguments(sys.argv[1:] if argv is None else argv)
                if not {"-h", "--help"} & set(arguments):
                    check_wishes(os.environ)
                code = body(arguments)
                _flush()  # here, where a full disk or a closed pipe can still be told
                return code
            except SystemExit:
                return _ended(name, stopped)
            except BaseException as error:
                return told(error, name, stopped)

        return main

    return decorate


def quiet_ctrl_c() -> None:
    """Let Ctrl-C end this process without a traceback also before its command begins."""
    usual = sys.excepthook

    def hook(kind: Any, error: BaseException, trace: Any) -> None:
        if issubclass(kind, KeyboardInterrupt):
            _say("\nstopped")
        else:
            usual(kind, error, trace)

    sys.excepthook = hook


def _ended(name: str, stopped: str) -> int:
    """Hand ``SystemExit`` of ``--help`` on once its text is out; the code where it is not."""
    try:
        _flush()
    except OSError as error:
        return told(error, name, stopped)
    raise  # the SystemExit that is being handled


def _flush() -> None:
    if sys.stdout is not None:  # None where the shell closed it: `>&-`
        sys.stdout.flush()


def hold_arguments(argv: Sequence[str]) -> list[str]:
    """Arguments that are text.

    Raises:
        ConfigError: one that holds a NUL, or bytes that are not UTF-8.
    """
    for number, text in enumerate(argv, start=1):
        if not is_text(text):
            raise ConfigError(
                f"argument {number} must be text without NUL, in UTF-8 (got {text!r}); retype it"
            )
    return list(argv)


def told(error: BaseException, name: str, stopped: str = "") -> int:
    """Say on standard error what ended a command.

    Args:
        error: what its body raised. name, stopped: see ``entry_point``.

    Returns:
        The exit code.
    """
    prefix = f"{name}: " if name else ""
    if isinstance(error, KeyboardInterrupt):
        said = str(error) or stopped
        _say(f"\n{prefix}stopped" + (f"; {_shown(said)}" if said else ""))
        return EXIT_INTERRUPTED
    if isinstance(error, BrokenPipeError):  # `neon-bench compare RUN | head`
        _silence(sys.stdout)
        return EXIT_CLOSED
    text = user_text(error)
    if text is None:
        _say("".join(traceback.format_exception(error)).rstrip())
        _say(
            f"{prefix}the lines above are a fault of neon_sim and not yours; please report them, "
            f"with the command, {where_to_report()}"
        )
        return EXIT_BUG
    _say(f"{prefix}error: {_shown(text)}")
    return EXIT_USER


def user_text(error: BaseException) -> str | None:
    """The one line for what is the user's to mend; None for a fault of this package."""
    if isinstance(error, NeonError):
        return str(error)
    if isinstance(error, OSError):
        return _place_text(error)
    if isinstance(error, MemoryError) or is_out_of_memory(error):
        asked = re.search(r"[Tt]ried to allocate [\d.]+ ?\w+|allocate [\d.]+ \w+", str(error))
        return f"out of memory{f' ({asked[0]})' if asked else ''}; {MEMORY}"
    return None


def _place_text(error: OSError) -> str | None:
    """What the system did not do with a file or a connection; None where nobody can tell."""
    if error.errno is None and isinstance(error, (ConnectionError, TimeoutError)):
        return f"the other side does not answer ({error}); {NETWORK}"
    if error.errno in (errno.ENOSPC, errno.EIO) and error.filename is None and _stdout_fails():
        return f"cannot write standard output ({error.strerror}); redirect it to another place"
    mend = MENDS.get(error.errno or 0)
    if mend is None and error.filename is None:
        return None
    names = [os.fsdecode(part) for part in (error.filename, error.filename2) if _is_path(part)]
    place = " to ".join(names) or "a file"
    return f"{place}: {error.strerror}; {mend or PLACE}"


def _is_path(part: Any) -> bool:
    return isinstance(part, (str, bytes))


def _stdout_fails() -> bool:
    """Whether it takes no line; then the rest is dropped, so that Python is silent at exit."""
    try:
        print(flush=True)
    except OSError:
        _silence(sys.stdout)
        return True
    return False


def _silence(stream: Any) -> None:
    """Lead a stream whose end is gone into nothing, so that no second error follows at exit."""
    with contextlib.suppress(OSError, ValueError, io.UnsupportedOperation):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch or the C++ library under it got no memory, on the CPU or an accelerator."""
    torch = sys.modules.get("torch")
    kind = getattr(torch, "OutOfMemoryError", None)
    words = ("DefaultCPUAllocator: can't allocate memory", "std::bad_alloc", "out of memory")
    return (kind is not None and isinstance(error, kind)) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    )


def where_to_report() -> str:
    """Where faults of this package are told, as its metadata have it."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        urls = importlib.metadata.metadata("neon-sim").get_all("Project-URL") or []
        named = dict(text.split(", ", 1) for text in urls)
        for label in ("Issues", "Bug Tracker", "Repository", "Homepage"):
            if label in named:
                return f"at {named[label]}"
    return "to where you have the package from"


def _shown(text: str) -> str:
    """Text on one line, with what cannot be printed spelled out."""
    line = re.sub(r"\s*[\r\n]+\s*", " ", text)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def _say(text: str) -> None:
    """A line on standard error, in whatever characters it takes; where it is gone, nothing."""
    if sys.stderr is None:
        return
    with contextlib.suppress(OSError, ValueError):
        encoding = sys.stderr.encoding or "utf-8"
        print(text.encode(encoding, "backslashreplace").decode(encoding), file=sys.stderr)
