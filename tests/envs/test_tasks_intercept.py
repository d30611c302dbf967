"""The three tasks in which a thing moves freely until the hand meets it.

What they promise: the expert solves them, standing still does not, nothing hidden shows,
and there are pairs of episodes that look the same and need different actions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from neon_sim.clock import TICKS_PER_CAMERA, TICKS_PER_CONTROL
from neon_sim.envs.arm.block import GOAL_X, ArmBlock
from neon_sim.envs.arm.catch import ArmCatch
from neon_sim.envs.arm.intercept import TWIN_TARGETS_APART_M, InterceptTask
from neon_sim.envs.arm.occluded import ArmOccluded
from neon_sim.envs.arm.robot import joint_action
from neon_sim.vocabulary import encode

TASKS = (ArmBlock, ArmCatch, ArmOccluded)
# Colour tests on (..., 3) int arrays: is this pixel of the moving thing?
COLOUR_TESTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "arm_block": lambda p: (p[..., 0] > 170) & (p[..., 1] < 60),
    "arm_catch": lambda p: (p[..., 1] > 120) & (p[..., 1] - p[..., 2] > 70),
    "arm_occluded": lambda p: (p[..., 1] > 80) & (p[..., 1] - p[..., 2] > 60),
}
Agent = Callable[[InterceptTask], np.ndarray]


@pytest.fixture(scope="module", params=TASKS, ids=lambda task: task.NAME)
def env(request: pytest.FixtureRequest) -> Iterator[InterceptTask]:
    """One environment of each task, without pixels in its observations."""
    made = request.param(cameras=())
    yield made
    made.close()


def hold(env: InterceptTask) -> np.ndarray:
    """The action that keeps the start pose."""
    return joint_action(env.START, env.START_GRIPPER)


def expert(env: InterceptTask) -> np.ndarray:
    """The scripted expert's action."""
    return env.expert_action()


def rollout(env: InterceptTask, agent: Agent, episode: int, **options: object) -> bool:
    """Run one episode of seed 0 and say whether it ended in success."""
    env.reset(seed=0, options={"episode": episode, **options})
    while True:
        _, terminated, truncated, info = env.advance(agent(env))
        if terminated or truncated:
            return bool(info["is_success"])


def rate(env: InterceptTask, agent: Agent, episodes: int, **options: object) -> float:
    """Success rate over the first episodes of seed 0."""
    return float(np.mean([rollout(env, agent, e, **options) for e in range(episodes)]))


def test_expert_succeeds(env: InterceptTask) -> None:
    assert rate(env, expert, 20) >= 0.9
    assert rate(env, expert, 20, start_noise=0.15) >= 0.9


def test_expert_succeeds_after_the_time_that_seeing_takes(env: InterceptTask) -> None:
    """0.16 s is what a policy needs to see three frames of its clip."""
    assert rate(env, lambda e: hold(e) if e.control_step < 8 else expert(e), 20) >= 0.9


def test_standing_still_fails(env: InterceptTask) -> None:
    assert rate(env, hold, 40) <= 0.3


def test_following_the_thing_fails(env: InterceptTask) -> None:
    """To be where the thing is now is not to be where it will be."""

    def follow(env: InterceptTask) -> np.ndarray:
        state = env.visible_state(env.data.qpos)
        if state[3]:
            y = float(np.clip(state[1], -env.TARGET_SPREAD_M, env.TARGET_SPREAD_M))
            env.followed = joint_action(  # type: ignore[attr-defined]
                env.hand_joints(np.array([env._aim[0], y, env._aim[2]])), -1.0
            )
        return env.followed  # type: ignore[attr-defined]

    assert rate(env, follow, 40) <= 0.7


def test_expert_label_is_constant_and_ignores_the_arm(env: InterceptTask) -> None:
    env.reset(seed=3)
    first = env.expert_action()
    rng = np.random.default_rng(0)
    for _ in range(20):
        env.advance(rng.uniform(-0.2, 0.2, 8))
        np.testing.assert_allclose(env.expert_action(), first, atol=1e-3)


def test_latents_are_deterministic_json(env: InterceptTask) -> None:
    env.reset(seed=5, options={"episode": 7})
    latent, digest = env.latent, env.initial_hash()
    env.reset(seed=6)
    assert env.initial_hash() != digest
    env.reset(seed=5, options={"episode": 7})
    assert (env.latent, env.initial_hash()) == (latent, digest)
    env.reset(seed=6, options={"latent": json.loads(json.dumps(latent))})
    assert env.initial_hash() == digest


def test_start_does_not_tell_the_target(env: InterceptTask) -> None:
    rng = np.random.default_rng(1)
    latents = [env.sample_latent(rng) for _ in range(2000)]
    starts = [x["position"][1] for x in latents]
    targets = [env.arrival(np.array(x["position"]), np.array(x["velocity"]))[1] for x in latents]
    assert abs(np.corrcoef(starts, targets)[0, 1]) < 0.08
    assert np.std(starts) > np.std(targets)
    assert np.abs(targets).max() <= env.TARGET_SPREAD_M + 1e-6


