"""What a user types wins over what a YAML says, for every key of every file in ``configs/``."""

from __future__ import annotations

import functools
from dataclasses import asdict
from typing import Any

import pytest

from neon_sim.benchmarks.runs.plan import make_plan
from neon_sim.benchmarks.runs.suites import SuiteConfig, load_suite, suite_names
from neon_sim.config import loading as config_loading
from neon_sim.config.fields import field_map, known_keys
from neon_sim.config.loading import config_names, load_config
from neon_sim.config.policy import ARGUED_PARTS, PolicyConfig, flat
from neon_sim.demonstrations.settings import CollectConfig
from neon_sim.errors import ConfigError
from neon_sim.observation.conditions import condition
from neon_sim.policies.ppo.settings import RLConfig
from neon_sim.policies.pretraining.trainer import PretrainConfig
from neon_sim.policies.tower import tower_backbone, tower_connector
from neon_sim.registry import BACKBONES, CONNECTORS, FUSIONS, HEADS, TEMPORAL

GROUPS: dict[str, Any] = {
    "collect": CollectConfig,
    "policy": PolicyConfig,
    "pretrain": PretrainConfig,
    "rl": RLConfig,
    "suite": SuiteConfig,
}
# Names cannot be made up; two of a kind, one of which no file has.
OTHERS: dict[str, tuple[Any, ...]] = {
    "backbone": ("random", "neon_tiny"),
    "image_backbone": ("random_image", "neon_tiny_image"),
    "connector": ("attentional_pool", "identity"),
    "stack_connector": ("attentional_pool", "identity"),
    "temporal": ("q_former", "none"),
    "fusion": ("pooled", "moma"),
    "head": ("dit_flow", "flow"),
    "clips.tasks": (["arm_swing"],),
}
# What a key means besides, by the rule that its class writes down (``implied``).
BESIDES = {
    "backbone": {"name", "image_backbone", "max_tokens", "backbone_args"}
    | {f"{part}{end}" for part in ("connector", "stack_connector") for end in ("", "_args")},
    "clips.per_task": {"clips.counts"},
    "clips.tasks": {"clips.counts"},
    **{part: {f"{part}_args"} for part in ARGUED_PARTS},
}
# It draws nothing of tasks: one of the two alone would change nothing.
REFUSED = {("quick", "clips.per_task"), ("quick", "clips.tasks")}
READ = functools.cache(config_loading.read_yaml)
FILES = [(group, name) for group in GROUPS for name in config_names(group)]


