"""Rules of settings: what stands beside a type holds wherever a value comes from."""

from __future__ import annotations

import dataclasses
import importlib
import math
import re
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import pytest
from annotated_types import Interval, Len
from hypothesis import given
from hypothesis import strategies as st

from neon_sim.errors import ConfigError
from neon_sim.registry import AUDIO_ENCODERS, CONNECTORS, FUSIONS, HEADS, TEMPORAL
from neon_sim.rules import (
    hold,
    hold_rules,
    hold_text,
    noted_hints,
    option,
    rule_text,
    settings_of,
)
from neon_sim.schema import checked

ROOT = Path(__file__).resolve().parents[2]
SMALL = Annotated[int, Interval(ge=1, le=64)]
RATE = Annotated[float, Interval(gt=0, le=25)]
# Settings dataclasses, by the module that holds them.
SETTINGS = {
    "neon_sim.config.policy": ("ClipConfig", "PolicyConfig"),
    "neon_sim.demonstrations.settings": ("CollectConfig", "MixConfig", "PerturbConfig"),
    "neon_sim.policies.training.settings": ("TrainConfig",),
    "neon_sim.policies.ppo.settings": ("RLConfig",),
    "neon_sim.pretrain": ("PretrainConfig",),
    "neon_sim.policies.pretraining.clips": ("ClipDataConfig",),
    "neon_sim.policies.pretraining.probe": ("ProbeConfig",),
    "neon_sim.dataset_check": ("CheckConfig",),
    "neon_sim.benchmarks.balance": ("BalanceConfig",),
    "neon_sim.benchmarks.runs.suites": ("SuiteConfig",),
    "neon_sim.benchmarks.runs.plan": ("RunOptions",),
    "neon_sim.envs.reflex_search": ("ReflexSearchConfig",),
    "neon_sim.policies.backbones.foundation.family": ("BackboneConfig",),
}


@dataclass
class Ruled:
    """One of every kind."""

    PREFIX: ClassVar[str] = "group."

    count: SMALL = 8
    rate: RATE = 12.5
    plain: float = 1.0
    flag: bool = False
    name: str = "x"
    limit: SMALL | None = None
    widths: Annotated[list[SMALL], Len(1, 3)] = field(default_factory=lambda: [4])
    pair: tuple[float, float] = (0.0, 1.0)
    extra: dict[str, SMALL] = field(default_factory=dict)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"count": 0}, "group.count must be 1 to 64, a whole number (got 0)"),
        ({"count": 65}, "group.count must be 1 to 64, a whole number (got 65)"),
        ({"count": 2.0}, "group.count must be 1 to 64, a whole number (got 2.0)"),
        ({"count": True}, "group.count must be 1 to 64, a whole number (got True)"),
        ({"count": "3"}, "group.count must be 1 to 64, a whole number (got '3')"),
        ({"count": None}, "group.count must be 1 to 64, a whole number (got None)"),
        ({"rate": 0}, "group.rate must be above 0, at most 25 (got 0)"),
        ({"rate": math.nan}, "group.rate must be above 0, at most 25 (got nan)"),
        ({"rate": np.zeros(1)}, "group.rate must be above 0, at most 25 (got array([0.]))"),
        ({"plain": math.inf}, "group.plain must be a finite number (got inf)"),
        ({"plain": 10**400}, "group.plain must be a finite number (got 1000"),
        ({"flag": 1}, "group.flag must be true or false (got 1)"),
        ({"name": "a\0"}, "group.name must be text without NUL, in UTF-8 (got 'a\\x00')"),
        ({"name": "\udcff"}, "group.name must be text without NUL"),
        ({"name": 3}, "group.name must be text without NUL, in UTF-8 (got 3)"),
        ({"name": None}, "group.name must be text without NUL, in UTF-8 (got None)"),
        ({"name": b"x"}, "group.name must be text without NUL, in UTF-8 (got b'x')"),
        ({"limit": 0}, "group.limit must be 1 to 64, a whole number (got 0)"),
        ({"widths": []}, "group.widths must hold 1 to 3 values (got 0)"),
        ({"widths": [1] * 4}, "group.widths must hold 1 to 3 values (got 4)"),
        ({"widths": [4, 0]}, "group.widths must be 1 to 64, a whole number (got 0)"),
        ({"widths": 4}, "group.widths must be list (got 4)"),
        ({"pair": (1.0,)}, "group.pair must hold 2 to 2 values (got 1)"),
        ({"pair": (1.0, math.nan)}, "group.pair must be a finite number (got nan)"),
        ({"extra": {"a": 0}}, "group.extra.a must be 1 to 64, a whole number (got 0)"),
        ({"extra": [1]}, "group.extra must be dict (got [1])"),
    ],
)
def test_a_value_outside_its_rule_is_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        hold_rules(Ruled(**change))
    assert str(raised.value).startswith(said)
    assert len(str(raised.value)) < 250


