"""Settings of an environment and options of ``reset``, each checked against its rule.

Unchecked, ``image_size=True``, ``episode=1.5`` or ``start_noise=float("nan")`` would pass and
show later as other images, another episode or a traceback from inside MuJoCo.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

from annotated_types import Interval

from neon_sim.contracts import Latent
from neon_sim.errors import ConfigError, unknown_name
from neon_sim.rules import hold, shown
from neon_sim.simulation.world import MAX_PIXELS

from .contract import L

# Run seeds and episode indices, which datasets hold in int64 columns.
Key = Annotated[int, Interval(ge=0, le=2**63 - 1)]
ImageSize = Annotated[int, Interval(ge=1, le=MAX_PIXELS)]
StartNoise = Annotated[float, Interval(ge=0, le=1)]  # rad, as of ``neon-bench run``
OPTIONS = ("episode", "latent", "start_noise")


class TaskSettings(TypedDict, total=False):
    """The keyword arguments of ``Task``, whose docstring explains them."""

    cameras: Sequence[str]
    image_size: int
    robot: str
    render_mode: str | None
    seed: int | None
    start_noise: float
    microphones: Sequence[str] | None
    room: str
    privileged_info: bool


@dataclass(frozen=True)
class ResetOptions:
    """The options of a reset; None where one was not given.

    Attributes:
        episode: index of the episode.
        start_noise: radius of the perturbation of the start pose, rad.
        latent: of the episode, not yet checked against the task's.
    """

    episode: int | None = None
    start_noise: float | None = None
    latent: Latent | None = None


def check_name(kind: str, value: str, known: Sequence[str]) -> str:
    """Return ``value`` if it is one of ``known``.

    Raises:
        ConfigError: not a string. UnknownNameError: no such name.
    """
    if not isinstance(value, str):
        raise ConfigError(f"{kind} must be a name of {', '.join(known)} (got {shown(value)})")
    if value not in known:
        raise unknown_name(kind, value, known)
    return str(value)


def check_names(kind: str, value: str | Sequence[str]) -> tuple[str, ...]:
    """Return one name, or a list or tuple of names, as a tuple.

    Raises:
        ConfigError: anything else, or a name given twice.
    """
    names = (value,) if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"{kind} must be a name or a list of names (got {shown(value)})")
    if len(set(names)) < len(names):
        raise ConfigError(f"{kind} must name each once (got {shown(list(names))})")
    return tuple(names)


def check_options(options: Mapping[str, Any] | None) -> ResetOptions:
    """Check the options of a reset; ``latent`` is checked later, by ``check_latent``.

    Raises:
        ConfigError: not a dict, or a value outside its rule. UnknownNameError: no such option.
    """
    if options is None:
        return ResetOptions()
    if not isinstance(options, Mapping):
        raise ConfigError(f"options must be a dict (got {shown(options)})")
    for key in options:
        check_name("option of reset", key, OPTIONS)
    episode, noise = options.get("episode"), options.get("start_noise")
    hold("options['episode']", episode, Key | None)
    hold("options['start_noise']", noise, StartNoise | None)
    return ResetOptions(
        episode=None if episode is None else int(episode),
        start_noise=None if noise is None else float(noise),
        latent=options.get("latent"),
    )


def check_latent(latent: Latent, drawn: L) -> L:
    """Check that a latent from outside has the form of one that the task drew.

    Args:
        latent: JSON values. drawn: a latent of the same task.

    Returns:
        A copy of ``latent``.

    Raises:
        ConfigError: not a dict, other keys, or a value of another type; names the place.
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
    given: Any = dict(latent)
    checked: L = given  # of the same type as ``drawn``, as the loop above has shown
    return checked


def _check_form(place: str, value: Any, drawn: Any) -> None:
    """Lists, dicts and strings must match ``drawn``; numbers are finite, integers stay integers."""
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
        raise ConfigError(f"{place} must be a string (got {shown(value)})")


def settings_of(task: type) -> dict[str, inspect.Parameter]:
    """Every setting that a task's class and its bases take, by name."""
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
