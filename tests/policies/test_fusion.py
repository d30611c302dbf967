"""Conformance of every registered connector and fusion; later ones are covered as they come."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch

from neon_sim.config.loading import load_config
from neon_sim.config.policy import PolicyConfig
from neon_sim.errors import ConfigError
from neon_sim.policies.fusion.base import FusionInput, FusionLayout
from neon_sim.policies.fusion.moma import ExpertChoice
from neon_sim.policies.network import NeonPolicy, NetworkSpec
from neon_sim.registry import CONNECTORS, FUSIONS

FRAMES, TOKENS, DIM, WORDS_MOST, TEXT_DIM, PROPRIO = 3, 16, 12, 16, 10, 8
LAYOUT = FusionLayout(DIM, FRAMES, TOKENS, TEXT_DIM, PROPRIO)
AGE_BLIND = {"pooled"}  # the seed's concatenation knows the order of frames, not their ages
STREAMS = ("joint_decoder", "mot", "moma")
# Trainable numbers of a fusion over 144 tokens of 64; a change is meant to be seen.
PARAMETERS = {
    "pooled": 27_136,
    "cross_attention": 241_328,
    "joint_decoder": 333_376,
    "mot": 614_176,
    "moma": 631_562,
    "sequence": 35_424,
}
# Every fusion, and the variants that take another way through its code.
VARIANTS = [
    *((name, {}) for name in FUSIONS),
    ("joint_decoder", {"causal": 1.0}),
    *((name, {"layers": 1.0}) for name in STREAMS),
    ("moma", {"capacity": 3.0}),
]


def make_fusion(name: str, layout: FusionLayout = LAYOUT, **arguments: float):
    torch.manual_seed(0)
    return FUSIONS.make(name, arguments, layout).eval()


def make_batch(rows: int = 4, seed: int = 0, layout: FusionLayout = LAYOUT) -> FusionInput:
    """A batch with frames, single tokens and words of padding in different places."""
    g = torch.Generator().manual_seed(seed)
    f, s = layout.num_frames, layout.tokens_per_frame
    mask = torch.ones(rows, f, s, dtype=torch.bool)
    mask[0, 0], mask[-1, 0, 1:] = False, False
    words = torch.arange(WORDS_MOST) < torch.arange(2, 2 + rows).unsqueeze(1)
    text = torch.randn(rows, WORDS_MOST, TEXT_DIM, generator=g)
    return FusionInput(
        hidden=torch.randn(rows, f, s, layout.token_dim, generator=g),
        mask=mask,
        time_s=-0.08 * torch.arange(f).flip(0).float().expand(rows, -1),
        proprio=torch.randn(rows, PROPRIO, generator=g),
        text_tokens=text,
        text_mask=words,
        text_pooled=(text * words.unsqueeze(2)).sum(1) / words.sum(1, keepdim=True).sqrt(),
    )


def rows_of(batch: FusionInput, rows: list[int]) -> FusionInput:
    values = (getattr(batch, item.name) for item in fields(batch))
    return FusionInput(*(value if value is None else value[rows] for value in values))


def with_words(batch: FusionInput, words: torch.Tensor) -> FusionInput:
    """The batch with other embeddings of its words, and their summary."""
    kept = words * batch.text_mask.unsqueeze(2)
    count = batch.text_mask.sum(1, keepdim=True)
    return replace(batch, text_tokens=words, text_pooled=kept.sum(1) / count.sqrt())


def same(first: torch.Tensor, second: torch.Tensor) -> None:
    torch.testing.assert_close(first, second, rtol=0, atol=0)


# ---- fusions ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "arguments"), VARIANTS)
def test_padding_changes_no_bit(name, arguments):
    fusion, batch = make_fusion(name, **arguments), make_batch()
    absent = ~batch.mask.any(dim=2)
    noisy = replace(
        batch,
        hidden=torch.where(batch.mask.unsqueeze(3), batch.hidden, torch.tensor(1e4)),
        time_s=torch.where(absent, torch.tensor(-7.0), batch.time_s),
        text_tokens=torch.where(
            batch.text_mask.unsqueeze(2), batch.text_tokens, torch.tensor(-1e4)
        ),
    )
    assert not torch.equal(noisy.hidden, batch.hidden)
    with torch.no_grad():
        same(fusion(batch), fusion(noisy))


@pytest.mark.parametrize(("name", "arguments"), VARIANTS)
def test_padding_gets_no_gradient(name, arguments):
    fusion, batch = make_fusion(name, **arguments), make_batch()
    hidden = batch.hidden.clone().requires_grad_()
    fusion(replace(batch, hidden=hidden)).square().sum().backward()
    assert not hidden.grad[~batch.mask].any()
    assert torch.isfinite(hidden.grad).all()
    assert (hidden.grad[batch.mask].abs().sum(1) > 0).float().mean() > 0.2


@pytest.mark.parametrize(("name", "arguments"), VARIANTS)
def test_all_padded_is_finite_and_blind(name, arguments):
    fusion, batch = make_fusion(name, **arguments), make_batch()
    batch = replace(batch, mask=torch.zeros_like(batch.mask))
    context = fusion(batch)
    assert context.shape == (4, fusion.context_dim)
    same(context, fusion(replace(batch, hidden=batch.hidden.flip(0), time_s=batch.time_s * 3)))
    context.square().sum().backward()
    assert torch.isfinite(context).all()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in fusion.parameters())
    wordless = replace(batch, text_mask=torch.zeros_like(batch.text_mask))
    assert torch.isfinite(fusion(wordless)).all()


@pytest.mark.parametrize(("name", "arguments"), VARIANTS)
def test_a_batch_of_four_is_four_singles(name, arguments):
    fusion, batch = make_fusion(name, **arguments), make_batch()
    with torch.no_grad():
        alone = torch.cat([fusion(rows_of(batch, [i])) for i in range(4)])
        torch.testing.assert_close(fusion(batch), alone, rtol=1e-5, atol=1e-5)
        order = [3, 1, 0, 2]
        mixed = rows_of(batch, order)
        torch.testing.assert_close(fusion(mixed), alone[order], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("frames", [5, 6, 7])
@pytest.mark.parametrize("name", list(FUSIONS))
def test_a_row_is_the_same_to_the_bit_wherever_it_stands(name, frames):
    """Eight rows of so many frames are no whole number of any processor's vectors."""
    layout = FusionLayout(DIM, frames, TOKENS, TEXT_DIM, PROPRIO)
    fusion, batch = make_fusion(name, layout), make_batch(8, layout=layout)
    ages = torch.rand(8, frames, generator=torch.Generator().manual_seed(1))
    batch = replace(batch, time_s=-ages)
    with torch.no_grad():
        whole = fusion(batch)
        for row in range(8):
            block = rows_of(batch, [row] * 8)
            same(fusion(block)[0], whole[row])


