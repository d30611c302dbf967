"""Every registered head for every action mode: what it samples, and what must not change it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from neon_sim.config.loading import load_config
from neon_sim.config.policy import PolicyConfig
from neon_sim.errors import ConfigError
from neon_sim.policies.checkpoint import load_network, save_checkpoint
from neon_sim.policies.heads.action_tokens import BINS, ActionTokens
from neon_sim.policies.heads.base import Head, hold_last
from neon_sim.policies.heads.chunk_mlp import ChunkMLP
from neon_sim.policies.heads.diffusion import TRAIN_STEPS, DiffusionHead, cosine_schedule
from neon_sim.policies.heads.dit_cross_flow import DiTCrossFlow
from neon_sim.policies.heads.dit_flow import DiTFlow
from neon_sim.policies.heads.flow import FlowHead, integrate
from neon_sim.policies.heads.parameters import ACTION_MODES, count_parameters, parameter_table
from neon_sim.policies.network import NeonPolicy, NetworkSpec, resolve_spec
from neon_sim.registry import HEADS
from neon_sim.robots import action_groups

STEPS, CONTEXT = 16, 24
DIMS = sorted(ACTION_MODES.values())
# Mean error of sampled actions, and largest of a label of exactly +-1, in units of [-1, 1].
OVERFIT, LIMIT_ERROR = 0.02, 0.1
# Smaller than the defaults where those take a test too long, and how long each is fitted.
SMALL = {
    "dit_flow": {"width": 64, "inner": 128, "layers": 2},
    "dit_cross_flow": {"width": 64, "inner": 128, "layers": 2},
    "diffusion": {"width": 64, "inner": 128, "layers": 2},
    "action_tokens": {"width": 64, "inner": 128, "tokens_per_pass": 0},
}
FIT_STEPS = {"chunk_mlp": 80, "action_tokens": 120, "dit_cross_flow": 340}
FIT_COPIES = {
    "flow": 8,
    "dit_flow": 2,
    "dit_cross_flow": 2,
    "diffusion": 4,
}  # of the batch, each with its own noise
GROUPED = ("chunk_mlp", "flow", "dit_flow", "diffusion")
# Every head, and those that can be split by group split.
KINDS = [
    *(pytest.param(name, {}, id=name) for name in HEADS),
    *(pytest.param(name, {"groups": 1}, id=f"{name}-split") for name in GROUPED),
]


def make_head(name: str, action_dim: int, **arguments: float) -> Any:
    torch.manual_seed(0)
    return HEADS.make(name, arguments, CONTEXT, action_dim, STEPS)


def awake(head: Any) -> Any:
    """Weights moved off the zeros that many start from."""
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return head.eval()


def labels(rows: int, action_dim: int) -> torch.Tensor:
    """Chunks (B, 16, A) in [-1, 1], every fourth number at a joint limit, off-centre in dim 0."""
    generator = torch.Generator().manual_seed(action_dim)
    actions = torch.rand(rows, STEPS, action_dim, generator=generator) * 2 - 1
    limits = torch.rand(actions.shape, generator=generator) < 0.25
    actions = torch.where(limits, actions.sign(), actions)
    actions[..., 0] = 1.0
    actions[0, :, 0] = -1.0
    return actions


def fit(
    head: Head, context: torch.Tensor, actions: torch.Tensor, steps: int, copies: int = 1
) -> torch.Tensor:
    """Train on one batch and return what is sampled, as the policy clips it."""
    mean, std = actions.mean((0, 1)), actions.std((0, 1))
    head.set_limits(mean, std)
    standard = (actions - mean) / std
    rows, chunks = context.repeat(copies, 1), standard.repeat(copies, 1, 1)
    weight = torch.ones(chunks.shape[:2])
    optimiser = torch.optim.AdamW(head.parameters(), lr=3e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, steps)
    for _ in range(steps):
        optimiser.zero_grad()
        head.loss(rows, chunks, weight).backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        return (head.sample(context) * std + mean).clamp(-1.0, 1.0)


@pytest.mark.parametrize("action_dim", DIMS)
@pytest.mark.parametrize(("name", "split"), KINDS)
def test_overfits_a_batch_and_reaches_the_joint_limits(name, split, action_dim):
    head = make_head(name, action_dim, **SMALL.get(name, {}), **split)
    context, actions = torch.randn(8, CONTEXT), labels(8, action_dim)
    steps, copies = FIT_STEPS.get(name, 200), FIT_COPIES.get(name, 1)
    error = (fit(head, context, actions, steps, copies) - actions).abs()
    assert error.mean() < OVERFIT
    assert error[actions.abs() == 1.0].max() < LIMIT_ERROR


def test_tokens_said_one_by_one_overfit_too():
    """As ``rt2_style`` and ``openvla_style`` decode: each dimension knows those before it."""
    torch.manual_seed(0)
    head = ActionTokens(CONTEXT, 8, 3, width=64, inner=128, tokens_per_pass=1)
    assert head.places == 24
    context, actions = torch.randn(8, CONTEXT), labels(8, 8)[:, :3]
    error = (fit(head, context, actions, 120) - actions).abs()
    assert error.mean() < OVERFIT
    assert error[actions.abs() == 1.0].max() < LIMIT_ERROR


@pytest.mark.parametrize("action_dim", DIMS)
@pytest.mark.parametrize(("name", "split"), KINDS)
def test_shapes_seeds_and_batches(name, split, action_dim):
    head = awake(make_head(name, action_dim, **SMALL.get(name, {}), **split))
    context = torch.randn(4, CONTEXT)
    with torch.no_grad():
        whole = head.sample(context, 3)
        alone = torch.cat([head.sample(row, 3) for row in context.split(1)])
        again = head.sample(context, 3)
    assert whole.shape == (4, STEPS, action_dim)
    assert whole.dtype == torch.float32
    assert torch.isfinite(whole).all()
    torch.testing.assert_close(whole, alone, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(whole, again, rtol=0, atol=0)
    assert (whole[0] - whole[1]).abs().max() > 1e-3, "the context changes nothing"


@pytest.mark.parametrize("action_dim", [8, 17])
@pytest.mark.parametrize(("name", "split"), KINDS)
def test_a_row_is_the_same_to_the_bit_wherever_it_stands_in_a_block(name, split, action_dim):
    head, context = awake(make_head(name, action_dim, **split)), torch.randn(8, CONTEXT)
    order = torch.tensor([5, 2, 7, 0, 1, 3, 6, 4])
    with torch.no_grad():
        whole, mixed = head.sample(context), head.sample(context[order])
        repeated = head.sample(context[5:6].expand(8, -1))
    assert torch.equal(whole[order], mixed)
    assert torch.equal(whole[5:6].expand(8, -1, -1), repeated)


@pytest.mark.parametrize("name", ["flow", "dit_flow", "dit_cross_flow", "diffusion"])
def test_the_seed_chooses_the_noise_of_all_rows(name):
    head = awake(make_head(name, 8))
    context = torch.randn(1, CONTEXT).expand(3, -1)
    with torch.no_grad():
        first, second = head.sample(context, 3), head.sample(context, 4)
    torch.testing.assert_close(first[0], first[2])
    assert (first - second).abs().max() > 1e-3


@pytest.mark.parametrize("action_dim", DIMS)
@pytest.mark.parametrize(("name", "split"), KINDS)
def test_gradients_reach_every_parameter(name, split, action_dim):
    head = awake(make_head(name, action_dim, **SMALL.get(name, {}), **split))
    head.loss(torch.randn(4, CONTEXT), labels(4, action_dim), torch.ones(4, STEPS)).backward()
    dead = [n for n, p in head.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert dead == []


@pytest.mark.parametrize("name", list(HEADS))
def test_padded_labels_change_neither_loss_nor_gradient(name):
    head, context, actions = awake(make_head(name, 8)), torch.randn(3, CONTEXT), labels(3, 8)
    weight = torch.ones(3, STEPS)
    weight[0, 10:], weight[1, 1:] = 0.0, 0.0

    def outcome(chunks: torch.Tensor) -> list[torch.Tensor]:
        torch.manual_seed(7)
        loss = head.loss(context, chunks, weight)
        return [loss.detach(), *torch.autograd.grad(loss, list(head.parameters()))]

    padded = torch.where(weight.unsqueeze(2) > 0, actions, torch.tensor(50.0))
    for first, second in zip(outcome(actions), outcome(padded), strict=True):
        assert torch.equal(first, second)
    real = actions.clone()
    real[0, 9] = -real[0, 9]
    assert outcome(real)[0] != outcome(actions)[0]
    assert head.loss(context, actions, torch.zeros(3, STEPS)) == 0.0


def test_held_labels_repeat_the_last_real_step():
    actions = torch.arange(4.0).reshape(1, 4, 1) + torch.zeros(2, 4, 3)
    weight = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    held = hold_last(actions, weight)
    assert held[0, :, 0].tolist() == [0.0, 1.0, 1.0, 1.0]
    assert held[1].abs().max() == 0.0
    assert torch.equal(hold_last(actions, torch.ones(2, 4)), actions)


@pytest.mark.parametrize("action_dim", DIMS)
@pytest.mark.parametrize("name", list(HEADS))
def test_a_checkpoint_brings_back_the_same_samples(name, action_dim, tmp_path):
    spec = NetworkSpec(4, 1, 1, ("reach",), fusion="pooled", head=name, action_dim=action_dim)
    spec = replace(spec, head_args=SMALL.get(name, {}))
    network = NeonPolicy(spec).eval()
    actions = labels(8, action_dim)
    network.set_normalisation("action", actions.mean((0, 1)), actions.std((0, 1)))
    network.load_state_dict({k: _as_stored(k, v) for k, v in network.state_dict().items()})
    save_checkpoint(tmp_path / "head.safetensors", network, {})
    loaded, _ = load_network(tmp_path / "head.safetensors")
    context = torch.randn(2, network.head.context_dim)
    with torch.no_grad():
        assert torch.equal(network.head.sample(context), loaded.head.sample(context))


def _as_stored(name: str, value: torch.Tensor) -> torch.Tensor:
    statistics = name.endswith(("_mean", "_std", "limit"))
    return value if statistics else value.half().float()


# ---- heads split by group -------------------------------------------------------------------


@pytest.mark.parametrize("action_dim", DIMS)
def test_groups_cover_an_action_once_and_in_order(action_dim):
    groups = action_groups(action_dim)
    covered = [place for part in groups.values() for place in range(part.start, part.stop)]
    assert covered == list(range(action_dim))
    names = {8: "arm gripper", 17: "arms base", 20: "waist arms base", 29: "legs waist arms"}
    assert list(groups) == names.get(action_dim, "legs waist arms base").split()


def moved_by_the_arms(head: Any) -> dict[str, bool]:
    """Whether a loss on the 14 arm numbers of an action of 32 reaches each parameter."""
    context, chunk, t = torch.randn(2, CONTEXT), torch.randn(2, STEPS, 32), torch.rand(2)
    said = {
        ChunkMLP: lambda: head(context),
        FlowHead: lambda: head.end_point(chunk, t, context),
    }.get(type(head), lambda: head.predict(chunk, t, context))()
    said[..., action_groups(32)["arms"]].square().sum().backward()
    return {name: bool(parameter.grad.any()) for name, parameter in head.named_parameters()}


@pytest.mark.parametrize("name", GROUPED)
def test_a_loss_on_the_arms_reaches_no_hidden_layer_of_another_group(name):
    split, plain = (
        awake(make_head(name, 32, **SMALL.get(name, {}), groups=groups)) for groups in (1, 0)
    )
    moved = moved_by_the_arms(split)
    for group in action_groups(32):
        own = {key: value for key, value in moved.items() if f".{group}." in key}
        hidden = {key for key in own if key.endswith(("up.weight", "down.weight", "scale"))}
        assert hidden, f"{group} has no blocks of its own"
        assert set(own.values()) == {group == "arms"}, group
    assert all(moved_by_the_arms(plain).values())  # all that the legs' numbers need, moved


@pytest.mark.parametrize("name", ["chunk_mlp", "flow"])
def test_groups_of_an_mlp_share_no_parameter_and_read_all_of_the_input(name):
    head = awake(make_head(name, 32, groups=1))
    owners = {key.split(".")[1] for key, _ in head.named_parameters()}
    assert owners == set(action_groups(32))
    context = torch.randn(1, CONTEXT)
    context.requires_grad_()
    for part in action_groups(32).values():
        (gradient,) = torch.autograd.grad(head.sample(context)[..., part].sum(), context)
        assert gradient.ne(0).all()


@pytest.mark.parametrize("name", GROUPED)
def test_a_head_with_groups_fits_saves_and_loads(name, tmp_path):
    arguments = {**SMALL.get(name, {}), "groups": 1}
    spec = NetworkSpec(4, 1, 1, ("reach",), fusion="pooled", head=name, action_dim=20)
    network = NeonPolicy(replace(spec, head_args=arguments)).eval()
    context, actions = torch.randn(8, network.head.context_dim), labels(8, 20)
    fitted = fit(network.head, context, actions, 30, FIT_COPIES.get(name, 1))
    assert (fitted - actions).abs().mean() < 0.5
    network.load_state_dict({k: _as_stored(k, v) for k, v in network.state_dict().items()})
    save_checkpoint(tmp_path / "head.safetensors", network, {})
    loaded, _ = load_network(tmp_path / "head.safetensors")
    with torch.no_grad():
        whole = loaded.head.sample(context)
        assert torch.equal(network.head.sample(context), whole)
        assert torch.equal(loaded.head.sample(context[5:6].expand(8, -1))[0], whole[5])


@pytest.mark.parametrize("name", GROUPED)
def test_one_head_for_all_is_the_default_and_what_older_checkpoints_mean(name):
    plain, split = make_head(name, 17), make_head(name, 17, groups=1)
    assert {"leave.weight", "leave.bias"} <= set(plain.state_dict())
    assert not any(".arms." in key for key in plain.state_dict())
    assert count_of(split) > 1.2 * count_of(plain)
    spec = NetworkSpec(4, 1, 1, ("reach",), head=name)
    assert resolve_spec(spec) == resolve_spec(replace(spec, head_args={"groups": 0}))
    with pytest.raises(ConfigError, match="groups must be 0"):
        make_head(name, 17, groups=2)
    with pytest.raises(ConfigError, match="17, 20, 29, 32"):
        make_head(name, 11, groups=1)


def count_of(head: Any) -> int:
    return sum(parameter.numel() for parameter in head.parameters())


# ---- flow and diffusion ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        lambda: DiTFlow(2, 1, steps=1, width=32, inner=64, layers=2, heads=2),
        lambda: DiffusionHead(2, 1, steps=1, width=32, inner=64, layers=2, heads=2),
    ],
    ids=["dit_flow", "diffusion"],
)
def test_finds_both_of_two_answers(head):
    torch.manual_seed(0)
    model = head()
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(400):
        actions = torch.where(torch.rand(128, 1, 1) < 0.5, -1.0, 1.0)
        optimiser.zero_grad()
        model.loss(torch.zeros(128, 2), actions, torch.ones(128, 1)).backward()
        optimiser.step()
    with torch.no_grad():
        samples = torch.cat([model.sample(torch.zeros(1, 2), seed).flatten() for seed in range(60)])
    assert ((samples.abs() - 1).abs() < 0.25).float().mean() > 0.8
    assert 0.25 < (samples > 0).float().mean() < 0.75


def test_the_schedule_runs_from_the_chunk_to_pure_noise():
    alpha, sigma = cosine_schedule(TRAIN_STEPS)
    assert (alpha[0], sigma[0]) == (1.0, 0.0)
    assert (alpha[-1], sigma[-1]) == (0.0, 1.0)
    assert (alpha.diff() < 0).all()
    torch.testing.assert_close(alpha.square() + sigma.square(), torch.ones(TRAIN_STEPS + 1))


class KnownDiffusion(DiffusionHead):
    """Knows the chunk, however noisy the one it is shown."""

    def predict(self, x, t, context):
        return context[:, : self.action_dim].unsqueeze(1).expand_as(x)


@pytest.mark.parametrize("ddim_steps", [1, 3, 10, 100])
def test_ddim_of_an_exact_network_gives_the_chunk(ddim_steps):
    head, context = KnownDiffusion(CONTEXT, 17, ddim_steps=ddim_steps), torch.randn(4, CONTEXT)
    context[0] = 60.0  # a limit far from the labels' mean, in their standard deviations
    wanted = context[:, None, :17].expand(-1, STEPS, -1)
    torch.testing.assert_close(head.sample(context), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("euler_steps", [1, 8])
def test_euler_steps_of_an_exact_flow_give_the_chunk(euler_steps):
    chunk = torch.randn(4, STEPS, 20) * 30
    result = integrate(
        lambda x, t, context: chunk, torch.zeros(4, 3), torch.randn(4, STEPS, 20), euler_steps
    )
    torch.testing.assert_close(result, chunk, rtol=1e-4, atol=1e-4)


def test_dit_blocks_start_as_the_identity_and_its_trunk_fits_every_embodiment():
    head = make_head("dit_flow", 8)
    tokens, condition = torch.randn(2, STEPS, 128), torch.randn(2, 128)
    for block in head.trunk.blocks:
        torch.testing.assert_close(block(tokens, condition), tokens)
    other = make_head("dit_flow", 32)
    other.trunk.load_state_dict(head.trunk.state_dict())
    own = {n.partition(".")[0] for n, _ in head.named_parameters()} - {"trunk"}
    assert own == {"enter", "leave"}


def cross_head() -> DiTCrossFlow:
    """For the arm: three context tokens of five numbers and a flag, and a state of 8."""
    torch.manual_seed(0)
    sizes = {"width": 32, "inner": 64, "layers": 2}
    return DiTCrossFlow(3 * 6 + 8, 8, STEPS, **sizes, context_tokens=3, state_dim=8)


def cross_context(state_dim: int) -> torch.Tensor:
    tokens = torch.randn(4, 3, 6)
    tokens[..., -1] = 1.0
    tokens[:, 1] = 0.0  # not real
    return torch.cat([tokens.flatten(1), torch.randn(4, state_dim)], dim=1)


def test_two_embodiments_share_the_trunk_and_own_their_projections():
    head = cross_head()
    head.add_embodiment(29, 40)
    alone = DiTCrossFlow(3 * 6 + 40, 29, STEPS, 32, 64, 2, context_tokens=3, state_dim=40)
    alone.trunk.load_state_dict(head.trunk.state_dict())  # no width of it is a robot's
    owners = {n.partition(".")[0] for n, _ in head.named_parameters()}
    assert owners == {"trunk", "embodiments"}
    arm, humanoid = cross_context(8), cross_context(40)
    before = {name: value.detach().clone() for name, value in awake(head).named_parameters()}
    optimiser = torch.optim.SGD(head.parameters(), lr=0.1)
    head.loss(humanoid, labels(4, 29), torch.ones(4, STEPS)).backward()
    optimiser.step()
    moved = {n: not torch.equal(p, before[n]) for n, p in head.named_parameters()}
    assert {n for n, did in moved.items() if not did} == {n for n in moved if ".8." in n}
    with torch.no_grad():
        assert head.sample(arm).shape == (4, STEPS, 8)
        assert head.sample(humanoid, action_dim=29).shape == (4, STEPS, 29)
    with pytest.raises(ConfigError, match=r"which has 8, 29 \(got 29\)"):
        head.add_embodiment(29, 40)


def test_the_action_transformer_attends_to_each_real_token_and_to_its_state():
    head, context = awake(cross_head()), cross_context(8)
    with torch.no_grad():
        base, moved = head.sample(context), []
        for place in range(4):
            other = context.clone()
            other[:, slice(6 * place, 6 * place + 5)] += 1.0
            moved.append(float((head.sample(other) - base).abs().max()))
    assert moved[1] == 0.0, "a token that is not real"
    assert min(moved[0], moved[2], moved[3]) > 1e-4


# ---- tokens ---------------------------------------------------------------------------------


def test_bins_are_uniform_in_actions_and_hold_the_limits_exactly():
    head = ActionTokens(CONTEXT, 3, tokens_per_pass=0)
    mean, std = torch.tensor([0.0, 0.9, -0.5]), torch.tensor([1.0, 0.02, 0.3])
    head.set_limits(mean, std)
    actions = torch.cat([torch.tensor([[-1.0] * 3, [1.0] * 3]), torch.rand(500, 3) * 2 - 1])
    bins = head.bins((actions - mean) / std)
    back = head.values(bins) * std + mean
    assert (back - actions).abs().max() < 1 / (BINS - 1) + 1e-5
    torch.testing.assert_close(back[:2], actions[:2], rtol=0, atol=1e-6)
    assert bins[:2].tolist() == [[0] * 3, [BINS - 1] * 3]
    assert torch.equal(head.bins(head.values(bins)), bins)
    assert head.bins(torch.full((1, 3), 1e3)).tolist() == [[BINS - 1] * 3]


@pytest.mark.parametrize("tokens_per_pass", [1, 3, 8, 0])
def test_cached_decoding_says_what_the_whole_transformer_would(tokens_per_pass):
    head = awake(make_head("action_tokens", 8, tokens_per_pass=tokens_per_pass))
    context = torch.randn(3, CONTEXT)
    with torch.no_grad():
        bins = head.bins(head.sample(context))
        assert torch.equal(head.logits(context, bins).argmax(dim=3), bins)
    assert len(bins.unique()) > 8


@pytest.mark.parametrize(("tokens_per_pass", "knows"), [(1, True), (0, False)])
def test_a_token_changes_those_after_it_and_none_before(tokens_per_pass, knows):
    head = awake(make_head("action_tokens", 8, tokens_per_pass=tokens_per_pass))
    context, bins = torch.randn(1, CONTEXT), torch.randint(0, BINS, (1, STEPS, 8))
    other = bins.clone()
    other[0, 5, 3] = (other[0, 5, 3] + 100) % BINS
    with torch.no_grad():
        moved = (head.logits(context, bins) - head.logits(context, other)).abs().amax(dim=(0, 3))
    assert moved[:5].max() == 0.0
    assert moved[5, :4].max() == 0.0
    assert (moved[5, 4:].min() > 0) == knows
    assert moved[6:].min() > 0


# ---- arguments, counts, policies ------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("diffusion", {"width": 130}, "multiple of head_args.heads = 4"),
        ("dit_flow", {"width": 130}, "multiple of head_args.heads = 4"),
        ("action_tokens", {"width": 130}, "multiple of head_args.heads = 4"),
        ("action_tokens", {"tokens_per_pass": -1}, "tokens_per_pass must be 0 to 1024"),
        ("diffusion", {"ddim_steps": 0}, "ddim_steps must be 1 to 100"),
        ("diffusion", {"ddim_steps": 101}, "ddim_steps must be 1 to 100"),
    ],
)
def test_bad_arguments_name_value_and_rule(name, arguments, message):
    with pytest.raises(ConfigError, match=message):
        make_head(name, 8, **arguments)


def test_the_table_counts_every_head_for_every_action_mode():
    table = parameter_table(CONTEXT).splitlines()
    assert len(table) == 2 + len(HEADS.names())
    for name, line in zip(HEADS, table[2:], strict=True):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells[0] == f"`{name}`"
        real = [sum(p.numel() for p in make_head(name, d).parameters()) for d in (8, 32)]
        assert [int(cells[i].replace(",", "")) for i in (1, 5)] == real
        assert count_parameters(name, 8, CONTEXT) == real[0]


@pytest.mark.parametrize(
    ("policy", "head"),
    [
        ("neon_tiny_dit", "dit_flow"),
        ("neon_tiny_diffusion", "diffusion"),
        ("neon_tiny_tokens", "action_tokens"),
    ],
)
def test_each_head_has_a_policy(policy, head):
    config = load_config(PolicyConfig, "policy", policy, [])
    config.validate()
    assert (config.name, config.head, config.backbone) == (policy, head, "neon_tiny")
