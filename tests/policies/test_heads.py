"""Heads and fusions: what they sample, not only what they score in training."""

from __future__ import annotations

import pytest
import torch

from neon_sim.policies.fusion.base import FusionInput, FusionLayout
from neon_sim.policies.heads.base import MARGIN
from neon_sim.policies.heads.chunk_mlp import ChunkMLP, soft_cap
from neon_sim.policies.heads.flow import FlowHead
from neon_sim.policies.network import NeonPolicy, NetworkInput, NetworkSpec
from neon_sim.policies.tower import Encoded
from neon_sim.registry import FUSIONS, HEADS

WORDS = ("reach", "red", "green", "blue")
OVERFIT = 0.02  # mean absolute error of sampled actions, in units of [-1, 1]
# Trainable numbers with 144 tokens of 64 and the shipped defaults; a change is meant to be seen.
PARAMETERS = {
    ("cross_attention", "chunk_mlp"): 500_048,
    ("cross_attention", "flow"): 813_520,
    ("pooled", "chunk_mlp"): 285_856,
    ("pooled", "flow"): 599_328,
}


def make_network(fusion="cross_attention", head="chunk_mlp", frames=1, tokens=16, dim=12, **more):
    torch.manual_seed(0)
    spec = NetworkSpec(
        feature_dim=dim,
        num_frames=frames,
        tokens_per_frame=tokens,
        words=WORDS,
        fusion=fusion,
        head=head,
        **more,
    )
    return NeonPolicy(spec)


def make_batch(rows=8, frames=1, tokens=16, dim=12, seed=0) -> NetworkInput:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.zeros(rows, 16, dtype=torch.int64)
    ids[:, 0], ids[:, 1] = 1, 2 + torch.arange(rows) % 3
    return NetworkInput(
        Encoded(
            torch.randn(rows, frames, tokens, dim, generator=generator),
            torch.ones(rows, frames, tokens, dtype=torch.bool),
            -torch.arange(frames).flip(0).float().expand(rows, -1) * 0.08,
        ),
        torch.rand(rows, 8, generator=generator) * 2 - 1,
        ids,
    )


def make_actions(rows=8, seed=1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    actions = torch.rand(rows, 16, 8, generator=generator) * 2 - 1
    actions[..., 7] = torch.where(actions[..., 7] > 0, 1.0, -1.0)  # a gripper lives at its limits
    return actions


def fit(network: NeonPolicy, batch: NetworkInput, actions, steps=250, until=0.0, rate=3e-3) -> None:
    """Train without dropout; it may stop early, once samples are closer than ``until``."""
    network.set_normalisation("action", actions.mean((0, 1)), actions.std((0, 1)))
    weight = torch.ones(actions.shape[:2])
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.0, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, steps)
    network.eval()  # without dropout: the question is whether it can, not whether it should
    for step in range(1, steps + 1):
        loss = network.loss(batch, actions, weight)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if until and step % 50 == 0:
            with torch.no_grad():
                if (network.sample(batch) - actions).abs().mean() < until:
                    return


# Every fusion with the default head; tests/policies/test_action_heads.py fits every head.
PAIRS = [*((fusion, "chunk_mlp") for fusion in FUSIONS), ("cross_attention", "flow")]


@pytest.mark.parametrize(("fusion", "head"), PAIRS)
def test_overfits_a_small_batch_in_sampled_actions(fusion, head):
    network, batch = make_network(fusion, head, tokens=4), make_batch(tokens=4)
    actions = make_actions()
    before = (network.sample(batch) - actions).abs().mean()
    fit(network, batch, actions, steps=250 if head == "chunk_mlp" else 700, until=OVERFIT / 2)
    error = (network.sample(batch) - actions).abs().mean()
    assert error < OVERFIT < before


@pytest.mark.parametrize("head", ["chunk_mlp", "flow"])
def test_joint_limits_are_reached_by_samples(head):
    network, batch = make_network(head=head), make_batch()
    actions = torch.ones(8, 16, 8)
    actions[::2] = -1.0
    actions[..., 3] = 0.9  # a joint that hardly moves, far from its middle
    actions[0, 0, 3] = -1.0
    fit(network, batch, actions, steps=300)
    sampled = network.sample(batch)
    assert (sampled[..., :3] - actions[..., :3]).abs().max() < 0.03
    assert sampled.max() <= 1.0
    assert sampled.min() >= -1.0


