"""The humanoid's tasks: experts within the robot's limits, what one frame cannot tell, sound."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest

from neon_sim.benchmarks.runs.suites import load_suite, suite_names
from neon_sim.clock import CONTROL_DT_S
from neon_sim.demonstrations.episode import Bank, Delayed
from neon_sim.demonstrations.settings import PerturbConfig
from neon_sim.envs.humanoid.balance import IMPULSES_NS, PUSH_STEPS
from neon_sim.envs.humanoid.handover import COMING_STEPS, OFFER_STEPS
from neon_sim.envs.humanoid.lower_body import yaw_of
from neon_sim.envs.humanoid.meeting import MeetingTask
from neon_sim.envs.task import VIEW_HEIGHT, VIEW_WIDTH
from neon_sim.errors import ConfigError, UnknownNameError
from neon_sim.registry import TASKS
from neon_sim.vocabulary import encode

MEETINGS = ("humanoid_goalkeeper", "humanoid_handover", "humanoid_follow")
ALL = (*MEETINGS, "humanoid_alarm", "humanoid_balance")
SILENT = {"cameras": (), "microphones": ()}
Agent = Callable[[Any], np.ndarray]


def make(name: str, **arguments: Any) -> Any:
    """A bare task."""
    return gymnasium.make(TASKS[name].env_id, **{**SILENT, **arguments}).unwrapped


@pytest.fixture(scope="module", params=MEETINGS)
def env(request: pytest.FixtureRequest) -> Iterator[Any]:
    """One environment of each temporal task."""
    made = make(request.param)
    yield made
    made.close()


def rollout(env: Any, agent: Agent, episode: int, **options: Any) -> bool:
    """One episode of seed 0: whether it ended in success."""
    env.reset(seed=0, options={"episode": episode, **options})
    while True:
        _, terminated, truncated, info = env.advance(agent(env))
        env.count_limits()
        if terminated or truncated:
            return bool(info["is_success"])


def rate(env: Any, agent: Agent, episodes: int, **options: Any) -> float:
    """Success rate over the first episodes of seed 0."""
    return float(np.mean([rollout(env, agent, e, **options) for e in range(episodes)]))


def expert(env: Any) -> np.ndarray:
    """The scripted expert."""
    return env.expert_action()


def hold(env: Any) -> np.ndarray:
    """Where it is."""
    return env.hold_action()


def aim_at(env: Any, y: float) -> np.ndarray:
    """What the expert would do if the thing arrived at y."""
    kept = env._aim
    env._aim = np.array([kept[0], y, kept[2]])
    try:
        return env.expert_action()
    finally:
        env._aim = kept


def memoryless(env: MeetingTask) -> np.ndarray:
    """The middle of where the thing may go, given where it is now and how late it is.

    Height and time are given away: the best of what one frame could tell, and more.
    """
    wide, aim = env.START_SPREAD_M, env.TARGET_SPREAD_M
    share = env.control_step * CONTROL_DT_S / env.latent["time_s"]
    y = float(env.thing_position()[1])
    if share < 0.01:
        return aim_at(env, 0.0)
    share = min(share, 1.0)
    low = max(-aim, (y - (1 - share) * wide) / share)
    high = min(aim, (y + (1 - share) * wide) / share)
    return aim_at(env, (low + high) / 2)


# ---- what all of them promise -------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_the_expert_succeeds_within_the_robot_s_limits(name: str) -> None:
    env, done, episodes = make(name, **({"impulse_ns": 5.0} if "balance" in name else {})), 0, 5
    for episode in range(episodes):
        done += rollout(env, expert, episode)
        shares = env.limits.shares()
        assert shares["velocity"].max() == 0.0
        assert shares["position"].max() == 0.0
        assert shares["torque"].max() < 0.35  # of one joint's time, when a limb sets off
    assert done >= episodes - 1


@pytest.mark.parametrize("name", ALL)
def test_the_description_is_in_the_vocabulary(name: str) -> None:
    env = make(name)
    env.reset(seed=0)
    assert encode(env.task_description)


def test_the_suites_hold_every_task_that_cameras_or_ears_can_play() -> None:
    kinds = {name: entry.kind for name, entry in TASKS.items() if entry.kind != "state"}
    assert set(load_suite("all").tasks) == set(kinds)
    humanoid = {name for name in kinds if TASKS[name].robot == "humanoid"}
    assert set(load_suite("humanoid").tasks) == humanoid


def test_every_task_is_in_a_suite_and_a_suite_of_a_kind_holds_one_robot() -> None:
    suites = {name: set(load_suite(name).tasks) for name in suite_names()}
    few = [tasks for name, tasks in suites.items() if name != "all"]
    assert set().union(*few) == set(TASKS)
    for kind in ("static", "temporal", "sound"):
        arm = {n for n, e in TASKS.items() if (e.kind, e.robot) == (kind, "arm")}
        assert suites[kind] == arm
    assert suites["state"] == {name for name, entry in TASKS.items() if entry.kind == "state"}


# ---- the temporal ones --------------------------------------------------------------------


def test_the_expert_succeeds_from_noise_and_after_the_time_that_seeing_takes(env: Any) -> None:
    """0.16 s is what a policy needs to see three frames of its clip."""
    assert rate(env, lambda e: hold(e) if e.control_step < 8 else expert(e), 6) >= 0.8
    assert rate(env, expert, 6, start_noise=0.15) >= 0.8


def test_a_demonstration_leads_a_walking_robot_astray_too(env: Any) -> None:
    env.reset(seed=0, options={"episode": 0})
    decoys = Bank(np.full((1, env.action_dim), 0.9, dtype=np.float32), steps=60)
    mover = Delayed(np.random.default_rng(2), PerturbConfig(delay_max=1.0), decoys)
    label = env.expert_action()
    base = [mover.act(env, label)[env.num_joints :] for _ in range(20)]
    assert max(np.abs(moved - label[env.num_joints :]).max() for moved in base) > 0.2


def test_standing_still_fails(env: Any) -> None:
    assert rate(env, hold, 8) <= 0.25


def test_what_one_frame_tells_is_not_enough(env: Any) -> None:
    assert rate(env, memoryless, 30) <= 0.5


def test_the_start_does_not_tell_the_target(env: Any) -> None:
    rng = np.random.default_rng(1)
    latents = [env.sample_latent(rng) for _ in range(1500)]
    starts = [latent["position"][1] for latent in latents]
    targets = [env.arrival(latent)[1] for latent in latents]
    assert abs(np.corrcoef(starts, targets)[0, 1]) < 0.08
    assert np.std(starts) > 1.8 * np.std(targets)
    assert np.abs(targets).max() <= env.TARGET_SPREAD_M + 1e-6


def test_the_thing_arrives_where_the_latent_says(env: Any) -> None:
    env.reset(seed=3)
    ticks = round(env.latent["time_s"] / CONTROL_DT_S)
    for _ in range(ticks - 3):  # before anything can be touched
        env.advance(env.hold_action())
    left = env.latent["time_s"] - env.control_step * CONTROL_DT_S
    position, velocity = env.thing_position(), env.thing_velocity()
    np.testing.assert_allclose(position[1] + velocity[1] * left, env._aim[1], atol=1e-6)


def test_the_state_holds_positions_and_the_thing_is_in_it(env: Any) -> None:
    env.reset(seed=0)
    first = env.environment_state()
    assert not np.isin(np.round(env.latent["velocity"], 6)[:2], np.round(first, 6)).any()
    for _ in range(10):
        env.advance(env.hold_action())
    assert np.abs(env.environment_state() - first)[:2].max() > 0.1


@pytest.mark.parametrize("name", MEETINGS)
def test_the_thing_is_in_the_head_camera_s_view_until_it_is_time_to_leave(name: str) -> None:
    env = make(name, cameras=("front",))
    eye = env.world.camera_id("front")
    tangent = np.tan(np.radians(env.model.cam_fovy[eye] / 2))
    for episode in range(6):
        env.reset(seed=1, options={"episode": episode})
        while env.control_step * CONTROL_DT_S < 0.45 * env.latent["time_s"]:
            place = env.thing_position() - env.data.cam_xpos[eye]
            x, y, z = place @ env.data.cam_xmat[eye].reshape(3, 3)
            assert z < 0.0
            assert max(abs(x), abs(y)) < -tangent * z, (episode, env.control_step)
            env.advance(env.hold_action())
    env.close()


def test_a_ball_that_nobody_stops_is_a_goal() -> None:
    env = make("humanoid_goalkeeper")
    env.reset(seed=0)
    while abs(env._aim[1]) < 0.4:  # out of the hanging hands' way
        env.reset()
    for _ in range(env.EPISODE_STEPS):
        _, terminated, _, info = env.advance(aim_at(env, -env._aim[1]))
        if terminated:
            break
    assert terminated
    assert not info["is_success"]
    assert not env.has_fallen()


def test_a_ball_flies_through_all_but_hands_and_forearms() -> None:
    env = make("humanoid_goalkeeper")
    ball = env.model.geom("ball").id
    met = {
        env.model.geom(g).name
        for g in range(env.model.ngeom)
        if env.model.geom_contype[g] & env.model.geom_conaffinity[ball]
        or env.model.geom_contype[ball] & env.model.geom_conaffinity[g]
    }
    parts = ("forearm", "wrist", "palm", "fingers")
    assert met == {f"{side}_{part}" for side in ("left", "right") for part in parts}


def test_the_block_is_taken_only_while_it_is_offered() -> None:
    env = make("humanoid_handover")
    late = COMING_STEPS + OFFER_STEPS - 24  # the hand needs half a second
    assert rollout(env, expert, 0)
    assert not rollout(env, lambda e: hold(e) if e.control_step < late else expert(e), 0)
    assert env.control_step == COMING_STEPS + OFFER_STEPS + 1


def test_the_taken_block_goes_with_the_hand_and_the_partner_leaves() -> None:
    env = make("humanoid_handover")
    env.reset(seed=0, options={"episode": 1})
    for _ in range(COMING_STEPS + OFFER_STEPS + 8):
        env.advance(env.expert_action(), past_end=True)
    q = env._partner[0]
    assert env.is_success()
    assert env.data.qpos[q] > env._aim[0] + 0.1
    assert (
        min(np.linalg.norm(env.hand_position(s) - env.thing_position()) for s in env._hands) < 0.02
    )


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_people_see_the_post_from_the_start_to_the_end(side: float) -> None:
    env = make("humanoid_follow")
    aim = side * env.TARGET_SPREAD_M
    latent = env.draw(np.random.default_rng(0), side * env.START_SPREAD_M, aim)
    env.reset(seed=0, options={"latent": latent})
    eye, over = env.world.camera_id("view"), False
    tall = np.tan(np.radians(env.model.cam_fovy[eye] / 2))
    while not over:
        for height in (0.0, 0.77):
            place = env.thing_position() - env.data.cam_xpos[eye]
            place[2] += height
            x, y, z = place @ env.data.cam_xmat[eye].reshape(3, 3)
            assert abs(x) < -tall * z * VIEW_WIDTH / VIEW_HEIGHT, env.control_step
            assert abs(y) < -tall * z, env.control_step
        _, terminated, truncated, _ = env.advance(env.expert_action())
        over = terminated or truncated


def test_trailing_the_post_is_not_meeting_it() -> None:
    env = make("humanoid_follow")

    def trail(env: Any) -> np.ndarray:
        return env.walk_action(float(env.thing_position()[1]))

    assert rate(env, trail, 30) <= 0.55


# ---- the sound task -----------------------------------------------------------------------


def test_nothing_but_sound_depends_on_which_alarm_sounds() -> None:
    env = make("humanoid_alarm", cameras=("front",), image_size=32, microphones=("head_stereo",))
    env.reset(seed=2, options={"episode": 0})
    tape = np.random.default_rng(0).uniform(-0.3, 0.3, (24, env.action_dim))
    tape[:, -3:] *= [0.0, 0.0, 1.0]
    heard, seen = [], []
    for cue in env.cues():
        env.reset(seed=2, options={"episode": 0, "latent": {**env.latent, env.CUE: cue}})
        views = []
        for action in tape:
            env.advance(action)
            views.append((env.world.state_hash(), env.agent_pos().tobytes()))
        observation = env.observe()
        seen.append((views, observation["pixels"]["front"].tobytes()))
        heard.append(observation["audio"])
    assert all(other == seen[0] for other in seen)
    assert all(not np.array_equal(heard[i], heard[j]) for i in range(4) for j in range(i))


def delay_samples(audio: np.ndarray) -> float:
    """Samples by which the left ear hears later than the right one."""
    left, right = audio - audio.mean(axis=1, keepdims=True)
    lags = range(-9, 10)
    scores = [float(left[20:-20] @ np.roll(right, lag)[20:-20]) for lag in lags]
    return float(lags[int(np.argmax(scores))])


def test_two_ears_tell_the_four_alarms_apart() -> None:
    """The delay between the ears orders them: right abeam, right ahead, left ahead, left abeam."""
    env = make("humanoid_alarm", microphones=("head_stereo",))
    env.reset(seed=0, options={"episode": 0})
    latent = {**env.latent, "start_tick": 100}
    delays = []
    for cue in env.cues():
        env.reset(seed=0, options={"episode": 0, "latent": {**latent, env.CUE: cue}})
        for _ in range(30):
            env.advance(env.hold_action())
        delays.append(delay_samples(env.observe()["audio"][:, -4000:]))
    left, right, left_abeam, right_abeam = delays
    assert left_abeam < left < 0 < right < right_abeam


def test_the_first_touch_is_the_choice() -> None:
    env = make("humanoid_alarm")
    _, info = env.reset(seed=0, options={"episode": 1})
    wrong = next(cue for cue in env.cues() if cue != env.latent[env.CUE])
    over = False
    while not over:
        action = env.turn_and_reach(env._places[wrong])
        _, terminated, truncated, info = env.advance(action)
        over = terminated or truncated
    assert terminated
    assert not info["is_success"]
    assert [cue for cue in env.cues() if env.fits(cue)] == [wrong]


@pytest.mark.parametrize("body", [{"lower": "standing"}, {"mode": "whole_body"}])
def test_the_expert_touches_every_alarm_where_no_command_turns_the_robot(
    body: dict[str, str],
) -> None:
    env = make("humanoid_alarm", **body)
    env.reset(seed=1, options={"episode": 0})
    for cue in env.cues():
        latent = {**env.latent, env.CUE: cue}
        assert rollout(env, expert, 0, latent=latent), cue
        assert abs(yaw_of(env.data.qpos[3:7])) < 0.2


def test_the_humanoid_s_microphones_ride_on_its_head() -> None:
    env = make("humanoid_alarm", microphones=("mono", "head_stereo"))
    env.reset(seed=0)
    assert env.sound.channel_names == ("mono", "head_stereo.0", "head_stereo.1")
    head = env.data.site_xpos[[env.model.site(f"microphone{i}").id for i in range(4)]].mean(axis=0)
    np.testing.assert_allclose(env.sound._pose().position, head, atol=1e-3)
    with pytest.raises(UnknownNameError, match="head_stereo"):
        make("humanoid_alarm", microphones=("ears",))


# ---- balance ------------------------------------------------------------------------------


def test_pushes_carry_the_impulse_they_are_given() -> None:
    env = make("humanoid_balance", impulse_ns=10.0)
    env.reset(seed=0)
    total = np.zeros(len(env.latent["steps"]))
    for _ in range(env.EPISODE_STEPS):
        env.advance(env.expert_action())
        force = float(np.linalg.norm(env.data.xfrc_applied[env._torso, :3]))
        before = env.control_step - 1
        for index, step in enumerate(env.latent["steps"]):
            total[index] += force * CONTROL_DT_S * (step <= before < step + PUSH_STEPS)
        if env.has_fallen():
            break
    np.testing.assert_allclose(total[total > 0], 10.0)


def test_light_pushes_are_survived_and_heavy_ones_are_not() -> None:
    assert rate(make("humanoid_balance", impulse_ns=5.0), expert, 4) == 1.0
    assert rate(make("humanoid_balance", impulse_ns=25.0), expert, 4) == 0.0


def test_impulses_are_drawn_or_given() -> None:
    rng, env = np.random.default_rng(0), make("humanoid_balance")
    assert {env.sample_latent(rng)["impulse"] for _ in range(40)} == set(IMPULSES_NS)
    assert make("humanoid_balance", impulse_ns=7.0).sample_latent(rng)["impulse"] == 7.0
    with pytest.raises(ConfigError, match="impulse_ns must be 0 to 1000"):
        make("humanoid_balance", impulse_ns=-1.0)
    for held in ("base", "harness"):
        with pytest.raises(
            ConfigError, match=f"one of learned, reflex, standing .*got '{held}', which holds"
        ):
            make("humanoid_balance", lower=held)


def test_the_body_state_shows_a_push_that_proprioception_does_not() -> None:
    env = make("humanoid_balance", impulse_ns=10.0)
    env.reset(seed=0)
    while env.control_step <= env.latent["steps"][0]:
        before, felt = env.body_state(), env.agent_pos()
        env.advance(env.expert_action())
    after = env.body_state()
    assert after.shape == (68,)
    assert np.abs(env.agent_pos() - felt).max() < 0.02
    assert np.abs(after - before)[32:].max() > 0.04