def test_what_fits_passes_as_it_is() -> None:
    hold_rules(Ruled())
    hold_rules(Ruled(count=np.int64(3), rate=np.float32(1), plain=Fraction(1, 2), limit=64))
    hold_rules(Ruled(rate=25, widths=[1, 64], pair=(0, 1), extra={"a": 1}))


SIDE = Annotated[int | str, Interval(ge=32, le=512)]
SIDE_SAID = "x must be 32 to 512, a whole number (got "
UNIONS: list[tuple[Any, list[Any], list[tuple[Any, str]]]] = [
    (
        SIDE,  # a number that may be given as text
        [32, 512, "48", np.int64(64)],
        [
            (8, f"{SIDE_SAID}8)"),
            ("8", f"{SIDE_SAID}8)"),
            ("abc", f"{SIDE_SAID}'abc')"),
            ("", f"{SIDE_SAID}'')"),
            (48.0, f"{SIDE_SAID}48.0)"),
            (True, f"{SIDE_SAID}True)"),
            (None, f"{SIDE_SAID}None)"),
            ([48], f"{SIDE_SAID}[48])"),
        ],
    ),
    (SIDE | None, [None, 32, "32"], [(8, f"{SIDE_SAID}8)"), ([], f"{SIDE_SAID}[])")]),
    (
        Annotated[float | str, Interval(gt=0, le=1)],
        [1, 0.5, "0.5"],
        [("nan", "x must be above 0, at most 1 (got nan)"), (2.0, "x must be above 0, at")],
    ),
    (
        int | str,
        [3, "abc", Path("abc")],
        [
            (1.5, "x must be a whole number, or text without NUL, in UTF-8 (got 1.5)"),
            (None, "x must be a whole number, or text without NUL, in UTF-8 (got None)"),
            ("a\0", "x must be a whole number, or text without NUL"),
        ],
    ),
    (
        SMALL | bool | None,
        [1, 64, False, None],
        [(65, "x must be 1 to 64, a whole number, or true or false (got 65)")],
    ),
    (
        typing.Optional[typing.Union[list[SMALL], SMALL]],  # noqa: UP007, UP045
        [None, 3, [3, 4]],
        [([65], "x must be 1 to 64, a whole number, or"), ("3", "x must be list, or 1 to 64, a")],
    ),
    (Any, [3, None, "x", [math.nan]], []),
]


@pytest.mark.parametrize(("hint", "right", "wrong"), UNIONS)
def test_a_union_takes_what_one_of_its_types_takes(
    hint: Any, right: list[Any], wrong: list[tuple[Any, str]]
) -> None:
    for value in right:
        hold("x", value, hint)
    for value, said in wrong:
        with pytest.raises(ConfigError) as raised:
            hold("x", value, hint)
        assert str(raised.value).startswith(said)


def test_a_text_that_names_a_number_is_held_as_one() -> None:
    """``backbone_args`` come as text, whatever the part notes."""
    for hint in (SIDE, Annotated[int, Interval(ge=32, le=512)]):
        hold_text("x", "48", hint)
        with pytest.raises(ConfigError, match=r"x must be 32 to 512, a whole number .got '48.5'"):
            hold_text("x", "48.5", hint)
    hold_text("x", "0.5", RATE)
    with pytest.raises(ConfigError, match=r"x must be above 0, at most 25 .got nan"):
        hold_text("x", "nan", RATE)


