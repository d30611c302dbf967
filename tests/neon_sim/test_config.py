"""Configs: what a user types becomes a typed dataclass, or an error that says how to mend it."""

from __future__ import annotations

import importlib
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hydra.core.global_hydra import GlobalHydra
from hypothesis import given, settings
from hypothesis import strategies as st

from neon_sim.config.fields import known_keys
from neon_sim.config.help import field_docs, help_rows, help_text
from neon_sim.config.loading import config_names, load_config, main_config, parse_overrides
from neon_sim.config.policy import PolicyConfig
from neon_sim.errors import ConfigError, NeonError, UnknownNameError
from neon_sim.observation.clips import ClipConfig


@dataclass
class ExampleConfig:
    """One of every kind of field.

    Attributes:
        out: where results go.
        tasks / extra: names of tasks, and
            a second line.
        sizes: two numbers.
        limit: at most this many, or null.
        args: anything.
        clip: what is seen.
    """

    out: str
    tasks: list[str] = field(default_factory=lambda: ["arm_reach"])
    extra: tuple[str, ...] = ()
    sizes: tuple[int, int] = (1, 2)
    limit: int | None = None
    verbose: bool = False
    rate: float = 0.5
    args: dict[str, Any] = field(default_factory=dict)
    clip: ClipConfig = field(default_factory=ClipConfig)


def load(*overrides: str) -> ExampleConfig:
    return load_config(ExampleConfig, "example", None, ["out=x", *overrides])


def test_import_needs_no_hydra() -> None:
    code = (
        "import sys, neon_sim.config.policy; assert not {'hydra', 'omegaconf'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_kind_of_field() -> None:
    config = load(
        "tasks=arm_catch,arm_block",
        "extra=[a,b]",
        "sizes=3,4",
        "limit=7",
        "verbose=true",
        "rate=2",
        "args.deep=3",
        "+args.name=neon",
        "clip.num_frames=4",
    )
    assert config.tasks == ["arm_catch", "arm_block"]
    assert config.extra == ("a", "b")
    assert config.sizes == (3, 4)
    assert (config.limit, config.verbose, config.rate) == (7, True, 2.0)
    assert config.args == {"deep": 3, "name": "neon"}
    assert config.clip == ClipConfig(num_frames=4)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("arm_catch", ["arm_catch"]),
        ("[arm_catch]", ["arm_catch"]),
        ("[]", []),
        ("'a b',c", ["a b", "c"]),
    ],
)
def test_lists(text: str, expected: list[str]) -> None:
    assert load(f"tasks={text}").tasks == expected


PATHS: tuple[str, ...] = (
    "demos (Kopie)",
    "runs/lr=0.1",
    "a$b",
    "${HOME}/x",
    "a\\${b}",
    "#1",
    "it's",
    "{a:b}",
    "[x]/y",
)
PATHS += (
    "Übung/日本",
    "a b",
    "~/x",
    "null",
    "true",
    "1e3",
    "3",
    "a:b",
    "@x",
    "%41",
    "a;b&c|d",
    "*?",
)


@pytest.mark.parametrize("text", PATHS)
def test_a_path_is_taken_as_it_is_typed_alone_and_in_a_list(text: str) -> None:
    assert load(f"out={text}").out == text
    assert load(f"tasks={text}").tasks == [text]
    assert load(f"tasks=first,{text}").tasks == ["first", text]
    assert load(f"extra={text},last").extra == (text, "last")
    assert load(f'tasks="{text},{text}",b').tasks == [f"{text},{text}", "b"]


@settings(max_examples=100)
@given(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1))
def test_text_fields_take_what_was_typed(text: str) -> None:
    if text[0] in "'\"" or text == "???":
        return
    assert load(f"out={text}").out == text
    if "," not in text and text[0] != "[":
        assert load(f"tasks={text},b").tasks == [text, "b"]


@pytest.mark.parametrize("key", ["out", "tasks", "extra", "limit", "rate", "verbose", "args.x"])
@pytest.mark.parametrize("nothing", ["", "  "])
def test_empty_is_not_the_default(key: str, nothing: str) -> None:
    with pytest.raises(ConfigError, match=rf"{key} is empty .*leave {key}= out for the default"):
        load(f"{key}={nothing}")


@pytest.mark.parametrize("text", ["a,,b", ",", "a,", "''", "[a,]"])
def test_an_empty_part_of_a_list_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="tasks holds an empty part"):
        load(f"tasks={text}")


@settings(max_examples=30)
@given(st.integers(1, 64), st.floats(0.01, 25), st.integers(1, 512))
def test_numbers_round_trip(num_frames: int, fps: float, size: int) -> None:
    config = load(f"clip.num_frames={num_frames}", f"clip.fps={fps}", f"clip.image_size={size}")
    assert config.clip == ClipConfig(num_frames=num_frames, fps=fps, image_size=size)


def test_null_only_where_the_type_allows_it() -> None:
    assert load("limit=3", "limit=null").limit is None
    with pytest.raises(ConfigError, match=r"rate must be float \(got None"):
        load("rate=null")


def test_last_override_wins() -> None:
    assert load("rate=1", "rate=3").rate == 3.0


