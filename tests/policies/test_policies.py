"""Conditions, connectors, towers, checkpoints and the policy that the runner drives."""

from __future__ import annotations

from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from neon_sim.config.policy import PolicyConfig
from neon_sim.errors import (
    CheckpointError,
    ConfigError,
    PolicyError,
    UnknownNameError,
)
from neon_sim.observation.batch import ClipBatch, observe_row, stack_observations
from neon_sim.observation.clips import ClipConfig
from neon_sim.observation.conditions import ABOUT_SOUND, CONDITIONS, TRAINED_CONDITIONS, condition
from neon_sim.observation.ladder import apply_condition, condition_needs
from neon_sim.policies import policy as policy_module
from neon_sim.policies.backbones.base import fingerprint, masked_mean
from neon_sim.policies.backbones.own.random import RandomBackbone, RandomImageBackbone
from neon_sim.policies.checkpoint import load_network, save_checkpoint
from neon_sim.policies.fusion.base import FusionLayout
from neon_sim.policies.instruction import encode_texts
from neon_sim.policies.network import new_network
from neon_sim.policies.policy import TrainedPolicy, load_policy
from neon_sim.policies.tower import make_tower
from neon_sim.registry import AUDIO_ENCODERS, CONNECTORS, FUSIONS, HEADS, TEMPORAL
from neon_sim.vocabulary import WORDS

SIZE, FRAMES = 24, 4
SILENT = [name for name in CONDITIONS if name not in ABOUT_SOUND]  # test_hearing.py has the rest
TEXTS = ("catch the moving ball", "reach the red post", "put the green block into the bowl")


def config(**changes) -> PolicyConfig:
    base = PolicyConfig(
        name="tested",
        backbone="random",
        image_backbone="random_image",
        backbone_args={"dim": "16"},
        clip=ClipConfig(num_frames=FRAMES, image_size=SIZE),
    )
    return replace(base, **changes)


