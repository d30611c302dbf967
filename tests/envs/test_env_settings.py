"""The door of the environments: every setting and option, given what it must not be.

The cases come from the signatures: a setting that is added is tested before anybody thinks of it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest

import neon_sim
from neon_sim.envs.settings import OPTIONS, settings_of
from neon_sim.errors import ActionError, ConfigError, NeonError, UnknownNameError
from neon_sim.observation.clips import ClipConfig
from neon_sim.observation.wrappers import FlattenPixels, TemporalClip
from neon_sim.registry import TASKS

assert neon_sim.__version__  # importing the package registers the ids
CLASSES = {entry.name: entry.resolve() for entry in TASKS.values()}
NOT_A_NUMBER: list[Any] = ["3", "", [], {}, (1,), True, np.True_, object(), b"1", 1j]
NO_INT: list[Any] = [*NOT_A_NUMBER, 1.5, 2.0, math.nan, math.inf, np.float32(3), -1, 10**30]
NO_REAL: list[Any] = [*NOT_A_NUMBER, math.nan, math.inf, -math.inf, -1, -1e-9, 1e30, np.nan]
NO_FLAG: list[Any] = [0, 1, "yes", "", None, [], 1.0, math.nan]
NO_NAME: list[Any] = [
    "",
    "typo",
    "PRIMITIVE",
    "a\0b",
    "x" * 5000,
    3,
    True,
    [],
    {},
    b"dry",
    math.nan,
]
NO_NAMES: list[Any] = [
    *("typo", "", 3, True, {"front": 1}, {"front"}, [3], [None], [["front"]], b"front", object()),
    *(["typo"], [""], ["a\0b"], iter(["front"])),
]
# by the annotation of a setting; what stands for "not given" is None where a default is None
BY_KIND: dict[str, list[Any]] = {
    "int": [*NO_INT, None],
    "int | None": NO_INT,
    "float": [*NO_REAL, None],
    "float | None": NO_REAL,
    "bool": NO_FLAG,
    "str": [*NO_NAME, None],
    "str | None": NO_NAME,
    "Sequence[str]": [*NO_NAMES, None],
    "Sequence[str] | None": NO_NAMES,
}
MORE: dict[str, list[Any]] = {
    "image_size": [0, 4097, 10**6, -96],
    "start_noise": [1.01, 7],
    "cameras": [["front", "front"], ("view", "front", "view"), "front,view"],
    "microphones": [["mono", "mono"], "mono,linear4", ["mono", "head_stero"]],
    "render_mode": ["human", "rgb_array_list", "depth_array"],
    "impulse_ns": [1000.5],
}
ROBOTS = ("arm_reach", "arm_ringing", "humanoid_reach", "humanoid_balance", "humanoid_alarm")


def cases() -> list[Any]:
    """(task, setting, value): every setting of the tasks whose classes differ in them."""
    found = []
    for name in ROBOTS:
        for setting, parameter in settings_of(CLASSES[name]).items():
            for index, value in enumerate([*BY_KIND[parameter.annotation], *MORE.get(setting, ())]):
                found.append(pytest.param(name, setting, value, id=f"{name}-{setting}-{index}"))
    return found


def test_every_task_takes_the_settings_that_are_tested_here() -> None:
    tested = {setting for name in ROBOTS for setting in settings_of(CLASSES[name])}
    for task in CLASSES.values():
        assert set(settings_of(task)) <= tested
    assert {"cameras", "image_size", "seed", "mode", "lower", "impulse_ns"} <= tested
    assert set(MORE) <= tested


@pytest.mark.parametrize(("name", "setting", "value"), cases())
def test_a_setting_refuses_what_it_must_not_be(name: str, setting: str, value: Any) -> None:
    with pytest.raises(NeonError) as caught:
        CLASSES[name](**{"cameras": (), "microphones": (), setting: value})
    assert len(str(caught.value)) < 7000
    words = str(caught.value)
    named = setting in words or setting.removesuffix("s") in words or "lower body" in words
    assert named or "action mode" in words, words


@pytest.mark.parametrize("name", ROBOTS)
def test_an_unknown_setting_is_named_with_a_near_one(name: str) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown setting of \w+ 'image_sise'.*image_size"):
        CLASSES[name](image_sise=96)
    with pytest.raises(UnknownNameError, match=r"'lowr'" if "humanoid" in name else r"'lower'"):
        CLASSES[name](**{"lowr" if "humanoid" in name else "lower": "base"})


def test_what_is_right_is_taken_in_every_spelling() -> None:
    made = CLASSES["arm_reach"](
        cameras="front",
        image_size=np.int64(40),
        start_noise=np.float32(0.1),
        seed=np.int64(3),
        microphones=[],
        privileged_info=False,
    )
    assert (made.cameras, made.image_size, type(made.image_size)) == (("front",), 40, int)
    assert made.reset()[1]["run_seed"] == 3
    assert CLASSES["arm_reach"](cameras=(), start_noise=1).start_noise == 1.0


# ---- reset ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def env() -> Any:
    return CLASSES["arm_catch"](cameras=())


@pytest.mark.parametrize("value", NO_INT)
def test_a_seed_that_is_none_is_refused_and_changes_nothing(env: Any, value: Any) -> None:
    env.reset(seed=4, options={"episode": 2})
    with pytest.raises(ConfigError, match=r"seed must be 0 to .*, a whole number"):
        env.reset(seed=value)
    info = env.reset()[1]
    assert (info["run_seed"], info["episode_index"]) == (4, 3)


@pytest.mark.parametrize("value", [*NO_INT, 2**63])
def test_an_index_that_is_none_is_refused(env: Any, value: Any) -> None:
    env.reset(seed=4)
    with pytest.raises(ConfigError, match=r"options\['episode'\] must be 0 to .*, a whole number"):
        env.reset(options={"episode": value})
    assert env.reset()[1]["episode_index"] == 1


@pytest.mark.parametrize("value", [*NO_REAL, 1.01])
def test_a_noise_that_is_none_is_refused(env: Any, value: Any) -> None:
    with pytest.raises(ConfigError, match=r"options\['start_noise'\] must be 0 to 1 "):
        env.reset(seed=0, options={"start_noise": value})


@pytest.mark.parametrize("value", [{"typo": 1}, {"episode": 0, "epsiode": 1}, {"Episode": 1}])
def test_an_unknown_option_is_named(env: Any, value: Any) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown option of reset.*latent"):
        env.reset(options=value)


@pytest.mark.parametrize("value", [[], "episode", 3, [("episode", 1)], {3: 1}, {None: 1}, True])
def test_options_are_a_dict_of_names(env: Any, value: Any) -> None:
    with pytest.raises(ConfigError, match="option"):
        env.reset(options=value)


def test_options_that_are_none_are_as_if_not_given(env: Any) -> None:
    env.reset(seed=4, options=dict.fromkeys(OPTIONS))
    first = env.initial_hash()
    env.reset(seed=4, options={})
    assert env.initial_hash() == first


def test_the_largest_seed_and_episode_are_played(env: Any) -> None:
    info = env.reset(seed=2**63 - 1, options={"episode": 2**63 - 1})[1]
    assert (info["run_seed"], info["episode_index"]) == (2**63 - 1, 2**63 - 1)
    again = CLASSES["arm_catch"](cameras=(), seed=2**63 - 1)
    again.reset(options={"episode": 2**63 - 1})
    assert again.initial_hash() == env.initial_hash()


def _at(tree: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy of JSON values with another one at a place."""
    copied = copy.deepcopy(tree)
    place = copied
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return copied


