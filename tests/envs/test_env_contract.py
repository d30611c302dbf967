"""What other people's tools take from an environment: the words of ``info``, horizons, endings."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest

import neon_sim
from neon_sim.errors import ActionError, ResetNeededError, UnknownNameError
from neon_sim.policies.ppo.env import make_env
from neon_sim.policies.ppo.settings import RLConfig
from neon_sim.registry import TASKS

assert neon_sim.__version__  # importing the package registers the ids
NAMES = sorted(TASKS)
TELLS = {"is_success", "progress", "run_seed", "episode_index"}
# What Gymnasium (RecordEpisodeStatistics, vector environments), stable-baselines3 (Monitor, vector
# environments, the buffers) and LeRobot (its rollout) write into info or read from it themselves.
RESERVED = {
    *("episode", "seed", "r", "l", "t", "_episode", "_final_info", "_final_obs"),
    *("final_info", "final_obs", "final_observation", "reset_info", "terminal_observation"),
    *("TimeLimit.truncated", "terminated", "truncated", "reward", "action", "observation"),
    *("env_id", "task", "task_index", "index", "frame_index", "episode_end", "done", "next.done"),
}


def make(name: str, **arguments: Any) -> Any:
    """A task with Gymnasium's wrappers, without pictures."""
    arguments = {"cameras": (), "disable_env_checker": True, **arguments}
    return gymnasium.make(TASKS[name].env_id, **arguments)


