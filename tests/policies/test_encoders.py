"""Third-party encoders: what each of them promises as a backbone, and what it refuses."""

from __future__ import annotations

import importlib.util
import os
import pickle
import random
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from encoder_cases import (
    CASES,
    FRAMES,
    IMAGE_CASES,
    NEEDS,
    ROWS,
    SIZE,
    VIDEO_CASES,
    batch,
    mvit,
)
from encoder_cases import _small_mvit as _small_mvit  # an autouse fixture, here too
from encoder_cases import video_models as video_models  # a fixture
from tiny_image_checkpoints import save_tiny

from neon_sim.config.loading import load_config
from neon_sim.config.policy import PolicyConfig
from neon_sim.errors import CheckpointError, ConfigError, MissingPackageError
from neon_sim.observation.clips import ClipConfig, plan_clip
from neon_sim.observation.conditions import condition
from neon_sim.observation.ladder import apply_condition
from neon_sim.policies.backbones.base import fingerprint, known_shape, shape_of
from neon_sim.policies.backbones.encoders import base as frames
from neon_sim.policies.backbones.encoders import efficientnet_lite0, torchvision_video, transnetv2
from neon_sim.policies.instruction import encode_texts
from neon_sim.policies.network import NetworkInput, new_network
from neon_sim.policies.tower import make_tower
from neon_sim.registry import BACKBONES
from neon_sim.vocabulary import WORDS


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """The folder of a tiny checkpoint."""
    folder = tmp_path_factory.mktemp("tiny")
    return lambda kind: str(save_tiny(kind, folder))


@pytest.fixture(scope="session")
def arguments_of(tiny: Callable[[str], str]) -> Callable[[str], dict[str, str]]:
    """The arguments of a backbone here."""
    return lambda name: {
        key: tiny(value[1:-1]) if value.startswith("{") else value
        for key, value in CASES[name].items()
    }


@pytest.fixture(scope="session")
def build(arguments_of: Callable[[str], dict[str, str]]) -> Callable[..., Any]:
    """A backbone by name, made once; skipped where its optional package is missing."""
    found = importlib.util.find_spec

    @cache
    def make(name: str, twin: bool = False) -> Any:
        arguments = arguments_of(name)
        if twin:
            arguments["num_frames"] = str(FRAMES)
        return BACKBONES.resolve(f"{name}_image" if twin else name)(**arguments)

    def checked(name: str, twin: bool = False) -> Any:
        if name in NEEDS and found(NEEDS[name]) is None:
            pytest.skip(f"{NEEDS[name]} is not installed (pip install neon-sim[encoders])")
        return make(name, twin)

    return checked


def close_to_the_bit(first: torch.Tensor, second: torch.Tensor) -> None:
    torch.testing.assert_close(first, second, rtol=0, atol=0)


# ---- conformance ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_tokens_have_the_promised_shape_and_say_something(build, arguments_of, name):
    backbone, seen = build(name), batch()
    out = backbone.encode(seen)
    count = backbone.num_tokens(FRAMES)
    for frames_shown in (1, FRAMES, min(16, getattr(backbone, "max_frames", 16))):
        known = known_shape(BACKBONES.resolve(name), frames_shown, arguments_of(name))
        assert known == shape_of(backbone, frames_shown), "said before it was made"
    assert count % backbone.tokens_per_frame == 0
    assert count // backbone.tokens_per_frame <= FRAMES
    assert out.hidden.shape == (ROWS, count, backbone.feature_dim)
    assert out.hidden.dtype == torch.float32
    assert out.mask.shape == out.hidden.shape[:2]
    assert out.pooled.shape == (ROWS, backbone.feature_dim)
    assert torch.isfinite(out.hidden).all()
    assert not out.hidden[~out.mask].any()
    assert out.mask[1:].all()
    assert out.hidden[1].std(dim=0).mean() > 1e-3, "places must differ"
    assert (out.hidden[1] - out.hidden[2]).abs().mean() > 1e-3, "clips must differ"


@pytest.mark.parametrize("name", CASES)
def test_rows_are_equal_to_the_bit_in_every_batch_and_padding_changes_nothing(build, name):
    backbone, seen = build(name), batch()
    whole = backbone.encode(seen)
    video = seen.video.copy()
    video[~seen.mask] = 255 - video[~seen.mask]
    painted = replace(seen, video=video)
    for row in range(ROWS):
        alone = backbone.encode(painted.rows(row, row + 1))
        close_to_the_bit(alone.hidden[0], whole.hidden[row])
        close_to_the_bit(alone.pooled[0], whole.pooled[row])
        assert torch.equal(alone.mask[0], whole.mask[row])