@pytest.mark.parametrize(("name", "arguments"), VARIANTS)
def test_every_modality_changes_the_output(name, arguments):
    """From the oldest frame to the last word: nothing is truncated away on the way in."""
    fusion, batch = make_fusion(name, **arguments), make_batch()
    batch = replace(
        batch, mask=torch.ones_like(batch.mask), text_mask=torch.ones_like(batch.text_mask)
    )
    batch = with_words(batch, batch.text_tokens)
    first, last = batch.hidden.clone(), batch.hidden.clone()
    first[:, 0, 0] += 3.0
    last[:, -1, -1] += 3.0
    word = batch.text_tokens.clone()
    word[:, -1] += 3.0
    changed = {
        "tokens": replace(batch, hidden=batch.hidden + 1.0),
        "first token of the oldest frame": replace(batch, hidden=first),
        "last token of the newest frame": replace(batch, hidden=last),
        "proprioception": replace(batch, proprio=-batch.proprio),
        "text": with_words(batch, -batch.text_tokens),
        "last word": with_words(batch, word),
        "mask": replace(batch, mask=batch.mask & (torch.arange(FRAMES) > 0)[:, None]),
    }
    if name not in AGE_BLIND:
        changed["ages"] = replace(batch, time_s=batch.time_s * 2)
    with torch.no_grad():
        base = fusion(batch)
        silent = [k for k, v in changed.items() if (fusion(v) - base).abs().max() < 1e-6]
    assert silent == []


@pytest.mark.parametrize("order", [[2, 1, 0], [1, 2, 0]], ids=["reversed", "shuffled"])
@pytest.mark.parametrize(("name", "arguments"), VARIANTS)
def test_the_order_of_frames_changes_the_output(name, arguments, order):
    """Under the ages of the true order, in a clip without padding and in one with it."""
    fusion, batch = make_fusion(name, **arguments), make_batch()
    mixed = replace(batch, hidden=batch.hidden[:, order], mask=batch.mask[:, order])
    with torch.no_grad():
        changes = (fusion(mixed) - fusion(batch)).abs().amax(dim=1)
    assert (changes > 1e-4).all(), changes


