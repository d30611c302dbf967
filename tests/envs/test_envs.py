"""What every registered environment promises, asked of each one of them."""

from __future__ import annotations

import json
import pickle
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check
from stable_baselines3.common.env_checker import check_env as sb3_check

import neon_sim
from neon_sim import vocabulary
from neon_sim.clock import TICKS_PER_CAMERA
from neon_sim.errors import UnknownNameError
from neon_sim.observation.clips import ClipConfig
from neon_sim.registry import TASKS
from neon_sim.robots import ROBOTS

assert neon_sim.__version__  # importing the package registers the ids
NAMES = sorted(TASKS)
TEMPORAL = [name for name in NAMES if TASKS[name].kind == "temporal"]
STATE_DIM = 16


def make(name, **arguments):
    """The bare environment, without Gymnasium's wrappers."""
    return gymnasium.make(TASKS[name].env_id, **arguments).unwrapped


@pytest.fixture(scope="module", params=NAMES)
def env(request):
    made = make(request.param, image_size=48, render_mode="rgb_array")
    yield made
    made.close()


def same(a, b):
    """Two observations are equal to the bit."""
    np.testing.assert_array_equal(a["agent_pos"], b["agent_pos"])
    for camera, image in a.get("pixels", {}).items():
        np.testing.assert_array_equal(image, b["pixels"][camera])


def actions(env, count, seed=0):
    """Random actions about the present pose that end no episode; what is gripped stays gripped."""
    size = (count, env.action_dim)
    tape = env.hold_action() + np.random.default_rng(seed).uniform(-0.4, 0.4, size)
    if "gripper" in ROBOTS[TASKS[env.NAME].robot].groups(env.action_dim):
        tape[:, -1] = env.hold_action()[-1]
    return np.clip(tape, -1.0, 1.0).astype(np.float32)


@pytest.mark.parametrize("name", NAMES)
def test_gymnasium_finds_nothing_to_complain_about(name):
    checked = make(name, image_size=32, render_mode="rgb_array")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gymnasium_check(checked)
    checked.close()


def test_stable_baselines_accepts_it(env):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*[Nn]ested observation spaces")
        warnings.filterwarnings("ignore", message=".*observation audio has an unconventional")
        sb3_check(env, warn=True)


def test_two_runs_are_equal_to_the_bit(env):
    other = make(env.NAME, image_size=48)
    a, b = env.reset(seed=3)[0], other.reset(seed=3)[0]
    same(a, b)
    for action in actions(env, 12):
        left, right = env.step(action), other.step(action)
        same(left[0], right[0])
        assert left[1:4] == right[1:4]
        assert env.world.state_hash() == other.world.state_hash()
    np.testing.assert_array_equal(env.expert_action(), other.expert_action())
    assert env.initial_hash() == other.initial_hash()
    other.close()


def test_an_episode_does_not_depend_on_what_ran_before(env):
    env.reset(seed=1)
    env.advance(np.zeros(env.action_dim))
    for _ in range(3):
        env.reset()
    walked = env.initial_hash(), env.latent
    _, info = env.reset(seed=1, options={"episode": 3})
    assert (env.initial_hash(), env.latent) == walked
    assert (info["run_seed"], info["episode_index"]) == (1, 3)


def test_episodes_and_seeds_differ(env):
    hashes = set()
    for seed, episode in ((0, 0), (0, 1), (1, 0), (1, 1)):
        env.reset(seed=seed, options={"episode": episode})
        hashes.add((env.initial_hash(), env.task_description, json.dumps(env.latent)))
    assert len(hashes) == 4


def test_an_episode_is_replayed_from_its_written_latent(env):
    env.reset(seed=2, options={"episode": 5})
    latent, first = env.latent, env.initial_hash()
    env.reset(seed=2, options={"episode": 6})
    env.reset(options={"episode": 5, "latent": json.loads(json.dumps(latent))})
    assert env.initial_hash() == first
    assert env.latent == latent


def test_start_noise_moves_the_arm_and_nothing_else(env):
    env.reset(seed=0, options={"episode": 0})
    still, latent = env.agent_pos(), env.latent
    env.reset(options={"episode": 0, "start_noise": 0.1})
    assert env.latent == latent
    assert 0.005 < np.abs(env.agent_pos() - still).max() < 0.6
    noisy = env.agent_pos()
    env.reset(options={"episode": 0, "start_noise": 0.1})
    np.testing.assert_array_equal(env.agent_pos(), noisy)


def test_a_pickled_environment_goes_on_where_it_was(env):
    env.reset(seed=4)
    for action in actions(env, 5):
        env.step(action)
    copy = pickle.loads(pickle.dumps(env))
    same(env.observe(), copy.observe())
    for action in actions(env, 5, seed=1):
        left, right = env.step(action), copy.step(action)
        same(left[0], right[0])
        assert left[1:4] == right[1:4]
    np.testing.assert_array_equal(env.expert_action(), copy.expert_action())
    copy.close()