def test_soft_cap_lies_beyond_the_farthest_limit():
    head = ChunkMLP(4, 2)
    mean, std = torch.tensor([0.5, -0.9]), torch.tensor([0.1, 0.02])
    head.set_limits(mean, std)
    farthest = torch.maximum((1 - mean).abs(), (1 + mean).abs()) / std
    torch.testing.assert_close(head.limit, farthest)
    cap = MARGIN * head.limit
    assert torch.all(soft_cap(torch.full((2,), 1e6), cap) >= farthest)
    assert torch.allclose(soft_cap(torch.tensor([0.01, 0.01]), cap), torch.tensor([0.01, 0.01]))


def test_residual_scale_and_skip_are_used():
    head = ChunkMLP(4, 2)
    head.set_limits(torch.zeros(2), torch.ones(2))
    context = torch.randn(3, 4)
    head(context).square().sum().backward()
    for name in ("blocks.0.scale", "blocks.1.scale", "skip.weight"):
        gradient = dict(head.named_parameters())[name].grad
        assert gradient is not None, name
        assert gradient.abs().sum() > 0, name


@pytest.mark.parametrize("fusion", list(FUSIONS))
@pytest.mark.parametrize("head", list(HEADS))
def test_every_parameter_gets_a_gradient(fusion, head):
    network = make_network(fusion, head, frames=2)
    network.loss(make_batch(frames=2), make_actions(), torch.ones(8, 16)).backward()
    with torch.no_grad():  # weights behind a zero-initialised skip get theirs in the second step
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 1e-2)
    network.zero_grad()
    network.loss(make_batch(frames=2), make_actions(), torch.ones(8, 16)).backward()
    dead = [
        n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0
    ]
    assert dead == []


@pytest.mark.parametrize("fusion", list(FUSIONS))
@pytest.mark.parametrize("frames", [1, 3])
def test_padding_never_changes_an_output(fusion, frames):
    network = make_network(fusion, frames=frames).eval()
    batch = make_batch(frames=frames)
    mask = batch.tokens.mask.clone()
    mask[:, 0, 5:] = False
    if frames > 1:
        mask[:, 1] = False
    with torch.no_grad():
        first = network.sample(replace_tokens(batch, batch.tokens.hidden, mask))
        noisy = torch.where(mask[..., None], batch.tokens.hidden, torch.tensor(1e4))
        second = network.sample(replace_tokens(batch, noisy, mask))
    torch.testing.assert_close(first, second, rtol=0, atol=0)


@pytest.mark.parametrize("head", list(HEADS))
@pytest.mark.parametrize("fusion", list(FUSIONS))
def test_all_padded_is_finite_and_blind(fusion, head):
    network, batch = make_network(fusion, head).eval(), make_batch()
    mask = torch.zeros_like(batch.tokens.mask)
    with torch.no_grad():
        first = network.sample(replace_tokens(batch, batch.tokens.hidden, mask))
        second = network.sample(replace_tokens(batch, -batch.tokens.hidden, mask))
    assert torch.isfinite(first).all()
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def replace_tokens(batch: NetworkInput, hidden, mask) -> NetworkInput:
    return NetworkInput(Encoded(hidden, mask, batch.tokens.time_s), batch.agent_pos, batch.text_ids)


@pytest.mark.parametrize("fusion", list(FUSIONS))
def test_every_input_changes_the_output(fusion):
    network, batch = make_network(fusion, frames=2).eval(), make_batch(frames=2)
    hidden = batch.tokens.hidden
    ids = batch.text_ids.clone()
    ids[:, 1] = 2 + (ids[:, 1] - 1) % 3
    later = Encoded(hidden, batch.tokens.mask, batch.tokens.time_s * 2)
    changed = {
        "tokens": replace_tokens(batch, hidden + 1.0, batch.tokens.mask),
        "order": replace_tokens(batch, hidden.flip(1), batch.tokens.mask),
        "proprioception": NetworkInput(batch.tokens, -batch.agent_pos, batch.text_ids),
        "text": NetworkInput(batch.tokens, batch.agent_pos, ids),
    }
    if fusion != "pooled":
        changed["ages"] = NetworkInput(later, batch.agent_pos, batch.text_ids)
    with torch.no_grad():
        base = network.sample(batch)
        same = [k for k, v in changed.items() if (network.sample(v) - base).abs().max() < 1e-6]
    assert same == []


def test_flow_samples_are_fixed_by_the_seed():
    head = FlowHead(5, 8).eval()
    context = torch.randn(4, 5)
    torch.testing.assert_close(head.sample(context, 3), head.sample(context, 3), rtol=0, atol=0)
    assert (head.sample(context, 3) - head.sample(context, 4)).abs().max() > 1e-3


