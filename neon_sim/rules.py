"""Rules of settings, written beside their types: ``steps: Annotated[int, Interval(ge=1, le=9)]``.

One place holds them all: whatever fills a config (YAML, a command line, Python, a file read back,
where pydantic reads the same notes), the arguments of a part (``head_args``) or an option of
``argparse``. A float is always finite, an int is no bool and never rounded, a text holds no NUL.
``--help`` shows the same rules.
"""

from __future__ import annotations

import argparse
import functools
import inspect
import math
import numbers
import operator
import os
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Interval, Len

from neon_sim.errors import ConfigError

# More threads gain nothing, and from some 10,000 on OpenMP cannot make them and ends the process.
MAX_THREADS = max(256, os.cpu_count() or 1)
UNIONS = (typing.Union, types.UnionType)
QUOTES = "'\""
MAX_SHOWN = 100  # characters of a wrong value that an error repeats

Seed = Annotated[int, Interval(ge=0, le=2**31 - 1)]
Share = Annotated[float, Interval(ge=0, le=1)]
Steps = Annotated[int, Interval(ge=1, le=10**8)]
Episodes = Annotated[int, Interval(ge=1, le=10**6)]
Batch = Annotated[int, Interval(ge=1, le=256)]  # environments side by side
Workers = Annotated[int, Interval(ge=1, le=512)]
Threads = Annotated[int, Interval(ge=0, le=MAX_THREADS)]
Flag = Annotated[int, Interval(ge=0, le=1)]
# Sizes of the parts of a policy.
Width = Annotated[int, Interval(ge=1, le=4096)]
Depth = Annotated[int, Interval(ge=1, le=64)]
Count = Annotated[int, Interval(ge=1, le=1024)]
Dropout = Annotated[float, Interval(ge=0, le=0.9)]


@functools.cache
def noted_hints(cls: Any) -> dict[str, Any]:
    """Type hints of a class's fields, or of what a function takes, with the notes of rules."""
    return typing.get_type_hints(cls, include_extras=True)


def hold_rules(config: Any) -> None:
    """Hold every field of a settings dataclass to its type and rule.

    Args:
        config: the instance. A class that is a group of another has ``PREFIX`` (``"clip."``),
            which errors put before a key.

    Raises:
        ConfigError: the first field outside its rule; names key, rule and value.
    """
    prefix = getattr(type(config), "PREFIX", "")
    hints = noted_hints(type(config))  # type: ignore[arg-type]
    for item in fields(config):
        hold(prefix + item.name, getattr(config, item.name), hints[item.name])


def hold(key: str, value: Any, hint: Any) -> None:
    """Hold one value.

    Args:
        key: as the user writes it. value: any. hint: its type, with notes.

    Raises:
        ConfigError: another type, not finite, or outside the rule; of a union, none of its types.
    """
    kind, rule, length = _parts(hint)
    if value is None and kind is not _without_none(kind):
        return
    kind, rule, length = _parts(_without_none(kind), rule, length)
    origin: Any = typing.get_origin(kind) or kind
    inner = typing.get_args(kind)
    if kind in (int, float, bool):
        _hold_number(key, value, kind, rule)
    elif kind is str:
        _hold_words(key, value)
    elif origin in UNIONS:
        _hold_union(key, value, inner, rule)
    elif isinstance(origin, type) and origin is not Any and not is_dataclass(origin):
        kinds: Any = (list, tuple) if origin in (list, tuple) else origin
        if not isinstance(value, kinds):
            raise ConfigError(f"{key} must be {origin.__name__} (got {shown(value)})")
        if origin is dict and inner:
            for name, part in value.items():
                hold(f"{key}.{name}", part, inner[1])
        elif origin in (list, tuple) and inner:
            open_end = origin is list or inner[1:] == (...,)
            _hold_length(key, len(value), length if open_end else Len(len(inner), len(inner)))
            for place, part in enumerate(value):
                hold(key, part, inner[0 if open_end else place])


def _hold_number(key: str, value: Any, kind: Any, rule: Interval | None) -> None:
    """A bool is no number, an int is a float, and nothing is rounded."""
    if isinstance(value, bool) or kind is bool:
        fits = isinstance(value, bool) and kind is bool
    else:
        fits = isinstance(value, numbers.Integral if kind is int else numbers.Real)
        fits = fits and _finite(value, kind) and _within(value, rule)
    if not fits:
        rule_said = rule_text(kind, rule) or "true or false"
        raise ConfigError(f"{key} must be {rule_said} (got {shown(value)})")


def _hold_words(key: str, value: Any) -> None:
    """A place is given as text or as a ``Path``; nothing else is taken for text."""
    if not isinstance(value, str | os.PathLike) or not is_text(str(value)):
        raise ConfigError(f"{key} must be text without NUL, in UTF-8 (got {shown(value)})")


