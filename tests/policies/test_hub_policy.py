"""``qwen_omni_3b`` from demonstrations to a report, with a tiny checkpoint of one's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from neon_sim.audio.pcm import rings
from neon_sim.benchmarks import cli
from neon_sim.config.loading import load_config, main_config
from neon_sim.config.policy import PolicyConfig
from neon_sim.demonstrations import collection as collect
from neon_sim.demonstrations.dataset import DemoDataset
from neon_sim.demonstrations.recorder import load_any_policy
from neon_sim.demonstrations.settings import CollectConfig
from neon_sim.errors import CheckpointError, ConfigError
from neon_sim.policies.policy import load_policy
from neon_sim.policies.tower import make_tower
from neon_sim.policies.training import command as train
from neon_sim.policies.training.feature_cache import FeatureTable, cache_key, episode_layout

SIZE, TASK, TRIBE_SIZE = 48, "arm_block", 64


@pytest.fixture(scope="module")
def keys(tiny: Callable[[str], Path]) -> list[str]:
    """What a user types to use weights of their own."""
    return [
        f"backbone.model_id={tiny('qwen_omni')}",
        "backbone.image_size=56",
        "backbone.torch_dtype=float32",
    ]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demos") / "block"
    arguments = [f"task={TASK}", "episodes=3", f"out={out}", f"image_size={SIZE}"]
    assert collect.main(arguments) == 0
    return out


@pytest.fixture(scope="module")
def heads(data: Path, keys: list[str]) -> Path:
    """Heads of three conditions, by the command line."""
    out = data.parent / "heads"
    for condition in ("frame", "stack", "video"):
        arguments = [
            *("policy=qwen_omni_3b", f"condition={condition}", f"data={data}", f"out={out}"),
            *("steps=4", "batch_size=8", "window_stride=16", "val_fraction=0", "device=cpu"),
            *(f"policy.clip.image_size={SIZE}", "policy.clip.num_frames=4", *keys),
        ]
        assert train.main(arguments) == 0
    return out


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One episode with sound."""
    out = tmp_path_factory.mktemp("heard") / "block"
    arguments = [f"task={TASK}", "episodes=1", f"out={out}", f"image_size={SIZE}"]
    assert collect.main([*arguments, "microphones=mono"]) == 0
    return out


def hearing(name: str, tiny: Callable[[str], Path]) -> PolicyConfig:
    """A policy whose backbone hears by itself."""
    family = name.removesuffix("_3b")
    size = {"qwen_omni": 56, "tribev2": TRIBE_SIZE}[family]
    return load_config(
        PolicyConfig,
        "policy",
        name,
        [
            *(f"clip.image_size={SIZE}", "clip.num_frames=4", "audio=backbone"),
            *(f"backbone.model_id={tiny(family)}", f"backbone.image_size={size}"),
            "backbone.torch_dtype=float32",
        ],
    )


def policy(keys: list[str]) -> PolicyConfig:
    wanted = [f"clip.image_size={SIZE}", "clip.num_frames=4", *keys]
    return load_config(PolicyConfig, "policy", "qwen_omni_3b", wanted)


