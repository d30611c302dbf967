"""What comes in at the door of an environment: settings and options, each held to its rule.

Python lets ``image_size=True``, ``episode=1.5`` or ``start_noise=float("nan")`` pass, and the
fault shows later as other pictures, another episode or a traceback from inside MuJoCo.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from annotated_types import Interval

from neon_sim.errors import ConfigError, unknown_name
from neon_sim.rules import hold, shown
from neon_sim.simulation.world import MAX_PIXELS

# Run seeds and indices of episodes stand in int64 columns.
Key = Annotated[int, Interval(ge=0, le=2**63 - 1)]
ImageSize = Annotated[int, Interval(ge=1, le=MAX_PIXELS)]
StartNoise = Annotated[float, Interval(ge=0, le=1)]  # rad, as of ``neon-bench run``
OPTIONS = ("episode", "latent", "start_noise")


def check_name(kind: str, value: Any, known: Sequence[str]) -> str:
    """``value``, where it is one of ``known``.

    Raises:
        ConfigError: no text. UnknownNameError: no such name.
    """
    if not isinstance(value, str):
        raise ConfigError(f"{kind} must be a name of {', '.join(known)} (got {shown(value)})")
    if value not in known:
        raise unknown_name(kind, value, known)
    return str(value)


def check_names(kind: str, value: Any) -> tuple[str, ...]:
    """One name, or several in a list or tuple, each once; an empty list is none.

    Raises:
        ConfigError: something else, or a name twice.
    """
    names = (value,) if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"{kind} must be a name or a list of names (got {shown(value)})")
    if len(set(names)) < len(names):
        raise ConfigError(f"{kind} must name each once (got {shown(list(names))})")
    return tuple(names)


def check_options(options: Any) -> dict[str, Any]:
    """The options of a reset: ``episode``, ``start_noise`` and ``latent`` where they are given.

    Raises:
        ConfigError: no dict, a value outside its rule. UnknownNameError: no such option.
    """
    if options is None:
        return {}
    if not isinstance(options, Mapping):
        raise ConfigError(f"options must be a dict (got {shown(options)})")
    for key in options:
        check_name("option of reset", key, OPTIONS)
    given = {key: value for key, value in options.items() if value is not None}
    for key, hint, kind in (("episode", Key, int), ("start_noise", StartNoise, float)):
        if key in given:
            hold(f"options[{key!r}]", given[key], hint)
            given[key] = kind(given[key])
    return given


def check_latent(latent: Any, drawn: dict[str, Any]) -> dict[str, Any]:
    """A latent that somebody hands over, held to the form of one that was drawn.

    Args:
        latent: JSON values. drawn: of the same task.

    Returns:
        A copy of it.

    Raises:
        ConfigError: no dict, other keys, or a value of another kind; names the place.
    """
    if not isinstance(latent, Mapping):
        raise ConfigError(f"options['latent'] must be a dict (got {shown(latent)})")
    other = sorted(map(str, set(latent) ^ set(drawn)))
    if other:
        raise ConfigError(
            f"options['latent'] must have the keys {', '.join(sorted(drawn))} "
            f"(got {', '.join(map(str, latent)) or 'none'})"
        )
    for key, value in latent.items():
        _check_form(f"options['latent'][{key!r}]", value, drawn[key])
    return dict(latent)


def _check_form(place: str, value: Any, drawn: Any) -> None:
    """A list is a list, a text a text; numbers are finite, and whole where one drawn is."""
    if isinstance(drawn, list):
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{place} must be a list (got {shown(value)})")
        for index, item in enumerate(value):
            like = drawn[min(index, len(drawn) - 1)] if drawn else item
            _check_form(f"{place}[{index}]", item, like)
    elif isinstance(drawn, dict):
        if not isinstance(value, Mapping) or set(value) != set(drawn):
            raise ConfigError(
                f"{place} must be a dict with keys {list(drawn)} (got {shown(value)})"
            )
        for key, item in value.items():
            _check_form(f"{place}[{key!r}]", item, drawn[key])
    elif isinstance(drawn, int | float):
        hold(place, value, type(drawn))
    elif isinstance(drawn, str) and not isinstance(value, str):
        raise ConfigError(f"{place} must be a text (got {shown(value)})")


def settings_of(task: type) -> dict[str, inspect.Parameter]:
    """Every setting that a task's class takes, by name; its bases' too."""
    found: dict[str, inspect.Parameter] = {}
    for base in task.__mro__:
        made = vars(base).get("__init__")
        for name, parameter in inspect.signature(made).parameters.items() if made else ():
            kinds = (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
            if name != "self" and parameter.kind in kinds:
                found.setdefault(name, parameter)
        if base.__name__ == "Task":
            break
    return found