def test_required_key_without_value() -> None:
    with pytest.raises(ConfigError, match="out has no default: give out="):
        load_config(ExampleConfig, "example", None, [])


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("clip.num_frame=4", ["'clip.num_frame'", "Did you mean 'clip.num_frames'?", "verbose"]),
        ("clip.num_frames=four", ["clip.num_frames must be int", "'four'", "command line"]),
        ("clip.num_frames=1,2", ["clip.num_frames must be int", "not several"]),
        ("clip.num_frames=[1", ["clip.num_frames must be int", "'[1'"]),
        ("clip.num_frames=2.5", ["clip.num_frames must be int", "2.5"]),
        ("clip.num_frames=0", ["clip.num_frames must be 1 to 64", "0"]),
        ("clip.fps=26", ["clip.fps", "25", "26"]),
        ("clip=3", ["group of keys", "clip.fps"]),
        ("out.name=3", ["unknown key 'out.name'"]),
        ("verbose=maybe", ["verbose must be bool", "'maybe'"]),
        ("episodes", ["'episodes' is not key=value", "write episodes=..."]),
        ("--rate=3", ["'--rate=3' is not key=value", "write rate=3"]),
        ("out=''", ["out holds an empty part"]),
        ("verbose=2", ["verbose must be bool", "2"]),
        (f"rate=1{400 * '0'}", ["rate must be float"]),
        ("=3", ["is not key=value"]),
        ("~rate", ["is not key=value"]),
    ],
)
def test_bad_input_names_the_thing_in_one_line(override: str, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(override)
    message = str(caught.value)
    assert "\n" not in message
    assert all(part in message for part in parts), message


def test_unknown_sampler_lists_samplers() -> None:
    with pytest.raises(UnknownNameError, match="uniform"):
        load("clip.sampler=unifrom")


@pytest.mark.parametrize("name", config_names("policy"))
def test_shipped_policies_load(name: str) -> None:
    try:
        config = load_config(PolicyConfig, "policy", name, [])
    except UnknownNameError as error:
        if name.endswith("_style") and "unknown head" in str(error):
            pytest.skip(str(error))
        raise
    assert config.name == name
    assert not GlobalHydra.instance().is_initialized()


def test_policy_rules() -> None:
    for override in ("backbone=nope", "head=nope", "condition=vidoe", "replan_steps=17"):
        with pytest.raises(NeonError, match=override.partition("=")[2]):
            load_config(PolicyConfig, "policy", "neon_tiny", [override])


def test_unknown_yaml_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"policy config 'neon_tin'\. Did you mean 'neon_tiny'"):
        load_config(PolicyConfig, "policy", "neon_tin", [])


def test_own_yaml_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\nclip:\n  num_frames: 4\nhead_args:\n  blocks: 3\n")
    config = load_config(PolicyConfig, "policy", str(file), ["clip.fps=5", "head_args.width=64"])
    assert (config.name, config.clip.num_frames, config.clip.fps) == ("mine", 4, 5.0)
    assert config.head_args == {"blocks": 3.0, "width": 64.0}


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("clip:\n  frames: 4\n", "clip.frames=4 in "),
        ("clip:\n  num_frames: many\n", "clip.num_frames must be int"),
        ("- a\n", "must hold key: value lines"),
        ("name: [unclosed\n", "mine.yaml"),
    ],
)
def test_broken_yaml_is_named(tmp_path: Path, text: str, part: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(PolicyConfig, "policy", str(file), [])
    assert part in str(caught.value)
    assert "mine.yaml" in str(caught.value)


def test_missing_file_is_named() -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load_config(PolicyConfig, "policy", "no/such.yaml", [])


def test_validate_of_the_class_is_called() -> None:
    @dataclass
    class Ruled:
        episodes: int = 1

        def validate(self) -> None:
            if self.episodes < 1:
                raise ConfigError(f"episodes must be >= 1 (got {self.episodes})")

    assert load_config(Ruled, "ruled", None, ["episodes=2"]).episodes == 2
    with pytest.raises(ConfigError, match="episodes must be >= 1"):
        load_config(Ruled, "ruled", None, ["episodes=0"])


def test_main_config_reads_another_yaml() -> None:
    config = main_config(PolicyConfig, ["config=neon_tiny", "replan_steps=2"])
    assert (config.name, config.replan_steps) == ("neon_tiny", 2)


def test_help_is_a_table_of_every_key(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main_config(PolicyConfig, ["--help"])
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    assert all(key in printed for key in known_keys(PolicyConfig))
    assert "pixels per side" in printed


def test_help_reads_docstrings() -> None:
    docs = field_docs(ExampleConfig)
    assert docs["tasks"] == docs["extra"] == "names of tasks, and a second line."
    rows = {row[0]: row for row in help_rows(ExampleConfig)}
    assert rows["out"][1:] == ("str", "required", "where results go.")
    assert rows["limit"][1] == "int | None"
    assert "usage: neon" in help_text(ExampleConfig, "neon")


def test_parse_overrides_keeps_equal_signs_of_the_value() -> None:
    (override,) = parse_overrides(["out=a=b"])
    assert (override.key, override.text) == ("out", "a=b")


@pytest.mark.parametrize(
    "config",
    [
        "neon_sim.demonstrations.settings:CollectConfig",
        "neon_sim.policies.training.settings:TrainConfig",
        "neon_sim.pretrain:PretrainConfig",
        "neon_sim.policies.pretraining.probe:ProbeConfig",
        "neon_sim.policies.ppo.settings:RLConfig",
        "neon_sim.benchmarks.balance:BalanceConfig",
    ],
)
def test_help_says_something_of_its_own_about_every_setting(config) -> None:
    module, _, name = config.partition(":")
    rows = help_rows(getattr(importlib.import_module(module), name))
    told = [doc for *_, doc in rows]
    assert all(told)
    assert len(set(told)) == len(told)
