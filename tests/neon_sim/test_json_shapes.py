"""JSON of another shape, wherever it is read outside datasets and run folders, is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save

from neon_sim.envs import reflex_search
from neon_sim.envs.humanoid.learned_balance import load_reflex, shipped
from neon_sim.errors import CheckpointError, ConfigError, NeonError
from neon_sim.policies.backbones.own.neon_tiny import NeonTinyVideo, read_weights, weights_path
from neon_sim.policies.backbones.weights.find import missing_shards, read_config
from neon_sim.policies.ppo.command import read_curve as read_rl_curve
from neon_sim.policies.training.command import read_curve
from neon_sim.policies.training.trainer import check_same
from neon_sim.tensor_file import read_tensors, write_tensors

DEEP = b"[" * 100_000 + b"]" * 100_000
# What is no JSON object at all.
FOREIGN = {
    "a list": b"[]",
    "a number": b"3",
    "a text": b'"x"',
    "null": b"null",
    "nothing": b"",
    "cut off": b'{"gains": {',
    "no text": b"\xff\xfe\x00",
    "too deep": DEEP,
    "NaN": b'{"a": NaN}',
}


def gains(path: Path) -> Any:
    return load_reflex.__wrapped__(str(path))


def search(path: Path) -> Any:
    path.rename(path.with_name("search.json"))
    found = reflex_search.Search(24, 12, 0)
    return found.resume(path.with_name("search.json"))


def record(path: Path) -> Any:
    weights = path.with_suffix(".safetensors")
    weights.write_bytes(weights_path("neon_tiny").read_bytes())
    return read_weights(weights, "video")


def header(path: Path) -> Any:
    text = path.read_bytes().decode(errors="surrogateescape").encode(errors="replace").decode()
    path.with_suffix(".safetensors").write_bytes(save({}, metadata={"neon_sim": text}))
    return NeonTinyVideo(str(path.with_suffix(".safetensors")))


def described(path: Path) -> Any:
    text = path.read_bytes().decode(errors="replace")
    path.with_suffix(".safetensors").write_bytes(
        save({"x": torch.zeros(1)}, metadata={"neon_sim": text})
    )
    return read_tensors(path.with_suffix(".safetensors"), "some format", "make it")


def hub_config(path: Path) -> Any:
    path.rename(path.with_name("config.json"))
    return read_config(path.parent)


def index(path: Path) -> Any:
    path.rename(path.with_name("model.safetensors.index.json"))
    return missing_shards(path.parent)


def train_curve(path: Path) -> Any:
    path.rename(path.with_name("x.curve.json"))
    return read_curve(path.with_name("x.safetensors"))


def rl_curve(path: Path) -> Any:
    path.rename(path.with_name("x.curve.json"))
    return read_rl_curve(path.with_name("x.safetensors"))


READERS: list[Callable[[Path], Any]] = [gains, search, record, header, described]
READERS += [hub_config, index, train_curve, rl_curve]


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_object_is_refused(reader: Any, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(NeonError) as raised:
        reader(path)
    assert str(tmp_path) in str(raised.value)
    assert len(str(raised.value)) < 1000


@pytest.mark.parametrize(
    ("reader", "values"),
    [
        (gains, {}),
        (gains, {"gains": []}),
        (gains, {"gains": {"a": "1"}}),
        (gains, {"gains": {"a": 1.0}}),
        (gains, {"gains": {}, "residual": 3}),
        (search, {}),
        (search, {"generation": 1}),
        (search, {**reflex_search.Search(24, 12, 0).state, "generation": 1.5}),
        (search, {**reflex_search.Search(24, 12, 0).state, "sigma": "0.5"}),
        (search, {**reflex_search.Search(24, 12, 0).state, "mean": [0.0]}),
        (search, {**reflex_search.Search(24, 12, 0).state, "covariance": [[1.0]] * 24}),
        (record, {}),
        (record, {"sha256": 3}),
        (header, {}),
        (header, {"tower": "video", "architecture": {}}),
        (header, {"tower": "video", "architecture": {"num_frames": 8, "stem": 0}}),
        (
            header,
            {
                "tower": "video",
                "architecture": {"num_frames": 8, "stem": 1, "width": 1, "dim": 10**9},
            },
        ),
        (described, {"format": ["some format"]}),
        (index, {}),
        (index, {"weight_map": {"a": 3}}),
        (train_curve, {"validation": [1]}),
        (rl_curve, {"points": [3]}),
        (rl_curve, {"points": [{"steps": "x"}]}),
    ],
)
def test_what_is_of_another_shape_is_refused(reader: Any, values: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps(values))
    with pytest.raises(NeonError) as raised:
        reader(path)
    assert str(tmp_path) in str(raised.value)


@pytest.mark.parametrize(
    "found", [{"train": []}, {"policy": 3}, {"policy": {"clip": "x"}}, {"train": None}]
)
def test_a_head_that_says_nonsense_of_its_run_is_of_no_run(found: Any) -> None:
    with pytest.raises(CheckpointError, match=r"x\.safetensors"):
        check_same(Path("x.safetensors"), found, {"train": {}, "policy": {}})


def test_what_ships_and_what_is_written_is_read_as_before(tmp_path: Path) -> None:
    assert len(load_reflex.__wrapped__(str(shipped("reflex.json"))).gains) == 24
    assert NeonTinyVideo().metadata["tower"] == "video"
    found = reflex_search.Search(24, 4, 0)
    found.generation(lambda place: -float(np.square(place - 1).sum()))
    (tmp_path / "x.json").write_text(json.dumps(found.state))
    again = reflex_search.Search(24, 4, 0)
    again.resume(tmp_path / "x.json")
    assert again.state == found.state
    write_tensors(tmp_path / "x.safetensors", {"a": torch.ones(2)}, {"format": "f", "n": 1})
    assert read_tensors(tmp_path / "x.safetensors", "f", "again")[1] == {"format": "f", "n": 1}


def test_a_policy_of_a_user_in_yaml_of_another_shape(tmp_path: Path) -> None:
    """YAML is read by OmegaConf; what it raises is told with the file."""
    from neon_sim.config.loading import load_config
    from neon_sim.config.policy import PolicyConfig

    path = tmp_path / "mine.yaml"
    for content in (b"\xff\xfe", b"[" * 5000, b"a: &a [*a]", b"- 3", b"name: {a: [}", b"\x00"):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=r"mine\.yaml"):
            load_config(PolicyConfig, "policy", str(path), [])