@pytest.fixture
def loose(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are read once and values held to no rule: what is asked here is whose they are."""
    monkeypatch.setattr(config_loading, "read_yaml", READ)
    monkeypatch.setattr(config_loading, "validated", lambda config: config)


def value_at(config: Any, key: str) -> Any:
    return functools.reduce(getattr, key.split("."), config)


def another(key: str, value: Any) -> Any:
    """A value of the same kind that does not stand there."""
    if key in OTHERS:
        return next(item for item in OTHERS[key] if item != value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, list):
        return [*value, 7] if value and isinstance(value[0], int) else ["another"]
    return "another"


def typed(value: Any) -> str:
    if isinstance(value, list):
        return f"[{','.join(map(str, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def keys_of(cls: type, config: Any) -> list[str]:
    return [key for key in known_keys(cls) if not isinstance(value_at(config, key), dict)]


def changed(before: Any, after: Any) -> set[str]:
    """Keys whose values differ; a dict counts as one."""
    keys = known_keys(type(before))
    return {key for key in keys if value_at(before, key) != value_at(after, key)}


def test_every_group_of_files_is_here() -> None:
    from importlib.resources import files

    folder = files(config_loading.CONFIG_MODULE)
    assert {item.name for item in folder.iterdir() if config_names(item.name)} == set(GROUPS)


@pytest.mark.usefixtures("loose")
@pytest.mark.parametrize(("group", "name"), FILES)
def test_each_key_that_is_typed_is_what_the_command_uses(group: str, name: str) -> None:
    cls = GROUPS[group]
    plain = load_config(cls, group, name, [])
    alone = [key for key in keys_of(cls, plain) if key not in BESIDES]
    wanted = {key: another(key, value_at(plain, key)) for key in alone}
    told = load_config(cls, group, name, [f"{key}={typed(v)}" for key, v in wanted.items()])
    assert {key: value_at(told, key) for key in alone} == wanted
    assert changed(plain, told) == set(alone)  # and no other: they are each of their own


def told_apart(group: str) -> list[str]:
    """The first file of each set of keys."""
    first: dict[frozenset[str], str] = {}
    for name in config_names(group):
        first.setdefault(frozenset(flat(READ(group, name)[0])), name)
    return list(first.values())


@pytest.mark.usefixtures("loose")
@pytest.mark.parametrize(("group", "name"), [(g, n) for g in GROUPS for n in told_apart(g)])
def test_a_key_that_means_more_changes_that_and_nothing_else(group: str, name: str) -> None:
    cls = GROUPS[group]
    plain = load_config(cls, group, name, [])
    for key in BESIDES:
        if key not in keys_of(cls, plain):
            continue
        value = another(key, value_at(plain, key))
        if group == "policy" and key == "backbone" and not _has_usual_twin(plain):
            continue  # refused: nobody can tell which twin is meant
        line = [f"{key}={typed(value)}"]
        if (name, key) in REFUSED:
            with pytest.raises(ConfigError, match=f"^{key}"):
                load_config(cls, group, name, line).clips.validate()
            continue
        told = load_config(cls, group, name, line)
        assert value_at(told, key) == value
        assert changed(plain, told) <= {key} | BESIDES[key], key
        assert used(told) != used(plain), key


def _has_usual_twin(config: PolicyConfig) -> bool:
    return config.image_backbone in (config.backbone, f"{config.backbone}_image")


def used(config: Any) -> Any:
    """What a command makes of a config."""
    if isinstance(config, PretrainConfig):
        return (asdict(config) | {"clips": 0}, config.clips.sources())
    if isinstance(config, PolicyConfig):
        rows = [condition(word) for word in ("frame", "stack", "video")]
        seen = [(tower_backbone(config, row), tower_connector(config, row)) for row in rows]
        parts = [(getattr(config, p), getattr(config, f"{p}_args")) for p in ARGUED_PARTS[2:]]
        return seen, parts
    return asdict(config)


@pytest.mark.parametrize("name", config_names("pretrain"))
@pytest.mark.parametrize("key", ["procedural", "per_task", "tasks", "counts"])
def test_what_is_drawn_is_what_is_typed(name: str, key: str) -> None:
    tasks = "clips.tasks=[arm_reach,arm_catch]"
    value = {"procedural": "7", "per_task": "7", "tasks": "[arm_swing]", "counts": "{arm_catch: 7}"}
    lines = [tasks] if key in ("counts", "per_task") else []
    lines += ["clips.per_task=3"] if key == "tasks" else []
    config = load_config(PretrainConfig, "pretrain", name, [*lines, f"clips.{key}={value[key]}"])
    drawn = config.clips.sources()
    counted = {source: drawn.count(source) for source in drawn}
    match key:
        case "procedural":
            assert counted["procedural"] == 7
        case "per_task":
            assert {n for source, n in counted.items() if source != "procedural"} <= {7}
        case "tasks":
            assert set(counted) <= {"procedural", "arm_swing"}
        case _:
            assert counted["arm_catch"] == 7


PARTS = {
    "connector": CONNECTORS,
    "stack_connector": CONNECTORS,
    "temporal": TEMPORAL,
    "fusion": FUSIONS,
    "head": HEADS,
}


@pytest.mark.usefixtures("loose")
@pytest.mark.parametrize("name", config_names("policy"))
def test_arguments_stay_with_the_part_they_were_written_for(name: str) -> None:
    plain = load_config(PolicyConfig, "policy", name, [])
    argued = [part for part in PARTS if getattr(plain, f"{part}_args")]
    for part in argued:
        same = load_config(PolicyConfig, "policy", name, [f"{part}={getattr(plain, part)}"])
        assert same == plain
        other = another(part, getattr(plain, part))
        told = load_config(PolicyConfig, "policy", name, [f"{part}={other}", f"{part}_args.x=1"])
        assert getattr(told, f"{part}_args") == {"x": 1.0}
        emptied = load_config(PolicyConfig, "policy", name, [f"{part}_args={{}}"])
        assert getattr(emptied, f"{part}_args") == {}


@pytest.mark.parametrize("name", suite_names())
def test_options_win_over_the_suite(name: str) -> None:
    suite = load_suite(name)
    words: dict[str, Any] = {"conditions": [], "tasks": [], "suite": name, "seed": 0}
    words |= {"train_seeds": [0], "latency_steps": 0, "until_decided": False, "alpha": 0.05}
    plan = make_plan(policies=["expert"], episodes=suite.episodes + 1, overrides=[], **words)
    assert plan.episodes == suite.episodes + 1
    assert [spec.name for spec in plan.policies] == ["expert"]


def test_every_field_of_a_policy_with_arguments_is_known_here() -> None:
    names = field_map(PolicyConfig)
    argued = {name.removesuffix("_args") for name in names if name.endswith("_args")}
    assert argued == {"backbone", *ARGUED_PARTS}
    assert set(PARTS) | {"audio"} == set(ARGUED_PARTS)
    assert set(OTHERS["backbone"]) <= set(BACKBONES)
