"""Fills a config dataclass from YAML and the command line, and says what is wrong with them.

Hydra composes the YAML of ``configs/`` and parses the values of overrides; OmegaConf's
structured configs hold the types. An unknown key, a wrong type or a value outside its rule
is a ``ConfigError`` that names the key, the value, where it came from and what would have
worked. Hydra is imported when the first config is loaded, not before.
"""

from __future__ import annotations

import difflib
import functools
import sys
import typing
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from neon_sim.config.fields import field_hints, field_map, known_keys, type_name, without_none
from neon_sim.errors import ConfigError
from neon_sim.rules import literal, split_texts, unquoted

T = TypeVar("T")

CONFIG_MODULE = "neon_sim.configs"
COMMAND_LINE = "the command line"


@dataclass(frozen=True)
class Override:
    """One ``key=value`` argument, the value still as text."""

    key: str
    text: str

    def __str__(self) -> str:
        return f"{self.key}={self.text}"


def parse_overrides(argv: Iterable[str]) -> list[Override]:
    """Split command-line arguments into keys and values.

    Args:
        argv: arguments such as ``clip.num_frames=4``; a leading ``+``, as Hydra writes it
            for new keys of a dict, is allowed and means the same.

    Raises:
        ConfigError: an argument that is not ``key=value``.
    """
    overrides = []
    for argument in argv:
        key, separator, text = argument.partition("=")
        stripped = key.strip().lstrip("+")
        if not separator or not stripped or stripped[0] in "-~":
            bare = stripped.lstrip("-~") or "key"
            raise ConfigError(
                f"argument {argument!r} is not key=value; write {bare}={text.strip() or '...'}"
            )
        overrides.append(Override(stripped, text.strip()))
    return overrides


def load_config(cls: type[T], group: str, name: str | None, overrides: Sequence[str]) -> T:
    """Fill a dataclass from its defaults, then a YAML file, then overrides.

    Args:
        cls: the dataclass; its fields are the only keys there are.
        group: folder of ``configs/`` (``"policy"``).
        name: YAML of that folder without suffix, or the path of a YAML file of the
            user's own (it ends in ``.yaml``); None takes the dataclass's defaults.
        overrides: ``key=value`` texts; nested keys by dots; lists as ``a,b`` or ``[a,b]``;
            a dict as ``{a: 1}``, entry by entry into the one that stands there, ``{}`` empties it.

    Returns:
        An instance of ``cls``, after its ``validate()`` when it has one.

    Raises:
        ConfigError: an unknown name or key, a wrong type, or a value outside its rule.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

    parsed = [_unalias(cls, override) for override in parse_overrides(overrides)]
    config = OmegaConf.structured(cls)
    if name is not None:
        values, source = read_yaml(group, name)
        _imply(config, cls, values)
        _assign_tree(config, cls, "", values, source)
    hints = [_hint_of(cls, item.key, f"{item} on {COMMAND_LINE}") for item in parsed]
    given = [(item.key, _parse_value(item, hint)) for item, hint in zip(parsed, hints, strict=True)]
    _imply(config, cls, {name: leaf for item in given for name, leaf in _leaves(cls, *item)})
    for key, value in given:
        _assign_tree(config, cls, key, value, COMMAND_LINE)
    try:
        loaded = OmegaConf.to_object(config)
    except MissingMandatoryValue as error:
        key = getattr(error, "full_key", "") or "a key"
        raise ConfigError(f"{key} has no default: give {key}=...") from error
    except OmegaConfBaseException as error:  # an interpolation that leads nowhere
        raise ConfigError(_one_line(error)) from error
    assert isinstance(loaded, cls)
    return validated(_restore_tuples(loaded))


def main_config(
    cls: type[T],
    argv: Sequence[str],
    default_name: str | None = None,
    *,
    group: str | None = None,
    prog: str | None = None,
) -> T:
    """Load the config of a ``python -m`` command from its arguments.

    ``--help`` prints the fields as a table and exits; ``config=NAME`` takes another YAML of
    the group (or a path) in place of ``default_name``.

    Args:
        cls: the command's dataclass, ``TrainConfig``.
        argv: arguments without the program's name.
        default_name: YAML that is used unless ``config=`` names another.
        group: folder of ``configs/``; by default the class's name without ``Config``.
        prog: how the usage line calls the command.

    Raises:
        ConfigError: see ``load_config``.
        SystemExit: after ``--help``, with code 0.
    """
    group = group or cls.__name__.removesuffix("Config").lower()
    if any(argument in ("-h", "--help", "help") for argument in argv):
        from neon_sim.config.help import help_text

        sys.stdout.write(help_text(cls, prog or f"python -m neon_sim.{group}") + "\n")
        raise SystemExit(0)
    has_own = "config" in field_map(cls)
    chosen = [a for a in argv if a.startswith("config=")] if not has_own else []
    if any(not a.partition("=")[2].strip() for a in chosen):
        raise _empty(Override("config", ""))
    rest = [a for a in argv if a not in chosen]
    name = chosen[-1].partition("=")[2] if chosen else default_name
    return load_config(cls, group, name, rest)


def validated(config: T) -> T:
    """Call ``validate()`` of a config and of the configs inside it; returns the config.

    Raises:
        ConfigError: a rule of one of them is broken.
    """
    for item in fields(typing.cast(Any, config)):
        value = getattr(config, item.name)
        if is_dataclass(value):
            validated(value)
    check = getattr(config, "validate", None)
    if check is not None:
        check()
    return config


def config_names(group: str) -> list[str]:
    """Names of the YAML files of one group that ship with the package, sorted."""
    from importlib.resources import files

    folder = files(CONFIG_MODULE) / group
    if not folder.is_dir():
        return []
    return sorted(
        entry.name.removesuffix(".yaml")
        for entry in folder.iterdir()
        if entry.name.endswith(".yaml")
    )


def _unalias(cls: type, override: Override) -> Override:
    """The override with a prefix of the class's ``KEY_ALIASES`` written out."""
    for alias, meant in getattr(cls, "KEY_ALIASES", {}).items():
        if override.key.startswith(alias):
            return Override(meant + override.key.removeprefix(alias), override.text)
    return override


