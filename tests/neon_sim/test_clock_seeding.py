"""The clock is integer arithmetic; random numbers depend on what an episode is and no more."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neon_sim import clock
from neon_sim.seeding import COLLECTION_SEED, RL_SEED, episode_rng, key_of, keyed_rng

TICKS = st.integers(0, 10**7)


@pytest.mark.parametrize("hz", [clock.CONTROL_HZ, clock.CAMERA_HZ])
def test_every_rate_divides_the_physics_rate(hz):
    assert clock.PHYSICS_HZ % hz == 0


def test_audio_samples_are_whole_per_tick():
    assert clock.AUDIO_HZ == clock.AUDIO_SAMPLES_PER_TICK * clock.PHYSICS_HZ


@given(TICKS)
def test_ticks_and_seconds_round_trip(tick):
    assert clock.s_to_ticks(clock.ticks_to_s(tick)) == tick


@given(TICKS)
def test_latest_camera_tick_is_the_newest_frame(tick):
    latest = clock.latest_camera_tick(tick)
    assert latest % clock.TICKS_PER_CAMERA == 0
    assert 0 <= tick - latest < clock.TICKS_PER_CAMERA


KEYS = st.tuples(
    st.sampled_from(["arm_catch", "arm_reach"]),
    st.integers(0, 3),
    st.integers(0, 2**32),
    st.integers(0, 10**6),
    st.sampled_from(["init", "expert", "start"]),
)


@given(KEYS)
def test_an_episode_always_draws_the_same(key):
    assert np.array_equal(episode_rng(*key).random(4), episode_rng(*key).random(4))


@given(KEYS, KEYS)
def test_other_episodes_and_streams_draw_otherwise(one, other):
    if one != other:
        assert not np.array_equal(episode_rng(*one).random(4), episode_rng(*other).random(4))


KEY = ("arm_catch", 0, 1, 2, "init")


@pytest.mark.parametrize(
    ("part", "other"), [(0, "arm_reach"), (1, 1), (2, 2), (3, 3), (4, "expert"), (2, 2**40)]
)
def test_every_part_of_an_episodes_key_counts(part, other):
    key = [*KEY]
    key[part] = other
    assert not np.array_equal(episode_rng(*KEY).random(4), episode_rng(*key).random(4))


def test_the_numbers_of_an_episode_are_those_of_every_version():
    """The key is the entropy, in this order; datasets and published runs rest on it."""
    names = [
        int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little")
        for name in (b"arm_catch", b"init")
    ]
    assert [key_of("arm_catch"), key_of("init")] == names
    again = np.random.default_rng(np.random.SeedSequence([names[0], 0, 1, 2, names[1]]))
    drawn = again.random(3)
    assert np.array_equal(episode_rng(*KEY).random(3), drawn)
    assert np.array_equal(episode_rng(*KEY[:4]).random(3), drawn), "init is the default"
    assert np.array_equal(keyed_rng("arm_catch", 0, [1, 2], "init").random(3), drawn)


def test_data_and_policies_that_are_out_were_made_on_these_seeds():
    assert (COLLECTION_SEED, RL_SEED) == (1000, 500_000)


def test_drawing_from_one_stream_leaves_another_alone():
    before = episode_rng("arm_catch", 0, 1, 2, "init").random(3)
    episode_rng("arm_catch", 0, 1, 2, "expert").random(1000)
    np.random.default_rng().random(10)
    assert np.array_equal(episode_rng("arm_catch", 0, 1, 2, "init").random(3), before)


def test_names_and_numbers_make_different_keys():
    assert not np.array_equal(keyed_rng("a", 1).random(4), keyed_rng("b", 1).random(4))
    assert np.array_equal(keyed_rng("a", [1, 2]).random(4), keyed_rng("a", 1, 2).random(4))


def test_keys_do_not_depend_on_the_process():
    code = "from neon_sim.seeding import key_of; print(key_of('arm_catch'))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(run.stdout) == key_of("arm_catch")
