"""``--help`` of the commands that take ``key=value``: the config's fields as a table."""

from __future__ import annotations

import inspect
import re
import shutil
import textwrap
import typing
from dataclasses import MISSING, is_dataclass
from typing import Any

from neon_sim.config.fields import default_of, field_hints, field_map, type_name, without_none
from neon_sim.rules import noted_hints, rule_text


def field_docs(cls: type) -> dict[str, str]:
    """The ``Attributes:`` section of a class's docstring, one text by field.

    ``a / b: text`` documents both; a continuation line is indented deeper than its field.
    """
    section = inspect.cleandoc(cls.__doc__ or "").partition("Attributes:\n")[2]
    docs: dict[str, str] = {}
    names: list[str] = []
    for line in section.splitlines():
        if line and not line.startswith(" "):
            break
        match = re.match(r"^ {4}(\w+(?: / \w+)*): (.*)$", line)
        if match:
            names = match[1].split(" / ")
            docs.update(dict.fromkeys(names, match[2]))
        elif line.strip():
            docs.update({name: f"{docs[name]} {line.strip()}" for name in names})
    return docs


def help_rows(cls: type, prefix: str = "") -> list[tuple[str, str, str, str]]:
    """One (key, type, default, doc) row a field, nested configs flattened by dots."""
    docs = field_docs(cls)
    hints = field_hints(cls)
    rows: list[tuple[str, str, str, str]] = []
    for name, item in field_map(cls).items():
        hint = without_none(hints[name])
        if is_dataclass(hint):
            rows.extend(help_rows(typing.cast(type, hint), f"{prefix}{name}."))
        else:
            shown = _shown(default_of(item))
            rule = rule_text(noted_hints(cls)[name])
            said = f"{docs.get(name, '')} [{rule}]" if rule else docs.get(name, "")
            rows.append((prefix + name, type_name(hints[name]), shown, said.strip()))
    return rows


def help_text(cls: type, prog: str) -> str:
    """The whole help: usage, the class's summary, and the table of fields."""
    rows = [("key", "type", "default", ""), *help_rows(cls)]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    columns = shutil.get_terminal_size((100, 24)).columns
    indent = sum(widths) + 8
    lines = [f"usage: {prog} [key=value ...]", "", (inspect.getdoc(cls) or "").split("\n")[0], ""]
    for row in rows:
        head = "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False))
        wrapped = textwrap.wrap(row[3], max(columns - indent, 32)) or [""]
        lines.append(f"{head}  {wrapped[0]}".rstrip())
        lines.extend(" " * indent + more for more in wrapped[1:])
    return "\n".join([*lines, "", "Lists: key=a,b or key=[a,b]. config=NAME or a .yaml path."])


def _shown(default: Any) -> str:
    if default is MISSING:
        return "required"
    return str(default) if not isinstance(default, list | tuple) else ",".join(map(str, default))
