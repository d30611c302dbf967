"""Temporal mechanisms: masks, order, still scenes, budgets, and a network that carries one."""

from __future__ import annotations

import itertools
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from neon_sim.config.loading import config_names, load_config
from neon_sim.config.policy import PolicyConfig
from neon_sim.errors import ConfigError, UnknownNameError
from neon_sim.observation.batch import ClipBatch
from neon_sim.observation.clips import ClipConfig
from neon_sim.policies.checkpoint import load_network, save_checkpoint
from neon_sim.policies.network import NetworkInput, NetworkSpec, new_network, resolve_spec
from neon_sim.policies.temporal.attention import MaskedAttention
from neon_sim.policies.temporal.base import BUDGET, TOLERANCE, to_maps, to_tokens, width_for
from neon_sim.policies.temporal.conv3d import image_network, inflate
from neon_sim.policies.temporal.memory_tokens import MemoryLayer, pooled
from neon_sim.policies.temporal.temporal_shift import shift
from neon_sim.policies.temporal.two_stream import estimated_flow
from neon_sim.policies.tower import Encoded, make_tower
from neon_sim.policies.training.feature_cache import cache_key
from neon_sim.registry import TEMPORAL
from neon_sim.vocabulary import WORDS

D, F, S = 12, 8, 16
SMALL = {"budget": 8_000.0}
WITHOUT_PARAMETERS = {"none", "static_drop"}
WITH_PARAMETERS = sorted(set(TEMPORAL) - WITHOUT_PARAMETERS)
PASS_THE_CLIP = {"none", "static_drop"}  # all frames go to the fusion
FIXED_LENGTH = ("early", "late_concat", "two_stream", "non_local", "divided_attention", "q_former")
# Whatever the order of the frames before the current one, the output is the same.
ORDER_BLIND = {"single_frame", "late_mean"}


def make(name: str, dim: int = D, frames: int = F, tokens: int = S, **more):
    """A mechanism whose residual branches no longer start at nothing."""
    torch.manual_seed(0)
    arguments = {} if name in WITHOUT_PARAMETERS else {"budget": 8_000.0 if dim < 32 else BUDGET}
    mechanism = TEMPORAL.resolve(name)(dim, frames, tokens, **{**arguments, **more}).eval()
    with torch.no_grad():
        for parameter in mechanism.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return mechanism


