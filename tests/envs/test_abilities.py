"""Shell game, rebound, parallax, swing: what each task shows, hides, and asks for.

Experts solve them, standing still does not, a single state leaves the answer open by as much
as the docstrings say, and the past that a policy is shown holds what it takes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from neon_sim.benchmarks.certificates.visual import shown_clip
from neon_sim.benchmarks.runs.plan import make_plan
from neon_sim.clock import TICKS_PER_CAMERA, TICKS_PER_CONTROL
from neon_sim.envs.arm import parallax as arm_parallax
from neon_sim.envs.arm import rebound as arm_rebound
from neon_sim.envs.arm import shell_game as arm_shell_game
from neon_sim.envs.arm import swing as arm_swing
from neon_sim.envs.arm.robot import joint_action
from neon_sim.observation.clips import FIXED, ClipConfig, clip_span_s, plan_clip, stretched
from neon_sim.policies.training.feature_cache import episode_layout
from neon_sim.registry import TASKS
from neon_sim.simulation.gl import mujoco

NAMES = ("arm_shell_game", "arm_rebound", "arm_parallax", "arm_swing")
CLASSES = {
    "arm_shell_game": arm_shell_game.ArmShellGame,
    "arm_rebound": arm_rebound.ArmRebound,
    "arm_parallax": arm_parallax.ArmParallax,
    "arm_swing": arm_swing.ArmSwing,
}
_MADE: dict[str, Any] = {}


def make(name):
    """One environment of a task without cameras, made once."""
    if name not in _MADE:
        _MADE[name] = CLASSES[name](cameras=())
    return _MADE[name]


def rollout(env, act, episode, **options):
    """Run one episode of seed 0; whether it ended in success."""
    env.reset(seed=0, options={"episode": episode, **options})
    while True:
        _, terminated, truncated, info = env.advance(act(env))
        if terminated or truncated:
            return bool(info["is_success"])


def rate(name, act, episodes, **options):
    """Success rate over the first episodes of seed 0."""
    env = make(name)
    return np.mean([rollout(env, act, episode, **options) for episode in range(episodes)])


def expert(env):
    """The scripted expert's action."""
    return env.expert_action()


def best_guess(seen, answer, reach):
    """Share of episodes that the best guess of ``answer`` +- ``reach`` gets from bins ``seen``."""
    order = np.argsort(seen)
    groups = np.split(answer[order], np.flatnonzero(np.diff(seen[order])) + 1)
    hits = 0
    for group in map(np.sort, groups):
        hits += (np.searchsorted(group, group + 2 * reach, "right") - np.arange(len(group))).max()
    return hits / len(answer)


@pytest.mark.parametrize("name", NAMES)
def test_the_expert_succeeds(name):
    assert rate(name, expert, 12) >= 0.95
    assert rate(name, expert, 12, start_noise=0.1) >= 0.9


@pytest.mark.parametrize("name", NAMES)
def test_the_expert_has_time_to_look_first(name):
    """0.16 s is what a policy needs to see three frames of its clip."""
    late = rate(name, lambda e: e.hold_action() if e.control_step < 8 else e.expert_action(), 12)
    assert late >= 0.9


@pytest.mark.parametrize("name", NAMES)
def test_standing_still_fails(name):
    assert rate(name, lambda e: joint_action(e.START, e.START_GRIPPER), 20) <= 0.3


# ---- clips that reach back as far as a task needs -----------------------------------------------


def test_a_clip_is_stretched_to_what_the_task_needs_and_no_further():
    short = ClipConfig()
    long = stretched(short, 2.24)
    assert (long.num_frames, clip_span_s(long)) == (8, pytest.approx(2.24))
    assert stretched(short, 0.0) is short
    reaching = ClipConfig(num_frames=16, fps=4.0)
    assert stretched(reaching, 2.24) is reaching
    fixed = replace(short, sampler=FIXED)
    assert stretched(fixed, 2.24) is fixed
    assert stretched(replace(short, num_frames=1), 2.24).fps == short.fps
    np.testing.assert_array_equal(plan_clip(fixed, 900).ticks, plan_clip(short, 900).ticks)


def test_training_and_playing_see_the_same_clip():
    tower = type("Tower", (), {"clip": ClipConfig(), "per_frame": True, "num_frames": 8})()
    span = TASKS["arm_shell_game"].clip_span_s
    layout = episode_layout(tower, 120, 8, 0, span)
    env = make("arm_shell_game")
    plan = plan_clip(env.sampling(ClipConfig()), int(layout.steps[-1]) * TICKS_PER_CONTROL)
    np.testing.assert_array_equal(layout.plans[-1].ticks, plan.ticks)
    env.reset(seed=0)
    for _ in range(30):
        env.advance(env.hold_action())
    assert env.clip(ClipConfig(image_size=16))[1].ticks[-2] == env.tick - 160