@pytest.mark.parametrize("name", CASES)
def test_a_clip_of_padding_alone_stays_finite(build, name):
    seen = batch(rows=1)
    out = build(name).encode(replace(seen, mask=np.zeros_like(seen.mask)))
    assert not out.mask.any()
    assert not out.hidden.any()
    assert not out.pooled.any()


@pytest.mark.parametrize("name", IMAGE_CASES)
def test_an_image_encoder_sees_frames_and_no_order(build, name):
    backbone, seen = build(name), batch().rows(1, 3)
    straight = backbone.encode(seen).hidden.unflatten(1, (FRAMES, -1))
    order = [2, 0, 3, 1]
    mixed = backbone.encode(replace(seen, video=seen.video[:, order]))
    close_to_the_bit(mixed.hidden.unflatten(1, (FRAMES, -1)), straight[:, order])
    still = backbone.encode(apply_condition(condition("video_repeat"), seen))
    for place in still.hidden.unflatten(1, (FRAMES, -1)).unbind(1):
        close_to_the_bit(place, straight[:, -1])


@pytest.mark.parametrize("order", [[2, 1, 0, 3], [1, 2, 0, 3]], ids=["reversed", "shuffled"])
@pytest.mark.parametrize("name", VIDEO_CASES)
def test_a_video_encoder_sees_order(build, name, order):
    backbone, seen = build(name), batch().rows(1, 2)
    straight = backbone.encode(seen).hidden
    back = backbone.encode(replace(seen, video=seen.video[:, order])).hidden
    last = slice(-backbone.tokens_per_frame, None)
    assert (straight[:, last] - back[:, last]).abs().max() > 1e-3 * straight.std(), (
        "what the newest place says must depend on the order of the older frames"
    )


@pytest.mark.parametrize("name", VIDEO_CASES)
def test_every_frame_of_an_allowed_clip_matters(build, name):
    backbone = build(name)
    for count in (FRAMES - 1, min(16, backbone.max_frames)):
        seen = batch(rows=2, frames=count).rows(1, 2)
        whole = backbone.encode(seen).hidden
        for frame in range(count):
            video = seen.video.copy()
            video[0, frame] = 255 - video[0, frame]
            changed = backbone.encode(replace(seen, video=video)).hidden
            assert (changed - whole).abs().max() > 1e-4 * whole.std(), (count, frame)


@pytest.mark.parametrize("name", VIDEO_CASES)
def test_a_clip_with_more_frames_than_the_network_takes_is_refused(build, arguments_of, name):
    """When its tokens are counted, which is before weights are read, and when it is shown."""
    backbone = build(name)
    most = backbone.max_frames
    message = rf"clip\.num_frames must be 1 to {most} for {name} \(got {most + 1}\); show fewer"
    if most < 64:
        with pytest.raises(ConfigError, match=message):
            known_shape(BACKBONES.resolve(name), most + 1, arguments_of(name))
    with pytest.raises(ConfigError, match=message):
        backbone.num_tokens(most + 1)
    with pytest.raises(ConfigError, match=message):
        backbone.encode(batch(rows=1, frames=most + 1))


@pytest.mark.parametrize(("name", "most"), [("timesformer", 8), ("vivit", 32), ("mvit_v2_s", 16)])
def test_the_published_networks_take_so_many_frames_and_no_more(name, most):
    """The weights are not here: an error about them would mean it came too late."""
    room = ["max_tokens=10000"]
    load_config(PolicyConfig, "policy", name, [*room, f"clip.num_frames={most}"])
    with pytest.raises(ConfigError, match=rf"clip\.num_frames must be 1 to {most} for {name}"):
        load_config(PolicyConfig, "policy", name, [*room, f"clip.num_frames={most + 1}"])


@pytest.mark.parametrize("name", VIDEO_CASES)
def test_the_image_twin_is_the_same_network_on_a_clip_without_motion(build, arguments_of, name):
    backbone, twin, seen = build(name), build(name, twin=True), batch().rows(1, 2)
    still = backbone.encode(apply_condition(condition("video_repeat"), seen)).hidden
    frame = twin.encode(apply_condition(condition("frame"), seen))
    assert frame.hidden.shape == (1, twin.tokens_per_frame, backbone.feature_dim)
    close_to_the_bit(frame.hidden, still[:, -backbone.tokens_per_frame :])
    assert twin.num_tokens(3) == 3 * backbone.tokens_per_frame
    known = known_shape(BACKBONES.resolve(f"{name}_image"), 3, arguments_of(name))
    assert known == shape_of(twin, 3)


