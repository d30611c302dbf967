"""Every command that is printed (documents, scripts, help, errors) is one that its parser takes.

Nothing is run here: words are handed to the real parsers and configs. What stands for something
of the user's (``DIR``, ``...``, ``$data``, a value that is put in) is left out of what is held.
"""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from neon_sim.benchmarks.arguments import (
    CERTIFY_EXAMPLES,
    COMPARE_EXAMPLES,
    LISTEN_EXAMPLES,
    REPORT_EXAMPLES,
    RUN_EXAMPLES,
    build_parser,
    parse,
)
from neon_sim.benchmarks.runs.plan import RunOptions, make_plan
from neon_sim.config.fields import field_map
from neon_sim.config.loading import Override, _hint_of, _parse_value, main_config
from neon_sim.config.policy import PolicyConfig
from neon_sim.errors import CheckpointError, ConfigError, NeonError
from neon_sim.policies.backbones.encoders.hf_image import PUBLISHED
from neon_sim.policies.backbones.encoders.hf_video import NETWORKS
from neon_sim.policies.backbones.weights.catalogue import CATALOGUE
from neon_sim.policies.training.command import parse as parse_train

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("neon_sim", "envs", "policies", "benchmarks", "assets", "configs")
GAP = "\N{LOZENGE}"  # where a text puts a value in
START = re.compile(r"(?:neon-bench|python -m neon_sim(?:\.[a-z_0-9]+)+)(?![\w./-])")
END = re.compile(r"[`;|>()\"]|[.,:](?=\s|$)|\s#|\s-- |&&|\\n|$")
# Of ``python -m neon_sim.<module>``: the config that holds its keys; None has options instead.
CONFIGS: dict[str, str | None] = {
    "collect": "demonstrations.settings:CollectConfig",
    "train": "policies.training.settings:TrainConfig",
    "pretrain": "policies.pretraining.trainer:PretrainConfig",
    "rl": "policies.ppo.settings:RLConfig",
    "policies.pretraining.probe": "policies.pretraining.probe:ProbeConfig",
    "dataset_check": "dataset_check:CheckConfig",
    "benchmarks.balance": "benchmarks.balance:BalanceConfig",
    "envs.reflex_search": "envs.reflex_search:ReflexSearchConfig",
    "benchmarks.perf": None,
    "policies.backbones.counting": None,
    "policies.backbones.random_weights": None,
    "policies.heads.parameters": None,
    "assets.words.render": None,
}
DEFAULTS = {"pretrain": "neon_tiny"}


@dataclass(frozen=True)
class Printed:
    """A command and where it stands; ``whole`` where all of it was meant to be typed."""

    where: str
    text: str
    whole: bool = False

    def words(self) -> list[str]:
        return shlex.split(self.text, comments=True)

    def is_module(self) -> int:
        """2 for ``python -m``, which says nothing alone (the name of a program)."""
        return 2 * (self.words()[0] == "python")

    def has_gap(self) -> bool:
        return any(is_gap(word) for word in self.words())


def is_gap(text: str) -> bool:
    """Whether something in a word is the user's to fill in."""
    return bool(re.search(rf"{GAP}|\$|\.\.\.|\b[A-Z]{{3,}}\b|\b[A-Z_]{{4,}}\b|[<>]", text))


# ---- where they stand ---------------------------------------------------------------------------


def in_documents() -> Iterator[Printed]:
    """Code blocks, lines joined, and what stands between backticks."""
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md"))):
        if path.name == "LOG.md":  # what was typed once
            continue
        text = path.read_text()
        for language, block in re.findall(r"^ *```(\w*)\n(.*?)^ *```", text, re.S | re.M):
            if language in ("", "bash", "sh"):
                yield from in_lines(block, path.name)
        for span in re.findall(
            r"`([^`\n]+(?:\n[^`\n]+)?)`", re.sub(r"```.*?```", "", text, flags=re.S)
        ):
            yield from in_text(" ".join(span.split()), path.name)


def in_scripts() -> Iterator[Printed]:
    for path in (*sorted(ROOT.glob("benchmarks/reproduce/*.sh")), ROOT / "Makefile"):
        text = re.sub(
            r"\$\(?PY\)? -m neon_sim\.benchmarks\.cli|\$BENCH", "neon-bench", path.read_text()
        )
        text = re.sub(r"\$\(?PY\)? -m", "python -m", text)
        yield from in_lines(text, path.name)


def in_lines(block: str, where: str) -> Iterator[Printed]:
    for line in block.replace("\\\n", " ").splitlines():
        command = re.split(r"\s(?:[|&>]|&&|2>)", line)[0].strip()
        if START.match(command):
            yield Printed(where, " ".join(command.split()), whole=True)
        elif not command.startswith("#"):
            yield from in_text(command, where)


