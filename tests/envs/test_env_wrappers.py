"""Other people's wrappers and algorithms around our environments: Gymnasium's, stable-baselines3's.

Every wrapper is driven past the end of an episode, every algorithm learns for a few steps; a
warning is an error.
"""

from __future__ import annotations

import re
import textwrap
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium import wrappers as single
from gymnasium.wrappers import vector
from stable_baselines3 import A2C, PPO, SAC, TD3
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    SubprocVecEnv,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
    VecTransposeImage,
)

import neon_sim
from neon_sim.errors import ConfigError
from neon_sim.observation.clips import ClipConfig
from neon_sim.observation.wrappers import FlattenPixels, TemporalClip
from neon_sim.registry import TASKS

assert neon_sim.__version__  # importing the package registers the ids
NAMES = sorted(TASKS)
TASK = TASKS["arm_block"]  # the shortest: 60 control steps
Wrap = Callable[[gymnasium.Env], gymnasium.Env]


@pytest.fixture(autouse=True)
def _no_warning() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        yield


def make(name: str = TASK.name, **arguments: Any) -> gymnasium.Env:
    """A task as a user makes it."""
    return gymnasium.make(TASKS[name].env_id, **{"image_size": 40, **arguments})


def joints(env: gymnasium.Env) -> gymnasium.Env:
    """``agent_pos`` alone."""
    space: Any = env.observation_space
    return single.TransformObservation(env, lambda seen: seen["agent_pos"], space["agent_pos"])


def picture(env: gymnasium.Env) -> gymnasium.Env:
    """The front camera alone."""
    space: Any = env.observation_space
    front = space["pixels"]["front"]
    return single.TransformObservation(env, lambda seen: seen["pixels"]["front"], front)


def ends_in(env: gymnasium.Env, steps: int) -> list[dict[str, Any]]:
    """Infos of the last step of each episode, over so many random steps."""
    ends = []
    env.action_space.seed(0)
    observation, _ = env.reset(seed=0)
    for _ in range(steps):
        assert env.observation_space.contains(observation)
        observation, _, terminated, truncated, info = env.step(env.action_space.sample())
        if terminated or truncated:
            ends.append(info)
            observation, _ = env.reset()
    env.close()
    return ends


# ---- Gymnasium, one environment ---------------------------------------------------------------

WIDE = np.full(8, 2.0, np.float32)
SINGLE: dict[str, Wrap] = {
    "AddRenderObservation": lambda env: single.AddRenderObservation(single.TimeLimit(env, 6)),
    "AddWhiteNoise": lambda env: single.AddWhiteNoise(picture(env), 0.1),
    "ClipAction": single.ClipAction,
    "ClipReward": lambda env: single.ClipReward(env, -1.0, 1.0),
    "DelayObservation": lambda env: single.DelayObservation(joints(env), 2),
    "DiscretizeAction": lambda env: single.DiscretizeAction(env, 3, multidiscrete=True),
    "DtypeObservation": lambda env: single.DtypeObservation(picture(env), np.float32),
    "FilterObservation": lambda env: single.FilterObservation(env, ["agent_pos"]),
    "FlattenObservation": single.FlattenObservation,
    "FlattenPixels": FlattenPixels,
    "FrameStackObservation": lambda env: single.FrameStackObservation(env, 3),
    "GrayscaleObservation": lambda env: single.GrayscaleObservation(picture(env)),
    "MaxAndSkipObservation": lambda env: single.MaxAndSkipObservation(picture(env), 2),
    "NormalizeObservation": lambda env: single.NormalizeObservation(joints(env)),
    "NormalizeReward": single.NormalizeReward,
    "ObstructView": lambda env: single.ObstructView(picture(env), 0.2, 4),
    "OrderEnforcing": single.OrderEnforcing,
    "PassiveEnvChecker": single.PassiveEnvChecker,
    "RecordEpisodeStatistics": single.RecordEpisodeStatistics,
    "RenderCollection": lambda env: single.RenderCollection(single.TimeLimit(env, 6)),
    "RepeatAction": lambda env: single.RepeatAction(env, 4),
    "RescaleAction": lambda env: single.RescaleAction(env, -WIDE, WIDE),
    "RescaleObservation": lambda env: single.RescaleObservation(
        joints(env), np.float32(0), np.float32(1)
    ),
    "ReshapeObservation": lambda env: single.ReshapeObservation(joints(env), (2, 4)),
    "StickyAction": lambda env: single.StickyAction(env, 0.3),
    "TimeAwareObservation": single.TimeAwareObservation,
    "TimeLimit": lambda env: single.TimeLimit(env, 25),
    "TransformAction": lambda env: single.TransformAction(
        env, lambda action: 0.5 * action, env.action_space
    ),
    "TransformReward": lambda env: single.TransformReward(env, lambda reward: 2.0 * float(reward)),
}


