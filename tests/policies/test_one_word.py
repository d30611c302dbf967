"""One word exchanges a backbone, one name says where weights are, and what is missing is said."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_image_checkpoints import save_tiny

from neon_sim.config.loading import load_config
from neon_sim.config.policy import PolicyConfig, settings_beside
from neon_sim.errors import CheckpointError, ConfigError
from neon_sim.observation.conditions import condition
from neon_sim.policies.backbones.base import accepted_keys, find_device, fingerprint, known_shape
from neon_sim.policies.backbones.encoders import hf_video
from neon_sim.policies.backbones.encoders.base import in_blocks
from neon_sim.policies.backbones.published import ENCODERS
from neon_sim.policies.backbones.weights.libraries import import_transformers
from neon_sim.policies.checkpoint import read_checkpoint
from neon_sim.policies.policy import load_policy, shipped_head
from neon_sim.policies.tower import tower_backbone, tower_connector
from neon_sim.registry import BACKBONES, image_twin

ALL = ("frame", "stack", "video", "video_repeat", "video_shuffle")


def policy(name: str, *overrides: str) -> PolicyConfig:
    return load_config(PolicyConfig, "policy", name, list(overrides))


# ---- backbone= alone -----------------------------------------------------------------------------


def by_one_word() -> list[str]:
    """Every backbone that a person would name, twins and what sees no camera left out."""
    rest = {"state", "none", "exact_motion", "exact_flow", "siglip_dinov2"}
    return [name for name in BACKBONES if not name.endswith("_image") and name not in rest]


@pytest.mark.parametrize("name", by_one_word())
def test_a_backbone_brings_its_twin_and_fits_under_every_condition(name):
    config = policy("neon_tiny", f"backbone={name}")
    assert tower_backbone(config, condition("video"))[0] == name
    twin = f"{name}_image" if f"{name}_image" in BACKBONES else name
    for word in ("frame", "stack"):
        assert tower_backbone(config, condition(word))[0] == twin
    for word in ALL:
        config.check_budget(word)


def test_what_was_of_the_backbone_before_goes_and_what_is_named_stays():
    config = policy("dinov2", "backbone=transnetv2")
    assert config.backbone_args == {}
    config = policy("neon_tiny", "backbone=dinov2", "backbone.model_id=/x", "max_tokens=500")
    assert config.backbone_args == {"grid": "14", "model_id": "/x"}
    assert config.max_tokens == 500
    assert config.name == "neon_tiny+dinov2"
    config = policy("qwen_vl_3b", "backbone=transnetv2", "stack_connector=avgpool")
    assert (config.connector, config.connector_args) == ("identity", {})
    assert config.stack_connector == "avgpool"
    assert policy("rt2_style", "backbone=siglip").condition == "stack"


def test_naming_both_or_the_same_changes_nothing_else():
    both = policy("neon_tiny", "backbone=transnetv2", "image_backbone=neon_tiny_image")
    assert (both.image_backbone, both.stack_connector) == ("neon_tiny_image", "avgpool")
    assert policy("dinov2", "backbone=dinov2").backbone_args == {"grid": "14"}


def test_a_yaml_of_ones_own_brings_the_twin_too(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\nbackbone: transnetv2\n")
    config = policy(str(file))
    assert (config.image_backbone, config.stack_connector) == ("transnetv2_image", "identity")
    file.write_text("name: mine\nbackbone: videomae\nconnector_args: {window: 14}\n")
    assert policy(str(file)).connector_args == {"window": 14}


class Mine:
    """Nobody said what its twin is."""

    feature_dim, tokens_per_frame = 4, 4

    def num_tokens(self, num_frames: int) -> int:
        return 4 * num_frames


@pytest.fixture
def mine(monkeypatch):
    monkeypatch.setattr(BACKBONES, "_entries", dict(BACKBONES._entries))
    BACKBONES.register("mine", f"{__name__}:Mine")


def test_where_no_twin_is_known_it_has_to_be_named(mine, monkeypatch):
    with pytest.raises(ConfigError, match="image_backbone= too, mine itself where"):
        policy("neon_tiny", "backbone=mine")
    assert policy("neon_tiny", "backbone=mine", "image_backbone=mine").image_backbone == "mine"
    monkeypatch.setattr(Mine, "single_frames", True, raising=False)
    assert policy("neon_tiny", "backbone=mine").image_backbone == "mine"
    with pytest.raises(ConfigError, match=r"exact_motion.*image_backbone= too, transnetv2_image"):
        policy("mech_two_stream_exact", "backbone=transnetv2")


def test_twins_of_single_frame_encoders_are_themselves():
    assert image_twin("efficientnet_lite0") == "efficientnet_lite0"
    assert image_twin("neon_tiny_image") == "neon_tiny_image"
    assert image_twin("vivit") == "vivit_image"


def test_frames_of_an_image_encoder_are_pooled_under_video_as_under_stack():
    config = policy("efficientnet_lite0")
    assert tower_connector(config, condition("video")) == tower_connector(
        config, condition("stack")
    )
    assert tower_connector(config, condition("frame"))[0] == "identity"
    video = policy("neon_tiny")
    assert tower_connector(video, condition("video"))[0] == "identity"


@pytest.mark.parametrize("word", ["video", "frame"])
def test_shipped_heads_are_refused_behind_another_backbone(word):
    """Also where the head's path is given; no weight of the other backbone is read for that."""
    config = policy("neon_tiny", "backbone=vivit", "backbone.model_id=/nowhere")
    named = str(shipped_head("neon_tiny", condition(word), 0, "arm_catch"))
    own_name = policy("neon_tiny", "backbone=vivit", "backbone.model_id=/nowhere", "name=neon_tiny")
    behind = "was trained behind backbone 'neon_tiny"
    for asked, checkpoint, what in (
        (config, None, f"no trained head ships for {word}-seed0 of policy 'neon_tiny+vivit'"),
        (config, named, behind),
        (own_name, None, behind),
    ):
        with pytest.raises(CheckpointError) as caught:
            load_policy(asked, word, "arm_catch", checkpoint=checkpoint)
        for text in (
            what,
            "MIT",
            "backbone.model_id=/nowhere: no such folder. ",
            "policy=neon_tiny policy.backbone=vivit backbone.model_id=/nowhere condition=",
        ):
            assert text in str(caught.value)