def in_strings() -> Iterator[Printed]:
    """Errors, help and docstrings of the source; in a config, its comments."""
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            if path.is_symlink() or any(part.is_symlink() for part in path.parents):
                continue
            name = path.relative_to(ROOT).as_posix()
            for text in strings(ast.parse(path.read_text())):
                yield from in_text(" ".join(text.split()), name)
        for path in sorted((ROOT / room).rglob("*.yaml")):
            for line in path.read_text().splitlines():
                if line.startswith("#"):
                    yield from in_text(line, path.name)


def strings(tree: ast.AST) -> Iterator[str]:
    """Texts of a module, those in parts as one, with ``GAP`` where a value is put in."""
    inner: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            inner |= {id(part) for part in ast.walk(node) if part is not node}
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else GAP for part in node.values
            )
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
            yield node.value


def in_text(text: str, where: str) -> Iterator[Printed]:
    """Commands in running text, up to the first word that is no part of them."""
    for found in START.finditer(text):
        rest = text[found.end() :]
        command = found[0] + rest[: END.search(rest).start()]
        try:
            yield Printed(where, " ".join(kept(shlex.split(command))))
        except ValueError:  # a quotation mark of the text's own
            yield Printed(where, found[0])


def kept(words: list[str]) -> list[str]:
    """The words that can be part of a command: options, their values, settings."""
    start = 3 if words[0] == "python" else 1
    taken, takes_value = words[:start], False
    parser = None
    if words[0] == "neon-bench" and len(words) > 1 and re.fullmatch(r"[a-z]+", words[1]):
        parser, taken, start = subparser(words[1]), words[:2], 2
    elif words[0] == "neon-bench":
        return taken
    for word in words[start:]:
        option = re.match(r"--[a-z][a-z-]*$", word)
        plain = "=" in word or takes_value or (parser and word.startswith(("runs/", "RUN")))
        plain = plain or (words[0] == "python" and CONFIGS[module_of(words[2])] is None)
        if not option and not plain:
            break
        taken.append(word)
        takes_value = bool(option and parser and takes(parser, word))
    return taken


def module_of(dotted: str) -> str:
    return dotted.removeprefix("neon_sim.")


def subparser(name: str) -> Any:
    choices = build_parser()._subparsers._group_actions[0].choices
    return choices.get(name)


def takes(parser: Any, option: str) -> bool:
    action = parser._option_string_actions.get(option)
    return action is None or action.nargs != 0


def all_printed() -> list[Printed]:
    examples = (RUN_EXAMPLES, COMPARE_EXAMPLES, CERTIFY_EXAMPLES, LISTEN_EXAMPLES, REPORT_EXAMPLES)
    told = [Printed("help", line, whole=True) for lines in examples for line in lines]
    found = [*told, *in_documents(), *in_scripts(), *in_strings()]
    return list(dict.fromkeys(item for item in found if len(item.words()) > 1 + item.is_module()))


PRINTED = all_printed()


# ---- what their parsers say ---------------------------------------------------------------------


def hold(command: Printed) -> None:
    """Raise unless the parser of a command takes it."""
    words = [word for word in command.words() if word != "--help"]
    if words[0] == "neon-bench":
        hold_bench(words[1:], command.whole and not command.has_gap())
    else:
        assert words[:2] == ["python", "-m"]
        hold_module(words[2], words[3:], command.whole and not command.has_gap())


def hold_bench(words: list[str], whole: bool) -> None:
    parser = subparser(words[0])
    if parser is None:
        raise ConfigError(f"no command {words[0]!r}")
    for word in words[1:]:
        if word.startswith("--") and word.partition("=")[0] not in parser._option_string_actions:
            raise ConfigError(f"{words[0]} has no option {word}")
    for word in words[1:]:
        if "=" in word and not word.startswith("-") and not is_gap(word.partition("=")[0]):
            hold_key((RunOptions, PolicyConfig), word)
    if not whole:
        return
    args = parse(words)
    if args.command != "run" or any(":" in name for name in args.policy):
        return
    with suppress(CheckpointError):  # which the user has, or makes first
        make_plan(
            policies=args.policy,
            conditions=args.condition,
            tasks=args.task,
            suite=args.suite,
            episodes=args.episodes,
            seed=args.seed,
            train_seeds=args.train_seeds,
            latency_steps=0,
            until_decided=args.until_decided,
            alpha=args.alpha,
            overrides=args.overrides,
        )


def hold_module(dotted: str, words: list[str], whole: bool) -> None:
    name = module_of(dotted)
    module = importlib.import_module(dotted if name != "benchmarks.perf" else f"{dotted}.__main__")
    target = CONFIGS[name]
    if target is None:
        hold_options(module, [word for word in words if not word.startswith("$")])
        return
    home, _, cls = target.partition(":")
    config = getattr(importlib.import_module(f"neon_sim.{home}"), cls)
    for word in words:
        if is_gap(word.partition("=")[0]) or (word == "--resume" and name == "rl"):
            continue
        if word.startswith("config=") and "config" not in field_map(config):
            continue
        inner = name == "train" and word.startswith(("policy.", "backbone."))
        hold_key((PolicyConfig,) if inner else (config,), word.removeprefix("policy."))
    if whole and name == "train":
        parse_train(words)
    elif whole:
        main_config(config, words, DEFAULTS.get(name), group=name.rpartition(".")[2])