def test_observations_are_finite_and_inside_the_space(env):
    observation, info = env.reset(seed=5)
    for _ in range(env.EPISODE_STEPS):
        assert env.observation_space.contains(observation)
        assert np.isfinite(observation["agent_pos"]).all()
        state = env.environment_state()
        assert state.shape == (STATE_DIM,)
        assert state.dtype == np.float32
        assert np.isfinite(state).all()
        assert 0.0 <= info["progress"] <= 1.0
        label = env.expert_action()
        assert label.dtype == np.float32
        assert env.action_space.contains(label)
        observation, reward, terminated, truncated, info = env.step(label)
        assert np.isfinite(reward)
        if terminated or truncated:
            break
    assert terminated or truncated


def test_the_expert_only_reads_the_state(env):
    env.reset(seed=6)
    for action in actions(env, 4):
        env.advance(action)
    before = env.world.state_hash()
    first, second = env.expert_action(), env.expert_action()
    np.testing.assert_array_equal(first, second)
    assert env.world.state_hash() == before


def test_the_description_uses_the_closed_vocabulary(env):
    for episode in range(4):
        env.reset(seed=7, options={"episode": episode})
        assert vocabulary.encode(env.task_description)


def test_a_past_frame_is_what_was_seen_then(env):
    observation, _ = env.reset(seed=8)
    seen = {0: observation["pixels"]["front"]}
    for action in actions(env, 8):
        observation = env.step(action)[0]
        if env.tick % TICKS_PER_CAMERA == 0:
            seen[env.tick] = observation["pixels"]["front"]
    for tick, image in seen.items():
        np.testing.assert_array_equal(env.frame("front", tick), image)
    assert not np.array_equal(seen[0], seen[max(seen)])


def test_a_clip_and_its_state_history_share_their_plan(env):
    env.reset(seed=9)
    for action in actions(env, 20):
        env.advance(action)
    config = ClipConfig(num_frames=4, image_size=48)
    video, plan = env.clip(config)
    history = env.state_history(config)
    assert video.shape == (4, 48, 48, 3)
    assert history.shape == (4, STATE_DIM)
    np.testing.assert_array_equal(video[-1], env.frame("front", int(plan.ticks[-1])))
    np.testing.assert_array_equal(history[-1], env.environment_state())


def test_advance_draws_nothing(env, monkeypatch):
    env.reset(seed=10)
    monkeypatch.setattr(env.world, "frame", lambda *_: pytest.fail("a frame was drawn"))
    for action in actions(env, 6):
        env.advance(action)


def test_people_get_a_view(env):
    env.reset(seed=11)
    env.advance(np.zeros(env.action_dim))
    image = env.render()
    assert image.shape == (480, 640, 3)
    assert image.std() > 20
    assert env.render_frame(0, 120, 160).shape == (120, 160, 3)


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_a_broken_action_is_refused(env, value):
    env.reset(seed=12)
    size = env.action_dim
    with pytest.raises(ValueError, match=rf"shape \({size},\) \(got \({size - 1},\)\)"):
        env.step(np.zeros(size - 1))
    action = np.zeros(size)
    action[2] = value
    with pytest.raises(ValueError, match=rf"action\[2\] must be finite .*{value}"):
        env.step(action)


def test_holding_stays(env):
    env.reset(seed=14)
    start = env.agent_pos()
    for _ in range(5):
        env.advance(env.hold_action())
    assert np.abs(env.agent_pos() - start).max() < 0.05


def test_actions_beyond_the_range_are_clipped(env):
    env.reset(seed=13)
    env.advance(np.full(env.action_dim, 5.0))
    far = env.world.state_hash()
    env.reset(seed=13)
    env.advance(np.ones(env.action_dim))
    assert env.world.state_hash() == far


def test_without_cameras_there_are_no_pixels():
    blind = make("arm_reach", cameras=())
    observation, _ = blind.reset(seed=0)
    assert set(observation) == {"agent_pos"}
    assert blind.observation_space.contains(observation)


def test_an_unknown_camera_is_named():
    with pytest.raises(UnknownNameError, match="front"):
        make(NAMES[0], cameras=("fornt",))


@pytest.mark.parametrize("name", NAMES)
def test_twins_look_alike_and_need_different_actions(name):
    env = make(name)
    env.reset(seed=0)
    hold = env.hold_action()
    for index in range(2):
        twins = env.twins(0, index)
        assert (twins is not None) == (name in TEMPORAL)
        if twins is None:
            return
        views = []
        for latent in (twins.latent_a, twins.latent_b):
            env.reset(seed=0, options={"latent": latent})
            for _ in range(twins.steps):
                env.advance(hold)
            views.append((env.observe(), env.expert_action()))
        same(views[0][0], views[1][0])
        assert np.abs(views[0][1] - views[1][1]).max() > 0.02
    env.close()
