"""Policies that listen: conditions of sound, the mask token, every fusion, heads on disk."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

import neon_sim  # noqa: F401  (registers the Gymnasium ids)
from neon_sim.config.loading import load_config
from neon_sim.config.policy import PolicyConfig
from neon_sim.errors import CheckpointError, ConfigError, UnknownNameError
from neon_sim.observation.batch import ClipBatch, observe_row, stack_observations
from neon_sim.observation.clips import ClipConfig
from neon_sim.observation.conditions import (
    ABOUT_SOUND,
    CONDITIONS,
    TRAINED_CONDITIONS,
    condition,
    sight_of,
)
from neon_sim.observation.ladder import apply_condition
from neon_sim.policies.audio import ears as ears_module
from neon_sim.policies.checkpoint import save_checkpoint
from neon_sim.policies.network import NetworkInput, new_network
from neon_sim.policies.policy import TrainedPolicy, load_policy
from neon_sim.policies.tower import make_tower
from neon_sim.registry import FUSIONS
from neon_sim.vocabulary import WORDS

torch.set_num_threads(1)
FRAMES, SIZE, SECOND = 3, 36, 16_000
LISTENING = ("frame", "video", "video_repeat", "audio_only", "snr10_at_test", "delay_audio_at_test")
DEAF = ("blind", "muted", "mute_at_test", "oracle_history")


def config(**changes) -> PolicyConfig:
    base = PolicyConfig(
        name="tested",
        backbone="random",
        image_backbone="random_image",
        backbone_args={"dim": "16"},
        audio="log_mel",
        clip=ClipConfig(num_frames=FRAMES, image_size=SIZE),
    )
    return replace(base, **changes)


def make_batch(rows: int = 3, channels: int = 1, seed: int = 0) -> ClipBatch:
    rng = np.random.default_rng(seed)
    return ClipBatch(
        video=rng.integers(0, 256, (rows, FRAMES, SIZE, SIZE, 3), dtype=np.uint8),
        mask=np.ones((rows, FRAMES), dtype=bool),
        time_s=np.tile(-0.08 * np.arange(FRAMES)[::-1], (rows, 1)).astype(np.float32),
        state=rng.standard_normal((rows, FRAMES, 16)).astype(np.float32),
        agent_pos=rng.uniform(-1, 1, (rows, 8)).astype(np.float32),
        text=["stop the puck"] * rows,
        audio=(0.05 * rng.standard_normal((rows, channels, SECOND))).astype(np.float32),
    )


def make_policy(name: str, settings: PolicyConfig | None = None) -> TrainedPolicy:
    settings = settings or config()
    tower = make_tower(settings, name)
    network = new_network(settings, tower, WORDS, seed=0)
    with torch.no_grad():  # a fresh head hardly reacts
        for parameter in network.parameters():
            parameter.mul_(1.5)
    return TrainedPolicy(settings, tower, network)


# ---- conditions -----------------------------------------------------------------------------


def test_what_each_condition_lets_be_heard():
    batch = make_batch()
    heard = {name: apply_condition(row, batch).audio for name, row in CONDITIONS.items()}
    for name in ("blind", "muted", "mute_at_test", "oracle_memoryless", "oracle_history"):
        assert heard[name] is None
    for name in ("frame", "stack", "video", "video_shuffle", "audio_only", "swap_audio_at_test"):
        assert heard[name] is batch.audio
    only = apply_condition(condition("audio_only"), batch)
    assert only.video is None
    assert only.state is None
    assert {"muted", "audio_only"} < set(TRAINED_CONDITIONS)
    assert all(condition(f"{w}_at_test").trained_as == "video" for w in ("mute", "swap_audio"))
    assert {row.sound for row in CONDITIONS.values()} == {
        *("true", "none", "swap", "late", "snr20", "snr10", "snr0")
    }


def test_delay_shows_the_sound_of_a_quarter_of_a_second_ago():
    batch = make_batch(channels=2)
    late = apply_condition(condition("delay_audio_at_test"), batch).audio
    np.testing.assert_array_equal(late[..., 4000:], batch.audio[..., :-4000])
    assert late.dtype == np.float32
    filler = late[..., :4000].std(axis=-1)
    np.testing.assert_allclose(filler, 0.05, rtol=0.1)  # as loud as the quietest tenth
    echo = np.correlate(batch.audio[0, 0].astype(float), late[0, 0, :4000].astype(float))
    assert np.abs(echo).max() < 0.1 * 4000 * 0.05**2, "nothing is repeated"
    silent = replace(batch, audio=np.zeros_like(batch.audio))
    assert not apply_condition(condition("delay_audio_at_test"), silent).audio.any()


@pytest.mark.parametrize("level", [20, 10, 0])
def test_noise_has_the_level_it_says(level):
    batch = make_batch(channels=2)
    noisy = apply_condition(condition(f"snr{level}_at_test"), batch).audio
    noise = np.subtract(noisy, batch.audio)
    ratio = 20 * np.log10(batch.audio.std(axis=(1, 2)) / noise.std(axis=(1, 2)))
    np.testing.assert_allclose(ratio, level, atol=0.2)
    assert abs(np.corrcoef(noise[0, 0], noise[0, 1])[0, 1]) < 0.05, "each microphone its own"


@pytest.mark.parametrize("name", ["snr10_at_test", "delay_audio_at_test"])
def test_disturbances_depend_on_the_row_alone(name):
    batch, row = make_batch(rows=5), condition(name)
    whole = apply_condition(row, batch).audio
    np.testing.assert_array_equal(whole, apply_condition(row, batch).audio)
    np.testing.assert_array_equal(whole[3:4], apply_condition(row, batch.rows(3, 4)).audio)
    twice = apply_condition(row, stack_observations([batch.rows(1, 2)] * 2)).audio
    np.testing.assert_array_equal(twice[0], twice[1])


def test_conditions_that_look_alike_are_known():
    assert sight_of(condition("muted")).name == "video"
    assert sight_of(condition("audio_only")).name == "blind"
    trained_before = [name for name in TRAINED_CONDITIONS if name not in ABOUT_SOUND]
    assert all(sight_of(condition(name)).name == name for name in trained_before)


def test_a_deaf_policy_has_no_conditions_of_sound():
    for name in ABOUT_SOUND:
        with pytest.raises(ConfigError, match=f"{name}.*neon_tiny_hear"):
            make_tower(config(audio="none"), name)


# ---- observing ------------------------------------------------------------------------------


def test_only_who_listens_asks_and_gets():
    env: Any = gymnasium.make("neon_sim/ArmReach-v0", cameras=(), microphones=("mono",)).unwrapped
    env.reset(seed=0)
    row = observe_row(env, ClipConfig(), {"audio"})
    np.testing.assert_array_equal(row.audio[0], env.sound.observation())
    assert row.video is None
    assert observe_row(env, ClipConfig(), frozenset()).audio is None
    env.close()


def test_listening_without_microphones_is_an_error_with_the_mend():
    env: Any = gymnasium.make("neon_sim/ArmReach-v0", cameras=()).unwrapped
    env.reset(seed=0)
    with pytest.raises(ConfigError, match=r"arm_reach has no microphones.*audio=none"):
        observe_row(env, ClipConfig(), {"audio"})
    env.close()


@pytest.mark.parametrize("name", LISTENING + DEAF)
def test_needs_follow_condition_and_policy(name):
    assert ("audio" in make_policy(name).needs) == (name in LISTENING)


def test_deaf_conditions_read_no_weights(monkeypatch):
    """Nobody pays for an encoder that nothing is heard through."""

    class Untouchable:
        num_tokens, feature_dim = 3, 8

        def encode(self, *_):
            raise AssertionError("encoded")

        fingerprint = encode

    monkeypatch.setattr(ears_module, "make_encoder", lambda *_: Untouchable())
    policy = make_policy("muted")
    assert policy.act(make_batch()).shape == (3, 16, 8)
    assert policy.network.spec.audio_tokens == 3, "the same head as one that hears"


def test_a_policy_that_does_not_listen_is_what_it_was():
    deaf = make_policy("video", config(audio="none"))
    assert deaf.tower.ears is None
    assert deaf.needs == {"video"}
    assert not any("audio" in name or "unheard" in name for name in deaf.network.state_dict())
    batch = make_batch()
    np.testing.assert_array_equal(deaf.act(batch), deaf.act(replace(batch, audio=None)))


# ---- networks -------------------------------------------------------------------------------


@pytest.mark.parametrize("fusion", list(FUSIONS))
def test_every_fusion_hears_and_batches_change_no_bit(fusion):
    settings = config(fusion=fusion)
    policy, batch = make_policy("video", settings), make_batch(rows=9)
    whole = policy.act(batch)
    alone = np.concatenate([policy.act(batch.rows(i, i + 1)) for i in range(9)])
    np.testing.assert_array_equal(whole, alone)
    other = make_batch(rows=9, seed=1)
    changed = policy.act(replace(batch, audio=other.audio))
    assert np.abs(changed - whole).max() > 1e-4
    unheard = make_policy("mute_at_test", settings)
    np.testing.assert_array_equal(
        unheard.act(batch), unheard.act(replace(batch, audio=other.audio))
    )
    only = make_policy("audio_only", settings)
    np.testing.assert_array_equal(only.act(batch), only.act(replace(batch, video=other.video)))
    assert np.abs(only.act(batch) - only.act(replace(batch, audio=other.audio))).max() > 1e-4


@pytest.mark.parametrize("fusion", list(FUSIONS))
def test_order_of_sound_reaches_every_fusion(fusion):
    policy, batch = make_policy("video", config(fusion=fusion)), make_batch()
    loud = batch.audio.copy()
    loud[..., :1600] *= 3
    moved = np.roll(loud, 8000, axis=-1)
    there, here = (policy.act(replace(batch, audio=sound)) for sound in (loud, moved))
    assert np.abs(there - here).max() > 1e-5


@pytest.mark.parametrize("fusion", list(FUSIONS))
def test_gradients_reach_every_parameter_of_hearing(fusion):
    settings = config(fusion=fusion, audio_dropout=0.5)
    tower, batch = make_tower(settings, "video"), make_batch(rows=8)
    network = new_network(settings, tower, WORDS, seed=0).train()
    inputs = NetworkInput(
        tower.encode(batch),
        torch.from_numpy(batch.agent_pos),
        torch.zeros(8, 16, dtype=torch.long),
        tower.hear(batch),
    )
    torch.manual_seed(0)
    network.loss(inputs, torch.zeros(8, 16, 8), torch.ones(8, 16)).backward()
    hearing = ("sound", "ears", "unheard", "audio")
    parts = [(n, p) for n, p in network.named_parameters() if any(w in n for w in hearing)]
    assert parts
    silent = [n for n, p in parts if p.grad is None or not p.grad.any()]
    # of mot's last block and of moma's experts nothing is left to train in one step
    assert [n for n in silent if "experts" not in n] == []


def test_dropout_takes_whole_rows_and_only_in_training():
    settings = config(audio_dropout=0.5)
    tower, batch = make_tower(settings, "video"), make_batch(rows=64)
    network = new_network(settings, tower, WORDS, seed=0)
    inputs = NetworkInput(
        tower.encode(batch),
        torch.from_numpy(batch.agent_pos),
        torch.zeros(64, 16, dtype=torch.long),
        tower.hear(batch),
    )
    network.train()
    torch.manual_seed(1)
    heard = network._listen(inputs)
    gone = (heard == network.unheard).all(dim=2)
    assert torch.equal(gone.any(dim=1), gone.all(dim=1)), "never a part of a sound"
    assert 15 < int(gone.all(dim=1).sum()) < 49
    network.eval()
    assert not (network._listen(inputs) == network.unheard).all(dim=2).any()
    assert (network._listen(replace(inputs, audio=None)) == network.unheard).all()


def test_sound_counts_in_the_token_budget():
    with pytest.raises(ConfigError, match=r"10 of sound \+ 16 words"):
        make_tower(config(max_tokens=140, fusion="joint_decoder"), "video")


def test_names_and_arguments_are_checked():
    with pytest.raises(UnknownNameError, match=r"log_mel, none, speech_embedding"):
        config(audio="log_mle").validate()
    with pytest.raises(ConfigError, match="audio_dropout"):
        config(audio_dropout=1.0).validate()
    with pytest.raises(ConfigError, match="audio_args"):
        config(audio="none", audio_args={"windows": 5.0}).validate()
    with pytest.raises(ConfigError, match=r"audio_args.bands must be 8 to 80.*got 7"):
        config(audio="log_mel", audio_args={"bands": 7.0}).validate()
    with pytest.raises(ConfigError, match=r"needs a backbone that hears.*'random'"):
        make_tower(config(audio="backbone"), "video")
    with pytest.raises(ConfigError, match="no backbone to hear with"):
        make_tower(config(audio="backbone"), "audio_only")
    with pytest.raises(ConfigError, match="frame by frame"):
        make_tower(config(audio="backbone"), "stack")


def test_the_shipped_policies_listen():
    for name, tokens in (("neon_tiny_hear", 10), ("neon_tiny_speech", 3)):
        settings = load_config(PolicyConfig, "policy", name, [])
        assert settings.backbone == "neon_tiny"
        made = ears_module.make_ears(settings)
        assert made.tokens_per_frame == tokens


# ---- heads on disk --------------------------------------------------------------------------


def saved(folder, settings: PolicyConfig, **changes):
    tower = make_tower(settings, "video")
    network = new_network(settings, tower, WORDS, seed=0)
    network.set_normalisation("audio", torch.full((209,), -3.0), torch.full((209,), 2.0))
    metadata = {
        "policy": {"clip": vars(settings.clip), "audio": settings.audio},
        "condition": "video",
        "tasks": ["arm_block"],
        "train_seed": 0,
        "backbone": {"name": tower.backbone_name, "fingerprint": tower.fingerprint()},
        "ears": {"name": "log_mel", "fingerprint": tower.ears.fingerprint()},
    }
    path = folder / "video-seed0.safetensors"
    save_checkpoint(path, network, {**metadata, **changes})
    return path, TrainedPolicy(settings, tower, network)


def test_a_head_that_hears_comes_back(tmp_path):
    settings, batch = config(), make_batch()
    path, made = saved(tmp_path, settings)
    again = load_policy(settings, "video", "arm_block", checkpoint=str(path))
    np.testing.assert_allclose(again.act(batch), made.act(batch), atol=2e-3)
    for name in ("mute_at_test", "swap_audio_at_test", "snr0_at_test", "delay_audio_at_test"):
        other = load_policy(settings, name, "arm_block", checkpoint=str(path))
        assert other.act(batch).shape == (3, 16, 8)


def test_a_head_is_held_to_its_ears(tmp_path):
    settings = config()
    path, _ = saved(tmp_path, settings)
    with pytest.raises(CheckpointError, match="audio=log_mel, not audio=none"):
        load_policy(config(audio="none"), "video", "arm_block", checkpoint=str(path))
    path, _ = saved(tmp_path, settings, ears={"name": "log_mel", "fingerprint": "0"})
    with pytest.raises(CheckpointError, match="audio encoder 'log_mel'"):
        load_policy(settings, "video", "arm_block", checkpoint=str(path))
    load_policy(settings, "mute_at_test", "arm_block", checkpoint=str(path))
