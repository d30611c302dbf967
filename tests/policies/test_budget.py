"""The token budget: held when a config is read, from the config alone."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch

from neon_sim.config.loading import config_names, load_config
from neon_sim.config.policy import PolicyConfig
from neon_sim.errors import ConfigError
from neon_sim.observation.clips import ClipConfig
from neon_sim.observation.conditions import CONDITIONS, condition
from neon_sim.policies.backbones.base import known_shape, shape_of
from neon_sim.policies.backbones.own.neon_tiny import NeonTinyImage, NeonTinyVideo
from neon_sim.policies.backbones.own.random import RandomImageBackbone
from neon_sim.policies.tower import check_token_budget, make_tower
from neon_sim.registry import BACKBONES, FUSIONS

MADE_IN_NO_TIME = ("random", "random_image", "neon_tiny", "neon_tiny_image", "state", "none")


@pytest.fixture
def no_weights(monkeypatch):
    """Whoever makes a backbone of these tests fails."""

    def refuse(*args, **kwargs):
        raise AssertionError("a backbone was made")

    for cls in (NeonTinyVideo, NeonTinyImage, RandomImageBackbone):
        monkeypatch.setattr(cls, "__init__", refuse)


def test_too_many_tokens_are_refused_when_the_config_is_read(no_weights):
    with pytest.raises(ConfigError) as caught:
        load_config(PolicyConfig, "policy", "neon_tiny_joint", ["max_tokens=160"])
    text = str(caught.value)
    assert "must be at least 161 for policy 'neon_tiny_joint' under condition 'video'" in text
    assert "1 x 144 visual tokens + 16 words + 1 of proprioception (got 160)" in text
    assert "raise it, show fewer frames (clip.num_frames) or pool more (connector=avgpool)" in text
    load_config(PolicyConfig, "policy", "neon_tiny_joint", ["max_tokens=161"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["stack_connector=identity"], r"1169 .*: 8 x 144 .*\(stack_connector=avgpool\)"),
        (["clip.num_frames=16", "clip.fps=25"], "593 .*: 16 x 36 "),
        (["stack_connector=attentional_pool", "max_tokens=144"], "145 .*: 8 x 16 "),
        (["stack_connector_args.window=2.5"], "connector_args.window must be 0 to 1024, a whole"),
        (["stack_connector_args.window=0"], "window must be a whole number from 1"),
        (["stack_connector_args.pool_window=-1"], "pool_window must be 0 to 1024"),
        (["stack_connector_args.window=5", "max_tokens=88"], "89 .*: 8 x 9 "),
        (
            ["stack_connector=avgpool", "stack_connector_args.windw=2"],
            r"'avgpool' does not take 'windw' \(got .*\). Known: window, pool_window, rows\.",
        ),
        (
            ["stack_connector=avgpool", "stack_connector_args={window: 2, pool_window: 2}"],
            r"window and connector_args.pool_window mean the same \(got 2 and 2\); give",
        ),
        (["stack_connector=identity", "stack_connector_args.tokens=2"], "'tokens' .*Known: none"),
    ],
)
def test_the_sum_counts_every_frame_word_and_the_arm(no_weights, overrides, message):
    base = ["condition=stack", *overrides]
    with pytest.raises(ConfigError, match=message):
        load_config(PolicyConfig, "policy", "neon_tiny_joint", base)


@pytest.mark.parametrize("fusion", list(FUSIONS))
def test_what_is_only_read_takes_no_place_in_the_sequence(no_weights, fusion):
    """KempnerForge, "Train on video", Token budget: the residual-stream fusions need

    max_frames x tokens_per_frame + max_text_len <= max_seq_len; "Cross-attention only needs
    max_text_len <= max_seq_len (visual tokens are K/V, not in the residual)".
    """
    base = ["condition=stack", "stack_connector=identity", f"fusion={fusion}", "max_tokens=16"]
    if fusion in ("cross_attention", "pooled"):
        load_config(PolicyConfig, "policy", "neon_tiny", base)
        with pytest.raises(ConfigError, match=r"max_tokens must be at least 16 .*got 15"):
            load_config(PolicyConfig, "policy", "neon_tiny", [*base, "max_tokens=15"])
    else:
        assert fusion in ("joint_decoder", "mot", "moma", "sequence")
        with pytest.raises(ConfigError, match=r"at least 1169 .*8 x 144 visual"):
            load_config(PolicyConfig, "policy", "neon_tiny", base)


def test_a_long_clip_is_no_matter_to_a_condition_of_one_frame(no_weights):
    settings = ["stack_connector=identity", "condition=frame"]
    assert load_config(PolicyConfig, "policy", "neon_tiny_joint", settings).condition == "frame"


@pytest.mark.parametrize("name", list(CONDITIONS))
def test_what_is_counted_is_what_the_tower_makes(name):
    config = PolicyConfig(
        backbone="random", image_backbone="random_image", audio="log_mel", fusion="joint_decoder"
    )
    tower = make_tower(config, name)
    exact = tower.num_frames * tower.tokens_per_frame + 10 + 17
    check_token_budget(replace(config, max_tokens=exact), condition(name))
    with pytest.raises(ConfigError, match=f"at least {exact} "):
        check_token_budget(replace(config, max_tokens=exact - 1), condition(name))


def test_run_and_train_hold_every_condition_they_are_given(no_weights, capsys):
    from neon_sim.benchmarks.cli import main as bench
    from neon_sim.policies.training.command import main as train

    wide = "stack_connector=identity"
    command = ["run", "--policy", "neon_tiny_joint", "--task", "arm_reach", "--episodes", "1"]
    assert bench([*command, "--condition", "frame,stack", "--out", "nowhere", wide]) != 0
    assert "at least 1169" in capsys.readouterr().err
    arguments = ["policy=neon_tiny_joint", "condition=stack", "data=no", "out=no", f"policy.{wide}"]
    assert train(arguments) == 2
    assert "at least 1169" in capsys.readouterr().err


@pytest.mark.parametrize("name", list(BACKBONES))
def test_every_backbone_says_its_shape_before_it_is_made(name):
    """That it is right is asked where they are made, test_encoders and test_video_backbones."""
    shape = known_shape(BACKBONES.resolve(name), 4, {})
    assert shape is not None
    frames, tokens = shape
    joins_time = name in ("none", "neon_tiny", "random") or not name.endswith("_image")
    assert frames == 4 or (joins_time and 1 <= frames < 4)
    assert tokens >= 1
    if name in MADE_IN_NO_TIME:
        assert (frames, tokens) == shape_of(BACKBONES.resolve(name)(), 4)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("qwen_vl_3b", {"model_id": "someone/else"}),
        ("qwen_vl_3b_image", {"model_id": "someone/else"}),
        ("siglip", {"model_id": "someone/else"}),
        ("siglip_dinov2", {"siglip_id": "someone/else"}),
        ("vivit", {"weights": "someone/else"}),
        ("vivit_image", {"weights": "someone/else"}),
    ],
)
def test_only_a_repository_of_ones_own_has_to_be_asked(name, arguments):
    """Its config.json lies on the hub, and a config is read without a network."""
    assert known_shape(BACKBONES.resolve(name), 4, arguments) is None


@pytest.mark.parametrize(
    ("policy", "overrides", "message"),
    [
        ("qwen_omni_3b", ["clip.num_frames=20"], r"clip\.num_frames.*max_frames=16.*got 20"),
        ("qwen_vl_7b", ["connector_args.window=1"], "273 .*: 4 x 64 "),
        ("vjepa2", ["connector_args.window=1"], "1041 .*: 4 x 256 "),
        ("dinov2", ["backbone_args.grid=37"], "1386 .*: 1 x 1369 "),
        ("efficientnet_lite0", ["backbone_args.layer=3"], "593 .*: 1 x 576 "),
        ("efficientnet_lite0", ["backbone_args.colour=red"], r"EfficientNetImage takes.*colour"),
        ("timesformer", ["connector_args.window=1"], "1585 .*: 8 x 196 "),
        ("mvit_v2_s", ["clip.num_frames=16"], "409 .*: 8 x 49 "),
        ("transnetv2", ["backbone_args.layer=stage2"], "593 .*: 8 x 72 "),
    ],
)
def test_third_party_backbones_are_held_before_any_weight_is_asked_for(policy, overrides, message):
    stream = ["fusion=joint_decoder", "max_tokens=200"]
    with pytest.raises(ConfigError, match=message):
        load_config(PolicyConfig, "policy", policy, [*stream, *overrides])


class PatchedByArguments:
    """A backbone whose tokens depend on its arguments, as hub models' do."""

    feature_dim = 4

    @dataclass(frozen=True)
    class SETTINGS:
        patch: str = "16"

    def __init__(self, patch: str = "16") -> None:
        raise AssertionError("weights were touched")

    @classmethod
    def token_shape(cls, frames: int, /, patch: str = "16") -> tuple[int, int]:
        return frames // 2, (96 // int(patch)) ** 2