def _paths(tree: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in JSON values."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    found = []
    for key, value in items:
        found.append((*here, key))
        if isinstance(value, dict | list):
            found += _paths(value, (*here, key))
    return found


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_a_latent_of_another_form_is_refused_and_the_next_reset_is_as_before(name: str) -> None:
    """Every place of the latent of every task: missing, of another kind, not finite."""
    task = CLASSES[name](cameras=(), microphones=())
    task.reset(seed=1, options={"episode": 0})
    latent = copy.deepcopy(task.latent)
    wrong: list[Any] = [3, "x", [], {}, {**latent, "typo": 1}, {"typo": 1}, True]
    wrong += [{k: v for k, v in latent.items() if k != key} for key in latent]
    for path in _paths(latent):
        value: Any = latent
        for step in path:
            value = value[step]
        number = isinstance(value, int | float)
        kinds: list[Any] = [None, math.nan, math.inf, "1", [], True] if number else [None, 3, {}]
        if isinstance(value, bool):
            kinds = [None, 3, "yes"]
        wrong += [_at(latent, path, kind) for kind in kinds if kind is not value]
    for case in wrong:
        if case == {} == latent:
            continue
        with pytest.raises(NeonError, match=r"options\['latent'\]"):
            task.reset(seed=1, options={"episode": 0, "latent": case})
    assert (task.run_seed, task.latent) == (1, latent)
    task.reset(seed=1, options={"episode": 0, "latent": latent})
    task.advance(task.hold_action())
    task.close()


@pytest.mark.parametrize("name", [entry.name for entry in TASKS.values() if entry.kind == "sound"])
def test_a_cue_that_is_none_of_the_episode_is_refused(name: str) -> None:
    task = CLASSES[name](cameras=(), microphones=())
    task.reset(seed=1, options={"episode": 0})
    cue = task.latent[task.CUE]
    other: Any = "hum" if isinstance(cue, str) else -7
    if isinstance(cue, list):
        other = [*cue, *cue]
    with pytest.raises(ConfigError, match=rf"options\['latent'\].*{task.CUE}|begin with"):
        task.reset(options={"episode": 0, "latent": {**task.latent, task.CUE: other}})


# ---- steps, frames, wrappers ------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_a_step_refuses_what_is_no_action(name: str) -> None:
    task = CLASSES[name](cameras=(), microphones=())
    task.reset(seed=0)
    before, good = task.world.state_hash(), task.hold_action()
    wrong: list[Any] = [None, "left", 0.0, [], {}, good[:-1], [*good, 0.0], good[None], [good, [1]]]
    for value in (math.nan, math.inf, -math.inf, None, "a"):
        bad: list[Any] = good.tolist()
        bad[-1] = value
        wrong.append(bad)
    wrong += [good.astype(complex), good.astype(str), good.astype(bool), good.astype(object)]
    for action in wrong:
        with pytest.raises(ActionError):
            task.step(action)
    assert task.world.state_hash() == before
    assert task.control_step == 0
    task.close()


@pytest.mark.parametrize("size", [0, -3, 4097, 10**9, 1.5, "96", True, math.nan])
def test_a_picture_of_no_size_is_refused(env: Any, size: Any) -> None:
    env.reset(seed=0)
    with pytest.raises(ConfigError, match="image size must be 1 to 4096"):
        env.frame("front", 0, size)


BARE = "neon_sim/ArmReach-v0"
WRAPPINGS: list[Callable[[Any], Any]] = [
    lambda env: TemporalClip(env, None),  # type: ignore[arg-type]
    lambda env: TemporalClip(env, {"num_frames": 2}),  # type: ignore[arg-type]
    lambda env: TemporalClip(env, ClipConfig(), flow=1),  # type: ignore[arg-type]
    lambda env: TemporalClip(env, ClipConfig(), flow="yes"),  # type: ignore[arg-type]
    lambda env: TemporalClip(None, ClipConfig()),  # type: ignore[arg-type]
    lambda env: TemporalClip(env, ClipConfig(num_frames=0)),
    lambda env: TemporalClip(env, ClipConfig(fps=math.nan)),
    lambda env: TemporalClip(env, ClipConfig(image_size=0)),
    lambda env: TemporalClip(env, ClipConfig(refresh_steps=-1)),
    lambda env: TemporalClip(env, ClipConfig(sampler="typo")),
    lambda env: TemporalClip(env, ClipConfig(camera="fornt")),
    lambda env: FlattenPixels(None),  # type: ignore[arg-type]
    lambda env: FlattenPixels(type(env)),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("wrap", WRAPPINGS)
def test_a_wrapper_refuses_what_it_must_not_be_given(wrap: Callable[[Any], Any]) -> None:
    with pytest.raises(NeonError):
        wrap(gymnasium.make(BARE, cameras=(), disable_env_checker=True))