@pytest.mark.parametrize("name", sorted(SINGLE))
def test_a_wrapper_of_gymnasium_goes_round_it(name: str) -> None:
    if not hasattr(single, name) and name != "FlattenPixels":
        pytest.skip(f"this Gymnasium has no {name}")
    env = SINGLE[name](make(render_mode="rgb_array"))
    ends = ends_in(env, 8 if "Render" in name else 70)
    assert ends
    assert all("is_success" in info for info in ends)


def test_autoreset_begins_the_next_episode() -> None:
    env = single.Autoreset(make(cameras=()))
    env.reset(seed=0)
    steps = [env.step(env.action_space.sample())[4]["episode_index"] for _ in range(70)]
    assert steps == [0] * 60 + [1] * 10 or set(steps) == {0, 1}


def test_pictures_are_resized() -> None:
    pytest.importorskip("cv2")
    assert ends_in(single.ResizeObservation(picture(make()), (24, 24)), 65)


def test_an_episode_is_recorded_as_video(tmp_path: Path) -> None:
    pytest.importorskip("moviepy")
    env = single.TimeLimit(make(render_mode="rgb_array", cameras=()), 5)
    assert ends_in(single.RecordVideo(env, str(tmp_path / "videos")), 6)
    assert list(tmp_path.glob("videos/*.mp4"))


def test_a_person_may_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pygame")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    with pytest.warns(UserWarning, match="HumanRendering wrapper is being applied"):
        env = make(render_mode="human", cameras=())
    env.reset(seed=0)
    env.step(env.action_space.sample())
    env.close()


@pytest.mark.parametrize("name", NAMES)
def test_statistics_and_monitor_take_every_task(name: str) -> None:
    """Both write ``info["episode"]`` themselves, and died on ours."""
    env = Monitor(single.RecordEpisodeStatistics(make(name, cameras=(), disable_env_checker=True)))
    core: Any = env.unwrapped
    env.reset(seed=0)
    over, total = False, 0.0
    while not over:
        _, reward, terminated, truncated, info = env.step(core.hold_action())
        over, total = terminated or truncated, total + float(reward)
    assert info["episode"]["l"] == core.control_step
    assert float(info["episode"]["r"]) == pytest.approx(total, abs=1e-5)
    assert env.get_episode_lengths() == [core.control_step]
    env.close()


# ---- Gymnasium, several side by side ----------------------------------------------------------

VECTOR: dict[str, Callable[[Any], Any]] = {
    "ClipAction": vector.ClipAction,
    "ClipReward": lambda envs: vector.ClipReward(envs, -1.0, 1.0),
    "FilterObservation": lambda envs: vector.FilterObservation(envs, ["agent_pos"]),
    "FlattenObservation": vector.FlattenObservation,
    "NormalizeReward": vector.NormalizeReward,
    "RecordEpisodeStatistics": vector.RecordEpisodeStatistics,
    "RescaleAction": lambda envs: vector.RescaleAction(envs, -WIDE, WIDE),
    "TransformReward": lambda envs: vector.TransformReward(envs, lambda reward: 2 * reward),
}


