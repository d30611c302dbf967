"""The contract of a backbone: a frozen encoder that turns a clip into tokens.

A backbone is two attributes and two methods. It is not an ``nn.Module`` of the policy, so its
weights never reach an optimiser or the checkpoint of a head. The checkpoint holds the fingerprint
of the weights instead.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from neon_sim.errors import ConfigError
from neon_sim.observation.batch import ClipBatch
from neon_sim.rules import hold_text, noted_hints

AUTO = "auto"  # device: CUDA where there is one, else the CPU


@dataclass(frozen=True)
class Tokens:
    """The tokens of a batch of clips.

    Attributes:
        hidden: (B, S, D) float. mask: (B, S) bool, False where a token stands for padding.
        pooled: (B, D) mean over real tokens, zero where there is none.
    """

    hidden: Tensor
    mask: Tensor
    pooled: Tensor


@dataclass(frozen=True)
class Encoded:
    """Tokens of B clips, frame by frame: the input of the trained half of a policy.

    Attributes:
        hidden: (B, F, S, D); F is 1 where the backbone joins time. mask: (B, F, S) bool.
        time_s: (B, F) float32 ages of the frames.
    """

    hidden: Tensor
    mask: Tensor
    time_s: Tensor

    def rows(self, index: list[int]) -> Encoded:
        """The rows of ``index``, in its order."""
        return Encoded(self.hidden[index], self.mask[index], self.time_s[index])


def join(parts: list[Encoded]) -> Encoded:
    """Concatenate the rows of several batches."""
    columns = ([getattr(part, item.name) for part in parts] for item in fields(Encoded))
    return Encoded(*map(torch.cat, columns))


class Backbone(Protocol):
    """A frozen encoder.

    A backbone that takes arguments names a dataclass of them in its class, ``SETTINGS``; its
    constructor takes the fields as keywords and turns them into one with ``read_settings``.
    ``OPEN = True`` says that it takes other keys too, which it checks itself.

    How many tokens it makes is asked before its weights are read (``known_shape``), so both
    attributes stand in the class. Where they depend on its arguments, the class answers itself:
    ``token_shape(cls, frames: int, /, ...)``, a class method that takes behind the slash what
    the constructor takes, returns places in time F and tokens a place S, and reads no weight;
    None where only the ``config.json`` of weights that are not here could tell.

    Attributes:
        feature_dim: D. tokens_per_frame: tokens of one frame (of the whole clip, for a video
            encoder that joins time).

    An encoder of single frames may say ``single_frames = True`` in its class: then it is its own
    image twin where ``backbone=`` names it alone. One whose tokens form a grid that is no square
    has its rows in ``token_rows``, and the class says them in ``grid_rows(cls, /, ...)``, which
    takes what ``token_shape`` takes after the frames.
    """

    feature_dim: int
    tokens_per_frame: int

    def num_tokens(self, num_frames: int) -> int:
        """S for a clip of ``num_frames`` frames, a multiple of ``tokens_per_frame``."""
        ...

    def encode(self, clip: ClipBatch) -> Tokens:
        """Encode (B, T) frames; padded frames never change the tokens of real ones."""
        ...


@dataclass(frozen=True)
class NoSettings:
    """The settings of a backbone that takes no arguments."""


Settings = TypeVar("Settings")
Argument = str | int  # of ``backbone_args``, which a config holds as texts
# What a registry name stands for: a class, or a ``partial`` of one.
Maker = Callable[..., Backbone]


def shape_of(backbone: Backbone, num_frames: int) -> tuple[int, int]:
    """Places in time F and tokens a place S that a backbone makes of ``num_frames`` frames."""
    tokens = int(backbone.tokens_per_frame)
    return max(backbone.num_tokens(num_frames) // tokens, 1), tokens


def known_shape(
    maker: Maker, num_frames: int, arguments: Mapping[str, Argument]
) -> tuple[int, int] | None:
    """``shape_of`` a backbone before it is made and any weight is read.

    Args:
        maker: what its registry name stands for.
        num_frames: that it will be shown. arguments: it will be made with.

    Returns:
        F and S; None where neither ``token_shape`` nor attributes of the class say it.

    Raises:
        ConfigError: arguments it does not take, or as ``token_shape`` says.
    """
    _check_arguments(maker, arguments)
    kind, fixed = _taken_apart(maker)
    asked: Callable[..., tuple[int, int] | None] | None = getattr(kind, "token_shape", None)
    if asked is not None:
        return asked(num_frames, *fixed, **arguments)
    try:
        return shape_of(object.__new__(kind), num_frames)  # attributes of the class alone
    except (AttributeError, TypeError):
        return None


def largest_frame(maker: Maker, arguments: Mapping[str, Argument]) -> int | None:
    """Pixels a side of the largest frame a backbone takes, before it is made; None for any.

    Args:
        maker: what its registry name stands for; a class may answer by a class method
            ``largest_frame``, which takes what its constructor takes.
        arguments: it will be made with.

    Raises:
        ConfigError: arguments it does not take.
    """
    kind, fixed = _taken_apart(maker)
    asked: Callable[..., int] | None = getattr(kind, "largest_frame", None)
    return None if asked is None else int(asked(*fixed, **arguments))


def known_rows(maker: Maker, arguments: Mapping[str, Argument]) -> int:
    """Rows of the grid that a frame's tokens form, before a backbone is made; 0 for a square.

    Args:
        maker: what its registry name stands for. arguments: it will be made with.

    Raises:
        ConfigError: arguments it does not take.
    """
    kind, fixed = _taken_apart(maker)
    asked: Callable[..., int] | None = getattr(kind, "grid_rows", None)
    return 0 if asked is None else int(asked(*fixed, **arguments))


def read_settings(kind: Callable[..., Settings], arguments: Mapping[str, Argument]) -> Settings:
    """Check the arguments of a backbone and return them as its settings dataclass.

    Args:
        kind: dataclass whose fields are texts (``str``) or whole numbers with a rule.
        arguments: ``backbone_args`` of a policy.

    Raises:
        ConfigError: a key that is no field, no number, or a number outside its rule.
    """
    hints = noted_hints(kind)
    values: dict[str, Argument] = {}
    for key, value in arguments.items():
        if key not in hints:
            raise ConfigError(
                f"backbone_args must be {', '.join(hints)} (got {key}={value}); leave it out"
            )
        if hints[key] is not str:
            hold_text(f"backbone_args.{key}", value, hints[key])
        values[key] = str(value) if hints[key] is str else int(value)
    return kind(**values)


def accepted_keys(maker: Maker) -> list[str]:
    """Keys that ``backbone_args`` may have for what a registry name stands for.

    Those of a maker that it is handed first, as a still twin is, count as its own. ``*`` stands
    for keys that only the backbone itself knows.
    """
    kind, fixed = _taken_apart(maker)
    keys = list(noted_hints(getattr(kind, "SETTINGS", NoSettings)))
    keys += [key for first in fixed if callable(first) for key in accepted_keys(first)]
    return [*keys, "*"] if getattr(kind, "OPEN", False) else keys


def _taken_apart(maker: Maker) -> tuple[type[Backbone], tuple[str | Maker, ...]]:
    """The class of a maker, and the arguments that a ``partial`` fixes."""
    kind, fixed = (maker.func, maker.args) if isinstance(maker, partial) else (maker, ())
    assert isinstance(kind, type), f"{maker} is neither a class nor a partial of one"
    return kind, fixed


def noted_keys(maker: Maker) -> dict[str, Any]:
    """Type hints of the numbers among ``accepted_keys``, with the rules noted beside them."""
    kind, fixed = _taken_apart(maker)
    hints = noted_hints(getattr(kind, "SETTINGS", NoSettings))
    noted = {key: hint for key, hint in hints.items() if hint is not str}
    for first in fixed:
        noted |= noted_keys(first) if callable(first) else {}
    return noted


def _check_arguments(maker: Maker, arguments: Mapping[str, Argument]) -> None:
    known = accepted_keys(maker)
    foreign = [key for key in arguments if key not in known]
    if foreign and "*" not in known:
        raise ConfigError(
            f"backbone_args must be what {_taken_apart(maker)[0].__name__} takes: "
            f"{', '.join(known) or 'nothing'} (got {foreign[0]})"
        )
    noted = noted_keys(maker)
    for key, value in arguments.items():
        if key in noted:
            hold_text(f"backbone_args.{key}", value, noted[key])
    if "device" in arguments and "device" in known:
        find_device(str(arguments["device"]))


def find_device(word: str, setting: str = "backbone.device") -> torch.device:
    """The torch device that a setting names. Features differ between devices by rounding only.

    Args:
        word: ``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:1``.
        setting: what errors call it.

    Raises:
        ConfigError: no name of one device, or CUDA where there is none.
    """
    if not isinstance(word, str) or not re.fullmatch(r"auto|cpu|cuda(:\d+)?", word):
        raise ConfigError(
            f"{setting} must name one device (got {word!r}); use auto, cpu, cuda or cuda:N"
        )
    present = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if word == AUTO:
        return torch.device("cuda" if present else "cpu")
    device = torch.device(word)
    if device.type == "cuda" and (device.index or 0) >= present:
        found = f"{present} CUDA devices" if present else "no CUDA device"
        raise ConfigError(f"{setting}={word} is not here: torch sees {found}; take cpu or auto")
    return device


def one_place(model_id: str, weights: str) -> str:
    """Where weights are: ``model_id``, or ``weights``, its older name.

    Raises:
        ConfigError: both are given, and differ.
    """
    if model_id and weights and model_id != weights:
        raise ConfigError(
            f"backbone.model_id and backbone.weights mean the same (got {model_id!r} and "
            f"{weights!r}); give one"
        )
    return model_id or weights


def masked_mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """Mean of (B, S, D) over the places where (B, S) is True; zero, not NaN, where none is."""
    weight = mask.to(hidden.dtype).unsqueeze(-1)
    kept = torch.where(mask.unsqueeze(-1), hidden, torch.zeros((), dtype=hidden.dtype))
    return kept.sum(dim=-2) / weight.sum(dim=-2).clamp(min=1.0)


def fingerprint(backbone: Backbone) -> str:
    """Hex SHA-256 over a backbone's class name and every weight it holds.

    Weights are those of the ``nn.Module`` and tensor attributes of the object; a backbone with a
    ``fingerprint()`` of its own, because its weights are large and loaded late, gives that.
    """
    if callable(own := getattr(backbone, "fingerprint", None)):
        return str(own())
    digest = hashlib.sha256(type(backbone).__name__.encode())
    for name, value in sorted(vars(backbone).items()):
        if isinstance(value, nn.Module):
            for key, tensor in sorted(value.state_dict().items()):
                digest.update(_hashed(f"{name}.{key}", tensor))
        elif isinstance(value, Tensor):
            digest.update(_hashed(name, value))
    return digest.hexdigest()


def _hashed(name: str, tensor: Tensor) -> bytes:
    """Name, shape and numbers of a weight, as they are hashed."""
    array = np.ascontiguousarray(tensor.detach().cpu().float().contiguous().numpy())
    return f"{name}{array.shape}".encode() + array.tobytes()
