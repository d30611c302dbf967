"""The boundary of every command: what ends one becomes a line, an exit code and no litter."""

from __future__ import annotations

import ast
import errno
import importlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_mains import ROOT, mains

from neon_sim.command import MENDS, Parser, entry_point, told
from neon_sim.errors import (
    EXIT_BUG,
    EXIT_CLOSED,
    EXIT_INTERRUPTED,
    EXIT_USER,
    ConfigError,
    NeonError,
)


def ending(error: BaseException) -> Callable[..., int]:
    """The main of a command whose body raises."""

    @entry_point("try", "run it again")
    def main(argv: list[str]) -> int:
        raise error

    return main


FACES = {  # commands of the ground and the modules that they hand on to
    "neon_sim.collect": ROOT / "neon_sim" / "demonstrations" / "collection.py",
    "neon_sim.train": ROOT / "policies" / "training" / "command.py",
    "neon_sim.pretrain": ROOT / "policies" / "pretraining" / "trainer.py",
    "neon_sim.rl": ROOT / "policies" / "ppo" / "command.py",
}


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The only line on standard error."""
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_every_module_with_a_command_line_ends_in_the_boundary() -> None:
    names = mains()
    assert len(names) >= 12
    for name in names:
        path = ROOT / Path(*name.split(".")[0 if name.count(".") == 1 else 1 :]).with_suffix(".py")
        text = path.read_text()
        tree = ast.parse(FACES[name].read_text() if name in FACES else text)
        mains_here = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "main"]
        assert [ast.unparse(d).partition("(")[0] for d in mains_here[0].decorator_list] == [
            "entry_point"
        ], name
        assert "exit(main())" in text.lower().replace("systemexit", "exit"), name


def test_an_error_of_the_user_is_one_line_and_exit_2(capsys) -> None:
    assert ending(NeonError("x must be\n  1 to 3\r\n(got 7)"))([]) == EXIT_USER
    assert last_line(capsys) == "try: error: x must be 1 to 3 (got 7)"
    assert ending(ConfigError("name \udcff\x1b[2J"))([]) == EXIT_USER
    assert last_line(capsys) == "try: error: name \\udcff\\x1b[2J"


@pytest.mark.parametrize("number", sorted(MENDS), ids=errno.errorcode.__getitem__)
def test_what_a_place_does_not_take_names_it_and_the_mend(capsys, number: int) -> None:
    assert ending(OSError(number, os.strerror(number), "/x/y"))([]) == EXIT_USER
    line = last_line(capsys)
    assert line.startswith(f"try: error: /x/y: {os.strerror(number)}; ")
    assert line.endswith(MENDS[number])


def test_an_error_of_the_system_that_names_no_place_is_a_line_too(capsys) -> None:
    assert ending(OSError(errno.ENOSPC, "No space left on device"))([]) == EXIT_USER
    assert "a file: No space left on device; make room" in last_line(capsys)
    assert ending(ConnectionError("closed by the other side"))([]) == EXIT_USER
    assert "closed by the other side" in last_line(capsys)


def test_too_little_memory_is_no_traceback(capsys) -> None:
    torch = importlib.import_module("torch")
    numpy = importlib.import_module("numpy")

    @entry_point("try")
    def too_much(argv: list[str]) -> int:
        numpy.zeros((10**9, 10**9))
        return 0

    @entry_point("try")
    def too_much_torch(argv: list[str]) -> int:
        torch.empty(2**55, dtype=torch.uint8)
        return 0

    for main in (too_much, too_much_torch, ending(MemoryError())):
        assert main([]) == EXIT_USER
        assert last_line(capsys).startswith("try: error: out of memory")
    kind = getattr(torch, "OutOfMemoryError", torch.cuda.OutOfMemoryError)
    assert ending(kind("CUDA out of memory. Tried to allocate 2.00 GiB."))([]) == EXIT_USER
    assert "(Tried to allocate 2.00 GiB)" in last_line(capsys)


def test_ctrl_c_says_how_to_go_on(capsys) -> None:
    assert ending(KeyboardInterrupt())([]) == EXIT_INTERRUPTED
    assert last_line(capsys) == "try: stopped; run it again"
    assert ending(KeyboardInterrupt("3 are kept"))([]) == EXIT_INTERRUPTED
    assert last_line(capsys) == "try: stopped; 3 are kept"


def test_a_reader_that_is_gone_is_silence(capsys) -> None:
    assert ending(BrokenPipeError(errno.EPIPE, "Broken pipe"))([]) == EXIT_CLOSED
    assert capsys.readouterr().err == ""


def test_a_fault_of_ours_keeps_its_traceback_and_says_so(capsys) -> None:
    for error in (ZeroDivisionError("1/0"), RecursionError("deep"), OSError(errno.EBADF, "bad")):
        assert ending(error)([]) == EXIT_BUG
        shown = capsys.readouterr().err
        assert "Traceback (most recent call last)" in shown
        assert "a fault of neon_sim and not yours; please report" in shown.splitlines()[-1]


@pytest.mark.parametrize("text", ["a\0b", "out=\udcff"])
def test_arguments_that_are_no_text_are_refused(capsys, text: str) -> None:
    reached = []

    @entry_point("try")
    def main(argv: list[str]) -> int:
        reached.append(argv)
        return 0

    assert main(["fine", text]) == EXIT_USER
    assert "argument 2 must be text" in last_line(capsys)
    assert reached == []


def test_an_option_that_is_not_understood_is_one_line(capsys) -> None:
    @entry_point("try")
    def main(argv: list[str]) -> int:
        parser = Parser(prog="try")
        parser.add_argument("--n", type=int)
        parser.parse_args(argv)
        return 0

    assert main(["--n", "x"]) == EXIT_USER
    assert last_line(capsys) == (
        "try: error: argument --n: invalid int value: 'x'; `try --help` lists the options"
    )
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0


def test_standard_error_that_takes_no_unicode_or_is_closed(monkeypatch) -> None:
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stderr", narrow)
    assert told(NeonError("„é“"), "try") == EXIT_USER
    narrow.seek(0)
    assert narrow.read() == "try: error: \\u201e\\xe9\\u201c\n"
    narrow.close()
    assert told(NeonError("x"), "try") == EXIT_USER


def real(command: list[str], **how: Any) -> subprocess.CompletedProcess[str]:
    """A command as a user's shell runs it."""
    return subprocess.run(
        [sys.executable, "-m", *command], text=True, stderr=subprocess.PIPE, check=False, **how
    )


