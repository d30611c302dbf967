"""ArmReach, ArmPickPlace, ArmConveyorPick: experts succeed, and success means what it says."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

import neon_sim
from neon_sim.envs.arm.conveyor_pick import CUP_Z, MIDDLE_S, SPEED_RANGE
from neon_sim.registry import TASKS
from neon_sim.seeding import episode_rng

assert neon_sim.__version__
NAMES = ("arm_reach", "arm_pick_place", "arm_conveyor_pick")


def make(name):
    return gymnasium.make(TASKS[name].env_id, cameras=()).unwrapped


def play(env, episode, noise=0.0, hold=1, act=None):
    """Run one episode; each label is held for ``hold`` control steps. Returns the last info."""
    env.reset(seed=0, options={"episode": episode, "start_noise": noise})
    for step in range(env.EPISODE_STEPS):
        if step % hold == 0:
            action = env.expert_action() if act is None else act(env)
        _, terminated, truncated, info = env.advance(action)
        if terminated or truncated:
            break
    return info


def rate(env, count, **arguments):
    return np.mean([play(env, episode, **arguments)["is_success"] for episode in range(count)])


@pytest.mark.parametrize("name", NAMES)
def test_the_expert_succeeds(name):
    env = make(name)
    assert rate(env, 8) >= 7 / 8
    assert rate(env, 8, noise=0.1) >= 7 / 8


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("noise", [0.0, 0.15])
def test_the_expert_succeeds_95_times_in_100(name, noise):
    assert rate(make(name), 200, noise=noise) >= 0.95


@pytest.mark.parametrize("name", ["arm_reach", "arm_pick_place"])
def test_static_tasks_forgive_stale_labels(name):
    """Each label held for 0.16 s, as a policy that replans twice a chunk would."""
    assert rate(make(name), 8, noise=0.1, hold=8) >= 7 / 8


@pytest.mark.parametrize("name", NAMES)
def test_standing_still_fails(name):
    env = make(name)
    assert rate(env, 4, act=lambda e: e.agent_pos()) == 0


# ---- reach --------------------------------------------------------------------------------


def test_touching_a_wrong_post_ends_the_episode_without_success():
    env = make("arm_reach")

    def wrong(e):
        named, e._knobs = e._knobs, e._knobs[[1, 0, 2]]
        try:
            return e.expert_action()
        finally:
            e._knobs = named

    info = play(env, 0, act=wrong)
    assert not info["is_success"]
    assert env.failed()
    assert env.control_step < env.EPISODE_STEPS


def test_the_visible_state_does_not_tell_which_post_is_named():
    env = make("arm_reach")
    env.reset(seed=0)
    state, latent = env.environment_state(), env.latent
    swapped = {
        "places": [latent["places"][i] for i in (1, 0, 2)],
        "colours": [latent["colours"][i] for i in (1, 0, 2)],
    }
    env.reset(options={"latent": swapped})
    np.testing.assert_array_equal(env.environment_state(), state)
    assert env.task_description == f"touch the {latent['colours'][1]} post"


# ---- pick and place -------------------------------------------------------------------------


def test_only_the_named_block_counts():
    env = make("arm_pick_place")
    env.reset(seed=0)
    latent = env.latent
    for index, expected in ((0, True), (1, False)):
        places = [list(place) for place in latent["places"]]
        places[index] = list(latent["bowl"])
        env.reset(options={"latent": {**latent, "places": places}})
        for _ in range(5):
            env.advance(env.agent_pos())
        assert env.is_success() is expected


def test_a_block_in_the_fingers_over_the_bowl_is_not_yet_put():
    env = make("arm_pick_place")
    env.reset(seed=0, options={"episode": 1})
    held = 0
    for _ in range(env.EPISODE_STEPS):
        block = env.body_position("block0")
        if block[2] > 0.1:
            held += 1
            assert not env.is_success()
        if any(env.advance(env.expert_action())[1:3]):
            break
    assert held > 5
    assert env.is_success()


# ---- conveyor -------------------------------------------------------------------------------


def latents(count):
    env = make("arm_conveyor_pick")
    return [env.sample_latent(episode_rng(env.NAME, 0, 0, i, "latent")) for i in range(count)]


def test_the_place_of_the_cup_says_little_of_its_velocity():
    drawn = latents(600)
    velocity = np.array([d["velocity"] for d in drawn])
    moving = velocity != 0
    place = np.array([d["y"] for d in drawn]) + MIDDLE_S * velocity
    assert 0.7 < moving.mean() < 0.9
    assert (np.abs(velocity[moving]) >= SPEED_RANGE[0]).all()
    assert (np.abs(velocity[moving]) <= SPEED_RANGE[1]).all()
    assert abs(np.corrcoef(place, velocity)[0, 1]) < 0.35
    for half in (place < 0, place > 0):  # both ways from both sides
        assert 0.2 < (velocity[half & moving] > 0).mean() < 0.8


def test_the_cup_keeps_its_speed_on_the_belt():
    env = make("arm_conveyor_pick")
    env.reset(seed=0, options={"latent": {"y": -0.3, "velocity": 0.5}})
    away = env.agent_pos()
    for _ in range(25):
        env.advance(away)
    np.testing.assert_allclose(env.body_position("cup"), [0.5, -0.05, CUP_Z], atol=5e-3)
    np.testing.assert_allclose(env.body_velocity("cup"), [0, 0.5, 0], atol=5e-3)


def blind_to_speed(env):
    """The expert's label if the cup stood still where it is now."""
    known = env.body_velocity
    env.body_velocity = lambda name: np.zeros(3)
    try:
        return env.expert_action()
    finally:
        env.body_velocity = known


@pytest.mark.parametrize(("speed", "expected"), [(0.0, True), (0.4, False), (-0.5, False)])
def test_who_does_not_know_the_speed_fails_at_speed(speed, expected):
    env = make("arm_conveyor_pick")
    latent = {"y": -0.4 * speed, "velocity": speed}
    for act, wanted in ((blind_to_speed, expected), (type(env).expert_action, True)):
        env.reset(seed=0, options={"latent": latent})
        for _ in range(env.EPISODE_STEPS):
            _, terminated, truncated, info = env.advance(act(env))
            if terminated or truncated:
                break
        assert info["is_success"] is wanted