def clip(rows: int = 4, dim: int = D, frames: int = F, tokens: int = S, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(rows, frames, tokens, dim, generator=generator)
    ages = -0.08 * torch.arange(frames).flip(0).float().expand(rows, -1)
    return hidden, torch.ones(rows, frames, tokens, dtype=torch.bool), ages


def padded(rows: int = 4):
    """A clip whose first frames are padding, a different number in each row; one is all padding."""
    hidden, mask, ages = clip(rows)
    for row in range(rows - 1):
        mask[row, : 2 * row + 1] = False
    mask[-1] = False
    mask[0, 3:, 5:7] = False
    return hidden, mask, ages


def difference(first, second) -> float:
    return float((first[0] - second[0]).detach().abs().max())


@pytest.mark.parametrize("name", list(TEMPORAL))
@pytest.mark.parametrize("sizes", [(D, F, S), (64, 3, 9), (D, 1, 36), (1, F, 16), (1, 1, 1)])
def test_shapes_are_what_they_promise(name, sizes):
    dim, frames, tokens = sizes
    mechanism = make(name, dim, frames, tokens)
    hidden, mask, ages = mechanism(*clip(2, dim, frames, tokens))
    assert hidden.shape == (2, mechanism.out_frames, mechanism.out_tokens, mechanism.out_dim)
    assert mask.shape == hidden.shape[:3]
    assert ages.shape == hidden.shape[:2]
    assert mask.dtype == torch.bool
    assert ages[:, -1].eq(0).all()


@pytest.mark.parametrize("name", list(TEMPORAL))
def test_padding_changes_nothing_and_stays_finite(name):
    mechanism, (hidden, mask, ages) = make(name), padded()
    with torch.no_grad():
        first = mechanism(hidden, mask, ages)
        for poison in (1e4, float("nan")):
            filled = torch.where(mask.unsqueeze(-1), hidden, torch.tensor(poison))
            second = mechanism(filled, mask, ages)
            real = first[1]
            assert torch.equal(first[1], second[1])
            assert torch.equal(first[0][real], second[0][real])
    assert torch.isfinite(first[0]).all()
    assert not first[1][-1].any(), "a clip of padding has no real token"
    if name != "none":  # which leaves padding to the fusion
        assert not first[0][~first[1]].any()


@pytest.mark.parametrize("name", list(TEMPORAL))
def test_a_batch_equals_its_rows(name):
    mechanism, batch = make(name), padded()
    with torch.no_grad():
        whole = mechanism(*batch)
        for row in range(4):
            alone = mechanism(*(part[row : row + 1] for part in batch))
            for one, many in zip(alone, whole, strict=True):
                torch.testing.assert_close(one[0], many[row], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", list(TEMPORAL))
def test_order_of_the_past(name):
    """Reversed or shuffled frames before the current one, under the ages of the true order."""
    mechanism, (hidden, mask, ages) = make(name), clip()
    orders = [[6, 5, 4, 3, 2, 1, 0, 7], [3, 0, 6, 1, 5, 2, 4, 7]]
    with torch.no_grad():
        base = mechanism(hidden, mask, ages)
        changes = [difference(base, mechanism(hidden[:, order], mask, ages)) for order in orders]
        if name == "late_mean":
            changes += [difference(base, mechanism(hidden.flip(1), mask, ages))]
    if name in ORDER_BLIND:
        assert max(changes) < 1e-6
    else:
        assert min(changes) > 1e-3


@pytest.mark.parametrize("name", list(TEMPORAL))
@pytest.mark.parametrize("count", [1, 7, 9])
def test_another_number_of_frames_is_an_error_where_each_has_its_weights(name, count):
    """The others slide over time, or join frames by mean or by state."""
    mechanism, batch = make(name), clip(frames=count)
    if name not in FIXED_LENGTH:
        assert all(torch.isfinite(part).all() for part in mechanism(*batch))
        return
    message = rf"was built for 8 frames \(got {count}\); nothing is cut off: build it for this"
    with pytest.raises(ConfigError, match=message):
        mechanism(*batch)


@pytest.mark.parametrize("name", sorted(set(TEMPORAL) - {"single_frame"}))
def test_every_frame_is_seen(name):
    mechanism, (hidden, mask, ages) = make(name), clip()
    with torch.no_grad():
        base = mechanism(hidden, mask, ages)
        for frame in range(F):
            other = hidden.clone()
            other[:, frame] += torch.randn(S, D, generator=torch.Generator().manual_seed(frame))
            assert difference(base, mechanism(other, mask, ages)) > 1e-5, frame


@pytest.mark.parametrize("name", WITH_PARAMETERS)
def test_gradients_reach_every_parameter(name):
    mechanism = make(name).train()
    hidden, _, _ = mechanism(*clip())
    (
        hidden * torch.randn(hidden.shape, generator=torch.Generator().manual_seed(1))
    ).sum().backward()
    dead = [
        n for n, p in mechanism.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0
    ]
    assert dead == []


# ---- the budget -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", WITH_PARAMETERS)
@pytest.mark.parametrize("budget", [BUDGET, 20_000])
def test_every_mechanism_has_the_same_number_of_parameters(name, budget):
    mechanism = TEMPORAL.resolve(name)(64, 8, 36, budget=float(budget))
    count = sum(p.numel() for p in mechanism.parameters())
    assert abs(count - budget) <= TOLERANCE * budget


def test_controls_have_none_and_every_mechanism_is_one_or_the_other():
    for name in WITHOUT_PARAMETERS:
        assert not list(TEMPORAL.resolve(name)(64, 8, 36).parameters())


def test_width_for_finds_the_nearest_and_refuses_what_does_not_fit():
    assert width_for(1000, lambda w: 10 * w) == 100
    assert width_for(1090, lambda w: w * w) == 33
    with pytest.raises(ConfigError, match="got 5; the nearest is 70"):
        width_for(5, lambda w: 70 * w)


def test_finding_the_width_draws_no_random_number():
    torch.manual_seed(3)
    first = TEMPORAL.resolve("early")(D, F, S, **SMALL)
    torch.manual_seed(3)
    again = first.build(first.width)
    for one, two in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("name", ["conv3d", "two_stream", "memory_tokens"])
def test_no_grid_is_an_error_that_names_the_others(name):
    with pytest.raises(ConfigError, match=r"square grid.*got 15.*q_former"):
        TEMPORAL.resolve(name)(D, F, 15)
    assert TEMPORAL.resolve("q_former")(D, F, 15).out_tokens == 32


# ---- scenes that stand still, and networks that start as nothing -----------------------------


def still(rows: int = 3):
    """A clip of one frame repeated, the first frames of a row padding."""
    hidden, mask, ages = clip(rows)
    hidden = hidden[:, -1:].expand(-1, F, -1, -1).clone()
    mask[1, :5] = False
    return hidden, mask, ages


@pytest.mark.parametrize("name", ["non_local"])
def test_identity_at_initialisation(name):
    torch.manual_seed(0)
    fresh = TEMPORAL.resolve(name)(D, F, S, **SMALL)
    batch = padded()
    mine, now, real = fresh(*batch), batch[0][:, -1:], batch[1][:, -1:]
    assert torch.equal(mine[0][real], now[real])
    assert difference(make(name)(*batch), mine) > 1e-2, "and it learns from there"


def test_divided_attention_over_time_starts_at_nothing():
    torch.manual_seed(0)
    fresh = TEMPORAL.resolve("divided_attention")(D, F, S, **SMALL)
    hidden, mask, ages = clip()
    other = torch.cat([torch.randn_like(hidden[:, :-1]), hidden[:, -1:]], dim=1)
    assert torch.equal(fresh(hidden, mask, ages)[0], fresh(other, mask, ages)[0])


def test_an_inflated_kernel_answers_to_equal_frames_as_its_parent():
    torch.manual_seed(0)
    parent = torch.nn.Conv2d(5, 5, 3, padding=1)
    image = torch.randn(2, 5, 4, 4)
    video = image.unsqueeze(2).expand(-1, -1, 3, -1, -1)
    torch.testing.assert_close(inflate(parent, 3)(video)[:, :, 0], parent(image))


def test_inflated_equals_its_image_network_on_a_still_clip():
    torch.manual_seed(0)
    mechanism = TEMPORAL.resolve("inflated")(D, F, S, **SMALL)
    torch.manual_seed(0)
    parent = image_network(D, mechanism.num_layers, mechanism.width)
    hidden, mask, ages = still()
    x = to_maps(torch.cat([hidden[:, -1], torch.ones(3, S, 1)], dim=2))
    layers: Any = parent["layers"]
    for layer in [parent["enter"], *layers]:
        x = torch.nn.functional.gelu(layer(x))
    expected = hidden[:, -1] + to_tokens(parent["leave"](x))
    torch.testing.assert_close(mechanism(hidden, mask, ages)[0][:, 0], expected)
    hidden[:, :-1] = clip(3, seed=1)[0][:, :-1]
    assert (mechanism(hidden, mask, ages)[0][:, 0] - expected).abs().max() > 1e-2


def test_the_mean_over_a_still_clip_is_the_single_frame():
    hidden, mask, ages = still()
    mean, single = make("late_mean"), make("single_frame")
    torch.testing.assert_close(mean(hidden, mask, ages)[0], single(hidden, mask, ages)[0])
    moved = clip(3, seed=1)[0]
    moved[:, -1] = hidden[:, -1]
    assert torch.equal(single(moved, mask, ages)[0], single(hidden, mask, ages)[0])
    assert difference(mean(moved, mask, ages), mean(hidden, mask, ages)) > 1e-2


def test_shifting_a_still_clip_changes_nothing_and_moves_an_eighth_each_way():
    hidden, mask, _ = still()
    shifted = shift(hidden, mask)
    assert torch.equal(shifted[mask], hidden[mask])
    moving, whole, _ = clip(1, dim=16)
    shifted = shift(moving, whole)
    assert torch.equal(shifted[:, 1:, :, :2], moving[:, :-1, :, :2])
    assert torch.equal(shifted[:, :-1, :, 2:4], moving[:, 1:, :, 2:4])
    assert torch.equal(shifted[..., 4:], moving[..., 4:])
    counted = FlopCounterMode(display=False)
    with counted:
        shift(moving, whole)
    assert counted.get_total_flops() == 0


def test_static_drop_keeps_both_ends_and_what_moves():
    hidden, mask, ages = still()
    hidden[0, 4:, 3] += 5.0  # one place changes at the fifth frame, once
    _, stays, _ = make("static_drop")(hidden, mask, ages)
    assert stays[0, 0].all()
    assert stays[0, -1].all()
    assert stays[0, 1:-1].nonzero().tolist() == [[3, 3]]
    assert stays[1, 5].all(), "the first real frame"
    assert stays[1, 6].sum() == 0
    hidden[2, 3] += 5.0
    assert make("static_drop")(hidden, mask, ages)[1][2, 3].all(), "a key frame stays whole"


# ---- what single mechanisms are made of -------------------------------------------------------


def test_flow_follows_what_moves():
    tokens = torch.randn(1, 1, 25, 32, generator=torch.Generator().manual_seed(0))
    grid = tokens.reshape(1, 1, 5, 5, 32)
    real = torch.ones(1, 1, 25, dtype=torch.bool)
    for dx, dy in itertools.product((-1, 0, 1), repeat=2):
        moved = grid.roll((dy, dx), dims=(2, 3)).reshape(1, 1, 25, 32)
        flow = estimated_flow(tokens, moved, real).reshape(5, 5, 2)[1:4, 1:4]
        assert (flow - torch.tensor([dx, dy])).abs().max() < 0.1
    assert not estimated_flow(tokens, tokens, ~real).any()


def test_two_stream_runs_either_stream_alone():
    batch = clip()
    flipped = batch[0].flip(1)[:, 1:]
    other = torch.cat([flipped, batch[0][:, -1:]], dim=1)
    looks, moves = make("two_stream", motion=0.0), make("two_stream", appearance=0.0)
    assert difference(looks(*batch), looks(other, *batch[1:])) == 0, "appearance knows one frame"
    assert difference(moves(*batch), moves(other, *batch[1:])) > 1e-3
    with pytest.raises(ConfigError, match="both 0"):
        make("two_stream", motion=0.0, appearance=0.0)


def test_exact_motion_reaches_the_motion_stream_and_nothing_else():
    """What the privileged stream is told is what the simulator's state did, and only that."""
    config = load_config(PolicyConfig, "policy", "mech_two_stream_exact", ["clip.num_frames=4"])
    tower = make_tower(config, "stack")
    assert tower.needs == {"video", "state"}
    assert not tower.per_frame
    rng = np.random.default_rng(0)
    mask = np.array([[True] * 4, [False, False, True, True]])
    seen = ClipBatch(
        video=rng.integers(0, 256, (2, 4, 96, 96, 3), dtype=np.uint8),
        mask=mask,
        time_s=np.tile(-0.08 * np.arange(4)[::-1], (2, 1)).astype(np.float32),
        state=rng.normal(size=(2, 4, 16)).astype(np.float32),
        agent_pos=np.zeros((2, 8), dtype=np.float32),
        text=["catch the moving ball"] * 2,
    )
    encoded = tower.encode(seen)
    plain = make_tower(replace(config, image_backbone="neon_tiny_image"), "stack").encode(seen)
    assert torch.equal(encoded.hidden[..., :-16], plain.hidden)
    motion = encoded.hidden[..., -16:].float()
    assert not motion[:, 0].any()
    assert not motion[1, :3].any(), "the first real frame has not moved"
    moved = torch.from_numpy(seen.state[:, 1:] - seen.state[:, :-1])
    torch.testing.assert_close(motion[0, 1:, 5], moved[0], atol=2e-3, rtol=0)
    network = new_network(config, tower, WORDS, 0).eval()
    count = sum(p.numel() for p in network.temporal.parameters())
    assert abs(count - BUDGET) <= TOLERANCE * BUDGET
    assert network.temporal.out_dim == tower.feature_dim - 16
    other = tower.encode(replace(seen, state=np.negative(seen.state)))
    ids, pose = torch.ones(2, 16, dtype=torch.int64), torch.zeros(2, 8)
    with torch.no_grad():
        told = [network.sample(NetworkInput(e, pose, ids)) for e in (encoded, other)]
        assert (told[0] - told[1]).abs().max() > 1e-4
        still = tower.encode(replace(seen, state=np.ones_like(seen.state)))
        stream = network.temporal
        out = [stream(e.hidden.float(), e.mask, e.time_s)[0] for e in (encoded, still)]
    assert out[0].shape[3] == plain.hidden.shape[3]
    assert (out[0] - out[1]).abs().max() > 1e-4
    with pytest.raises(ConfigError, match=r"exact must be 0 to 11.*got 12"):
        make("two_stream", exact=12.0)


@pytest.mark.parametrize("name", ["cnn_gru", "conv_gru"])
def test_a_padded_frame_leaves_the_state_as_it_was(name):
    """An episode that began late has the state of one that was never padded."""
    mechanism, (hidden, mask, ages) = make(name), clip()
    mask[:, :3] = False
    short = mechanism(hidden[:, 3:], mask[:, 3:], ages[:, 3:])
    torch.testing.assert_close(mechanism(hidden, mask, ages)[0], short[0])


def test_memory_is_causal_and_empty_at_the_start_of_an_episode():
    torch.manual_seed(0)
    layer, (hidden, mask, _) = MemoryLayer(D, 4, S, memory=3), clip()
    mask[:, :4] = False  # the episode starts at the fifth frame
    before = layer(hidden, mask)
    changed = hidden.clone()
    changed[:, :4] = 99.0  # another episode's frames
    assert torch.equal(layer(changed, mask)[:, 4:], before[:, 4:])
    changed[:, 6] += 1.0
    after = layer(changed, mask)
    assert torch.equal(after[:, 4:6], before[:, 4:6]), "no frame sees a later one"
    assert (after[:, 7] - before[:, 7]).abs().max() > 1e-4, "a later one remembers"
    assert torch.equal(layer(hidden, mask, 1), before[:, -1:])


@pytest.mark.parametrize("tokens", [27, 288])
def test_untrained_attention_chooses(tokens):
    """A mean over so many tokens of unit scale would have 0.19 and 0.06 of it left."""
    torch.manual_seed(0)
    seen = torch.randn(4, tokens, 64)
    attention, real = MaskedAttention(64, 8), torch.ones(4, tokens, dtype=torch.bool)
    with torch.no_grad():
        assert attention(torch.randn(4, 32, 64), seen, real).std() > 0.5


def test_memory_pools_real_tokens_only():
    x = torch.arange(9.0).reshape(1, 1, 9, 1)
    mask = torch.ones(1, 1, 9, dtype=torch.bool)
    assert pooled(x, mask)[0].flatten().tolist() == [2.0, 3.5, 6.5, 8.0]
    mask[..., :2] = mask[..., 8] = False
    tokens, real = pooled(x, mask)
    assert tokens.flatten().tolist() == [3.5, 3.5, 6.5, 0.0]
    assert real.flatten().tolist() == [True, True, True, False]


def test_a_mechanism_keeps_no_state_between_calls():
    first, second = clip(seed=1), clip(seed=2)
    for name in TEMPORAL:
        mechanism = make(name)
        alone = mechanism(*first)[0]
        mechanism(*second)
        assert torch.equal(mechanism(*first)[0], alone), name


# ---- in a network -------------------------------------------------------------------------------


def settings(temporal: str = "none", **changes) -> PolicyConfig:
    base = PolicyConfig(
        name="tested",
        backbone="random",
        image_backbone="random_image",
        backbone_args={"dim": "16"},
        condition="stack",
        clip=ClipConfig(num_frames=4, image_size=24),
        temporal=temporal,
        temporal_args={} if temporal in WITHOUT_PARAMETERS else dict(SMALL),
    )
    return replace(base, **changes)


def network_batch(network, rows: int = 3) -> NetworkInput:
    spec = network.spec
    hidden, mask, ages = clip(rows, spec.feature_dim, spec.num_frames, spec.tokens_per_frame)
    ids = torch.ones(rows, 16, dtype=torch.int64)
    return NetworkInput(Encoded(hidden, mask, ages), torch.zeros(rows, 8), ids)


def test_none_leaves_a_network_as_it_was():
    tower = make_tower(settings(), "stack")
    network = new_network(settings(), tower, WORDS, 0)
    assert not [name for name in network.state_dict() if name.startswith("temporal")]
    assert network.spec.temporal_args == {}
    old = {k: v for k, v in network.spec.to_json().items() if not k.startswith("temporal")}
    assert resolve_spec(NetworkSpec.from_json(old)) == network.spec


def test_the_shipped_heads_still_load():
    heads = Path(__file__).resolve().parents[2] / "assets" / "heads" / "neon_tiny"
    network, metadata = load_network(heads / "video-seed0.safetensors")
    assert "temporal" not in metadata["network"]
    assert network.spec.temporal == "none"


@pytest.mark.parametrize("name", list(TEMPORAL))
def test_a_network_carries_a_mechanism_through_a_checkpoint(tmp_path, name):
    config = settings(name)
    tower = make_tower(config, "stack")
    network = new_network(config, tower, WORDS, 0).eval()
    path = tmp_path / "head.safetensors"
    save_checkpoint(path, network.half().float(), {"policy": asdict(config)})
    again, metadata = load_network(path)
    assert metadata["network"]["temporal"] == name
    batch = network_batch(network)
    with torch.no_grad():
        torch.testing.assert_close(again.sample(batch), network.sample(batch), atol=1e-3, rtol=0)


def test_every_mechanism_reads_one_cache():
    """What is stored is encoded before any mechanism: one folder of features for all."""

    class Nothing:
        episodes: tuple[()] = ()
        content_hash = "x"

    keys = {
        cache_key(Nothing(), make_tower(settings(name), "stack"), 4)  # type: ignore[arg-type]
        for name in TEMPORAL
    }
    assert len(keys) == 1


def test_the_policies_and_the_suite_name_every_mechanism():
    from neon_sim.benchmarks.runs.plan import make_plan
    from neon_sim.benchmarks.runs.suites import load_suite

    named = {name.removeprefix("mech_") for name in config_names("policy") if "mech_" in name}
    assert named - {"two_stream_exact", "two_stream_flow"} == set(TEMPORAL)
    suite = load_suite("temporal_mechanisms")
    assert {name.removeprefix("mech_") for name in suite.policies} == set(TEMPORAL)
    for name in suite.policies:
        config = load_config(PolicyConfig, "policy", name, [])
        assert (config.name, config.condition) == (name, "stack")
        assert name == f"mech_{config.temporal}"
    words = dict.fromkeys(("conditions", "tasks", "overrides"), ())
    numbers = {"episodes": 2, "seed": 0, "train_seeds": (0,), "latency_steps": 0, "alpha": 0.05}
    plan = make_plan(
        policies=[], suite="temporal_mechanisms", until_decided=False, **words, **numbers
    )
    assert [spec.name for spec in plan.policies] == suite.policies


def test_wrong_words_are_named():
    with pytest.raises(UnknownNameError, match=r"temporal mechanism 'conv4d'.*conv3d"):
        settings("conv4d").validate()
    config = settings("conv3d", temporal_args={"budgte": 3.0})
    with pytest.raises(ConfigError, match="'conv3d' does not take"):
        new_network(config, make_tower(config, "stack"), WORDS, 0)
    config = settings("conv3d", temporal_args={"budget": 30.0})
    with pytest.raises(ConfigError, match=r"temporal_args\.budget"):
        new_network(config, make_tower(config, "stack"), WORDS, 0)


def test_a_policy_with_a_mechanism_acts_the_same_in_any_batch():
    from neon_sim.policies.policy import TrainedPolicy

    rng = np.random.default_rng(0)
    batch = ClipBatch(
        video=rng.integers(0, 256, (5, 4, 24, 24, 3), dtype=np.uint8),
        mask=np.ones((5, 4), dtype=bool),
        time_s=np.tile(-0.08 * np.arange(4)[::-1], (5, 1)).astype(np.float32),
        state=None,
        agent_pos=rng.uniform(-1, 1, (5, 8)).astype(np.float32),
        text=["catch the moving ball"] * 5,
    )
    for name in TEMPORAL:
        config = settings(name)
        tower = make_tower(config, "stack")
        policy = TrainedPolicy(config, tower, new_network(config, tower, WORDS, 0))
        alone = np.concatenate([policy.act(batch.rows(i, i + 1)) for i in range(5)])
        np.testing.assert_array_equal(policy.act(batch), alone)