@pytest.mark.parametrize("words", [["list", "conditions"], ["--help"]])
def test_a_full_standard_output_is_told(words: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = real(["neon_sim.benchmarks.cli", *words], stdout=full)
    assert done.returncode == EXIT_USER
    assert done.stderr == (
        "error: cannot write standard output (No space left on device); redirect it to another "
        "place\n"
    )


def test_a_closed_pipe_is_quiet() -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    done = real(["neon_sim.benchmarks.cli", "list", "conditions"], stdout=theirs)
    os.close(theirs)
    assert (done.returncode, done.stderr) == (EXIT_CLOSED, "")


def test_ctrl_c_while_a_command_imports_is_no_traceback() -> None:
    code = "import sys; sys.argv = ['-m']; import neon_sim; raise KeyboardInterrupt"
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=False)
    assert done.returncode == -signal.SIGINT  # as shells want it; they show 130
    assert done.stderr.strip() == "stopped"
    code = "import sys, neon_sim; assert sys.excepthook is sys.__excepthook__"
    subprocess.run([sys.executable, "-c", code], check=True)  # a library leaves it alone


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_a_stream_that_the_shell_closed_is_no_fault(closed: str) -> None:
    words, stream = (["suites"], ">&-") if closed == "stdout" else (["nothing"], "2>&-")
    line = f'"{sys.executable}" -m neon_sim.benchmarks.cli list {words[0]} {stream}'
    done = subprocess.run(line, shell=True, text=True, capture_output=True, check=False)
    assert done.returncode == (0 if closed == "stdout" else EXIT_USER)
    assert done.stderr == ""