def _leaves(cls: type, key: str, value: Any) -> list[tuple[str, Any]]:
    """What a typed value sets, by dotted key; a mapping of a group of keys, each of its own."""
    group = isinstance(value, dict) and is_dataclass(without_none(_hint_of(cls, key, key)))
    if not group:
        return [(key, value)]
    return [leaf for name in value for leaf in _leaves(cls, f"{key}.{name}", value[name])]


def _imply(config: Any, cls: type, named: dict[str, Any]) -> None:
    """Set what the class's ``implied`` says that a file or a command line means besides.

    Of a command line ``named`` holds the dotted keys that were typed, of a file its own tree.
    """
    from omegaconf import OmegaConf

    implied = getattr(cls, "implied", None)
    for key, value in (implied(named, config) if implied else {}).items():
        OmegaConf.update(config, key, value, merge=False)


def read_yaml(group: str, name: str) -> tuple[dict[str, Any], str]:
    """Values of one YAML, defaults composed, and what errors call its file."""
    from omegaconf import OmegaConf

    if name.endswith((".yaml", ".yml")):
        return _read_user_yaml(Path(name)), name
    known = config_names(group)
    if name not in known:
        hint = _did_you_mean(name, known)
        listed = ", ".join(known) if known else "none"
        raise ConfigError(
            f"unknown {group} config {name!r}.{hint} Known: {listed}. "
            "A file of your own works too: give its path, ending in .yaml"
        )
    source = f"configs/{group}/{name}.yaml"
    try:
        composed = _compose(f"{group}/{name}")
        for part in group.split("/"):
            composed = composed.get(part, composed)
        values = OmegaConf.to_container(composed, resolve=True)
    except Exception as error:  # Hydra and PyYAML raise many kinds, all about this file
        raise ConfigError(f"{source} does not compose: {_one_line(error)}") from error
    return typing.cast(dict[str, Any], values), source


@functools.cache
def _compose(config_name: str) -> Any:
    """Compose a YAML of the package, once; Hydra's global state is put back afterwards."""
    from hydra import compose, initialize_config_module

    with initialize_config_module(CONFIG_MODULE, version_base=None):
        return compose(config_name)


def _read_user_yaml(path: Path) -> dict[str, Any]:
    """Values of a YAML file outside the package (no defaults list there)."""
    from omegaconf import DictConfig, OmegaConf

    if not path.is_file():
        raise ConfigError(f"config file {str(path)!r} does not exist")
    try:
        loaded = OmegaConf.load(path)
        if not isinstance(loaded, DictConfig):
            raise ConfigError(f"config file {str(path)!r} must hold key: value lines")
        return typing.cast(dict[str, Any], OmegaConf.to_container(loaded, resolve=True))
    except ConfigError:
        raise
    except Exception as error:  # PyYAML and OmegaConf raise many kinds, all about this file
        raise ConfigError(f"config file {str(path)!r}: {_one_line(error)}") from error


