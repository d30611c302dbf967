"""What is read back from disk is held to a type before anything believes it.

A run folder, a manifest, a dataset's ``meta`` or a checkpoint's header may be damaged, edited by
hand or made by somebody else. One library (pydantic, in strict mode) checks them all: a reader
states the shape as a dataclass or ``TypedDict`` and gets either a value of it or a ``NeonError``
that names the file, the place in it, the value and the rule. JSON's ``NaN`` and ``Infinity``
are refused everywhere.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from neon_sim.errors import NeonError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")
MAX_SHOWN = 60  # characters of a wrong value that an error repeats


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter  # 0.1 s, and only readers of files need it

    return TypeAdapter(kind)


def checked(value: Any, kind: type[T], place: str, error: type[NeonError], mend: str) -> T:
    """Hold a value that came from outside to a type.

    Args:
        value: what ``json.loads`` gave.
        kind: a dataclass, ``TypedDict`` or generic alias. Strict: ``"false"`` is no bool and
            ``1.5`` no int; a whole number is a float.
        place: where the value stands, as an error names it (``"runs/x/manifest.json"``).
        error: the kind of ``NeonError`` to raise.
        mend: what the user can do, as the end of the message.

    Returns:
        The value as ``kind``.

    Raises:
        NeonError: of class ``error``; names place, field, value, rule and mend.
    """
    from pydantic import ValidationError

    try:
        # a JSON array may stand for a tuple: strict mode knows that of JSON alone
        adapter: TypeAdapter[T] = _adapter(kind)  # type: ignore[arg-type]
        return adapter.validate_json(json.dumps(value, allow_nan=False), strict=True)
    except ValueError as problem:
        if not isinstance(problem, ValidationError):
            raise error(f"{place}: {problem}; {mend}") from problem
        first = problem.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "the whole file"
        shown = repr(first["input"])
        shown = shown if len(shown) <= MAX_SHOWN else shown[: MAX_SHOWN - 3] + "..."
        raise error(f"{place}: {field}: {first['msg']} (got {shown}); {mend}") from problem


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def parse_json(text: str | bytes) -> Any:
    """``json.loads`` without ``NaN`` and ``Infinity``.

    Raises:
        ValueError: the text is no JSON, not UTF-8, or nested too deeply.
    """
    try:
        return json.loads(text, parse_constant=_no_constant)
    except RecursionError as problem:
        raise ValueError("nested too deeply") from problem


def read_json(path: Path, kind: type[T], error: type[NeonError], mend: str) -> T:
    """A JSON file as ``kind``; see ``checked``.

    Raises:
        NeonError: of class ``error``: the file is missing, unreadable, no JSON or of another shape.
    """
    try:
        value = parse_json(path.read_bytes())
    except OSError as problem:
        raise error(f"cannot read {path} ({problem.strerror}); {mend}") from problem
    except ValueError as problem:
        raise error(f"{path} is no JSON file ({problem}); {mend}") from problem
    return checked(value, kind, str(path), error, mend)