@pytest.mark.parametrize(("name", "arguments"), VARIANTS)
def test_gradients_reach_every_parameter(name, arguments):
    fusion = make_fusion(name, **arguments)
    for seed in range(2):
        fusion(make_batch(8, seed)).square().sum().backward()
    dead = [n for n, p in fusion.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == []


@pytest.mark.parametrize("name", list(FUSIONS))
def test_states_of_few_numbers_fit_too(name):
    layout = FusionLayout(1, 2, 15, TEXT_DIM, PROPRIO)  # 15 tokens are no grid
    fusion, batch = make_fusion(name, layout), make_batch(layout=layout)
    assert torch.isfinite(fusion(batch)).all()
    single = FusionLayout(1, 1, 1, TEXT_DIM, PROPRIO)
    small = make_fusion(name, single)
    assert small(make_batch(layout=single)).shape == (4, small.context_dim)


@pytest.mark.parametrize("name", list(FUSIONS))
def test_parameter_counts(name):
    fusion = make_fusion(name, FusionLayout(64, 1, 144, 32, PROPRIO))
    assert sum(p.numel() for p in fusion.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", list(FUSIONS))
def test_what_does_not_fit_is_an_error_and_not_cut_off(name):
    fusion, batch = make_fusion(name), make_batch()
    long = replace(
        batch,
        hidden=batch.hidden.repeat(1, 2, 1, 1),
        mask=batch.mask.repeat(1, 2, 1),
        time_s=batch.time_s.repeat(1, 2),
    )
    with pytest.raises(ConfigError, match=r"3 frames x 16 tokens and 16 words \(got 6 x 16"):
        fusion(long)
    short = replace(
        batch, hidden=batch.hidden[:, 1:], mask=batch.mask[:, 1:], time_s=batch.time_s[:, 1:]
    )
    with pytest.raises(ConfigError, match=r"3 frames x 16 tokens and 16 words \(got 2 x 16"):
        fusion(short)
    wordy = replace(
        batch,
        text_tokens=batch.text_tokens.repeat(1, 2, 1),
        text_mask=batch.text_mask.repeat(1, 2),
    )
    with pytest.raises(ConfigError, match=r"and 32\); nothing is cut off"):
        fusion(wordy)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("joint_decoder", {"heads": 5.0}, r"heads must divide width 96 \(got 5\)"),
        ("joint_decoder", {"causal": 2.0}, r"causal must be 0 to 1, .*\(got 2"),
        ("mot", {"layers": 0.0}, r"layers must be 1 to 64, a whole number \(got 0"),
        ("moma", {"capacity": 0.0}, r"capacity must be above 0, at most 100 \(got 0"),
        (
            "moma",
            {"text_experts": 1.5},
            r"text_experts must be 1 to 64, .*\(got 1.5\)",
        ),
    ],
)
def test_impossible_sizes_are_named(name, arguments, message):
    with pytest.raises(ConfigError, match=message):
        make_fusion(name, **arguments)


# ---- what each stream promises of its own -------------------------------------------------------


def test_a_causal_token_does_not_see_what_comes_later():
    fusion, batch = make_fusion("joint_decoder", causal=1.0), make_batch()
    x, real = fusion.embed(batch)
    mask = fusion.visible(real)
    assert mask.diagonal(dim1=2, dim2=3).all()
    assert not mask[:, 0].triu(1).any()
    same(mask[0, 0, -1], real[0])  # the last query sees all that is real
    with torch.no_grad():
        before = fusion.blocks[0](x, real, mask)
        x[:, 20] += 5.0
        after = fusion.blocks[0](x, real, mask)
    same(before[:, :20], after[:, :20])
    assert (before[:, 20:] - after[:, 20:]).abs().amax(2).min() > 0


def test_full_and_causal_masks_differ():
    full, causal = make_fusion("joint_decoder"), make_fusion("joint_decoder", causal=1.0)
    assert (full(make_batch()) - causal(make_batch())).abs().max() > 1e-4


def test_mot_weights_of_a_modality_touch_that_modality_alone():
    fusion, batch = make_fusion("mot"), make_batch()
    x = fusion.embed(batch)[0]
    layer = fusion.blocks[0].mlp
    vision, text = FRAMES * TOKENS, FRAMES * TOKENS + WORDS_MOST
    with torch.no_grad():
        before = layer(x)
        layer.layers["text"][0].weight.mul_(2.0)
        after = layer(x)
    same(before[:, :vision], after[:, :vision])
    same(before[:, text:], after[:, text:])
    assert (before[:, vision:text] - after[:, vision:text]).abs().max() > 0