def _hint_of(cls: type, key: str, where: str) -> Any:
    """Type hint of a dotted key; keys inside a dict field have the dict's value type."""
    hint: Any = cls
    for depth, part in enumerate(key.split(".")):
        inner = without_none(hint)
        if is_dataclass(inner):
            hints = field_hints(typing.cast(type, inner))
            if part not in hints:
                raise _unknown_key(cls, key, where)
            hint = hints[part]
        elif typing.get_origin(inner) is dict or inner is dict:
            hint = (typing.get_args(inner) or (str, Any))[1]
        elif inner is Any and depth > 0:
            hint = Any
        else:
            raise _unknown_key(cls, key, where)
    return hint


def _unknown_key(cls: type, key: str, where: str) -> ConfigError:
    known = known_keys(cls)
    hint = _did_you_mean(key, known)
    return ConfigError(f"unknown key {key!r} ({where}).{hint} Known: {', '.join(known)}.")


def _parse_value(override: Override, hint: Any) -> Any:
    """The text of an override as a value of the kind its field wants."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    text = override.text
    inner = without_none(hint)
    if inner is not hint and text in ("null", "None"):
        return None
    is_list = typing.get_origin(inner) in (list, tuple) or inner in (list, tuple)
    if inner is str or (is_list and typing.get_args(inner)[:1] == (str,)):
        parts = split_texts(text) if is_list else [unquoted(text)]
        if not all(parts):
            raise _empty(override)
        return literal(parts if is_list else parts[0])
    if not text:
        raise _empty(override)
    if is_list and not (text.startswith("[") and text.endswith("]")):
        text = f"[{text}]"
    wrong = f"{override.key} must be {type_name(hint)} (got {override.text!r}, {COMMAND_LINE})"
    try:
        parsed = OverridesParser.create().parse_override(f"value={text}")
    except HydraException as error:
        raise ConfigError(f"{wrong}: {_one_line(error)}") from error
    if parsed.is_sweep_override():
        raise ConfigError(f"{wrong}: one value, not several")
    return parsed.value()


def _empty(override: Override) -> ConfigError:
    """The error for nothing where a value belongs: often a shell variable that is not set."""
    what = "is empty" if not override.text else "holds an empty part"
    return ConfigError(
        f"{override.key} {what} (got {override}, {COMMAND_LINE}); an unset variable? Give a value, "
        f"or leave {override.key}= out for the default"
    )


def _assign_tree(config: Any, cls: type, key: str, value: Any, source: str) -> None:
    """Set ``key`` of a structured config; a mapping is set leaf by leaf, so that it merges.

    An empty one has no leaf, and empties the dict that it is given for.
    """
    hint = _hint_of(cls, key, f"{key}={value} in {source}") if key else cls
    if isinstance(value, dict) and (value or is_dataclass(without_none(hint))):
        for name, inner in value.items():
            child = f"{key}.{name}" if key else str(name)
            _assign_tree(config, cls, child, inner, source)
        return
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException, ValidationError

    if is_dataclass(without_none(hint)):
        nested = [f"{key}.{name}" for name in field_map(typing.cast(type, without_none(hint)))]
        raise ConfigError(
            f"{key} is a group of keys (got {value!r}, {source}); set {', '.join(nested)}"
        )
    try:
        if without_none(hint) is bool and isinstance(value, int) and value not in (0, 1):
            raise ValidationError  # OmegaConf takes every whole number
        OmegaConf.update(config, key, value, merge=False, force_add=True)
    except (OmegaConfBaseException, OverflowError) as error:
        raise ConfigError(f"{key} must be {type_name(hint)} (got {value!r}, {source})") from error


def _restore_tuples(config: T) -> T:
    """Turn the lists that OmegaConf makes of tuple fields back into tuples, in place."""
    for name, hint in field_hints(type(config)).items():
        value = getattr(config, name)
        if is_dataclass(value):
            _restore_tuples(value)
        elif isinstance(value, list) and typing.get_origin(without_none(hint)) is tuple:
            object.__setattr__(config, name, tuple(value))
    return config


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