@given(st.one_of(st.integers(), st.floats(), st.booleans(), st.text(max_size=3), st.none()))
def test_a_number_passes_exactly_where_its_rule_says(value: Any) -> None:
    def passes(hint: Any) -> bool:
        try:
            hold("x", value, hint)
        except ConfigError as error:
            return not str(error).startswith(f"x must be {rule_text(hint)} (got ")
        return True

    whole = isinstance(value, int) and not isinstance(value, bool)
    assert passes(SMALL) == (whole and 1 <= value <= 64)
    number = whole or isinstance(value, float)
    assert passes(RATE) == (number and 0 < value <= 25)


def test_a_file_that_is_read_back_is_held_to_the_same_rules() -> None:
    assert checked({"count": 3}, Ruled, "x.json", ConfigError, "make it anew").count == 3
    wrongs: list[dict[str, Any]] = [
        {"count": 0},
        {"rate": 0.0},
        {"widths": []},
        {"extra": {"a": 0}},
    ]
    for wrong in wrongs:
        with pytest.raises(ConfigError, match=r"x.json: .*; make it anew"):
            checked(wrong, Ruled, "x.json", ConfigError, "make it anew")


@pytest.mark.parametrize(
    ("hint", "text", "value"),
    [
        (SMALL, "7", 7),
        (RATE, "2.5", 2.5),
        (list[SMALL], "1,2", [1, 2]),
        (str, "a b", "a b"),
        (list[str], "'a,b',c", ["a,b", "c"]),
        (Path, "demos (Kopie)", Path("demos (Kopie)")),
    ],
)
def test_an_option_reads_what_a_setting_would(hint: Any, text: str, value: Any) -> None:
    assert option(hint)(text) == value


# ---- every setting there is -----------------------------------------------------------------


def ranges(hint: Any) -> Iterator[tuple[Any, Interval | None]]:
    """Every number inside a hint, with its rule."""
    rule = None
    if typing.get_origin(hint) is Annotated:
        hint, *notes = typing.get_args(hint)
        rule = next((note for note in notes if isinstance(note, Interval)), None)
    if hint in (int, float):
        yield hint, rule
    for inner in typing.get_args(hint):
        yield from ranges(inner)


def test_the_list_of_settings_is_whole() -> None:
    """Every dataclass that is filled from a command line or YAML, found by its name."""
    found = set()
    for folder in ("neon_sim", "envs", "policies", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            found |= set(re.findall(r"@dataclass\nclass (\w+(?:Config|Options))", path.read_text()))
    assert found == {name for names in SETTINGS.values() for name in names}


@pytest.mark.parametrize("module", SETTINGS)
def test_every_number_of_a_setting_has_a_range_on_both_sides(module: str) -> None:
    for name in SETTINGS[module]:
        cls = getattr(importlib.import_module(module), name)
        hints = noted_hints(cls)
        for item in dataclasses.fields(cls):
            if item.name.endswith("_args"):
                continue  # held to what the part says, below
            for _, rule in ranges(hints[item.name]):
                assert rule is not None, f"{name}.{item.name}"
                low = rule.ge if rule.gt is None else rule.gt
                high = rule.le if rule.lt is None else rule.lt
                assert low is not None, f"{name}.{item.name}"
                assert high is not None, f"{name}.{item.name}"


@pytest.mark.parametrize("registry", [HEADS, FUSIONS, CONNECTORS, TEMPORAL, AUDIO_ENCODERS])
def test_every_argument_of_a_part_has_a_range(registry: Any) -> None:
    for name in registry:
        part = registry.resolve(name)
        for key, hint in settings_of(part).items():
            (found,) = list(ranges(hint))
            assert found[1] is not None, f"{name}.{key}"
            for bad in (math.nan, math.inf, -math.inf, -1.0, 1e300):
                with pytest.raises(ConfigError, match=f"{key} must be "):
                    registry.held(name, {key: bad})
            if found[0] is int:
                with pytest.raises(ConfigError, match="a whole number"):
                    registry.held(name, {key: 1.5})