def test_the_certificate_says_which_clip_it_used():
    plan = make_plan(
        policies=["oracle_history"],
        conditions=(),
        tasks=["arm_shell_game", "arm_swing"],
        suite=None,
        episodes=1,
        seed=0,
        train_seeds=[0],
        latency_steps=0,
        until_decided=False,
        alpha=0.05,
        overrides=(),
    )
    assert shown_clip(plan, "arm_shell_game") == {
        "num_frames": 8,
        "fps": pytest.approx(3.125),
        "sampler": "uniform",
    }
    assert shown_clip(plan, "arm_swing")["fps"] == 12.5


# ---- shell game ----------------------------------------------------------------------------------


def test_where_the_ball_ends_is_independent_of_where_it_was_shown():
    env, rng = make("arm_shell_game"), np.random.default_rng(0)
    counts = np.zeros((4, 4))
    for _ in range(4000):
        latent = env.sample_latent(rng)
        counts[latent["ball"], arm_shell_game.final_slot(latent["ball"], latent["swaps"])] += 1
    assert (counts / counts.sum(axis=1, keepdims=True)).max() < 0.30  # 0.25 expected


def test_cups_cannot_be_told_apart_and_a_covered_ball_is_gone():
    env = make("arm_shell_game")
    env.reset(seed=0, options={"episode": 1})
    red = []
    while env.control_step < arm_shell_game.END_STEP + 4:
        state = env.environment_state()
        assert (np.diff(state[1:8:2]) >= 0).all()  # from left to right, whoever it is
        if env.tick % TICKS_PER_CAMERA == 0:
            image = env.frame("front", env.tick).astype(int)
            pixels = ((image[..., 0] > 100) & (image[..., 1] < 60)).sum()
            assert (pixels > 0) == (state[10] == 1.0)
            red.append(pixels)
        env.advance(env.hold_action())
    assert red[0] > 15
    assert red[-1] == 0


def test_the_clip_holds_the_ball_and_the_swap_whenever_the_policy_looks():
    env = make("arm_shell_game")
    env.reset(seed=0, options={"episode": 3})
    displaced = []
    for step in range(arm_shell_game.END_STEP + 46):
        if step >= arm_shell_game.END_STEP:
            history = env.state_history(ClipConfig())
            assert history[:, 10].any()
            out = np.abs(history[:, 0:8:2] - history[-1, 0]) > 0.01
            displaced.append(out.any(axis=1).sum())
        env.advance(env.hold_action())
    assert min(displaced) >= 1


def test_touching_early_or_wrong_fails():
    env = make("arm_shell_game")

    def early(env):
        slot = np.array([*env._slots[env.latent["ball"]], arm_shell_game.KNOB_Z])
        joints = env.kinematics.inverse(
            slot, arm_shell_game.HAND, rotation_weight=0.1, posture=env.START, spin_free=True
        )
        return joint_action(joints, -1.0)

    outcomes = [rollout(env, early, episode) for episode in range(12)]
    assert np.mean(outcomes) <= 0.3
    assert env.control_step < env.EPISODE_STEPS


# ---- rebound -------------------------------------------------------------------------------------


def test_the_ball_arrives_where_the_bank_shot_leads_it():
    env = make("arm_rebound")
    for episode in range(8):
        env.reset(seed=0, options={"episode": episode})
        start, speed = (np.array(env.latent[key]) for key in ("position", "velocity"))
        travel = (start[0] - arm_rebound.CUP_X - arm_rebound.BALL_RADIUS) / -speed[0]
        data = mujoco.MjData(env.model)
        data.qpos[:] = env.start.qpos
        data.qpos[env._joints : env._joints + 7] = [0, -1.2, 0, -2.6, 0, 2.0, 0]  # out of the way
        data.ctrl[:7] = data.qpos[env._joints : env._joints + 7]
        data.qvel[:] = env.start.qvel
        for _ in range(round(travel * 500)):
            mujoco.mj_step(env.model, data)
        place = data.qpos[env._q : env._q + 2]
        aim = env.arrival(start, speed)
        np.testing.assert_allclose(place[1], aim[1], atol=0.03)
        assert np.sign(data.qvel[env._v + 1]) == -np.sign(speed[1])


def test_a_straight_line_leads_elsewhere():
    def straight(env):
        start, speed = (np.array(env.latent[key]) for key in ("position", "velocity"))
        travel = (start[0] - arm_rebound.CUP_X - arm_rebound.BALL_RADIUS) / -speed[0]
        y = np.clip(start[1] + speed[1] * travel, -0.47, 0.47)
        return joint_action(env.hand_joints(np.array([arm_rebound.CUP_X, y, 0.06])), -1.0)

    assert rate("arm_rebound", straight, 30) <= 0.3


def test_a_place_in_the_alley_leaves_the_target_open():
    rng, n = np.random.default_rng(0), 100_000
    spread = make("arm_rebound")
    side, target = rng.choice([-1, 1], n), rng.uniform(-1, 1, n) * spread.TARGET_SPREAD_M
    start = rng.uniform(-1, 1, n) * spread.START_SPREAD_M
    travel = rng.uniform(*arm_rebound.TRAVEL_S, n)
    vy = arm_rebound.bank_shot(side, start, target, travel)
    hit = (side * arm_rebound.WALL_Y - start) / vy
    now = travel - 0.5
    rest = now - hit - arm_rebound.BOUNCE_S
    after = side * arm_rebound.WALL_Y - arm_rebound.RESTITUTION * vy * rest
    y = np.where(now < hit, start + vy * now, after)
    assert best_guess(np.floor(y / 0.02), target, 0.1) <= 0.40
    assert best_guess(np.zeros(n), target, 0.1) <= 0.25


