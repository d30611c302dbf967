"""A head whose metadata are of another shape is an error of one line, whatever stands there."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from neon_sim.config.loading import load_config
from neon_sim.config.policy import PolicyConfig
from neon_sim.demonstrations.recorder import checkpoint_settings
from neon_sim.demonstrations.training_seeds import training_seeds
from neon_sim.errors import NeonError
from neon_sim.policies.checkpoint import FORMAT
from neon_sim.policies.policy import load_policy
from neon_sim.tensor_file import read_tensors, write_tensors

HEAD = resources.files("neon_sim.assets") / "heads" / "neon_tiny" / "blind-seed0.safetensors"
STRANGE: tuple[Any, ...] = (3, "x", [], {}, None, True, -1, 10**12, [[]])


def places(values: dict[str, Any], before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in values.items():
        yield (*before, key)
        if isinstance(value, dict):
            yield from places(value, (*before, key))


def test_no_shape_of_metadata_ends_in_a_traceback(tmp_path: Path) -> None:
    state, metadata = read_tensors(str(HEAD), FORMAT, "")
    config = load_config(PolicyConfig, "policy", "neon_tiny", [])
    kept = {key: metadata[key] for key in ("policy", "network", "backbone", "tasks", "condition")}
    small = {key: state[key] for key in itertools.islice(state, 3)}  # quick to write
    path, refused = tmp_path / "strange.safetensors", 0
    for number, place in enumerate(places(kept)):
        for strange in (STRANGE[number % 9], STRANGE[(number + 4) % 9]):
            changed = copy.deepcopy(metadata)
            inner = changed
            for key in place[:-1]:
                inner = inner[key]
            inner[place[-1]] = strange
            write_tensors(path, small, changed)
            for read in (
                lambda: load_policy(config, "blind", "arm_catch", checkpoint=str(path)),
                lambda: checkpoint_settings(str(path)),
                lambda: training_seeds(path),
            ):
                try:
                    read()
                except NeonError:  # anything else fails the test
                    refused += 1
    assert refused > 100


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("backbone", 3),
        ("tasks", "arm_catch"),
        ("network", {"action_dim": -1}),
        ("network", {"fusion_args": []}),
        ("policy", {"clip": "all"}),
    ],
    ids=str,
)
def test_the_place_is_named(key: str, value: Any, tmp_path: Path) -> None:
    state, metadata = read_tensors(str(HEAD), FORMAT, "")
    path = tmp_path / "strange.safetensors"
    write_tensors(path, state, metadata | {key: value})
    config = load_config(PolicyConfig, "policy", "neon_tiny", [])
    with pytest.raises(NeonError, match=rf"strange\.safetensors: {key}"):
        load_policy(config, "blind", "arm_catch", checkpoint=str(path))