@pytest.mark.parametrize("name", CASES)
def test_weights_are_frozen_and_fingerprinted(build, name):
    backbone = build(name)
    before = fingerprint(backbone)
    backbone.encode(batch(rows=1))
    assert fingerprint(backbone) == before
    modules = [v for v in vars(backbone).values() if isinstance(v, torch.nn.Module)]
    assert modules
    assert not any(module.training for module in modules)
    parameters = [p for module in modules for p in module.parameters()]
    assert not any(p.requires_grad for p in parameters)
    kept = parameters[-1].clone()
    with torch.no_grad():
        parameters[-1].add_(1.0)
        changed = fingerprint(backbone)
        parameters[-1].copy_(kept)
    assert changed != before == fingerprint(backbone)


@pytest.mark.parametrize("name", ["siglip", "r2plus1d_18", "vivit"])
def test_made_twice_it_is_the_same_and_other_settings_are_another(build, tiny, name):
    key = "model_id" if name == "siglip" else "weights"
    weights = CASES[name][key]
    where = tiny(weights[1:-1]) if weights.startswith("{") else weights
    size = {"image_size": "32"} if name == "r2plus1d_18" else {}
    again = BACKBONES.resolve(name)(**{key: where}, **size)
    assert fingerprint(again) == fingerprint(build(name))
    if name == "siglip":
        other = BACKBONES.resolve(name)(model_id=where, layer="-2")
        assert fingerprint(other) != fingerprint(again), "cached features must not be mixed up"


def test_random_weights_leave_the_generator_alone(build):
    build("r2plus1d_18")
    torch.manual_seed(3)
    first = torch.rand(1)
    torch.manual_seed(3)
    BACKBONES.resolve("r2plus1d_18")(weights="random", image_size="32")
    assert torch.rand(1) == first


# ---- what they were trained on ------------------------------------------------------------------


def crossword() -> torch.Tensor:
    """A drawn crossword puzzle, (1, 224, 224, 3) uint8."""
    rng, count, cell = np.random.default_rng(0), 13, 17
    image = np.full((224, 224, 3), 255, np.uint8)
    black = rng.random((count, count)) < 0.2
    for row, column in np.ndindex(count, count):
        y, x = row * cell + 1, column * cell + 1
        image[y : y + cell, x : x + cell] = 0
        if not black[row, column]:
            image[y + 1 : y + cell, x + 1 : x + cell] = 255
    return torch.from_numpy(image)[None]


def test_efficientnet_knows_a_crossword_puzzle(build):
    """Class 918 of ImageNet; padding, pixel range or batch norm a little off would lose it."""
    network = build("efficientnet_lite0").network
    x = frames.pixels(crossword(), (224, 224), efficientnet_lite0.MEAN, efficientnet_lite0.STD)
    with torch.inference_mode():
        chances = network(x).softmax(dim=1)[0]
    assert int(chances.argmax()) == 918
    assert chances[918] > 0.8
    weights = sum(p.numel() for n, p in network.named_parameters() if not n.endswith("conv.bias"))
    norms = sum(
        2 * m.conv.out_channels
        for m in network.modules()
        if isinstance(m, efficientnet_lite0.ConvNorm)
    )
    assert weights + norms == 4_652_008  # Lite0 has 4.65 M (Tan & Le; the Lite model card)