# ---- parallax ------------------------------------------------------------------------------------


def test_one_frame_shows_no_distance():
    """The same line of sight and apparent size: the same picture, near or far."""
    env = make("arm_parallax")
    step, images = 10, []  # a camera frame
    camera = arm_parallax.CAMERA + np.insert(arm_parallax.circle(step), 1, 0.0)
    for distance in (0.7, 1.0, 1.4):
        place = camera + distance * np.array([0.01, 1.0, 0.08])
        latent = {"position": [*map(float, place)], "velocity": [0.0] * 3}
        env.reset(seed=0, options={"latent": latent | {"radius": 0.034 * distance}})
        for _ in range(step + 1):
            state = env.environment_state()
            image = env.frame("front", env.tick - env.tick % TICKS_PER_CAMERA)
            env.advance(env.hold_action())
        images.append((image, state))
    for image, state in images[1:]:
        np.testing.assert_allclose(state, images[0][1], atol=1e-5)
        assert (image != images[0][0]).mean() < 0.002  # rounding at the ball's edge
    env.reset(seed=0, options={"episode": 0})
    first = env.environment_state()
    for _ in range(20):
        env.advance(env.hold_action())
    assert np.abs(env.environment_state() - first)[:2].max() > 0.02  # the camera moved


def test_a_line_of_sight_leaves_the_distance_open():
    rng, n = np.random.default_rng(0), 100_000
    y = rng.uniform(-1, 1, n) * make("arm_parallax").TARGET_SPREAD_M
    away = y - arm_parallax.CAMERA[1]
    across, up = (rng.uniform(*x, n) for x in (arm_parallax.ACROSS, arm_parallax.UP))
    for step in (0, 12, 25, 38):
        dx, dz = arm_parallax.circle(step)
        seen = np.floor((across - dx / away) / 0.02) * 1000 + np.floor((up - dz / away) / 0.02)
        assert best_guess(seen, y, 0.065) <= 0.25


def test_the_ball_hangs_until_its_time():
    env = make("arm_parallax")
    env.reset(seed=0)
    height = env.thing_position()[2]
    for _ in range(arm_parallax.DROP_STEP):
        env.advance(env.hold_action())
    assert env.thing_position()[2] == pytest.approx(height, abs=1e-6)
    for _ in range(5):
        env.advance(env.hold_action())
    assert height - env.thing_position()[2] == pytest.approx(9.81 * 0.1**2 / 2, rel=0.05)


# ---- swing ---------------------------------------------------------------------------------------


def test_the_pendulum_turns_where_and_when_it_was_worked_out():
    env = make("arm_swing")
    away = env.START.copy()
    away[1] = -1.5  # out of the way
    for episode in range(6):
        env.reset(seed=0, options={"episode": episode})
        data = mujoco.MjData(env.model)
        data.qpos[:], data.qvel[:] = env.start.qpos, env.start.qvel
        data.qpos[env._joints : env._joints + 7] = data.ctrl[:7] = away
        for _ in range(round(env._turn_s * 500)):
            mujoco.mj_step(env.model, data)
        assert data.qpos[env._q] == pytest.approx(env._turn_rad, abs=2e-3)
        assert data.qvel[env._v] == pytest.approx(0.0, abs=2e-2)
        assert np.sign(env._turn_rad) == -np.sign(env.latent["angle"])


def test_shutting_too_early_fails():
    def hasty(env):
        action = env.expert_action()
        if env.control_step > 20:
            action[-1] = -1.0
        return action

    assert rate("arm_swing", hasty, 20) <= 0.2


def test_a_place_of_the_bob_leaves_the_turn_open():
    rng, n = np.random.default_rng(0), 100_000
    turn = rng.uniform(*arm_swing.AMPLITUDE_RAD, n) * rng.choice([-1, 1], n)
    left_s = rng.uniform(0.25, arm_swing.TURN_S[1], n)
    angle = turn * np.cos(np.sqrt(arm_swing.STIFFNESS) * left_s)
    place = arm_swing.LENGTH_M * turn
    assert best_guess(np.floor(angle / 0.01), place, 0.03) <= 0.25
    assert best_guess(np.zeros(n), place, 0.03) <= 0.12


@pytest.mark.parametrize("name", NAMES)
def test_state_says_only_what_a_frame_shows(name):
    """The same configuration is described alike, however it came about: no velocity."""
    env = make(name)
    env.reset(seed=0, options={"episode": 2})
    for _ in range(10):
        env.advance(env.hold_action())
    qpos = env.data.qpos.copy()
    before = env.visible_state(qpos)
    env.data.qvel[:] *= -1.0
    assert env.visible_state(qpos) == before
    assert len(before) <= 16