@pytest.mark.parametrize("name", sorted(VECTOR))
def test_a_vector_wrapper_of_gymnasium_goes_round_them(name: str) -> None:
    envs = VECTOR[name](gymnasium.make_vec(TASK.env_id, 2, image_size=40))
    envs.action_space.seed(0)
    observation, _ = envs.reset(seed=0)
    ended = np.zeros(2, dtype=bool)
    for _ in range(64):
        assert envs.observation_space.contains(observation)
        observation, _, terminated, truncated, info = envs.step(envs.action_space.sample())
        ended |= terminated | truncated
        if name == "RecordEpisodeStatistics" and (terminated | truncated).any():
            over = terminated | truncated
            assert (info["_episode"] == over).all()
            assert (info["episode"]["l"][over] <= 60).all()
    assert ended.all()
    envs.close()


# Gymnasium 1.0 has one way and no name for it: the default, tested above
@pytest.mark.parametrize("mode", list(getattr(gymnasium.vector, "AutoresetMode", ())))
def test_every_way_to_begin_again(mode: Any) -> None:
    """Also without any, where the caller resets those that ended."""
    makers = [lambda: make(cameras=(), disable_env_checker=True)] * 2
    envs = gymnasium.vector.SyncVectorEnv(makers, autoreset_mode=mode)
    envs.reset(seed=[0, 0])
    envs.action_space.seed(0)
    info: dict[str, Any] = {}
    for _ in range(64):
        _, _, terminated, truncated, info = envs.step(envs.action_space.sample())
        over = terminated | truncated
        if mode.name == "DISABLED" and over.any():
            _, info = envs.reset(options={"reset_mask": over})
    assert info["episode_index"].tolist() == [1, 1]
    envs.close()


def test_processes_side_by_side_are_equal_to_one_after_the_other() -> None:
    makers = [lambda: make(disable_env_checker=True)] * 2
    together = gymnasium.vector.AsyncVectorEnv(makers)
    alone = gymnasium.vector.SyncVectorEnv(makers)
    together.reset(seed=3)
    alone.reset(seed=3)
    tape = np.random.default_rng(0).uniform(-0.3, 0.3, (5, 2, 8)).astype(np.float32)
    for action in tape:
        seen, expected = together.step(action)[0], alone.step(action)[0]
    np.testing.assert_array_equal(seen["agent_pos"], expected["agent_pos"])
    np.testing.assert_array_equal(seen["pixels"]["front"], expected["pixels"]["front"])
    together.close()
    alone.close()


# ---- the flattening wrapper -------------------------------------------------------------------


def test_flattened_pictures_are_the_same_pictures() -> None:
    plain, flat = make(cameras=("front", "view")), FlattenPixels(make(cameras=("front", "view")))
    nested, _ = plain.reset(seed=1)
    seen, _ = flat.reset(seed=1)
    space: Any = flat.observation_space
    assert list(seen) == list(space) == ["agent_pos", "pixels_front", "pixels_view"]
    for camera in ("front", "view"):
        np.testing.assert_array_equal(seen[f"pixels_{camera}"], nested["pixels"][camera])
    assert flat.observation_space.contains(seen)


def test_flattening_keeps_the_clip_and_the_sound_and_is_remade_from_its_spec() -> None:
    env = FlattenPixels(TemporalClip(make("arm_ringing"), ClipConfig(num_frames=2, image_size=40)))
    seen, _ = env.reset(seed=0)
    assert set(seen) == {
        *("agent_pos", "audio", "pixels_front"),
        *("video", "video_mask", "video_time_s"),
    }
    assert env.observation_space.contains(seen)
    assert env.spec is not None
    again = gymnasium.make(env.spec, disable_env_checker=True)
    np.testing.assert_array_equal(again.reset(seed=0)[0]["video"], seen["video"])


def test_flattening_without_cameras_changes_nothing() -> None:
    env = FlattenPixels(make(cameras=()))
    assert env.observation_space == env.env.observation_space
    assert set(env.reset(seed=0)[0]) == {"agent_pos"}