@pytest.mark.parametrize(("size", "kernel", "stride"), [(7, 3, 2), (8, 3, 2), (9, 5, 2), (6, 5, 1)])
def test_same_padding_is_tensorflows(size, kernel, stride):
    """Out = ceil(in / stride), and of an odd number of padded pixels more lie at the end."""
    torch.manual_seed(0)
    layer = efficientnet_lite0.ConvNorm(2, 3, kernel, stride, linear=True).eval()
    x = torch.randn(1, 2, size, size)
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    before = total // 2
    padded = torch.zeros(1, 2, size + total, size + total)
    padded[:, :, before : before + size, before : before + size] = x
    with torch.no_grad():
        expected = layer.norm(torch.nn.functional.conv2d(padded, layer.conv.weight, stride=stride))
        assert layer(x).shape[2] == -(-size // stride)
        torch.testing.assert_close(layer(x), expected)
        layer.norm.running_mean.uniform_()  # type: ignore[operator,union-attr]
        layer.norm.running_var.uniform_(0.5, 2.0)  # type: ignore[operator,union-attr]
        unfolded = layer(x)
        layer.fold()
        torch.testing.assert_close(layer(x), unfolded, rtol=1e-4, atol=1e-5)


def test_efficientnet_layers_choose_grid_and_width(build):
    build("efficientnet_lite0")
    make = efficientnet_lite0.EfficientNetImage
    for size, layer, grid, width in ((96, "5", 6, 112), (192, "5", 12, 112), (96, "3+5", 12, 152)):
        backbone = make(image_size=size, layer=layer)
        assert (backbone.tokens_per_frame, backbone.feature_dim) == (grid * grid, width)
    head = make(image_size="96", layer="head")
    assert head.encode(batch(rows=1)).hidden.shape == (1, FRAMES * 9, 1280)


def test_transnetv2_finds_a_cut_and_its_frame_token_is_what_its_classifier_reads(build):
    backbone = build("transnetv2")
    rng = np.random.default_rng(2)
    coarse = torch.from_numpy(rng.uniform(0, 255, (2, 3, 3, 5))).float()
    scenes = torch.nn.functional.interpolate(coarse, (27, 80), mode="bicubic").clamp(0, 255)
    pan = torch.stack([scenes[i // 8, :, :, i : i + 48] for i in range(16)])
    video = pan.permute(0, 2, 3, 1).to(torch.uint8)[None]
    with torch.inference_mode():
        chances = torch.sigmoid(backbone.network(video)[0])[0, :, 0]
        tokens = backbone.clip_tokens(video)[0, :, 0, -1024:]
        again = torch.sigmoid(backbone.network.cls_layer1(tokens))[:, 0]
    assert int(chances.argmax()) == 7, "the last frame before the cut"
    assert chances[7] > 0.8
    assert chances[[i for i in range(16) if abs(i - 7) > 1]].max() < 0.1
    torch.testing.assert_close(again, chances)


def test_loading_transnetv2_leaves_the_process_as_it_was(build):
    build("transnetv2")
    torch.manual_seed(5)
    random.seed(5)
    kept = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    transnetv2.load_wheel_network()
    assert torch.equal(torch.get_rng_state(), kept[0])
    assert random.getstate() == kept[1]
    assert np.array_equal(np.random.get_state()[1], kept[2])  # noqa: NPY002
    assert not torch.are_deterministic_algorithms_enabled()
    assert "PYTORCH_ENABLE_MPS_FALLBACK" not in os.environ


def test_mvit_tokens_are_what_its_own_forward_reads_before_the_class_token(video_models):
    """On a small one of two stages."""
    network = mvit(4).eval()
    normed = []
    network.norm.register_forward_hook(lambda module, inputs, output: normed.append(output))
    x = torch.randn(1, 3, 4, 32, 32)
    with torch.inference_mode():
        network(x)
        found = torchvision_video._mvit_map(network, x)
    assert found.shape == (1, 32, 2, 4, 4)
    assert torch.equal(found.flatten(2).transpose(1, 2), normed[0][:, 1:])


def test_mvit_runs_at_its_size(video_models):
    backbone, seen = BACKBONES.resolve("mvit_v2_s")(weights="random"), batch().rows(1, 2)
    out = backbone.encode(seen)
    assert out.hidden.shape == (1, 4 * 49, 768), "16 frames are 8 places; 4 frames are at most 4"
    assert known_shape(BACKBONES.resolve("mvit_v2_s"), 4, {}) == shape_of(backbone, 4) == (4, 49)
    assert torch.isfinite(out.hidden).all()
    assert out.hidden[0].std(dim=0).mean() > 1e-2, "places must differ"


# ---- pieces -------------------------------------------------------------------------------------


def test_time_is_resampled_merged_and_masked():
    video = torch.arange(4)[None, :, None]
    assert frames.resample_time(video, 8).flatten().tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert frames.resample_time(torch.arange(5)[None], 8)[0, -1] == 4
    tokens = torch.arange(4.0).reshape(1, 4, 1, 1)
    assert frames.merge_time(tokens, 2).flatten().tolist() == [0.5, 2.5]
    mask = torch.tensor([[False, False, False, True]])
    assert frames.place_mask(mask, 2).tolist() == [[False, True]]


def test_padding_is_held_at_the_first_real_frame():
    video = torch.arange(4, dtype=torch.uint8).reshape(1, 4, 1, 1, 1).expand(2, 4, 1, 1, 3)
    mask = torch.tensor([[False, False, True, True], [False] * 4])
    held = frames.hold_padding(video, mask)[..., 0].flatten(1)
    assert held.tolist() == [[2, 2, 2, 3], [0, 0, 0, 0]]


def test_blocks_refuse_nothing_at_all():
    with pytest.raises(ConfigError, match="at least one frame"):
        frames.in_blocks(lambda x: x, torch.zeros(0, 2))


# ---- errors ------------------------------------------------------------------------------------

HUB = {
    "siglip": ("google/siglip-base-patch16-224", "Apache-2.0", "model_id"),
    "siglip2": ("google/siglip2-base-patch16-224", "Apache-2.0", "model_id"),
    "clip": ("openai/clip-vit-base-patch16", "MIT", "model_id"),
    "dinov2": ("facebook/dinov2-base", "Apache-2.0", "model_id"),
    "dinov3": ("facebook/dinov3-vits16-pretrain-lvd1689m", "gated", "model_id"),
    "siglip_dinov2": ("google/siglip-so400m-patch14-224", "Apache-2.0", "siglip_id"),
    "timesformer": ("facebook/timesformer-base-finetuned-k400", "CC-BY-NC-4.0", "weights"),
    "vivit": ("google/vivit-b-16x2-kinetics400", "MIT", "weights"),
}


@pytest.mark.parametrize("name", HUB)
def test_missing_hub_weights_say_what_they_are_and_how_to_get_them(name, tmp_path):
    model_id, licence, argument = HUB[name]
    nowhere = str(tmp_path / "nothing")
    with pytest.raises(CheckpointError) as caught:
        BACKBONES.resolve(name)(**{argument: nowhere})
    told = str(caught.value)
    for part in (nowhere, model_id, licence, "GB", f"hf download {model_id}", argument):
        assert part in told, told


@pytest.mark.parametrize("name", torchvision_video.NETWORKS)
def test_missing_torchvision_weights_are_never_replaced_by_random_ones(name):
    with pytest.raises(CheckpointError) as caught:
        BACKBONES.resolve(name)()
    told = str(caught.value)
    for part in (name, "MB", "BSD-3-Clause", "curl -LO", "backbone.model_id"):
        assert part in told, told


def test_pickles_are_refused(tmp_path, tiny):
    file = tmp_path / "r3d_18.pth"
    torch.save({"a": torch.zeros(1)}, file)
    with pytest.raises(CheckpointError, match=r"safetensors.*save_file"):
        BACKBONES.resolve("r3d_18")(weights=str(file))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "pytorch_model.bin").write_bytes(file.read_bytes())
    for name, argument in (("siglip", "model_id"), ("vivit", "weights")):
        with pytest.raises(CheckpointError, match=r"pytorch_model\.bin"):
            BACKBONES.resolve(name)(**{argument: str(folder)})


def test_foreign_and_damaged_weights_are_refused(build, tiny, tmp_path):
    from safetensors.torch import save_file

    with pytest.raises(ConfigError, match="'timesformer'"):
        BACKBONES.resolve("siglip")(model_id=tiny("timesformer"))
    with pytest.raises(ConfigError, match=r"vivit network.*'clip'"):
        BACKBONES.resolve("vivit")(weights=tiny("clip"))
    build("r3d_18")
    path = tmp_path / "other.safetensors"
    save_file({"stem.0.weight": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match="another architecture"):
        BACKBONES.resolve("r3d_18")(weights=str(path))
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(CheckpointError, match="truncated or no safetensors file"):
        BACKBONES.resolve("r3d_18")(weights=str(path))


def test_a_state_dict_comes_back_from_safetensors(build, tmp_path):
    from safetensors.torch import save_file

    original = build("r2plus1d_18")
    path = tmp_path / "r2plus1d_18.safetensors"
    save_file(original.network.state_dict(), path)
    again = BACKBONES.resolve("r2plus1d_18")(weights=str(path), image_size="32")
    assert fingerprint(again) == fingerprint(original)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("efficientnet_lite0", {"image_size": "8"}, r"image_size must be 32 to 512,.*got 8"),
        ("efficientnet_lite0", {"layer": "9"}, r"1, 2, .*head.*got '9'"),
        ("transnetv2", {"layer": "stage9"}, r"stage2, stage3.*got 'stage9'"),
        ("transnetv2_image", {"num_frames": "99"}, r"num_frames must be 1 to 64.*got 99"),
        ("r3d_18", {"weights": "random", "layer": "layer9"}, "layer2, layer3, layer4"),
        ("mvit_v2_s", {"weights": "random", "image_size": "96"}, "must be 224 .*got 96"),
    ],
)
def test_bad_arguments_name_value_and_rule(build, name, arguments, message):
    with pytest.raises(ConfigError, match=message):
        BACKBONES.resolve(name)(**arguments)


def test_bad_grids_and_layers_are_refused(tiny):
    for arguments, message in (({"grid": "99"}, "0 to 64"), ({"layer": "-9"}, "-2 to -1")):
        with pytest.raises(ConfigError, match=message):
            BACKBONES.resolve("siglip")(model_id=tiny("siglip"), **arguments)


@pytest.mark.parametrize("name", ["siglip", "timesformer"])
def test_wrong_clips_are_refused(build, name):
    backbone, seen = build(name), batch()
    with pytest.raises(ConfigError, match="holds none"):
        backbone.encode(replace(seen, video=None))
    with pytest.raises(ConfigError, match="uint8"):
        backbone.encode(replace(seen, video=seen.video.astype(np.float32)))


def test_a_still_frame_fills_no_more_places_than_the_network_has(tiny):
    assert BACKBONES.resolve("timesformer_image")(weights=tiny("timesformer")).num_frames == 4
    assert BACKBONES.resolve("vivit_image")(weights=tiny("vivit")).num_frames == 8
    with pytest.raises(ConfigError, match=r"num_frames must be 1 to 4 .*got 5"):
        BACKBONES.resolve("timesformer_image")(weights=tiny("timesformer"), num_frames="5")


@pytest.mark.parametrize("name", ["efficientnet_lite0", "transnetv2", "r3d_18"])
def test_a_missing_package_ends_in_the_command_that_installs_it(monkeypatch, name):
    monkeypatch.setitem(__import__("sys").modules, NEEDS[name], None)
    monkeypatch.setitem(__import__("sys").modules, f"{NEEDS[name]}.models.video", None)
    arguments = {"weights": "random"} if name == "r3d_18" else {}
    with pytest.raises(MissingPackageError, match=r"pip install -c \S*constraints.txt"):
        BACKBONES.resolve(name)(**arguments)


# ---- in a policy -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("efficientnet_lite0", "frame"),
        ("efficientnet_lite0", "stack"),
        ("transnetv2", "video"),
        ("transnetv2", "video_repeat"),
    ],
)
def test_policies_learn_with_the_existing_fusion_and_head(build, name, row):
    """The head drives the squared error of what it samples far down on four observations."""
    build(name)
    clip = ClipConfig(num_frames=FRAMES, image_size=SIZE)
    settings = replace(load_config(PolicyConfig, "policy", name, []), clip=clip)
    tower, seen = make_tower(settings, row), batch()
    network = new_network(settings, tower, WORDS, seed=0)
    encoded = tower.encode(seen)
    flat = encoded.hidden[encoded.mask].float()
    network.set_normalisation("feature", flat.mean(dim=0), flat.std(dim=0))
    inputs = NetworkInput(encoded, torch.from_numpy(seen.agent_pos), encode_texts(seen.text, WORDS))
    actions = torch.rand(ROWS, 16, 8, generator=torch.Generator().manual_seed(0)) - 0.5
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-3)

    def error() -> float:
        with torch.no_grad():
            return float((network.sample(inputs) - actions).square().mean())

    start = error()
    for _ in range(25):
        optimiser.zero_grad()
        network.loss(inputs, actions, torch.ones(ROWS, 16)).backward()
        optimiser.step()
    assert error() < 0.3 * start


SAME = ("efficientnet_lite0", "siglip", "siglip2", "clip", "dinov2", "dinov3")


@pytest.mark.parametrize("name", [*VIDEO_CASES, *SAME])
def test_every_encoder_has_a_policy(name):
    settings = load_config(PolicyConfig, "policy", name, [])
    twin = name if name in SAME else f"{name}_image"
    assert (settings.backbone, settings.image_backbone) == (name, twin)
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_the_slow_system_looks_every_sixteenth_step():
    """Between two looks the clip stays; proprioception is not part of it and stays fresh."""
    clip = ClipConfig(num_frames=1, refresh_steps=16)
    ticks = [int(plan_clip(clip, 10 * step).ticks[-1]) for step in range(40)]
    assert ticks == [160 * (step // 16) for step in range(40)]
    assert ClipConfig().refresh_steps == 1