def make_batch(rows=3, frames=FRAMES, seed=0) -> ClipBatch:
    rng = np.random.default_rng(seed)
    mask = np.ones((rows, frames), dtype=bool)
    mask[0, : frames // 2] = False
    return ClipBatch(
        video=rng.integers(0, 256, (rows, frames, SIZE, SIZE, 3), dtype=np.uint8),
        mask=mask,
        time_s=np.tile(-0.08 * np.arange(frames)[::-1], (rows, 1)).astype(np.float32),
        state=rng.standard_normal((rows, frames, 16)).astype(np.float32),
        agent_pos=rng.uniform(-1, 1, (rows, 8)).astype(np.float32),
        text=[TEXTS[i % 3] for i in range(rows)],
    )


def make_policy(name: str, settings: PolicyConfig | None = None) -> TrainedPolicy:
    settings = settings or config()
    tower = make_tower(settings, name)
    network = new_network(settings, tower, WORDS, seed=0)
    with torch.no_grad():  # a fresh head hardly reacts
        for parameter in network.parameters():
            parameter.mul_(1.5)
    return TrainedPolicy(settings, tower, network)


# ---- conditions -------------------------------------------------------------------------------


def test_conditions_leave_what_they_say():
    batch = make_batch()
    seen = {name: apply_condition(row, batch) for name, row in CONDITIONS.items()}
    assert seen["blind"].video is None
    assert seen["blind"].state is None
    np.testing.assert_array_equal(seen["frame"].video[:, 0], batch.video[:, -1])
    assert seen["frame"].mask.shape == (3, 1)
    np.testing.assert_array_equal(seen["video"].video, batch.video)
    repeated = seen["video_repeat"]
    for place in range(FRAMES):
        np.testing.assert_array_equal(repeated.video[:, place], batch.video[:, -1])
    assert repeated.mask.all(), "a mask would tell how long the episode has run"
    assert not repeated.time_s.any()


def test_shuffle_is_never_the_true_order_and_leaves_padding():
    batch = make_batch(rows=60, seed=3)
    mixed = apply_condition(condition("video_shuffle"), batch)
    np.testing.assert_array_equal(mixed.mask, batch.mask)
    np.testing.assert_array_equal(mixed.time_s, batch.time_s)
    for row in range(60):
        assert not np.array_equal(mixed.video[row], batch.video[row])
        assert sorted(f.sum() for f in mixed.video[row]) == sorted(
            f.sum() for f in batch.video[row]
        )
    np.testing.assert_array_equal(mixed.video[0, : FRAMES // 2], batch.video[0, : FRAMES // 2])


def test_shuffle_depends_on_the_row_alone_or_on_given_keys():
    batch, row = make_batch(rows=6), condition("video_shuffle")
    whole = apply_condition(row, batch)
    alone = apply_condition(row, batch.rows(4, 5))
    np.testing.assert_array_equal(whole.video[4], alone.video[0])
    keyed = [apply_condition(row, batch, keys=[k] * 6).video for k in (1, 1, 2)]
    np.testing.assert_array_equal(keyed[0], keyed[1])
    assert not np.array_equal(keyed[0], keyed[2])


def test_a_condition_without_its_input_is_an_error():
    batch = replace(make_batch(), video=None, state=None)
    for name, row in CONDITIONS.items():
        if condition_needs(row):
            with pytest.raises(ConfigError, match=name):
                apply_condition(row, batch)
    assert apply_condition(condition("blind"), batch).video is None


def test_stacking_and_slicing_are_inverse():
    batch = make_batch(rows=5)
    again = stack_observations([batch.rows(i, i + 1) for i in range(5)])
    np.testing.assert_array_equal(again.video, batch.video)
    assert again.text == batch.text
    assert len(batch.rows(3, 5, repeat_last=6)) == 8
    with pytest.raises(ValueError, match="'state'"):
        stack_observations([batch, replace(batch, state=None)])
    with pytest.raises(ValueError, match="at least one"):
        stack_observations([])


def test_only_what_is_needed_is_drawn():
    drawn = []
    task = SimpleNamespace(
        tick=400,
        task_description=TEXTS[0],
        agent_pos=lambda: np.zeros(8),
        clip=lambda c: drawn.append("video") or (np.zeros((FRAMES, 2, 2, 3), np.uint8), None),
        sampling=lambda c: c,
        state_history=lambda c: drawn.append("state") or np.zeros((FRAMES, 16), np.float32),
    )
    env, clip = SimpleNamespace(unwrapped=task), ClipConfig(num_frames=FRAMES)
    assert observe_row(env, clip, ()).video is None
    assert drawn == []
    assert observe_row(env, clip, {"state"}).state.shape == (1, FRAMES, 16)
    assert observe_row(env, clip, {"video"}).video.shape == (1, FRAMES, 2, 2, 3)
    assert drawn == ["state", "video"]


# ---- instruction, backbones, connectors, towers -------------------------------------------------


def test_unknown_words_are_named():
    assert encode_texts(["Catch the moving ball."], WORDS).count_nonzero() == 4
    with pytest.raises(UnknownNameError, match="blal"):
        encode_texts(["catch the blal"], WORDS)
    with pytest.raises(UnknownNameError, match="16 words"):
        encode_texts(["the " * 17], WORDS)


@pytest.mark.parametrize("make", [RandomBackbone, RandomImageBackbone])
def test_random_backbone_is_deterministic_and_honours_masks(make):
    batch = make_batch()
    first, second = make(dim=8).encode(batch), make(dim="8").encode(batch)
    torch.testing.assert_close(first.hidden, second.hidden, rtol=0, atol=0)
    video = batch.video.copy()
    video[0, : FRAMES // 2] = 255 - video[0, : FRAMES // 2]
    padded = make(dim=8).encode(replace(batch, video=video))
    torch.testing.assert_close(first.hidden[first.mask], padded.hidden[padded.mask], rtol=0, atol=0)
    assert first.hidden.shape == (3, make(dim=8).num_tokens(FRAMES), 8)
    assert fingerprint(make(dim=8)) == fingerprint(make(dim=8)) != fingerprint(make(dim=8, seed=1))


def test_masked_mean_of_nothing_is_zero():
    hidden = torch.full((1, 2, 3), float("nan"))
    assert masked_mean(hidden, torch.zeros(1, 2, dtype=torch.bool)).tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("name", list(CONNECTORS))
def test_connectors_ignore_padding(name):
    torch.manual_seed(0)
    connector = CONNECTORS.resolve(name)(6, 16)
    hidden, mask = torch.randn(2, 16, 6), torch.rand(2, 16) > 0.4
    mask[1] = False
    out, real = connector(hidden, mask)
    other, _ = connector(torch.where(mask[..., None], hidden, torch.tensor(99.0)), mask)
    assert out.shape == (2, connector.out_tokens, 6)
    assert real.shape == out.shape[:2]
    torch.testing.assert_close(out[real], other[real], rtol=0, atol=0)
    assert torch.isfinite(out).all()
    assert not real[1].any()


@pytest.mark.parametrize("word", ["window", "pool_window"])
def test_avgpool_is_the_mean_of_each_window(word):
    connector = CONNECTORS.resolve("avgpool")(1, 16, **{word: 2.0})
    grid = torch.arange(16.0).reshape(1, 16, 1)
    out, _ = connector(grid, torch.ones(1, 16, dtype=torch.bool))
    assert out.flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    for wrong in (0.0, -1.0, 1.5, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match=f"{word} must be a whole number from 1"):
            CONNECTORS.resolve("avgpool")(1, 16, **{word: wrong})
    with pytest.raises(ConfigError, match="square"):
        CONNECTORS.resolve("avgpool")(1, 15)


@pytest.mark.parametrize("name", SILENT)
def test_towers_make_the_shapes_they_promise(name):
    tower, batch = make_tower(config(), name), make_batch()
    encoded = tower.encode(batch)
    shape = (3, tower.num_frames, tower.tokens_per_frame, tower.feature_dim)
    assert tuple(encoded.hidden.shape) == shape
    assert encoded.hidden.dtype == tower.storage
    assert encoded.mask.shape == shape[:3]
    assert encoded.time_s.shape == shape[:2]
    assert not encoded.hidden[~encoded.mask].any()
    video = batch.video.copy()
    video[0, : FRAMES // 2] = 0
    state = batch.state.copy()
    state[0, : FRAMES // 2] = 9
    other = tower.encode(replace(batch, video=video, state=state))
    torch.testing.assert_close(encoded.hidden, other.hidden, rtol=0, atol=0)


def test_stack_keeps_the_budget_and_too_many_tokens_are_refused():
    assert make_tower(config(), "stack").tokens_per_frame == 36
    with pytest.raises(ConfigError, match=r"max_tokens must be at least 593 .* 4 x 144 visual"):
        make_tower(config(stack_connector="identity", fusion="joint_decoder"), "stack")
    with pytest.raises(ConfigError, match="at least 161 "):
        make_tower(config(max_tokens=160, fusion="joint_decoder"), "video")


# ---- the policy ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SILENT)
@pytest.mark.parametrize("fusion", list(FUSIONS))
def test_batches_change_no_bit(name, fusion):
    policy, batch = make_policy(name, config(fusion=fusion)), make_batch(rows=11)
    whole = policy.act(batch)
    assert whole.shape == (11, 16, 8)
    assert whole.dtype == np.float32
    alone = np.concatenate([policy.act(batch.rows(i, i + 1)) for i in range(11)])
    np.testing.assert_array_equal(whole, alone)
    halves = np.concatenate([policy.act(batch.rows(0, 5)), policy.act(batch.rows(5, 11))])
    np.testing.assert_array_equal(whole, halves)
    assert len(policy.act(_empty(batch))) == 0


def _empty(batch: ClipBatch) -> ClipBatch:
    return ClipBatch(
        batch.video[:0], batch.mask[:0], batch.time_s[:0], batch.state[:0], batch.agent_pos[:0], []
    )


@pytest.mark.parametrize("head", list(HEADS))
def test_actions_stay_in_range_and_repeat(head):
    policy, batch = make_policy("video", config(head=head)), make_batch()
    first = policy.act(batch)
    assert np.abs(first).max() <= 1.0
    np.testing.assert_array_equal(first, policy.act(batch))


def test_single_frame_conditions_ask_for_one_frame():
    assert make_policy("frame").clip.num_frames == 1
    assert make_policy("blind").needs == frozenset()
    assert make_policy("video_repeat").clip.num_frames == FRAMES
    batch = make_batch()
    one = replace(
        batch,
        video=batch.video[:, -1:],
        mask=batch.mask[:, -1:],
        time_s=batch.time_s[:, -1:],
        state=None,
    )
    policy = make_policy("frame")
    np.testing.assert_array_equal(policy.act(batch), policy.act(one))


@pytest.mark.parametrize("name", ["frame", "stack", "video", "video_shuffle", "blind"])
def test_a_slow_tower_encodes_a_clip_once_and_changes_no_bit(name, monkeypatch):
    """Eleven robots look four times: the arm moves each time, the clip every other time."""
    slow, always = make_policy(name, config(clip=_seldom(8))), make_policy(name)
    encoded = []
    encode = slow.tower.encode
    monkeypatch.setattr(slow.tower, "encode", lambda batch: encoded.append(batch) or encode(batch))
    slow.reset(11)
    for look in range(4):
        clips, arms = make_batch(11, seed=look // 2), make_batch(11, seed=10 + look)
        batch = replace(clips, agent_pos=arms.agent_pos)
        np.testing.assert_array_equal(slow.act(batch), always.act(batch))
    # nothing to see; an order that goes with the arm; frames of which each is encoded alone
    blocks = {"blind": 1, "video_shuffle": 8, "stack": 2 * 6}
    assert len(encoded) == blocks.get(name, 4)
    mixed = batch.take([3, 0, 0, 7, 10])  # some robots are done, others stand in another order
    np.testing.assert_array_equal(slow.act(mixed), always.act(mixed))
    assert len(encoded) == blocks.get(name, 4)
    slow.reset(11)
    slow.act(mixed)
    assert len(encoded) == blocks.get(name, 4) + (2 if name == "stack" else 1)


def test_a_stack_encodes_a_frame_once_while_the_clip_slides_and_changes_no_bit(monkeypatch):
    policy, fresh = make_policy("stack"), make_policy("stack")
    encoded = []
    encode = policy.tower.encode
    monkeypatch.setattr(
        policy.tower, "encode", lambda batch: encoded.append(batch) or encode(batch)
    )
    film = make_batch(3).video[:, :1].repeat(FRAMES + 3, axis=1)
    film[:, :, 0, 0, 0] = np.arange(3 * (FRAMES + 3)).reshape(3, -1)  # no two frames alike
    for look in range(3):
        seen, everything = film[:, look : look + FRAMES], np.ones((3, FRAMES), dtype=bool)
        batch = replace(make_batch(3, seed=look), video=seen, mask=everything)
        fresh.reset(3)
        np.testing.assert_array_equal(policy.act(batch), fresh.act(batch))
    shown = [{*batch.video[:, 0, 0, 0, 0].tolist()} for batch in encoded]
    assert [len(frames) for frames in shown] == [8, 4, 3, 3]


def _seldom(steps: int) -> ClipConfig:
    return ClipConfig(num_frames=FRAMES, image_size=SIZE, refresh_steps=steps)


def test_nan_is_an_error_that_names_the_place():
    policy = make_policy("video")
    with torch.no_grad():
        policy.network.head.leave.bias[3] = float("nan")
    with pytest.raises(PolicyError, match=r"nan in row 0, step 0, action 3"):
        policy.act(make_batch())


def test_time_reaches_the_video_policy_and_not_the_repeated_one():
    batch = make_batch()
    backwards = replace(
        batch, video=np.concatenate([batch.video[:, -2::-1], batch.video[:, -1:]], 1)
    )
    assert np.abs(make_policy("video").act(batch) - make_policy("video").act(backwards)).max() > 0
    still = make_policy("video_repeat")
    np.testing.assert_array_equal(still.act(batch), still.act(backwards))


# ---- checkpoints ------------------------------------------------------------------------------


def saved(tmp_path, settings=None, name="video", **changes):
    settings = settings or config()
    tower = make_tower(settings, name)
    metadata = {
        "policy": asdict(settings),
        "condition": name,
        "tasks": ["arm_catch", "arm_reach"],
        "train_seed": 0,
        "backbone": {"name": tower.backbone_name, "fingerprint": tower.fingerprint()},
    }
    path = tmp_path / "head.safetensors"
    save_checkpoint(path, new_network(settings, tower, WORDS, 0), {**metadata, **changes})
    return path


@pytest.mark.parametrize("name", [name for name in TRAINED_CONDITIONS if name in SILENT])
def test_a_head_comes_back_as_it_was(tmp_path, name):
    path = saved(tmp_path, name=name)
    policy = load_policy(config(), name, "ArmCatch", checkpoint=str(path))
    tower = make_tower(config(), name)
    expected = TrainedPolicy(config(), tower, load_network(path)[0]).act(make_batch())
    np.testing.assert_array_equal(policy.act(make_batch()), expected)
    assert policy.checkpoint == path
    assert policy.replan_steps == config().replan_steps
    policy.reset(4)
    fresh = TrainedPolicy(config(), tower, new_network(config(), tower, WORDS, 0))
    np.testing.assert_allclose(policy.act(make_batch()), fresh.act(make_batch()), atol=5e-3)


def test_a_test_time_disturbance_uses_the_head_of_the_intact_condition(tmp_path):
    path = str(saved(tmp_path))
    batch = make_batch()
    intact, still = (
        load_policy(config(), n, "arm_catch", checkpoint=path) for n in ("video", "repeat_at_test")
    )
    assert np.abs(intact.act(batch) - still.act(batch)).max() > 0


def test_a_missing_head_names_the_command_that_makes_it():
    with pytest.raises(CheckpointError) as caught:
        load_policy(config(), "repeat_at_test", "arm_catch", train_seed=7)
    text = str(caught.value)
    assert "python -m neon_sim.train policy=tested condition=video seed=7" in text


def test_a_task_finds_the_shipped_head_that_was_trained_on_it(tmp_path, monkeypatch):
    monkeypatch.setattr(policy_module.resources, "files", lambda _: tmp_path)
    folder = tmp_path / "assets" / "heads" / "tested"
    (folder / "more").mkdir(parents=True)
    first, more = folder / "video-seed0.safetensors", folder / "more" / "video-seed0.safetensors"
    saved(tmp_path).rename(first)
    saved(tmp_path, tasks=["arm_swing"]).rename(more)
    assert load_policy(config(), "video", "arm_reach").checkpoint == first
    assert load_policy(config(), "repeat_at_test", "arm_swing").checkpoint == more
    with pytest.raises(CheckpointError, match=r"not trained on 'arm_latch', only on arm_catch"):
        load_policy(config(), "video", "arm_latch")


def test_a_folder_of_heads_stands_for_the_head_that_is_asked_for(tmp_path):
    source = load_policy(PolicyConfig(), "frame", "arm_catch").checkpoint
    (tmp_path / "frame-seed3.safetensors").write_bytes(source.read_bytes())
    found = load_policy(
        PolicyConfig(), "frame", "arm_catch", train_seed=3, checkpoint=str(tmp_path)
    )
    assert found.checkpoint == tmp_path / "frame-seed3.safetensors"
    with pytest.raises(CheckpointError, match=r"no head at .*frame-seed4.safetensors"):
        load_policy(PolicyConfig(), "frame", "arm_catch", train_seed=4, checkpoint=str(tmp_path))


@pytest.mark.parametrize(
    ("changes", "asked", "message"),
    [
        ({"condition": "frame"}, {}, "condition 'frame', not 'video'"),
        ({"tasks": ["arm_block"]}, {}, "not trained on 'arm_catch', only on arm_block"),
        ({"backbone": {"name": "neon_tiny"}}, {}, "behind backbone 'neon_tiny'"),
        ({"backbone": {"name": "random", "fingerprint": "0"}}, {}, "other weights"),
        ({"format": "other/1"}, {}, "must be of format"),
        ({}, {"head": "flow"}, "another architecture: head is 'chunk_mlp'"),
        ({}, {"fusion_args": {"queries": 2.0}}, "fusion_args"),
        ({}, {"clip": ClipConfig(num_frames=3, image_size=SIZE)}, "clip.num_frames=4, not 3"),
    ],
)
def test_a_foreign_head_is_refused_by_name(tmp_path, changes, asked, message):
    path = saved(tmp_path, **changes)
    with pytest.raises(CheckpointError, match=message):
        load_policy(config(**asked), "video", "arm_catch", checkpoint=str(path))


def test_damaged_heads_are_refused(tmp_path):
    path = saved(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="truncated"):
        load_network(path)
    path.write_bytes(b"")
    with pytest.raises(CheckpointError, match="truncated"):
        load_network(path)
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        load_network(tmp_path / "none.safetensors")


def test_a_head_with_a_missing_or_broken_tensor_is_refused(tmp_path):
    from safetensors import safe_open
    from safetensors.torch import save_file

    path = saved(tmp_path)
    with safe_open(str(path), "pt") as file:
        metadata = file.metadata()
        state = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    save_file({k: v for k, v in state.items() if k != "head.leave.bias"}, path, metadata)
    with pytest.raises(
        CheckpointError, match=r"'head.leave.bias' must be \(128,\) \(got nothing\)"
    ):
        load_network(path)
    state["head.leave.bias"] = torch.full((128,), float("nan"))
    save_file(state, path, metadata)
    with pytest.raises(CheckpointError, match="NaN"):
        load_network(path)


def test_a_pickled_head_is_refused_and_told_how_to_convert(tmp_path):
    path = tmp_path / "head.pt"
    torch.save({"weight": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError) as caught:
        load_policy(config(), "video", "arm_catch", checkpoint=str(path))
    for part in ("head.pt is a pickle", "is not loaded", "Convert it", "head.safetensors'"):
        assert part in str(caught.value)
    for part in ("write_tensors(", "'neon_sim.head/1'", "python -m neon_sim.train"):
        assert part in str(caught.value)


def test_a_head_records_the_defaults_it_was_made_with(tmp_path):
    path = saved(tmp_path)
    spec = load_network(path)[0].spec
    assert spec.fusion_args["queries"] == 4
    assert spec.head_args["width"] == 192
    load_policy(
        config(head_args={"width": 192.0}), "video", "arm_catch", checkpoint=str(path)
    )  # what was left out and what was spelt out are the same thing


def test_unknown_arguments_are_named():
    known = (
        r"'chunk_mlp' does not take 'widht' \(got widht=3.0\). Known: width, inner, .*, groups\."
    )
    with pytest.raises(ConfigError, match=known):
        make_policy("video", config(head_args={"widht": 3.0}))


@pytest.mark.parametrize(
    ("part", "names"),
    [
        ("connector", CONNECTORS),
        ("temporal", TEMPORAL),
        ("fusion", FUSIONS),
        ("head", HEADS),
        ("audio", AUDIO_ENCODERS),
    ],
)
def test_every_part_names_the_argument_it_does_not_take_and_those_it_takes(part, names):
    """Widths that it is given are no arguments of a config, and not among the known."""
    taken = {
        "connector": (4, 16),
        "temporal": (4, 8, 16),
        "fusion": (FusionLayout(4, 1, 16, 8, 8),),
        "head": (12, 8, 16),
        "audio": (),
    }[part]
    for name in names:
        for wrong in ("colour", "feature_dim", "layout", "context_dim", "steps"):
            with pytest.raises(ConfigError, match=rf"'{name}' does not take '{wrong}'") as caught:
                names.make(name, {wrong: 1.0}, *taken)
            known = str(caught.value).partition("Known: ")[2].removesuffix(".").split(", ")
            assert known == ["none"] or not {"feature_dim", "layout", "steps", wrong} & set(known)