def test_experts_take_real_tokens_only_and_are_balanced():
    torch.manual_seed(0)
    experts = ExpertChoice(8, tokens=12, experts=3, capacity=1.0)
    x, real = torch.randn(2, 12, 8), torch.ones(2, 12, dtype=torch.bool)
    real[1, 6:] = False
    gates, tokens = experts.choose(x, real)
    assert gates.shape == tokens.shape == (2, 3, 4)
    assert (gates[0] > 0).all()
    assert not gates[1][tokens[1] >= 6].any()
    made = experts(x, real)
    assert not made[1, 6:].any()
    load = experts.load(x[:1], real[:1])
    assert [load[f"expert{e}"] for e in range(3)] == pytest.approx([1 / 3] * 3)
    untaken = sum(not (tokens[0] == place).any() for place in range(12))
    assert load["untaken"] == pytest.approx(untaken / 12)
    assert (made[0].abs().sum(1) == 0).sum() == untaken


def test_an_expert_of_everything_is_a_gated_mlp():
    torch.manual_seed(0)
    experts = ExpertChoice(8, tokens=5, experts=1, capacity=1.0)
    x, real = torch.randn(3, 5, 8), torch.ones(3, 5, dtype=torch.bool)
    expected = torch.sigmoid(experts.router(x)) * experts.experts[0](x)
    torch.testing.assert_close(experts(x, real), expected)


def test_loads_are_reported_through_the_network():
    fusion, batch = make_fusion("moma"), make_batch()
    with fusion.recording() as seen, torch.no_grad():
        fusion(batch)
        assert seen == {}
    groups = {key.rpartition(".")[0] for key in seen}
    assert groups == {"block0.vision", "block0.text", "block0.action", "block1.action"}
    assert all(0.0 <= share <= 1.0 for share in seen.values())
    assert {f"block0.vision.expert{e}" for e in range(4)} < set(seen)
    with torch.no_grad():
        fusion(batch)  # the hooks are gone
    for name in set(FUSIONS) - {"moma"}:
        with make_fusion(name).recording() as nothing:
            assert nothing == {}


@pytest.mark.parametrize("short", ["joint", "mot", "moma"])
def test_the_shipped_policies_differ_in_their_fusion_alone(short):
    base = load_config(PolicyConfig, "policy", "neon_tiny", [])
    policy = load_config(PolicyConfig, "policy", f"neon_tiny_{short}", [])
    assert policy.fusion == {"joint": "joint_decoder"}.get(short, short)
    assert replace(policy, name=base.name, fusion=base.fusion) == base
    assert load_config(
        PolicyConfig, "policy", "neon_tiny_joint", ["fusion_args.causal=1"]
    ).fusion_args == {"causal": 1.0}


# ---- connectors ---------------------------------------------------------------------------------

POOLS = [
    *((name, {}) for name in CONNECTORS),
    ("attentional_pool", {"pool_window": 2.0}),
    ("attentional_pool", {"tokens": 3.0}),
]


def make_connector(name: str, count: int = 16, dim: int = 6, **arguments: float):
    torch.manual_seed(0)
    return CONNECTORS.make(name, arguments, dim, count)


