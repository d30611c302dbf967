"""A user's own policy: the factory that ``--policy module:function`` names, and what it makes.

The factory is called with ``condition``, ``task`` and ``train_seed`` and returns an object with
``clip`` (a ``ClipConfig``), ``needs`` (words of ``neon_sim.observation.batch.NEEDS``),
``reset(num_envs)`` and ``act(ClipBatch) -> (B, 16, A)`` floats in [-1, 1]. Whatever is not that is
named in one line before a run begins; what ``act`` answers is tried in ``trial.py``.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Collection
from typing import Any

from neon_sim.errors import ConfigError, NeonError, PolicyError, unknown_name
from neon_sim.observation.batch import NEEDS
from neon_sim.observation.clips import ClipConfig

from ..runs.plan import Cell
from .episode import error_text

METHODS = ("reset", "act")
EXAMPLE = "def make(condition, task, train_seed): return MyPolicy()"


def make_player(name: str, cell: Cell) -> Any:
    """Call a ``module:function`` for one cell.

    Raises:
        ConfigError: no such factory, or one that does not take what it is called with.
        PolicyError: what it returns is no policy.
    """
    factory = find_factory(name)
    arguments = {"condition": cell.condition, "task": cell.task, "train_seed": cell.train_seed}
    _check_signature(name, factory, arguments)
    try:
        player = factory(**arguments)
    except NeonError:
        raise
    except (Exception, SystemExit) as error:
        shown = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        raise PolicyError(
            f"policy {name!r} raised when it was called with {shown} ({error_text(error)}); the "
            f"factory must return a policy: {EXAMPLE}"
        ) from error
    check_player(name, player)
    return player


def find_factory(name: str) -> Callable[..., Any]:
    """The function that a ``module:function`` names; a file of the current folder is found, too.

    Raises:
        ConfigError: it cannot be imported, is not there, or cannot be called.
    """
    module_name, _, attribute = name.partition(":")
    here = os.getcwd()
    if here not in sys.path:  # last, so that it hides nothing that is installed
        sys.path.append(here)
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        raise ConfigError(
            f"policy {name!r}: module {module_name!r} cannot be imported ({error_text(error)}); "
            "name a module of this folder, or one that Python finds, that imports without an error"
        ) from error
    if not hasattr(module, attribute):
        raise ConfigError(
            f"policy {name!r}: module {module_name!r} has no {attribute!r}; name a function of it, "
            f"as in {module_name}:make with {EXAMPLE}"
        )
    factory: Callable[..., Any] = getattr(module, attribute)
    if not callable(factory):
        raise ConfigError(
            f"policy {name!r} must be a function that returns a policy (got a value of type "
            f"{type(factory).__name__}): {EXAMPLE}"
        )
    return factory


def _check_signature(name: str, factory: Callable[..., Any], arguments: dict[str, Any]) -> None:
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):  # some builtins have none: the call will tell
        return
    try:
        signature.bind(**arguments)
    except TypeError as error:
        shown = str(signature)
        raise ConfigError(
            f"policy {name!r} must take {', '.join(arguments)} by name and nothing else that is "
            f"required ({error}; it takes {shown if len(shown) < 100 else shown[:97] + '...'}): "
            f"{EXAMPLE}"
        ) from error


def check_player(name: str, player: Any) -> None:
    """Hold what a factory returned to what the bench calls.

    Raises:
        PolicyError: a class, a missing method or attribute, a ``clip`` that is none, or ``needs``
            that are no words of ``NEEDS``. ConfigError: a number of ``clip`` outside its rule.
    """
    if isinstance(player, type):
        raise PolicyError(
            f"policy {name!r} returned the class {player.__name__}; return an object of it: "
            f"{player.__name__}()"
        )
    missing = [word for word in (*METHODS, "clip", "needs") if not hasattr(player, word)]
    if missing:
        raise PolicyError(
            f"policy {name!r} lacks {', '.join(missing)} (got {_kind(player)}); a policy has "
            "reset(num_envs), act(batch), clip and needs"
        )
    for word in METHODS:
        if not callable(getattr(player, word)):
            raise PolicyError(
                f"{word} of policy {name!r} must be a method (got {_kind(getattr(player, word))})"
            )
    if not isinstance(player.clip, ClipConfig):
        raise PolicyError(
            f"clip of policy {name!r} must be a neon_sim.observation.clips.ClipConfig (got "
            f"{_kind(player.clip)}); clip = ClipConfig(num_frames=1) sees one frame"
        )
    player.clip.validate()
    _check_needs(name, player.needs)


def _check_needs(name: str, needs: Any) -> None:
    if isinstance(needs, str) or not isinstance(needs, Collection):
        raise PolicyError(
            f"needs of policy {name!r} must be a set of words (got {needs!r}); "
            'needs = {"video"} is handed the clip'
        )
    for word in needs:
        if word not in NEEDS:
            raise unknown_name(f"word in needs of policy {name!r}:", str(word), NEEDS)


def _kind(value: Any) -> str:
    return f"a value of type {type(value).__name__}"