def test_of_several_shipped_heads_the_one_with_the_fewest_tasks_plays():
    own = shipped_head("neon_tiny", condition("video"), 0, "arm_rebound")
    shared = shipped_head("neon_tiny", condition("video"), 0, "arm_swing")
    assert (own.parent.name, shared.parent.name) == ("rebound", "abilities")
    assert "arm_rebound" in read_checkpoint(shared)[1]["tasks"]
    nobody = shipped_head("neon_tiny", condition("video"), 0, "humanoid_reach")
    assert nobody.parent.name == "neon_tiny"


def test_heads_that_look_through_no_backbone_serve_any():
    config = policy("neon_tiny", "backbone=efficientnet_lite0")
    for word in ("blind", "oracle_history"):
        played = load_policy(config, word, "arm_catch")
        assert played.checkpoint == shipped_head("neon_tiny", condition(word), 0, "arm_catch")


def test_the_command_names_what_is_otherwise_than_in_the_yaml():
    assert settings_beside(policy("neon_tiny")) == []
    assert settings_beside(policy("neon_tiny", "replan_steps=8", "condition=frame")) == []
    changed = policy("neon_tiny", "backbone=siglip", "head=flow", "clip.num_frames=4")
    assert settings_beside(changed) == ["backbone=siglip", "head=flow", "clip.num_frames=4"]


# ---- one name for weights ----------------------------------------------------------------------

TINY = {"vivit": "vivit", "timesformer": "timesformer", "siglip": "siglip", "clip": "clip"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("weights")


@pytest.mark.parametrize("name", TINY)
def test_model_id_is_the_name_of_weights_and_the_older_one_still_works(name, folder):
    where = str(save_tiny(TINY[name], folder))
    backbone = BACKBONES.resolve(name)(model_id=where)
    assert known_shape(BACKBONES.resolve(name), 4, {"model_id": where}) is not None
    if "weights" in accepted_keys(BACKBONES.resolve(name)):
        assert fingerprint(BACKBONES.resolve(name)(weights=where)) == fingerprint(backbone)
        with pytest.raises(ConfigError, match="mean the same"):
            BACKBONES.resolve(name)(weights=where, model_id="/other")


def test_model_id_of_a_torchvision_network_is_a_file_or_its_folder(tmp_path):
    pytest.importorskip("torchvision")
    from safetensors.torch import save_file

    make = BACKBONES.resolve("mc3_18")
    original = make(model_id="random", image_size="32")
    save_file(original.network.state_dict(), tmp_path / "mc3_18.safetensors")
    for place in (tmp_path, tmp_path / "mc3_18.safetensors"):
        again = make(model_id=str(place), image_size="32")
        assert fingerprint(again) == fingerprint(original)


def test_two_networks_are_two_subfolders_of_one(folder, tmp_path):
    make = BACKBONES.resolve("siglip_dinov2")
    with pytest.raises(ConfigError, match=r"subfolders siglip and dinov2.*without siglip and dino"):
        make(model_id=str(tmp_path))
    parts = {"siglip": "siglip_patch4", "dinov2": "dinov2_registers"}
    for part, kind in parts.items():
        (tmp_path / part).symlink_to(save_tiny(kind, folder))
    backbone = make(model_id=str(tmp_path))
    shape = known_shape(make, 2, {"model_id": str(tmp_path)})
    assert shape == (2, backbone.tokens_per_frame)
    named = make(siglip_id=str(tmp_path / "siglip"), dinov2_id=str(tmp_path / "dinov2"))
    assert fingerprint(named) == fingerprint(backbone)


def test_own_weights_go_by_that_name_too():
    from neon_sim.policies.backbones.own.neon_tiny import weights_path

    make = BACKBONES.resolve("neon_tiny_image")
    path = str(weights_path("neon_tiny_image"))
    assert fingerprint(make(model_id=path)) == fingerprint(make())


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("vivit_image", "num_frames, model_id, weights, device"),
        ("neon_tiny", "model_id, weights"),
        ("random", "dim, seed"),
        ("none", "nothing"),
    ],
)
def test_an_unknown_key_is_told_the_keys_there_are(name, keys):
    with pytest.raises(ConfigError, match=re.escape(f"takes: {keys} (got colour)")):
        known_shape(BACKBONES.resolve(name), 4, {"colour": "red"})