def frames(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Four frames of 16 tokens of 6: whole, with holes, all but one window gone, all padding."""
    g = torch.Generator().manual_seed(seed)
    mask = torch.ones(4, 16, dtype=torch.bool)
    mask[1] = torch.rand(16, generator=g) > 0.4
    mask[2] = torch.arange(16).reshape(4, 4)[:2, :2].flatten()[:, None].eq(torch.arange(16)).any(0)
    mask[3] = False
    return torch.randn(4, 16, 6, generator=g), mask


@pytest.mark.parametrize(("name", "arguments"), POOLS)
def test_connectors_are_blind_to_padding_to_the_bit(name, arguments):
    connector, (hidden, mask) = make_connector(name, **arguments), frames()
    out, real = connector(hidden, mask)
    other, again = connector(torch.where(mask[..., None], hidden, torch.tensor(1e4)), mask)
    assert out.shape == (4, connector.out_tokens, 6)
    assert real.shape == out.shape[:2]
    assert real.dtype == torch.bool
    same(out[real], other[real])
    same(real, again)
    assert torch.isfinite(out).all()
    assert real[0].all()
    assert not real[3].any()


@pytest.mark.parametrize(("name", "arguments"), POOLS)
def test_connectors_take_frames_one_by_one(name, arguments):
    connector, (hidden, mask) = make_connector(name, **arguments), frames()
    out, real = connector(hidden, mask)
    alone = [connector(hidden[i : i + 1], mask[i : i + 1]) for i in range(4)]
    torch.testing.assert_close(out, torch.cat([o for o, _ in alone]), rtol=1e-6, atol=1e-6)
    same(real, torch.cat([r for _, r in alone]))


@pytest.mark.parametrize(("name", "arguments"), POOLS)
def test_connectors_read_every_token_and_train_every_weight(name, arguments):
    connector, (hidden, mask) = make_connector(name, **arguments), frames()
    hidden.requires_grad_()
    out, real = connector(hidden, mask)
    out[real].square().sum().backward()
    assert (hidden.grad[mask].abs().sum(1) > 0).all()
    assert not hidden.grad[~mask].any() or name == "identity"
    assert all(p.grad.abs().sum() > 0 for p in connector.parameters())


def test_pool_window_keeps_the_grid():
    connector = make_connector("attentional_pool", count=144, dim=4, pool_window=2.0)
    assert connector.out_tokens == 36
    hidden, mask = torch.randn(1, 144, 4), torch.ones(1, 144, dtype=torch.bool)
    with torch.no_grad():
        before = connector(hidden, mask)[0]
        grid = hidden.reshape(1, 12, 12, 4).clone()
        grid[0, 5, 7] += 3.0  # lies in window (2, 3) of 6 x 6
        after = connector(grid.reshape(1, 144, 4), mask)[0]
    moved = (before - after).abs().amax(2)[0] > 0
    assert moved.nonzero().flatten().tolist() == [2 * 6 + 3]
    mask = mask.reshape(1, 12, 12).clone()
    mask[0, :2, :2] = False
    real = connector(hidden, mask.reshape(1, 144))[1]
    assert (~real).nonzero().tolist() == [[0, 0]]


def test_a_pool_whose_query_does_not_care_is_the_mean_of_its_window():
    connector = make_connector("attentional_pool", dim=1, pool_window=2.0)
    with torch.no_grad():
        connector.query.zero_()
        connector.place.zero_()
        connector.value.weight.fill_(1.0)
        connector.value.bias.zero_()
        out, _ = connector(torch.arange(16.0).reshape(1, 16, 1), torch.ones(1, 16).bool())
    assert out.flatten().tolist() == [2.5, 4.5, 10.5, 12.5]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tokens": 4.0, "pool_window": 2.0}, "tokens or pool_window, not both"),
        ({"pool_window": 1.0}, r"pool_window must be a whole number from 2 \(got 1\).*4 x 4"),
        ({"pool_window": 2.5}, "pool_window must be 0 to 1024, a whole number"),
        ({"pool_window": -2.0}, "pool_window must be 0 to 1024, a whole number"),
        ({"pool_window": float("nan")}, "pool_window must be 0 to 1024, a whole number"),
        ({"pool_window": float("inf")}, "pool_window must be 0 to 1024, a whole number"),
        ({"pool_window": 2.0, "rows": 3.0}, r"rows must be .* divides the 16 tokens"),
        ({"pool_window": 2.0, "rows": -4.0}, "rows must be 0 to 1024, a whole number"),
        ({"tokens": 0.5}, "tokens must be 0 to 4096, a whole number"),
        ({"tokens": -1.0}, "tokens must be 0 to 4096, a whole number"),
    ],
)
def test_impossible_pools_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        make_connector("attentional_pool", **arguments)


def test_a_window_needs_a_grid():
    with pytest.raises(ConfigError, match="square grid"):
        make_connector("attentional_pool", count=15, pool_window=2.0)


@pytest.mark.parametrize("arguments", [{}, {"pool_window": 2.0}])
def test_a_network_with_a_trained_connector_comes_back_from_its_spec(arguments):
    spec = NetworkSpec(
        feature_dim=6,
        num_frames=2,
        tokens_per_frame=16,
        words=("reach",),
        connector="attentional_pool",
        connector_args=arguments,
        fusion="joint_decoder",
    )
    from neon_sim.policies.network import resolve_spec

    again = NeonPolicy(NetworkSpec.from_json(resolve_spec(spec).to_json()))
    assert again.connector.out_tokens == (4 if arguments else 16)
    again.load_state_dict(NeonPolicy(spec).state_dict())