def test_flattening_refuses_what_is_no_dict_and_what_is_there_already() -> None:
    with pytest.raises(ConfigError, match="dict observation"):
        FlattenPixels(joints(make()))
    space: Any = make().observation_space
    double = spaces.Dict({**space.spaces, "pixels_front": space["pixels"]["front"]})
    with pytest.raises(ConfigError, match="pixels_front twice"):
        FlattenPixels(single.TransformObservation(make(), lambda seen: seen, double))


# ---- stable-baselines3 ------------------------------------------------------------------------


def flat_task() -> gymnasium.Env:
    """With one small picture, as SB3 takes it."""
    return Monitor(FlattenPixels(make()))


def joints_task() -> gymnasium.Env:
    """``agent_pos`` alone, nothing drawn."""
    return joints(make(cameras=()))


@pytest.mark.slow
def test_the_recipe_of_the_guide_runs_as_printed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = (Path(__file__).parents[2] / "docs" / "GUIDE.md").read_text()
    match = re.search(r"<!-- recipe: sb3 -->\n```python\n(.*?)\n```", text, re.S)
    assert match
    monkeypatch.chdir(tmp_path)
    code, steps = re.subn(r"\b200_000\b", "128", textwrap.dedent(match[1]))
    assert steps == 1
    found: dict[str, Any] = {}
    exec(compile(code, "GUIDE.md", "exec"), found)
    assert found["model"].num_timesteps == 128


def test_ppo_learns_from_pictures_behind_every_vector_wrapper() -> None:
    envs = VecTransposeImage(VecMonitor(DummyVecEnv([lambda: FlattenPixels(make())] * 2)))
    model = PPO("MultiInputPolicy", envs, n_steps=64, batch_size=64, n_epochs=1, seed=0)
    model.learn(128)
    lengths = [episode["l"] for episode in model.ep_info_buffer or ()]
    assert lengths
    assert max(lengths) <= 60
    mean, _ = evaluate_policy(model, flat_task(), n_eval_episodes=1)
    assert np.isfinite(mean)
    envs.close()


def test_frames_are_stacked_by_sb3() -> None:
    envs = VecFrameStack(DummyVecEnv([flat_task]), 3)
    assert envs.reset()["pixels_front"].shape == (1, 40, 40, 9)
    envs.close()


@pytest.mark.slow
def test_ppo_learns_from_processes_that_are_spawned() -> None:
    options: dict[str, Any] = {
        "vec_env_cls": SubprocVecEnv,
        "vec_env_kwargs": {"start_method": "spawn"},
    }
    envs = make_vec_env(flat_task, 2, seed=5, **options)
    assert envs.seed(5) == [5, 6]
    envs.reset()
    assert [info["run_seed"] for info in envs.reset_infos] == [5, 6]
    PPO("MultiInputPolicy", envs, n_steps=32, batch_size=64, n_epochs=1).learn(64)
    envs.close()


@pytest.mark.parametrize("kind", [SAC, TD3])
def test_off_policy_algorithms_learn_from_the_joints(kind: Any) -> None:
    model = kind("MlpPolicy", joints_task(), learning_starts=32, batch_size=16, seed=0)
    model.learn(96)
    assert model.num_timesteps == 96
    mean, _ = evaluate_policy(model, Monitor(joints_task()), n_eval_episodes=1)
    assert np.isfinite(mean)


def test_rewards_and_joints_are_normalised_by_sb3() -> None:
    envs = VecNormalize(DummyVecEnv([joints_task] * 2))
    A2C("MlpPolicy", envs, n_steps=8, seed=0).learn(160)
    envs.close()


@pytest.mark.parametrize("name", ["humanoid_alarm", "humanoid_balance", "arm_ringing"])
def test_ppo_takes_a_task_with_sound_or_a_body_as_it_is(name: str) -> None:
    env = FlattenPixels(make(name, image_size=36))
    PPO("MultiInputPolicy", env, n_steps=8, batch_size=8, n_epochs=1).learn(8)
    env.close()