def _hold_union(key: str, value: Any, kinds: tuple[Any, ...], rule: Interval | None) -> None:
    """A number under a rule may be given as text where the union says so; else one type fits."""
    numbers_named = [kind for kind in (float, int) if kind in kinds]
    if rule is not None and str in kinds and numbers_named:
        _hold_number_or_text(key, value, numbers_named[0], rule)
        return
    said = []
    for kind in kinds:
        try:
            hold(key, value, kind if rule is None or kind is str else Annotated[kind, rule])
        except ConfigError as error:
            said.append(str(error).removeprefix(f"{key} must be ").rpartition(" (got ")[0])
        else:
            return
    raise ConfigError(f"{key} must be {', or '.join(said)} (got {shown(value)})")


def _hold_number_or_text(key: str, value: Any, number: Any, rule: Interval | None) -> None:
    try:
        held = number(value) if isinstance(value, str) else value
    except ValueError:
        raise ConfigError(f"{key} must be {rule_text(number, rule)} (got {shown(value)})") from None
    _hold_number(key, held, number, rule)


def _finite(value: Any, kind: Any) -> bool:
    try:
        return kind is int or math.isfinite(float(value))
    except OverflowError:  # a whole number that no float holds
        return False


def shown(value: Any) -> str:
    """A wrong value as errors repeat it, not longer than a line."""
    text = re.sub(r"\s*\n\s*", " ", repr(value))
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."


def is_text(text: str) -> bool:
    """Whether it can be a path: no NUL, and no bytes that were not UTF-8."""
    return "\0" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)


def _within(value: Any, rule: Interval | None) -> bool:
    return rule is None or (
        (rule.ge is None or value >= rule.ge)
        and (rule.gt is None or value > rule.gt)
        and (rule.le is None or value <= rule.le)
        and (rule.lt is None or value < rule.lt)
    )


def _hold_length(key: str, number: int, length: Len | None) -> None:
    if length is None:
        return
    most = length.max_length
    if number < length.min_length or (most is not None and number > most):
        rule = f"at least {length.min_length}" if most is None else f"{length.min_length} to {most}"
        raise ConfigError(f"{key} must hold {rule} values (got {number})")


def _parts(
    hint: Any, rule: Interval | None = None, length: Len | None = None
) -> tuple[Any, Interval | None, Len | None]:
    """The plain type of a hint, and its notes."""
    if typing.get_origin(hint) is Annotated:
        hint, *notes = typing.get_args(hint)
        rule = next((note for note in notes if isinstance(note, Interval)), rule)
        length = next((note for note in notes if isinstance(note, Len)), length)
    return hint, rule, length


def _without_none(hint: Any) -> Any:
    if typing.get_origin(hint) in UNIONS and type(None) in typing.get_args(hint):
        rest = [part for part in typing.get_args(hint) if part is not type(None)]
        return functools.reduce(operator.or_, rest)
    return hint


def rule_text(kind: Any, rule: Interval | None = None) -> str:
    """A rule as errors and ``--help`` say it: ``a whole number, 1 to 64``; empty for no number."""
    kind, rule, _ = _parts(kind, rule)
    kind, rule, _ = _parts(_without_none(kind), rule)
    if typing.get_origin(kind) in (list, tuple, dict) and typing.get_args(kind):
        return rule_text(typing.get_args(kind)[-1 if typing.get_origin(kind) is dict else 0])
    if kind not in (int, float):
        return ""
    if rule is None:
        return "a finite number" if kind is float else "a whole number"
    low, high = _low_text(rule), _high_text(rule)
    plain = rule.ge is not None and rule.le is not None
    limits = (
        f"{_plain(rule.ge)} to {_plain(rule.le)}" if plain else ", ".join(filter(None, (low, high)))
    )
    return limits if kind is float else f"{limits}, a whole number"


def _low_text(rule: Interval) -> str:
    if rule.gt is not None:
        return f"above {_plain(rule.gt)}"
    return f"at least {_plain(rule.ge)}" if rule.ge is not None else ""


def _high_text(rule: Interval) -> str:
    if rule.lt is not None:
        return f"below {_plain(rule.lt)}"
    return f"at most {_plain(rule.le)}" if rule.le is not None else ""


def _plain(number: Any) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"