class Silent:
    """A backbone that only knows once it is made."""

    feature_dim = 4

    def __init__(self) -> None:
        self.tokens_per_frame = 400

    def num_tokens(self, num_frames: int) -> int:
        return num_frames * self.tokens_per_frame


@pytest.fixture
def extra_backbones(monkeypatch):
    monkeypatch.setattr(BACKBONES, "_entries", dict(BACKBONES._entries))
    BACKBONES.register("patched", f"{__name__}:PatchedByArguments")
    BACKBONES.register("silent", f"{__name__}:Silent")


def test_a_backbone_whose_tokens_depend_on_arguments_answers_itself(extra_backbones):
    both = ["backbone=patched", "image_backbone=neon_tiny_image"]
    settings = [*both, "backbone_args.patch=8"]
    with pytest.raises(ConfigError, match=r"593 .*: 4 x 144 "):
        load_config(PolicyConfig, "policy", "neon_tiny_joint", settings)
    load_config(PolicyConfig, "policy", "neon_tiny_joint", both)


def test_a_backbone_that_cannot_say_is_held_to_it_once_it_is_made(extra_backbones):
    settings = ["backbone=silent", "image_backbone=neon_tiny_image"]
    config = load_config(PolicyConfig, "policy", "neon_tiny_joint", settings)
    with pytest.raises(ConfigError, match=r"3217 .*: 8 x 400 "):
        make_tower(config, "video")


def test_an_instance_is_counted_as_it_is():
    config = PolicyConfig(clip=ClipConfig(num_frames=3), fusion="joint_decoder")
    with pytest.raises(ConfigError, match=r"1217 .*: 3 x 400 "):
        make_tower(config, "video", Silent())


@pytest.mark.parametrize("fusion", ["", "joint_decoder"])
@pytest.mark.parametrize("name", config_names("policy"))
def test_shipped_policies_fit_under_every_condition(name, fusion):
    """An encoder of single frames has its frames pooled under video as under stack."""
    config = load_config(PolicyConfig, "policy", name, [f"fusion={fusion}"] if fusion else [])
    for word, row in CONDITIONS.items():
        if config.audio != "none" or not row.about_sound:
            config.check_budget(word)


def test_counting_draws_no_random_number():
    config = PolicyConfig(connector="attentional_pool")
    before = torch.random.get_rng_state()
    check_token_budget(config, condition("video"))
    assert torch.equal(before, torch.random.get_rng_state())
