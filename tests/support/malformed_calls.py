"""Malformed calls, made from what each command says that it takes: fields, options, their rules.

A case is a whole command line with one thing wrong. Calls that differ only in a number are one
case. ``tests/test_malformed_calls.py`` makes them.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import re
import types
import typing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, is_dataclass
from typing import Annotated, Any

from annotated_types import Interval

from neon_sim.rules import noted_hints, settings_of

CLI = "neon_sim.benchmarks.cli"
LONG = "n" * 300  # longer than the name of any file may be
NO_TEXT = ("a\0b", "a\udcffb")  # a NUL, and a byte that is not UTF-8
# Where nothing can be written, even by root. FILE and OUT are of the test's own folder.
NO_PLACES = ("/dev/null/x", "/proc/x/y", "FILE/x", f"OUT/{LONG}", f"OUT{'/dddd' * 1000}")
NO_NAMES = ("no_such", "../x", LONG)
NO_NUMBERS = ("abc", "1e", "0x", "${x}", "$(x)", "[", "{a: 1}", "a,b", "nan", "inf", "-inf", "[1]")
NO_LISTS = ("abc", "1,,2", "1,abc", "nan", "1,inf", "{a: 1}", "null", "[1", "[[1]]")
NO_BOOLS = ("maybe", "2", "nan", "[true]", "null", "1.5", "{a: 1}")
NO_DICTS = ("3", "abc", "[1]", "{a: }", "null")
# What no command takes: options that there are not, words, keys, leftovers of shells.
STRAYS: tuple[str, ...] = (
    "--no-such",
    "--no-such=3",
    "-x",
    "-xyz",
    "-",
    "---x",
    "--=3",
    "word",
    "two words",
)
STRAYS += ("key=value", "=3", "~x=3", "+=3", "=", "==", "x:y", "$x", "${x}", "#", "*", "?", "'")
STRAYS += ('"', "[", "{", "\\", "é", "out", "seed", "--seed 3", "seeds = ", LONG, "x" * 20_000)
STRAYS += NO_TEXT
Wrong = tuple[tuple[str, ...], tuple[str, ...]]  # arguments, and what their error may name


@dataclass(frozen=True)
class Case:
    """One call: its arguments, and texts of which the error must hold one."""

    argv: tuple[str, ...]
    named: tuple[str, ...]

    @property
    def kind(self) -> str:
        """The call with every number as one: what counts once."""
        return re.sub(r"-?\d+(\.\d+)?(e[-+]?\d+)?", "9", " ".join(self.argv))


@dataclass(frozen=True)
class Command:
    """One command line.

    Attributes:
        module: of its ``main``. words: the subcommand.
        valid: options and settings of a call that would begin its work.
        filled: its positional arguments in such a call.
        begins: what that work begins with; a call that reaches it was accepted.
        configs: its settings dataclasses, for what is given as ``key=value``.
        places: settings and options that are a place to write.
        free: those that may hold any text.
    """

    module: str
    words: tuple[str, ...] = ()
    valid: tuple[str, ...] = ()
    filled: tuple[str, ...] = ()
    begins: str = ""
    configs: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    free: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Short name."""
        return "-".join([self.module.removesuffix(".__main__").rpartition(".")[2], *self.words])

    def cases(self) -> Iterator[Case]:
        """Every malformed call, each kind once."""
        seen = set()
        for case in self._all():
            if case.kind not in seen:
                seen.add(case.kind)
                yield case

    def _all(self) -> Iterator[Case]:
        for name in self.configs:
            module, _, attribute = name.partition(":")
            for given, named in self._settings(getattr(importlib.import_module(module), attribute)):
                yield self._case(given, named)
        if not self.configs:
            yield from self._options()
        elif not self.words:
            for word in ("config=", "config=no_such", "config=/no/such.yaml", "config=FILE.yaml"):
                yield self._case((word,), ("config", "no_such", "FILE"))

    def _case(self, given: tuple[str, ...], named: Iterable[str]) -> Case:
        rest = [word for word in self.valid if _key(word) != _key(given[0])]
        return Case((*self.words, *self.filled, *rest, *given), tuple(named))

    def _settings(self, cls: type) -> Iterator[Wrong]:
        """Of ``key=value``: wrong values, unknown keys, what is no ``key=value``."""
        for key, hint in leaves(cls):
            for text in wrong_texts(hint, self._role(key)):
                yield (f"{key}={text}",), (key, text)
            yield (f"{key}x=3",), (f"{key}x",)
            yield (f"{key}.x=3",), (key, "x")
            yield (f"--{key}=3",), (key,)
        for key in groups(cls):
            for text in ("3", "abc", "", "[1]"):
                yield (f"{key}={text}",), (key,)
        for word in STRAYS:
            yield (word,), ()

    def _options(self) -> Iterator[Case]:
        """Of ``--option value`` and positional arguments."""
        place = 0
        for action in _parser_of(self)._actions:
            if isinstance(action, argparse._HelpAction) or action.dest == "overrides":
                continue
            option = action.option_strings[-1] if action.option_strings else ""
            hint = getattr(action.type, "hint", str)
            role = self._role(option or action.dest)
            if not option:
                for text in wrong_texts(hint, role):
                    rest = (*self.filled[:place], text, *self.filled[place + 1 :])
                    named = (action.dest, str(action.metavar), text)
                    yield Case((*self.words, *self.valid, *rest), named)
                place += 1
            elif action.nargs == 0:
                yield self._case((f"{option}=yes",), (option,))
            else:
                for text in wrong_texts(hint, role):
                    yield self._case((f"{option}={text}",), (option, text))
                yield self._case((option,), (option,))
                yield self._case((f"{option}x=3",), (f"{option}x",))
        for word in STRAYS:
            yield Case((*self.words, *self.filled, *self.valid, word), ())

    def _role(self, key: str) -> str:
        return "place" if key in self.places else "free" if key in self.free else "name"