def test_from_demonstrations_to_a_report(
    heads: Path, keys: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    arguments = [
        *("run", "--policy", "qwen_omni_3b", "--condition", "frame,stack,video"),
        *("--task", TASK, "--episodes", "1", "--workers", "1", "--videos", "0", "--quiet"),
        *("--out", str(out), f"checkpoint={heads}/{{condition}}-seed{{train_seed}}.safetensors"),
        *(f"clip.image_size={SIZE}", "clip.num_frames=4", "replan_steps=16", *keys),
    ]
    assert cli.main(arguments) == 0
    rows = [json.loads(line) for line in (out / "episodes.jsonl").read_text().splitlines()]
    assert {row["condition"] for row in rows} == {"frame", "stack", "video"}
    assert all(row["error"] is None for row in rows)
    said = f"qwen_omni_3b looks through weights that were drawn, not trained ({keys[0]})"
    assert said in capsys.readouterr().out
    assert f'class="alert">{said}' in (out / "report.html").read_text()


def test_a_sound_task_from_demonstrations_to_a_report(keys: list[str], tmp_path: Path) -> None:
    """The thinker hears by itself, in training and in the episode."""
    data, heads, out = (tmp_path / name for name in ("data", "heads", "run"))
    arguments = ["task=arm_latch", "episodes=1", f"out={data}", f"image_size={SIZE}"]
    assert collect.main(arguments) == 0
    clip = [f"clip.image_size={SIZE}", "clip.num_frames=2", "audio=backbone"]
    arguments = [
        *("policy=qwen_omni_3b", "condition=video", f"data={data}", f"out={heads}", "steps=4"),
        *("batch_size=4", "window_stride=40", "val_fraction=0", "device=cpu"),
        *(f"policy.{key}" for key in clip),
    ]
    assert train.main([*arguments, *keys]) == 0
    arguments = [
        *("run", "--policy", "qwen_omni_3b", "--condition", "video,mute_at_test"),
        *("--task", "arm_latch", "--episodes", "1", "--workers", "1", "--videos", "0", "--quiet"),
        *("--out", str(out), f"checkpoint={heads}", "replan_steps=16", *clip, *keys),
    ]
    assert cli.main(arguments) == 0
    rows = [json.loads(line) for line in (out / "episodes.jsonl").read_text().splitlines()]
    assert {row["condition"] for row in rows} == {"video", "mute_at_test"}
    assert all(row["error"] is None for row in rows)
    assert rows[0]["initial_hash"] == rows[1]["initial_hash"]


def test_one_error_tells_what_is_missing_of_weights_and_head(
    keys: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neon_sim.policies.backbones.weights.find.is_here", lambda model: False)
    bare = load_config(PolicyConfig, "policy", "qwen_omni_3b", [])
    with pytest.raises(CheckpointError) as caught:
        load_policy(bare, "frame", TASK)
    for text in (
        "no trained head ships for frame-seed0 of policy 'qwen_omni_3b'",
        " GB (bf16",
        "hf download Qwen/Qwen2.5-Omni-3B, or",
        "Make the head: python -m neon_sim.train policy=qwen_omni_3b condition=frame",
    ):
        assert text in str(caught.value)
    with pytest.raises(CheckpointError) as caught:
        load_policy(policy(keys), "video", TASK)  # its backbone lies in a folder
    assert "hf download" not in str(caught.value)


def test_a_cached_feature_is_the_live_one(data: Path, keys: list[str], tmp_path: Path) -> None:
    dataset = DemoDataset.open(data)
    episode, images = dataset.load(0), dataset.frames(0, "front")
    for condition in ("video", "stack"):
        tower = make_tower(policy(keys), condition)
        table = FeatureTable([dataset], tower, 16, tmp_path, progress=False)
        layout = episode_layout(tower, dataset.episodes[0].length, 16, 0)
        window = len(layout.plans) // 2
        hidden, mask, _ = table.gather(np.array([window]))
        live = tower.encode(_observed(episode, images, layout.plans[window], window, layout))
        assert torch.equal(live.hidden[live.mask], hidden[mask])
        assert torch.equal(live.mask, mask)


def _observed(episode: Any, images: Any, plan: Any, window: int, layout: Any) -> Any:
    """What the live policy would be handed at a window."""
    from neon_sim.clock import TICKS_PER_CAMERA
    from neon_sim.observation.batch import ClipBatch

    return ClipBatch(
        video=images[plan.ticks // TICKS_PER_CAMERA][None],
        mask=plan.mask[None],
        time_s=plan.time_s[None],
        state=None,
        agent_pos=episode.agent_pos[layout.steps[window]][None],
        text=[episode.description],
    )


@pytest.mark.parametrize("condition", ["video", "frame"])
@pytest.mark.parametrize("name", ["qwen_omni_3b", "tribev2"])
def test_a_backbone_with_ears_hears_live_what_is_cached(
    name: str, condition: str, heard: Path, tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    settings = hearing(name, tiny)
    dataset, tower = DemoDataset.open(heard), make_tower(settings, condition)
    assert tower.needs == {"video", "audio"}
    assert not tower.per_frame
    table = FeatureTable([dataset], tower, 16, tmp_path, progress=False)
    layout = episode_layout(tower, dataset.episodes[0].length, 16, 0)
    window = len(layout.plans) // 2
    hidden, mask, _ = table.gather(np.array([window]))
    seen = _observed(dataset.load(0), dataset.frames(0), layout.plans[window], window, layout)
    audio = rings(dataset.sound(0), layout.steps[window : window + 1])
    live = tower.encode(replace(seen, audio=audio))
    assert torch.equal(live.hidden[live.mask], hidden[mask])
    assert torch.equal(live.mask, mask)
    other = tower.encode(replace(seen, audio=audio[..., ::-1].copy()))
    assert not torch.equal(live.hidden, other.hidden)
    deaf = make_tower(replace(settings, audio="none"), condition).encode(replace(seen, audio=audio))
    muted = make_tower(settings, "mute_at_test" if condition == "video" else "muted")
    assert not muted.hears
    assert not torch.equal(live.hidden, deaf.hidden)
    if condition == "video":
        assert torch.equal(muted.encode(replace(seen, audio=audio)).hidden, deaf.hidden)
    with pytest.raises(ConfigError, match="no sound"):
        tower.encode(seen)


def test_hearing_has_features_of_its_own_and_the_deaf_ones_stay(
    heard: Path, tiny: Callable[[str], Path]
) -> None:
    settings, dataset = hearing("qwen_omni_3b", tiny), DemoDataset.open(heard)
    keys = {
        audio: cache_key(dataset, make_tower(replace(settings, audio=audio), "video"), 16)
        for audio in ("none", "backbone", "log_mel")
    }
    assert keys["none"] == keys["log_mel"] != keys["backbone"]
    muted = cache_key(dataset, make_tower(settings, "muted"), 16)
    assert muted == keys["none"]


def test_a_head_is_bound_to_the_backbone_it_was_trained_behind(
    heads: Path, keys: list[str], tiny: Callable[[str], Path]
) -> None:
    """By the hash of its files; that training leaves its tensors is in test_conformance."""
    loaded = load_policy(
        policy(keys), "video", TASK, checkpoint=str(heads / "video-seed0.safetensors")
    )
    fresh = make_tower(policy(keys), "video")
    assert loaded.tower.fingerprint() == fresh.fingerprint()
    assert not any("visual" in name for name in loaded.network.state_dict())
    names = sorted(path.name for path in tiny("qwen_omni").glob("*.safetensors"))
    assert names == ["model.safetensors"]


def test_a_setting_that_was_left_out_is_named(heads: Path, keys: list[str]) -> None:
    """The same files under another setting are not called other weights."""
    fewer = [key for key in keys if "image_size" not in key]
    wanted = [f"clip.image_size={SIZE}", "clip.num_frames=4", *fewer]
    config = load_config(PolicyConfig, "policy", "qwen_omni_3b", wanted)
    with pytest.raises(CheckpointError, match=r"backbone\.image_size=56, not its default"):
        load_policy(config, "video", TASK, checkpoint=str(heads))
    alone = replace(policy(keys), backbone_args={**policy(keys).backbone_args, "block_rows": "1"})
    load_policy(alone, "video", TASK, checkpoint=str(heads))  # decides nothing


def test_instructions_prompts_and_settings_have_caches_of_their_own(
    data: Path, keys: list[str]
) -> None:
    dataset = DemoDataset.open(data)
    tower = make_tower(policy(keys), "video")
    keys_seen = {cache_key(dataset, tower, 16)}
    for change in ("backbone.image_size=112", "backbone.load_in_4bit=true"):
        other = make_tower(policy([*keys, change]), "video")
        keys_seen.add(cache_key(dataset, other, 16))
    tower.backbone._opened.SYSTEM = "You are a robot."
    keys_seen.add(cache_key(dataset, tower, 16))
    dataset.episodes[0] = replace(dataset.episodes[0], description="stop it")
    keys_seen.add(cache_key(dataset, tower, 16))
    assert len(keys_seen) == 5


def test_collect_takes_the_override_too(heads: Path, keys: list[str], tmp_path: Path) -> None:
    checkpoint = heads / "video-seed0.safetensors"
    arguments = [f"task={TASK}", f"policy={checkpoint}", f"out={tmp_path}", *keys]
    config = main_config(CollectConfig, arguments, None)
    assert config.backbone["image_size"] == "56"
    loaded, name = load_any_policy(config, TASK)
    assert name == "video-seed0"
    assert loaded.config.backbone_args["model_id"] == keys[0].partition("=")[2]