def settings_of(target: Any) -> dict[str, Any]:
    """What of a part a config may set: its parameters with a default and a note, or of floats.

    Args:
        target: the part's class or maker.

    Returns:
        Type hints by name, with notes.
    """
    hints = noted_hints(target.__init__ if inspect.isclass(target) else target)
    settings = {}
    for name, parameter in inspect.signature(target).parameters.items():
        hint = hints.get(name, float)  # a number, where a part of somebody else's says nothing
        kind, rule, _ = _parts(hint)
        kind, rule, _ = _parts(_without_none(kind), rule)
        if parameter.default is not parameter.empty and (rule is not None or kind is float):
            settings[name] = hint
    return settings


def hold_arguments(key: str, target: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Hold what a config hands to a part, ``head_args`` and its like, to the part's own notes.

    Args:
        key: ``"head_args"``. target: the part's class or maker. arguments: from a config, where
            every number is a float.

    Returns:
        The arguments, whole numbers as ``int`` where the part takes one.

    Raises:
        ConfigError: a value that is not finite, not whole, or outside its rule.
    """
    hints = settings_of(target)
    held = {}
    for name, value in arguments.items():
        hint = hints[name]
        kind, _, _ = _parts(_without_none(_parts(hint)[0]))
        if kind is int and isinstance(value, float) and value.is_integer():
            value = int(value)
        hold(f"{key}.{name}", value, hint)
        held[name] = value
    return held


def hold_text(key: str, value: Any, hint: Any) -> None:
    """Hold a number that may be given as text, as ``backbone_args`` are.

    Args:
        key: as the user writes it. value: text or number. hint: ``Annotated[int | str, ...]``.

    Raises:
        ConfigError: no number, or one outside its rule.
    """
    kind, rule, _ = _parts(hint)
    kind, rule, _ = _parts(_without_none(kind), rule)
    number = float if float in (kind, *typing.get_args(kind)) else int
    _hold_number_or_text(key, value, number, rule)


def option(hint: Any) -> Callable[[str], Any]:
    """The ``type`` of an ``argparse`` option under a rule.

    Args:
        hint: ``int``, ``float``, ``str`` or ``Path``, or a list of them (by comma), with notes.

    Returns:
        A function of the typed text; its attribute ``rule`` is what ``--help`` shows, ``hint``
        the type.
    """
    kind, _, _ = _parts(hint)
    is_list = typing.get_origin(kind) is list
    part = typing.get_args(kind)[0] if is_list else hint
    rule = rule_text(part)

    def parse(text: str) -> Any:
        parts = split_texts(text) if is_list else [text.strip()]
        if not parts or not all(parts):
            raise argparse.ArgumentTypeError(
                f"must not be empty (got {shown(text)}); an unset variable? Leave it out for the "
                "default"
            )
        values = [_parsed(piece, part, rule) for piece in parts]
        return values if is_list else values[0]

    parse.rule, parse.hint = rule, hint  # type: ignore[attr-defined]
    return parse


def _parsed(text: str, hint: Any, rule: str) -> Any:
    kind, _, _ = _parts(hint)
    if kind is Path:
        return Path(text)
    try:
        value = kind(text)
        hold("", value, hint)
    except (ValueError, ConfigError) as error:
        raise argparse.ArgumentTypeError(f"must be {rule} (got {shown(text)})") from error
    return value


# ---- texts of a command line -----------------------------------------------------------------
# Numbers and truths go through Hydra's grammar (``neon_sim.config.loading``). Strings do not:
# there ``demos (copy)`` would be a call and ``lr=0.1`` an error.


def unquoted(text: str) -> str:
    """Text without one pair of quotes around it, which hide commas and blanks at the ends."""
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in QUOTES
    return text[1:-1] if quoted else text


def split_texts(text: str) -> list[str]:
    """``a,b`` or ``[a,b]`` as texts; a part in quotes keeps its commas.

    Args:
        text: of the command line; ``[]`` is the empty list.

    Returns:
        The parts without blanks around them. Empty parts stay, so that ``a,,b`` can be refused.
    """
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1].strip()
        if not text:
            return []
    parts, rest = [], text
    while True:
        rest = rest.lstrip()
        end = _end_of_part(rest)
        parts.append(unquoted(rest[:end].strip()))
        if end == len(rest):
            return parts
        rest = rest[end + 1 :]


def _end_of_part(text: str) -> int:
    """Where the comma is that ends the first part; the length where none does."""
    if text[:1] in tuple(QUOTES):
        closed = re.match(rf"{text[0]}[^{text[0]}]*{text[0]}\s*(?=,|$)", text)
        if closed:
            return closed.end()
    comma = text.find(",")
    return len(text) if comma < 0 else comma


def literal(value: Any) -> Any:
    """Texts as OmegaConf must be given them, so that it reads no ``${...}`` into them."""
    if isinstance(value, str):
        return re.sub(r"(\\*)\$\{", lambda found: 2 * found[1] + r"\${", value)
    return [literal(part) for part in value] if isinstance(value, list) else value
