"""CONTRIBUTING.md's recipes, followed to the letter: its examples are taken out and run."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from train_fakes import blob_dataset

from neon_sim import registry, vocabulary
from neon_sim.benchmarks import cli
from neon_sim.config.loading import load_config
from neon_sim.config.policy import PolicyConfig
from neon_sim.observation.batch import ClipBatch, observe_row, stack_observations
from neon_sim.observation.clips import ClipConfig
from neon_sim.policies.training import command as train

ROOT = Path(__file__).resolve().parent.parent
Place = Callable[[str], ModuleType]


def recipe(name: str) -> str:
    """The code block of CONTRIBUTING.md that follows ``<!-- recipe: name -->``."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    match = re.search(rf"<!-- recipe: {re.escape(name)} -->\n *```\w+\n(.*?)\n *```", text, re.S)
    assert match, f"CONTRIBUTING.md has no recipe {name!r}"
    return textwrap.dedent(match[1]) + "\n"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Import a recipe's file as the module it would be in the repository."""
    added = []

    def _place(name: str) -> ModuleType:
        file = tmp_path / Path(name).name
        file.write_text(recipe(name))
        module_name = "neon_sim." + name.removesuffix(".py").replace("/", ".")
        spec = importlib.util.spec_from_file_location(module_name, file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        added.append(module_name)
        spec.loader.exec_module(module)
        return module

    yield _place
    for module_name in added:
        del sys.modules[module_name]


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Run a recipe's registry line; the registries are as before afterwards."""
    monkeypatch.setattr(registry, "TASKS", dict(registry.TASKS))
    tables = (registry.BACKBONES, registry.HEADS, registry.TEMPORAL, registry.AUDIO_ENCODERS)
    for table in tables:
        monkeypatch.setattr(table, "_entries", dict(table._entries))
    return lambda name: eval(recipe(name), vars(registry))


@pytest.fixture
def env(place: Place, registered: Callable[[str], Any]) -> Iterator[gymnasium.Env]:
    """The recipe's task, registered and made."""
    place("envs/arm/point.py")
    entry = registered("registry task")
    gymnasium.register(entry.env_id, entry.entry_point, max_episode_steps=entry.episode_steps)
    env = gymnasium.make(entry.env_id)
    yield env
    env.close()
    del gymnasium.registry[entry.env_id]


@pytest.mark.filterwarnings("error::UserWarning")
def test_task_recipe_makes_a_conforming_environment(env: gymnasium.Env) -> None:
    check_env(env.unwrapped)
    task: Any = env.unwrapped
    observation, info = env.reset(seed=3)
    assert env.observation_space.contains(observation)
    assert vocabulary.encode(task.task_description)
    again: Any = gymnasium.make(env.spec) if env.spec else env
    twin_observation, twin_info = again.reset(seed=3)
    assert info == twin_info
    assert task.latent == again.unwrapped.latent
    np.testing.assert_array_equal(
        observation["pixels"]["front"], twin_observation["pixels"]["front"]
    )
    again.close()


def test_task_recipe_is_solved_by_its_expert(env: gymnasium.Env) -> None:
    task: Any = env.unwrapped
    for episode in range(4):
        env.reset(seed=0, options={"episode": episode})
        ended = False
        while not ended:
            _, terminated, truncated, info = task.advance(task.expert_action())
            ended = terminated or truncated
        assert info["is_success"], f"episode {episode}"


def _batch(env: gymnasium.Env, clip: ClipConfig) -> ClipBatch:
    """Two observations of a short episode."""
    task: Any = env.unwrapped
    rows = []
    env.reset(seed=0)
    for _ in range(2):
        for _ in range(6):
            task.advance(task.expert_action())
        rows.append(observe_row(env, clip, {"video", "state"}))
    return stack_observations(rows)


def test_backbone_recipe_drives_a_policy(
    env: gymnasium.Env, place: Place, registered: Callable[[str], Any], tmp_path: Path
) -> None:
    from neon_sim.policies.tower import make_tower

    place("policies/backbones/mean_colour.py")
    registered("registry backbone")
    file = tmp_path / "mean_colour.yaml"
    file.write_text(recipe("configs/policy/mean_colour.yaml"))
    config = load_config(PolicyConfig, "policy", str(file), ["clip.num_frames=4"])
    batch = _batch(env, config.clip)
    for condition, frames in (("frame", 1), ("stack", 4), ("video", 4), ("video_repeat", 4)):
        encoded = make_tower(config, condition).encode(batch)
        assert encoded.hidden.shape == (2, frames, 1, 3), condition
        assert torch.isfinite(encoded.hidden).all()
    repeated = make_tower(config, "video_repeat").encode(batch).hidden
    assert torch.equal(repeated[:, 0], repeated[:, -1])
    data = blob_dataset(tmp_path / "data", range(2))
    heads, out = tmp_path / "heads", tmp_path / "run"
    clip = ["clip.num_frames=4", "clip.image_size=48"]
    arguments = [f"policy={file}", "condition=stack", f"data={data}", f"out={heads}", "steps=4"]
    arguments += ["batch_size=8", "window_stride=16", "val_fraction=0", "device=cpu"]
    assert train.main([*arguments, *(f"policy.{key}" for key in clip)]) == 0
    arguments = ["run", "--policy", str(file), "--condition", "stack", "--task", "arm_block"]
    arguments += ["--episodes", "1", "--workers", "1", "--videos", "0", "--quiet"]
    arguments += ["--out", str(out), f"checkpoint={heads}", "replan_steps=16", *clip]
    assert cli.main(arguments) == 0
    (row,) = (out / "episodes.jsonl").read_text().splitlines()
    assert json.loads(row)["error"] is None


def test_head_recipe_overfits_a_small_batch(place: Place, registered: Callable[[str], Any]) -> None:
    place("policies/heads/linear.py")
    registered("registry head")
    PolicyConfig(head="linear").validate()
    head = registry.HEADS.resolve("linear")(32, 8, 16)
    context, actions = torch.randn(8, 32), torch.rand(8, 16, 8) * 2 - 1
    actions[0, 0] = torch.tensor([1.0, -1.0] * 4)  # joint limits are reachable
    weight = torch.ones(8, 16)
    optimiser = torch.optim.Adam(head.parameters(), lr=0.02)
    for _ in range(300):
        optimiser.zero_grad()
        head.loss(context, actions, weight).backward()
        optimiser.step()
    with torch.no_grad():
        assert (head.sample(context, seed=1) - actions).abs().max() < 0.01
        assert torch.equal(head.sample(context, seed=1), head.sample(context, seed=1))


def test_audio_encoder_recipe_gives_a_policy_ears(
    place: Place, registered: Callable[[str], Any]
) -> None:
    from neon_sim.policies.network import new_network
    from neon_sim.policies.policy import TrainedPolicy
    from neon_sim.policies.tower import make_tower

    place("policies/audio/loudness.py")
    registered("registry audio encoder")
    config = PolicyConfig(audio="loudness", condition="audio_only")
    config.validate()
    tower = make_tower(config, "audio_only")
    policy = TrainedPolicy(config, tower, new_network(config, tower, vocabulary.WORDS, seed=0))
    audio = np.zeros((2, 3, 16_000), dtype=np.float32)
    audio[1, :, -800:] = 0.5
    ages, text = np.zeros((2, 1), dtype=np.float32), ["touch the green post"] * 2
    pose = np.zeros((2, 8), dtype=np.float32)
    batch = ClipBatch(None, np.ones((2, 1), dtype=bool), ages, None, pose, text, audio)
    heard = tower.hear(batch)
    assert heard is not None
    assert int(heard[1, :, 0].argmax()) == 9
    silent, loud = policy.act(batch)
    assert np.abs(silent - loud).max() > 0


@pytest.fixture
def vit(
    place: Place, registered: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Path:
    """The recipe's family, known everywhere, and the folder of a tiny checkpoint of it."""
    from neon_sim.policies.backbones.random_weights import make_tiny

    place("policies/backbones/foundation/vit.py")
    monkeypatch.setitem(registry.FAMILIES, "vit", None)  # undone when the test is over
    registry.add_family(registered("registry family"))
    return make_tiny("vit", tmp_path / "vit", image_size=224)


def test_foundation_recipe_comes_in_by_the_front_door_and_drives_a_policy(
    vit: Path, env: gymnasium.Env, tmp_path: Path
) -> None:
    from neon_sim.policies import BackboneConfig, VideoBackbone
    from neon_sim.policies.backbones.counting import size_of
    from neon_sim.policies.tower import make_tower

    frame = np.zeros((48, 48, 3), dtype=np.uint8)
    door = VideoBackbone(BackboneConfig(str(vit), torch_dtype="float32"))
    assert door.encode(video_frames=[frame] * 2)["hidden_states"].shape == (1, 2 * 196, 64)
    assert size_of("vit").parameters == pytest.approx(86e6, rel=0.01)
    file = tmp_path / "vit.yaml"
    file.write_text(recipe("configs/policy/vit.yaml"))
    load_config(PolicyConfig, "policy", str(file), [])  # as published, with nothing here
    settings = [f"backbone.model_id={vit}", "backbone.torch_dtype=float32", "clip.num_frames=3"]
    config = load_config(PolicyConfig, "policy", str(file), [*settings, "clip.image_size=48"])
    batch = _batch(env, config.clip)
    for condition, frames in (("frame", 1), ("stack", 3), ("video", 3)):
        encoded = make_tower(config, condition).encode(batch)
        assert encoded.hidden.shape == (2, frames, 4, 64), condition


def laws_of(name: str) -> ModuleType:
    """A module of tests of the policies, to ask what it asks of one part more."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tests/policies" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_temporal_recipe_keeps_the_laws_of_its_kind(
    place: Place, registered: Callable[[str], Any], tmp_path: Path
) -> None:
    test_temporal, test_temporal_motion = map(laws_of, ("test_temporal", "test_temporal_motion"))

    place("policies/temporal/difference.py")
    registered("registry temporal")
    test_temporal.test_shapes_are_what_they_promise("difference", (12, 8, 16))
    test_temporal.test_padding_changes_nothing_and_stays_finite("difference")
    test_temporal.test_a_batch_equals_its_rows("difference")
    test_temporal.test_gradients_reach_every_parameter("difference")
    test_temporal.test_every_mechanism_has_the_same_number_of_parameters("difference", 60_000)
    assert test_temporal_motion.learn("difference", 100) > 0.6
    file = tmp_path / "mech_difference.yaml"
    file.write_text(recipe("configs/policy/mech_difference.yaml"))
    config = load_config(PolicyConfig, "policy", str(file), [])
    assert (config.temporal, config.condition) == ("difference", "stack")


def test_every_recipe_block_is_covered() -> None:
    """A recipe that no test follows would rot."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    named = set(re.findall(r"<!-- recipe: (.+?) -->", text))
    source = Path(__file__).read_text()
    assert {name for name in named if f'"{name}"' not in source} == set()
