"""Every command under every malformed call that its settings and options give.

An error of the user is exit code 2 and one line on standard error that names what is wrong; no
traceback, no work begun, nothing left behind that the next call would meet.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from malformed_calls import COMMANDS, Case, Command, outside, part_arguments, plain

from neon_sim.config.loading import load_config
from neon_sim.config.policy import PolicyConfig
from neon_sim.errors import EXIT_USER, ConfigError
from neon_sim.policies.backbones.base import noted_keys
from neon_sim.registry import AUDIO_ENCODERS, BACKBONES, CONNECTORS, FUSIONS, HEADS, TEMPORAL

REAL_CALLS = 40
CLOSED = "refused before its work began, in one line that names it, with nothing left"


def placed(case: Case, folder: Path) -> list[str]:
    """The arguments of a case, with the places of this test."""
    names = {"OUT": folder / "out", "FILE": folder / "FILE"}
    argv = []
    for word in case.argv:
        for name, path in names.items():
            word = word.replace(name, str(path))
        argv.append(word)
    return argv


def fault(case: Case, code: int, said: str, folder: Path) -> str:
    """What is wrong with how a call ended; empty when it was refused as it should be."""
    lines = said.strip().splitlines()
    left = sorted(path.name for path in folder.iterdir() if path.name not in ("FILE", "FILE.yaml"))
    if "AcceptedError" in said:
        return "its work began"
    if code != EXIT_USER:
        return f"exit code {code}: {lines[-1] if lines else ''}"
    if len(lines) != 1 or "Traceback" in said or "error: " not in lines[0]:
        return f"{len(lines)} lines: {lines}"
    wanted = [text for text in case.named if text.strip("-")]
    if wanted and not any(text.lstrip("-") in said or repr(text)[1:-1] in said for text in wanted):
        return f"names none of {wanted}: {lines[0]}"
    return f"left {left}" if left else ""


class AcceptedError(Exception):
    """The work of a command began."""


def accepted(*_: Any, **__: Any) -> None:
    raise AcceptedError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where calls are made: a file, and a YAML that is no text."""
    (tmp_path / "FILE").write_text("a file")
    (tmp_path / "FILE.yaml").write_bytes(b"\xff\xfe")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ids(command: Command) -> str:
    return command.id + ("-settings" if command.words and command.configs else "")


@pytest.mark.parametrize("command", COMMANDS, ids=ids)
def test_a_malformed_call_is_one_line_and_exit_2(
    command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    main = importlib.import_module(command.module).main
    if command.begins:
        module, _, name = command.begins.partition(":")
        monkeypatch.setattr(importlib.import_module(module), name, accepted)
    cases, faults = list(command.cases()), []
    capfd.readouterr()
    for case in cases:
        code = main(placed(case, folder))
        found = fault(case, code, capfd.readouterr().err, folder)
        if found:
            faults.append(f"{' '.join(case.argv)[:300]!r}: {found[:300]}")
    assert len(cases) >= 30
    assert not faults, f"{len(faults)} of {len(cases)} are not {CLOSED}:\n" + "\n".join(faults)


def test_there_are_enough_of_them() -> None:
    """Calls that differ only in a number count once."""
    kinds = {(command.module, case.kind) for command in COMMANDS for case in command.cases()}
    assert len(kinds) >= 3000


def test_every_command_is_walked() -> None:
    """Every module with a command line, but the one that needs speech synthesisers."""
    from command_mains import mains

    missing = set(mains()) - {command.module for command in COMMANDS}
    assert missing == {"neon_sim.assets.words.render"}
    cli = importlib.import_module("neon_sim.benchmarks.cli")
    walked = {command.words[0] for command in COMMANDS if command.words}
    assert walked == set(cli.COMMANDS)


@pytest.mark.parametrize(
    ("registry", "part"),
    [
        (HEADS, "head"),
        (FUSIONS, "fusion"),
        (CONNECTORS, "connector"),
        (TEMPORAL, "temporal"),
        (AUDIO_ENCODERS, "audio"),
    ],
)
def test_an_argument_of_a_part_is_held_before_anything_is_made(registry: Any, part: str) -> None:
    for settings in part_arguments(registry, part):
        key = settings[1].partition("=")[0]
        with pytest.raises(ConfigError, match=key):
            load_config(PolicyConfig, "policy", "neon_tiny", settings)


def test_a_number_of_a_backbone_is_held_before_any_weight_is_read() -> None:
    tried = 0
    for name in BACKBONES:
        for key, hint in noted_keys(BACKBONES.resolve(name)).items():
            _, rule = plain(hint)
            for text in ("abc", "nan", "1.5", *outside(int, rule)):
                settings = [f"backbone={name}", f"image_backbone={name}", "max_tokens=100000"]
                with pytest.raises(ConfigError, match=rf"backbone_args\.{key} must be "):
                    load_config(
                        PolicyConfig, "policy", "neon_tiny", [*settings, f"backbone.{key}={text}"]
                    )
                tried += 1
    assert tried >= 150


@pytest.mark.slow
def test_real_calls_end_as_those_in_process_do(folder: Path) -> None:
    """Through a shell's door: imports, exit codes and standard error of a process."""
    cases = [
        (command, case)
        for command in COMMANDS
        for case in list(command.cases())[:: max(len(list(command.cases())) // 2 - 1, 1)]
        if not any("\0" in word or len(word) > 10_000 for word in case.argv)
    ]
    assert len(cases) >= REAL_CALLS
    faults = []
    for command, case in cases[:REAL_CALLS]:
        argv = [os.fsencode(word) for word in placed(case, folder)]
        module = command.module.removesuffix(".__main__").encode()
        real = [os.fsencode(sys.executable), b"-m", module, *argv]
        done = subprocess.run(real, capture_output=True, check=False)
        found = fault(case, done.returncode, done.stderr.decode(errors="replace"), folder)
        if found:
            faults.append(f"{command.id} {' '.join(case.argv)[:300]!r}: {found}")
    assert not faults, "\n".join(faults)