def test_flow_finds_both_of_two_answers():
    torch.manual_seed(0)
    head = FlowHead(2, 1, steps=1, width=64, inner=64, blocks=2)
    optimiser = torch.optim.Adam(head.parameters(), lr=3e-3)
    for _ in range(400):
        actions = torch.where(torch.rand(128, 1, 1) < 0.5, -1.0, 1.0)
        loss = head.loss(torch.zeros(128, 2), actions, torch.ones(128, 1))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        samples = torch.cat([head.sample(torch.zeros(1, 2), seed).flatten() for seed in range(60)])
    assert ((samples.abs() - 1).abs() < 0.25).float().mean() > 0.8
    assert 0.25 < (samples > 0).float().mean() < 0.75


def test_steps_beyond_the_end_do_not_count():
    for head in (ChunkMLP(3, 8), FlowHead(3, 8)):
        context, actions, weight = torch.randn(2, 3), torch.zeros(2, 16, 8), torch.ones(2, 16)
        weight[:, 10:] = 0.0
        torch.manual_seed(0)
        first = head.loss(context, actions, weight)
        changed = actions.clone()
        changed[:, 10:] = 50.0
        if isinstance(head, ChunkMLP):
            torch.testing.assert_close(first, head.loss(context, changed, weight))
        assert head.loss(context, actions, torch.zeros(2, 16)) == 0.0


@pytest.mark.parametrize(("fusion", "head"), list(PARAMETERS))
def test_parameter_counts(fusion, head):
    network = make_network(fusion, head, tokens=144, dim=64)
    assert network.num_parameters() == PARAMETERS[fusion, head]


def blobs(count: int, seed: int):
    """Three coloured blobs on a 12 x 12 grid as smooth tokens; the text names one."""
    g = torch.Generator().manual_seed(seed)
    side = (torch.arange(12) + 0.5) / 12 * 2 - 1
    y, x = torch.meshgrid(side, side, indexing="ij")
    centres = torch.stack([x, y], -1).reshape(144, 2)
    project = torch.randn(9, 64, generator=torch.Generator().manual_seed(7)) / 3
    xy = torch.rand(count, 3, 2, generator=g) * 1.8 - 0.9
    offset = (xy[:, :, None] - centres) * 6  # in tokens
    near = torch.exp(-offset.square().sum(-1) / (2 * 0.6**2))
    fine = (near[..., None] * offset).permute(0, 2, 1, 3).reshape(count, 144, 6)
    tokens = torch.tanh(torch.cat([near.transpose(1, 2), fine], -1) @ project)
    tokens = tokens + 0.05 * torch.randn(tokens.shape, generator=g)
    colour = torch.randint(0, 3, (count,), generator=g)
    ids = torch.zeros(count, 16, dtype=torch.int64)
    ids[:, 0], ids[:, 1] = 1, 2 + colour
    actions = torch.zeros(count, 16, 8)
    actions[..., :2] = xy[torch.arange(count), colour][:, None]
    return tokens[:, None].half(), ids, actions


def as_input(tokens, ids) -> NetworkInput:
    mask = torch.ones(tokens.shape[:3], dtype=torch.bool)
    times = torch.zeros(len(tokens), 1)
    return NetworkInput(Encoded(tokens, mask, times), torch.zeros(len(tokens), 8), ids)


def test_finds_the_named_blob_finer_than_a_token():
    tokens, ids, actions = blobs(4000, 0)
    network = make_network(tokens=144, dim=64)
    network.set_normalisation("action", actions.mean((0, 1)), actions.std((0, 1)))
    steps, rows, weight = 200, 128, torch.ones(128, 16)
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, steps)
    for _ in range(steps):
        pick = torch.randint(0, len(tokens), (rows,))
        loss = network.loss(as_input(tokens[pick], ids[pick]), actions[pick], weight)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    tokens, ids, actions = blobs(300, 1)
    with torch.no_grad():
        error = (network.eval().sample(as_input(tokens, ids)) - actions)[:, 0, :2].abs() * 6
    assert error.mean() < 0.5  # of a token's side, where chance is 4


def test_layouts_of_few_numbers_are_read_directly():
    assert FusionLayout(16, 8, 1, 32, 8).flat_dim == 8 * 17
    assert FusionLayout(64, 1, 144, 32, 8).flat_dim == 0
    batch = FusionInput(
        hidden=torch.full((1, 2, 1, 2), 5.0),
        mask=torch.tensor([[[True], [False]]]),
        time_s=torch.zeros(1, 2),
        proprio=torch.zeros(1, 8),
        text_tokens=torch.zeros(1, 1, 4),
        text_mask=torch.ones(1, 1, dtype=torch.bool),
        text_pooled=torch.zeros(1, 4),
    )
    assert batch.flat().tolist() == [[5.0, 5.0, 0.0, 0.0, 1.0, 0.0]]