@pytest.fixture(scope="module", params=NAMES)
def env(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Every task."""
    made = make(request.param)
    yield made
    made.close()


def test_info_takes_no_word_that_is_used_elsewhere(env: Any) -> None:
    infos, over = [env.reset(seed=3, options={"episode": 5})[1]], False
    while not over:
        _, _, terminated, truncated, info = env.step(env.unwrapped.hold_action())
        infos.append(info)
        over = terminated or truncated
    for info in infos:
        assert set(info) == TELLS
        assert not set(info) & RESERVED
        assert not [key for key in info if key.startswith("_")]
        assert type(info["is_success"]) is bool
        assert (info["run_seed"], info["episode_index"]) == (3, 5)


def test_the_latent_is_told_to_those_who_ask(env: Any) -> None:
    name = env.unwrapped.NAME
    asked = make(name, privileged_info=True)
    told = asked.reset(seed=1, options={"episode": 2})[1]
    untold = env.reset(seed=1, options={"episode": 2})[1]
    assert told == {**untold, "latent": env.unwrapped.latent}
    told["latent"].clear()
    assert asked.unwrapped.latent == env.unwrapped.latent
    assert set(asked.step(env.unwrapped.hold_action())[4]) == TELLS
    asked.close()


def test_gymnasium_and_the_task_agree_on_the_horizon(env: Any) -> None:
    """What truncates an episode is the task's own; Gymnasium's limit says the same number."""
    task = env.unwrapped
    assert isinstance(env, gymnasium.wrappers.TimeLimit)
    assert env.spec is not None
    assert env.spec.max_episode_steps == TASKS[task.NAME].episode_steps == task.EPISODE_STEPS
    assert env.get_wrapper_attr("_max_episode_steps") == task.EPISODE_STEPS
    env.reset(seed=0)
    ends: list[tuple[bool, bool]] = []
    while not ends or not any(ends[-1]):
        ends.append(env.step(task.hold_action())[2:4])
    assert len(ends) == task.control_step <= task.EPISODE_STEPS
    assert ends[-1][1] == (len(ends) == task.EPISODE_STEPS)


@pytest.mark.parametrize(("asked", "wanted"), [(10, 10), (1000, 60), (-1, 60)])
def test_a_limit_of_one_s_own_may_only_be_shorter(asked: int, wanted: int) -> None:
    """A longer one, or none, leaves the task's own: it is what results are about."""
    env = make("arm_block", max_episode_steps=asked)
    env.reset(seed=0)
    env.unwrapped.failed = lambda: False
    steps, truncated = 0, False
    while not truncated:
        _, _, terminated, truncated, _ = env.step(env.unwrapped.hold_action())
        steps += 1
        assert not terminated
    assert steps == wanted


@pytest.mark.parametrize("task", ["arm_block", "balance"])
def test_training_environments_need_a_reset_too(task: str) -> None:
    env = make_env(RLConfig(task=task, out="unused"), 0)
    with pytest.raises(ResetNeededError, match="has not begun"):
        env.step(np.zeros(env.action_space.shape, dtype=np.float32))
    env.close()


def test_it_is_named_as_lerobot_asks(env: Any) -> None:
    env.reset(seed=0)
    assert env.get_wrapper_attr("task") == env.unwrapped.NAME
    assert env.get_wrapper_attr("task_description") == env.unwrapped.task_description


def test_a_step_needs_an_episode_that_runs(env: Any) -> None:
    """Neither before the first reset nor after the end; the episode stays as it was."""
    name = env.unwrapped.NAME
    fresh = make(name)
    action = np.zeros(fresh.unwrapped.action_dim)
    for step in (fresh.unwrapped.advance, fresh.unwrapped.step):
        with pytest.raises(ResetNeededError, match=rf"{name} has not begun.*reset\(\)"):
            step(action)
    with pytest.raises(gymnasium.error.ResetNeeded):
        fresh.step(action)
    fresh.reset(seed=0)
    core, over = fresh.unwrapped, False
    while not over:
        over = any(core.advance(core.hold_action())[1:3])
    last = core.world.state_hash()
    for env_or_core in (fresh, core):
        with pytest.raises(ResetNeededError, match=rf"over since control step {core.control_step}"):
            env_or_core.step(action)
    with pytest.raises(ResetNeededError):
        pickle.loads(pickle.dumps(core)).advance(action)
    assert core.world.state_hash() == last
    fresh.reset()
    assert not any(core.advance(core.hold_action())[1:3])
    fresh.close()


def test_an_end_is_gone_past_only_on_purpose() -> None:
    core = make("arm_block").unwrapped
    core.reset(seed=0)
    while not any(core.advance(core.hold_action())[1:3]):
        pass
    ended = core.control_step
    core.advance(core.hold_action(), past_end=True)
    assert core.control_step == ended + 1
    with pytest.raises(ResetNeededError):
        core.advance(core.hold_action())
    with pytest.raises(ResetNeededError):
        make("arm_block").unwrapped.advance(core.hold_action(), past_end=True)


@pytest.mark.parametrize(
    "action", [None, "left", [[0.0] * 8], [0.0] * 7, 0.0, {"a": 1}, [None] * 8]
)
def test_what_is_no_action_is_refused(action: Any) -> None:
    env = make("arm_reach")
    env.reset(seed=0)
    before = env.unwrapped.world.state_hash()
    with pytest.raises(ActionError, match=r"action(\[0\])? must"):
        env.step(action)
    assert env.unwrapped.world.state_hash() == before


# ---- seeds ------------------------------------------------------------------------------------


def test_without_a_seed_no_two_environments_play_the_same_episode() -> None:
    """Gymnasium's convention; what was drawn is told, and repeats the episode to the bit."""
    made = [make("arm_catch").unwrapped for _ in range(3)]
    seeds = [env.reset()[1]["run_seed"] for env in made]
    assert len(set(seeds)) == 3
    assert min(seeds) >= 2**30  # no run seed that a person or another command chose
    assert len({env.initial_hash() for env in made}) == 3
    again = make("arm_catch").unwrapped
    again.reset(seed=seeds[0])
    assert again.initial_hash() == made[0].initial_hash()
    assert made[0].reset()[1] == {**again.reset()[1]}
    assert made[0].reset()[1]["run_seed"] == seeds[0]


def test_a_vector_plays_other_episodes_side_by_side_with_a_seed_and_without() -> None:
    def vector() -> Any:
        return gymnasium.make_vec(
            TASKS["arm_block"].env_id, 3, vectorization_mode="sync", cameras=()
        )

    one, other = vector(), vector()
    assert len(set(one.reset()[1]["run_seed"].tolist())) == 3
    told, again = one.reset(seed=7)[1], other.reset(seed=7)[1]
    assert told["run_seed"].tolist() == again["run_seed"].tolist() == [7, 8, 9]
    hashes = [[env.unwrapped.initial_hash() for env in envs.envs] for envs in (one, other)]
    assert hashes[0] == hashes[1]
    assert len(set(hashes[0])) == 3


def test_a_seed_of_the_constructor_is_kept_until_a_reset_names_another() -> None:
    env = make("arm_block", seed=4)
    assert env.reset()[1]["run_seed"] == 4
    assert env.reset()[1] == {**env.unwrapped._info(False, env.unwrapped.progress())}
    assert env.reset(seed=5)[1]["run_seed"] == 5
    assert env.reset()[1]["run_seed"] == 5


# ---- pictures for people ----------------------------------------------------------------------


def test_render_without_a_mode_warns_and_draws_nothing() -> None:
    env = make("arm_block")
    env.reset(seed=0)
    with pytest.warns(UserWarning, match='render_mode="rgb_array"'):
        assert env.unwrapped.render() is None
    env.close()


@pytest.mark.parametrize("mode", ["rgb", "depth_array", "ansi", ""])
def test_an_unknown_render_mode_is_named_with_those_there_are(mode: str) -> None:
    with pytest.raises(UnknownNameError, match=rf"unknown render_mode '{mode}'.*rgb_array"):
        TASKS["arm_block"].resolve()(render_mode=mode)