def _key(word: str) -> str:
    return word.partition("=")[0]


def _parser_of(command: Command) -> argparse.ArgumentParser:
    if not command.words:
        return importlib.import_module(command.module).build_parser()
    build = importlib.import_module("neon_sim.benchmarks.arguments").build_parser
    (commands,) = build()._subparsers._group_actions
    return commands.choices[command.words[0]]


def leaves(cls: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of a settings dataclass with its noted type."""
    for name, hint in noted_hints(cls).items():
        if name not in {item.name for item in dataclasses.fields(cls)}:
            continue
        if is_dataclass(hint):
            yield from leaves(hint, f"{prefix}{name}.")
        else:
            yield prefix + name, hint


def groups(cls: type) -> list[str]:
    """Keys of a settings dataclass that hold others."""
    return [name for name, hint in noted_hints(cls).items() if is_dataclass(hint)]


def plain(hint: Any) -> tuple[Any, Interval | None]:
    """Type and rule of a hint, without notes and None."""
    rule = None
    while True:
        if typing.get_origin(hint) is Annotated:
            hint, *notes = typing.get_args(hint)
            rule = next((note for note in notes if isinstance(note, Interval)), rule)
        elif typing.get_origin(hint) in (typing.Union, types.UnionType):
            hint = next(part for part in typing.get_args(hint) if part is not type(None))
        else:
            return hint, rule


def outside(kind: Any, rule: Interval | None) -> Iterator[str]:
    """Numbers just outside a rule, and far outside."""
    assert rule is not None
    step = 1 if kind is int else 1e-3
    low: Any = rule.gt if rule.ge is None else rule.ge
    high: Any = rule.lt if rule.le is None else rule.le
    yield str(low if rule.ge is None else low - step)
    yield str(high if rule.le is None else high + step)
    yield "1" + "0" * 40
    if kind is int:
        yield "1.5"


def wrong_texts(hint: Any, role: str) -> Iterator[str]:
    """Values that a setting of this type must refuse."""
    kind, rule = plain(hint)
    origin = typing.get_origin(kind)
    yield from ("", "  ", *NO_TEXT)
    if kind in (int, float):
        yield from outside(kind, rule)
        yield from NO_NUMBERS
    elif kind is bool:
        yield from NO_BOOLS
    elif origin is dict:
        yield from NO_DICTS
    elif origin is list and plain(typing.get_args(kind)[0])[0] in (int, float):
        yield from NO_LISTS
        yield from (f"{text},{text}" for text in outside(*plain(typing.get_args(kind)[0])))
    else:
        yield from ("a,,b", ",", "''") if origin is list else ()
        yield from {"place": NO_PLACES, "name": NO_NAMES}.get(role, ())


def part_arguments(registry: Any, part: str) -> Iterator[tuple[str, ...]]:
    """Settings of a policy whose part gets an argument outside its rule."""
    for name in registry:
        for key, hint in settings_of(registry.resolve(name)).items():
            for text in ("", "abc", "nan", "inf", *outside(*plain(hint))):
                yield f"{part}={name}", f"{part}_args.{key}={text}"


RUN = ("--policy=neon_tiny", "--condition=blind", "--task=arm_reach", "--episodes=1", "--out=OUT")
PLAYS = "neon_sim.benchmarks.running.runner:run"
COMMANDS = (
    Command(
        "neon_sim.collect",
        valid=("task=arm_reach", "episodes=1", "out=OUT"),
        begins="neon_sim.demonstrations.collection:record_missing",
        configs=("neon_sim.demonstrations.settings:CollectConfig",),
        places=("out",),
    ),
    Command(
        "neon_sim.train",
        valid=("data=OUT/none", "out=OUT"),
        begins="neon_sim.policies.training.command:Trainer",
        configs=("neon_sim.policies.training.settings:TrainConfig",),
        places=("out", "cache"),
        free=("data", "tasks"),
    ),
    Command(
        "neon_sim.pretrain",
        valid=("out=OUT", "data=OUT/clips"),
        begins="neon_sim.policies.pretraining.trainer:make_clips",
        configs=("neon_sim.pretrain:PretrainConfig",),
        places=("out", "data"),
    ),
    Command(
        "neon_sim.rl",
        valid=("task=arm_reach", "out=OUT"),
        begins="neon_sim.policies.ppo.trainer:RLTrainer",
        configs=("neon_sim.policies.ppo.settings:RLConfig",),
        places=("out",),
    ),
    Command(
        "neon_sim.policies.pretraining.probe",
        begins="neon_sim.policies.pretraining.probe:draw_probe_set",
        configs=("neon_sim.policies.pretraining.probe:ProbeConfig",),
    ),
    Command(
        "neon_sim.dataset_check",
        valid=("data=OUT",),
        configs=("neon_sim.dataset_check:CheckConfig",),
    ),
    Command(
        "neon_sim.benchmarks.balance",
        begins="neon_sim.benchmarks.balance:survivals",
        configs=("neon_sim.benchmarks.balance:BalanceConfig",),
        places=("out",),
    ),
    Command(
        "neon_sim.envs.reflex_search",
        valid=("out=OUT",),
        begins="neon_sim.envs.reflex_search:Judge",
        configs=("neon_sim.envs.reflex_search:ReflexSearchConfig",),
        places=("out",),
    ),
    Command(CLI, ("run",), RUN, begins=PLAYS, places=("--out",)),
    Command(
        CLI,
        ("run",),
        RUN,
        begins=PLAYS,
        configs=("neon_sim.benchmarks.runs.plan:RunOptions", "neon_sim.config.policy:PolicyConfig"),
        free=("name",),
    ),
    Command(
        CLI,
        ("certify",),
        ("--task=arm_reach", "--episodes=1", "--run=OUT/run", "--out=OUT/certificates"),
        begins=PLAYS,
        places=("--out", "--run"),
    ),
    Command(CLI, ("compare",), filled=("OUT",)),
    Command(CLI, ("report",), filled=("OUT",), free=("--policy",)),
    Command(
        CLI,
        ("listen",),
        ("--task=arm_latch", "--out=OUT/page.html"),
        begins="neon_sim.benchmarks.report.listen:task_section",
        places=("--out",),
    ),
    Command(CLI, ("list",), filled=("tasks",), begins="neon_sim.benchmarks.listing:listing"),
    Command(CLI, ("doctor",), begins="neon_sim.simulation.doctor:doctor"),
    Command(
        "neon_sim.benchmarks.perf.__main__",
        valid=("--measure=grid", "--task=arm_reach", "--out=OUT/perf.json"),
        begins="neon_sim.benchmarks.perf.grid:measure",
        places=("--out",),
    ),
    Command(
        "neon_sim.policies.backbones.random_weights",
        filled=("qwen_omni_3b", "OUT"),
        begins="neon_sim.policies.backbones.random_weights:make_tiny",
        places=("folder",),
    ),
    Command("neon_sim.policies.backbones.counting"),
    Command("neon_sim.policies.heads.parameters"),
)
