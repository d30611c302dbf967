"""What a dataclass says about its fields: names, types, defaults."""

from __future__ import annotations

import types
import typing
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any


def field_map(cls: type) -> dict[str, Field[Any]]:
    """Fields of a dataclass by name."""
    return {item.name: item for item in fields(typing.cast(Any, cls))}


def field_hints(cls: type) -> dict[str, Any]:
    """Resolved type hints of a dataclass's fields."""
    hints = typing.get_type_hints(cls)
    return {name: hints[name] for name in field_map(cls)}


def known_keys(cls: type, prefix: str = "") -> list[str]:
    """Every key of a config, nested ones by dots, in order of definition."""
    keys: list[str] = []
    for name, hint in field_hints(cls).items():
        if is_dataclass(hint):
            keys.extend(known_keys(typing.cast(type, hint), f"{prefix}{name}."))
        else:
            keys.append(prefix + name)
    return keys


def default_of(item: Field[Any]) -> Any:
    """Default value of a field, or ``dataclasses.MISSING``."""
    if item.default is not MISSING:
        return item.default
    return item.default_factory() if item.default_factory is not MISSING else MISSING


def without_none(hint: Any) -> Any:
    """``X`` of ``X | None``; any other hint as it is."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        rest = [part for part in typing.get_args(hint) if part is not type(None)]
        return rest[0] if len(rest) == 1 else hint
    return hint


def type_name(hint: Any) -> str:
    """A hint as users read it: ``int``, ``list[str]``, ``str | None``."""
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)
