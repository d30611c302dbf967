"""Clips: the laws of frame sampling, and the wrapper that puts clips into observations."""

from __future__ import annotations

import pickle
import warnings
from dataclasses import astuple, replace

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st

import neon_sim  # noqa: F401  (registers the ids)
from neon_sim.clock import TICKS_PER_CAMERA, TICKS_PER_CONTROL, latest_camera_tick
from neon_sim.errors import ConfigError, UnknownNameError
from neon_sim.observation.clips import SAMPLERS, ClipConfig, clip_span_s, plan_clip
from neon_sim.observation.wrappers import TemporalClip

CONFIGS = st.builds(
    ClipConfig,
    num_frames=st.integers(1, 64),
    fps=st.floats(0.5, 25.0),
    sampler=st.sampled_from(sorted(SAMPLERS)),
)
TICKS = st.integers(0, 50_000)


@given(CONFIGS, TICKS, st.integers(1, 40))
def test_between_two_looks_a_clip_stays(config, tick, steps):
    look = tick - tick % (steps * TICKS_PER_CONTROL)
    seldom = plan_clip(replace(config, refresh_steps=steps), tick)
    for have, want in zip(astuple(seldom), astuple(plan_clip(config, look)), strict=True):
        assert np.array_equal(have, want)


@given(CONFIGS, TICKS)
def test_a_clip_ends_now_and_runs_forward(config, tick):
    plan = plan_clip(config, tick)
    assert plan.ticks.shape == plan.mask.shape == plan.time_s.shape == (config.num_frames,)
    assert plan.ticks[-1] == latest_camera_tick(tick)
    assert plan.mask[-1]
    assert plan.time_s[-1] == 0.0
    assert (np.diff(plan.ticks) >= 0).all()
    assert (plan.ticks >= 0).all()
    assert (plan.ticks % TICKS_PER_CAMERA == 0).all()


@given(CONFIGS, TICKS)
def test_frames_are_distinct_unless_they_are_padding(config, tick):
    plan = plan_clip(config, tick)
    seen = plan.ticks[plan.mask]
    assert len(np.unique(seen)) == len(seen)


@given(CONFIGS, TICKS)
def test_padding_comes_first_and_repeats_the_first_frame(config, tick):
    plan = plan_clip(config, tick)
    assert (np.diff(plan.mask.astype(int)) >= 0).all()
    assert (plan.ticks[~plan.mask] == 0).all()


@given(CONFIGS)
def test_an_old_episode_needs_no_padding_and_spans_the_window(config):
    plan = plan_clip(config, 10**6)
    assert plan.mask.all()
    assert plan.time_s[0] == pytest.approx(-clip_span_s(config), abs=1e-4)


@given(CONFIGS, st.integers(0, 2_000), st.integers(0, 100))
def test_clips_shift_with_time(config, cameras, later):
    """The same ages at every tick: what a policy was trained on is what it meets."""
    now = 64 * 50 * TICKS_PER_CAMERA + cameras * TICKS_PER_CAMERA
    shift = later * TICKS_PER_CAMERA
    ticks = plan_clip(config, now).ticks
    assert np.array_equal(plan_clip(config, now + shift).ticks, ticks + shift)


@given(CONFIGS, TICKS)
def test_both_samplers_reach_equally_far(config, tick):
    """``log`` is as old as ``uniform`` wherever whole camera frames leave it room."""
    uniform = plan_clip(ClipConfig(config.num_frames, config.fps), tick)
    log = plan_clip(ClipConfig(config.num_frames, config.fps, "log"), tick)
    assert log.ticks[0] == uniform.ticks[0]


def test_uniform_at_the_default_rate_takes_every_second_frame():
    plan = plan_clip(ClipConfig(num_frames=4, fps=12.5), 1000)
    assert plan.ticks.tolist() == [880, 920, 960, 1000]
    assert plan.time_s.tolist() == pytest.approx([-0.24, -0.16, -0.08, 0.0])


def test_the_first_steps_are_padded():
    plan = plan_clip(ClipConfig(num_frames=4, fps=12.5), 50)
    assert plan.ticks.tolist() == [0, 0, 0, 40]
    assert plan.mask.tolist() == [False, False, True, True]


def test_a_clip_before_the_start_is_an_error():
    with pytest.raises(ValueError, match="tick must be >= 0"):
        plan_clip(ClipConfig(), -1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"num_frames": 0}, "clip.num_frames must be 1 to 64"),
        ({"num_frames": 65}, "clip.num_frames must be 1 to 64"),
        ({"fps": 0.0}, "clip.fps must be 0.001 to 25 "),
        ({"fps": 50.0}, "clip.fps must be 0.001 to 25 "),
        ({"image_size": 0}, "clip.image_size must be 1 to 4096"),
    ],
)
def test_a_broken_rule_names_the_field(change, said):
    with pytest.raises(ConfigError, match=said):
        ClipConfig(**change).validate()


def test_an_unknown_sampler_names_the_known_ones():
    with pytest.raises(UnknownNameError, match="Did you mean 'uniform'"):
        plan_clip(ClipConfig(sampler="unifrom"), 0)


# ---- the wrapper ------------------------------------------------------------------------

CLIP = ClipConfig(num_frames=4, fps=12.5, image_size=32)


def _env(**kwargs):
    return gymnasium.make("neon_sim/ArmReach-v0", disable_env_checker=True, **kwargs)


@pytest.fixture
def wrapped():
    env = TemporalClip(_env(cameras=()), CLIP)
    yield env
    env.close()


def test_the_clip_in_the_observation_is_the_frames_of_its_plan(wrapped):
    observation, _ = wrapped.reset(seed=3)
    for step in range(20):
        assert wrapped.observation_space.contains(observation)
        plan = plan_clip(CLIP, wrapped.unwrapped.tick)
        frames = [wrapped.unwrapped.frame("front", int(tick), 32) for tick in plan.ticks]
        assert np.array_equal(observation["video"], np.stack(frames))
        assert np.array_equal(observation["video_mask"], plan.mask)
        assert np.array_equal(observation["video_time_s"], plan.time_s)
        observation = wrapped.step(np.full(8, 0.1 * (step % 3), dtype=np.float32))[0]
    assert observation["video_mask"].all()
    assert len({frame.tobytes() for frame in observation["video"]}) == 4  # the arm moves


def test_the_wrapper_passes_the_checker_without_warnings():
    env = TemporalClip(_env(), CLIP)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*is different from the unwrapped version.*")
        check_env(env, skip_render_check=True)
    env.close()


def test_a_pickled_wrapper_goes_on_from_the_same_state(wrapped):
    wrapped.reset(seed=5)
    action = np.full(8, 0.2, dtype=np.float32)
    for _ in range(7):
        wrapped.step(action)
    twin = pickle.loads(pickle.dumps(wrapped))
    for _ in range(5):
        one, other = wrapped.step(action)[0], twin.step(action)[0]
        assert one["video"].tobytes() == other["video"].tobytes()
        assert np.array_equal(one["agent_pos"], other["agent_pos"])
    twin.close()


def test_the_spec_of_the_wrapper_makes_it_again(wrapped):
    again = gymnasium.make(wrapped.spec, disable_env_checker=True)
    assert again.observation_space == wrapped.observation_space
    again.close()


def test_an_environment_without_clips_is_an_error():
    with pytest.raises(ConfigError, match="needs a dict observation"):
        TemporalClip(gymnasium.make("CartPole-v1"), CLIP)