def test_description_is_in_the_vocabulary(env: InterceptTask) -> None:
    env.reset(seed=0)
    assert encode(env.task_description)


def test_state_shows_positions_only(env: InterceptTask) -> None:
    env.reset(seed=0)
    state = env.environment_state()
    np.testing.assert_allclose(state[:3], env.thing_position(), rtol=1e-6)
    assert state[3] == 1.0
    assert not state[4:].any()


def thing_pixels(env: InterceptTask, tick: int) -> int:
    """Number of pixels of the thing's colour in the 96-pixel front frame of a tick."""
    frame = env.frame("front", tick).astype(int)
    return int(COLOUR_TESTS[env.NAME](frame).sum())


@pytest.mark.parametrize("episode", range(4))
def test_thing_is_seen_from_the_start(env: InterceptTask, episode: int) -> None:
    """6 pixels across, from the first frame, until it is hidden or at the hand."""
    env.reset(seed=2, options={"episode": episode})
    while env.tick < 300:
        if env.visible_state(env.data.qpos)[3] and env.tick % 100 == 0:
            assert thing_pixels(env, env.tick) >= 20, env.tick
        env.advance(hold(env))
        if env.NAME == "arm_occluded" and env.tick >= 160:
            break


def test_thing_starts_inside_the_image(env: InterceptTask) -> None:
    """Even at the far ends of where it may start, no part of it is cut off."""
    rng = np.random.default_rng(0)
    counts = []
    for start_y in (0.0, -env.START_SPREAD_M, env.START_SPREAD_M):
        env.reset(seed=0, options={"latent": env.draw(rng, start_y, 0.0)})
        counts.append(thing_pixels(env, 0))
    assert min(counts[1:]) >= 0.7 * counts[0]


def test_hidden_is_hidden() -> None:
    """While the flag is 0 no pixel of the front frame has the ball's colour."""
    env = ArmOccluded(cameras=())
    hidden_ticks = []
    for episode in range(6):
        env.reset(seed=1, options={"episode": episode})
        hidden = 0
        while env.tick < 420:
            if env.tick % TICKS_PER_CAMERA == 0 and not env.visible_state(env.data.qpos)[3]:
                assert thing_pixels(env, env.tick) == 0, (episode, env.tick)
                assert not env.environment_state().any()
                hidden += TICKS_PER_CAMERA
            env.advance(hold(env))
        hidden_ticks.append(hidden)
    env.close()
    assert min(hidden_ticks) >= 120  # 0.24 s


def test_hidden_until_it_is_too_late() -> None:
    """When the ball shows again it touches the cup within a replan interval."""
    env = ArmOccluded(cameras=())
    for episode in range(10):
        env.reset(seed=0, options={"episode": episode})
        seen = []
        while not env._struck:
            env.advance(env.expert_action())
            seen.append(bool(env.visible_state(env.data.qpos)[3]))
        last_hidden = len(seen) - seen[::-1].index(False)
        assert len(seen) - last_hidden <= 4
    env.close()


def test_twins_look_the_same_and_need_different_actions(env: InterceptTask) -> None:
    for index in range(3):
        twins = env.twins(0, index)
        assert twins is not None
        looks, labels = [], []
        for latent in (twins.latent_a, twins.latent_b):
            env.reset(seed=0, options={"episode": 0, "latent": latent})
            for _ in range(twins.steps):
                env.advance(hold(env))
            assert env.tick == twins.steps * TICKS_PER_CONTROL
            assert env.tick % TICKS_PER_CAMERA == 0
            looks.append((env.frame("front", env.tick), env.agent_pos(), env.environment_state()))
            labels.append(env.expert_action())
        for a, b in zip(*looks, strict=True):
            assert a.tobytes() == b.tobytes()
        assert np.abs(labels[0] - labels[1]).max() > 0.05
    assert env.twins(0, 2) == twins
    assert env.twins(0, 3) != twins


def test_twins_are_solvable(env: InterceptTask) -> None:
    """Each twin is an episode like any other: the expert does it."""
    twins = env.twins(4, 0)
    assert twins is not None
    ends = []
    for latent in (twins.latent_a, twins.latent_b):
        assert rollout(env, expert, 0, latent=latent)
        ends.append(env._aim[1])
    assert abs(ends[0] - ends[1]) >= TWIN_TARGETS_APART_M - 1e-3


def test_block_fails_when_the_puck_crosses_the_line() -> None:
    env = ArmBlock(cameras=())
    env.reset(seed=0, options={"latent": env.draw(np.random.default_rng(0), 0.4, 0.4)})
    terminated = False
    while not terminated:
        _, terminated, truncated, info = env.advance(hold(env))
        assert not truncated
    assert not info["is_success"]
    assert env.thing_position()[0] < GOAL_X
    assert env.progress() == 0.0
    env.close()


def test_progress_rises_to_one(env: InterceptTask) -> None:
    env.reset(seed=0, options={"episode": 1})
    total = start = env.progress()
    while True:
        reward, terminated, truncated, _ = env.advance(env.expert_action())
        total += reward
        assert 0.0 <= env.progress() <= 1.0
        if terminated or truncated:
            break
    assert start < 0.6
    assert total == pytest.approx(1.0)