def test_errors_name_the_common_key():
    for sources in ENCODERS.values():
        for source in sources:
            assert source.kind == "wheel" or "backbone.model_id=" in source.setting


# ---- missing heads whose weights are missing too ------------------------------------------------


@pytest.mark.parametrize("name", [n for n, s in ENCODERS.items() if s[0].kind != "wheel"])
def test_a_missing_head_says_what_weights_are_missing(name, monkeypatch):
    monkeypatch.setattr("neon_sim.policies.backbones.weights.find.is_here", lambda source: False)
    config = policy("openvla_style" if name == "siglip_dinov2" else name)
    with pytest.raises(CheckpointError) as caught:
        load_policy(config, config.condition, "arm_catch")
    for source in ENCODERS[name]:
        for text in (source.model_id, source.size, source.licence, source.download):
            assert text in str(caught.value)
    assert ("gated: accept the licence" in str(caught.value)) == (name == "dinov3")
    assert "backbone.model_id=" in str(caught.value)


def test_weights_that_are_here_are_not_called_missing(folder):
    here = str(save_tiny("siglip", folder))
    for config in (policy("siglip", f"backbone.model_id={here}"), policy("efficientnet_lite0")):
        with pytest.raises(CheckpointError, match="no trained head ships") as caught:
            load_policy(config, "frame", "arm_catch")
        assert "not here either" not in str(caught.value)


# ---- device ------------------------------------------------------------------------------------


def test_auto_is_the_cpu_where_there_is_no_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert find_device("auto") == torch.device("cpu")
    with pytest.raises(ConfigError, match=r"device=cuda is not here.*take cpu or auto"):
        find_device("cuda")
    with pytest.raises(ConfigError, match=r"one device \(got 'gpu'\); use auto, cpu, cuda"):
        find_device("gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert find_device("auto") == torch.device("cuda")
    with pytest.raises(ConfigError, match="sees 2 CUDA"):
        find_device("cuda:2")


@pytest.mark.parametrize("name", ["siglip", "clip", "vivit", "timesformer"])
def test_the_device_is_no_part_of_what_is_cached(name, folder):
    where = str(save_tiny(TINY[name], folder))
    make: Any = BACKBONES.resolve(name)
    devices = [make(model_id=where, device=word) for word in ("auto", "cpu")]
    assert fingerprint(devices[0]) == fingerprint(devices[1])
    assert next(devices[1].network.parameters()).device == torch.device("cpu")
    assert not any(p.is_meta for p in devices[0].network.parameters())


def test_blocks_go_to_the_device_and_results_come_back():
    """The meta device stands for one that is not the CPU: what it is handed lies there."""
    seen = []

    def function(block: torch.Tensor) -> torch.Tensor:
        seen.append(block.device.type)
        return torch.zeros(len(block), 2)

    out = in_blocks(function, torch.zeros(9, 3), device=torch.device("meta"))
    assert seen == ["meta", "meta"]
    assert (out.device.type, out.dtype, len(out)) == ("cpu", torch.float32, 9)


def test_published_layouts_are_those_of_the_published_configs():
    transformers = import_transformers()
    for spec in hf_video.NETWORKS.values():
        assert hf_video._layout(getattr(transformers, spec.config)()) == spec.layout