def hold_key(classes: tuple[type, ...], word: str) -> None:
    """Hold ``key=value`` to the classes whose key it may be."""
    key, _, value = word.partition("=")
    for cls in classes:
        for alias, meant in getattr(cls, "KEY_ALIASES", {}).items():
            key = meant + key.removeprefix(alias) if key.startswith(alias) else key
        try:
            hint = _hint_of(cls, key, word)
        except ConfigError:
            continue
        if not is_gap(value):
            _parse_value(Override(key, value), hint)
        return
    raise ConfigError(f"unknown key {key!r} in {word}")


class Parsed(Exception):
    """Raised in place of running."""


def hold_options(module: Any, words: list[str]) -> None:
    """Hand words to the parser of a ``main``, and stop there."""
    from neon_sim.command import Parser

    def parse_args(self: Parser, arguments: Any = None, namespace: Any = None) -> Any:
        super(Parser, self).parse_args(arguments, namespace)
        raise Parsed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Parser, "parse_args", parse_args)
        with pytest.raises(Parsed):
            module.main.__wrapped__(words)


@pytest.mark.parametrize("command", PRINTED, ids=lambda item: f"{item.where}: {item.text[:70]}")
def test_a_printed_command_is_one_that_its_parser_takes(command: Printed) -> None:
    hold(command)


def test_they_are_found_wherever_they_stand() -> None:
    counts = {
        "README.md": 10,
        "GUIDE.md": 20,
        "DATASETS.md": 5,
        "RESULTS.md": 7,
        "help": 10,
        "arm.sh": 7,
        "mechanisms.sh": 5,
        "Makefile": 1,
        "CONTRIBUTING.md": 2,
    }
    for where, least in counts.items():
        assert sum(item.where == where for item in PRINTED) >= least, where
    sources = {item.where for item in PRINTED if item.where.endswith(".py")}
    assert len(sources) >= 20
    texts = {item.text for item in PRINTED}
    assert any(text.startswith("python -m neon_sim.train policy=") for text in texts)
    modules = {item.words()[2] for item in PRINTED if item.words()[0] == "python"}
    assert {f"neon_sim.{name}" for name in ("collect", "train", "pretrain", "rl")} <= modules


@pytest.mark.parametrize(
    "text",
    [
        "neon-bench play --policy expert",
        "neon-bench run --polcy expert",
        "neon-bench run --policy expert replan=4",
        "neon-bench run --policy neon_tini --task arm_reach --out runs/x",
        "neon-bench run --policy expert --task arm_reich --out runs/x",
        "python -m neon_sim.train data=a out=b step=5",
        "python -m neon_sim.train data=a out=b policy.haed=flow",
        "python -m neon_sim.collect episodes=many",
        "python -m neon_sim.collect task=arm_reich",
        "python -m neon_sim.collect out=... epsiodes=...",
        "python -m neon_sim.policies.backbones.counting --check",
    ],
)
def test_a_wrong_one_would_be_found(text: str) -> None:
    with pytest.raises((NeonError, AssertionError, SystemExit)):
        hold(Printed("here", text, whole=True))


def test_repositories_of_printed_downloads_are_those_that_are_read() -> None:
    known = {repository for row in CATALOGUE.values() for repository in row.repositories}
    known |= {row.model_id for row in CATALOGUE.values()}
    known |= {source.model_id for source in PUBLISHED.values()}
    known |= {network.published.model_id for network in NETWORKS.values()}
    texts = [path.read_text() for path in (ROOT / "README.md", *ROOT.glob("docs/*.md"))]
    named = [name for text in texts for name in re.findall(r"hf download ([\w./-]+)", text)]
    assert set(named) <= known


def test_extras_of_printed_installations_exist() -> None:
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    known = set(extras["optional-dependencies"])
    named = set()
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md")):
        named |= {
            extra
            for inside in re.findall(r"(?:\.|neon-sim)\[([a-z,]+)\]", path.read_text())
            for extra in inside.split(",")
        }
    for path in (p for room in ROOMS for p in (ROOT / room).rglob("*.py")):
        named |= set(re.findall(r"install_extra\(\"(\w+)\"\)", path.read_text()))
    assert named
    assert named <= known


def test_verbs_of_make_exist() -> None:
    verbs = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    documents = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md"))
    named = {verb for path in documents for verb in re.findall(r"`make ([a-z]+)", path.read_text())}
    assert named
    assert named <= verbs
