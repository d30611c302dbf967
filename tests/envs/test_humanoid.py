"""The humanoid: the published body, actions about the standing pose, limits, who keeps it up."""

from __future__ import annotations

import os
import pickle
import re
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neon_sim.clock import CONTROL_DT_S
from neon_sim.envs.humanoid.robot import (
    ARM_OF,
    COMMAND_LIMIT,
    JOINT_NAMES,
    MAX_VELOCITY,
    MODES,
    NUM_JOINTS,
    RAMP_ACCELERATION,
    HumanoidKinematics,
    JointRamp,
    action_mode,
    from_action,
    joint_table,
    joints_from_action,
    joints_to_action,
    load_humanoid,
)
from neon_sim.errors import ConfigError, UnknownNameError
from neon_sim.registry import EMBODIMENTS, LOWER_BODIES, TASKS
from neon_sim.robots import ROBOTS
from neon_sim.simulation.gl import mujoco

GUIDE = Path(__file__).parents[2] / "docs" / "GUIDE.md"
HUMANOIDS = [name for name, entry in TASKS.items() if entry.robot == "humanoid"]
UNIT = st.lists(st.floats(-1.0, 1.0), min_size=NUM_JOINTS, max_size=NUM_JOINTS)
needs_menagerie = pytest.mark.skipif(
    not os.environ.get("MENAGERIE_ROOT"), reason="MENAGERIE_ROOT is not set"
)


def make(task="humanoid_reach", **arguments):
    """A task, bare; the reaching one by default."""
    entry = TASKS[task]
    return gymnasium.make(entry.env_id, **{"cameras": (), **arguments}).unwrapped


@pytest.fixture(scope="module")
def model():
    return load_humanoid().compile()


# ---- actions ------------------------------------------------------------------------------


@given(UNIT)
def test_joint_scaling_round_trips(values):
    action, table = np.array(values), joint_table()
    joints = joints_from_action(action)
    assert (joints >= table.low - 1e-12).all()
    assert (joints <= table.high + 1e-12).all()
    np.testing.assert_allclose(joints_to_action(joints), action, atol=1e-9)


def test_zero_is_standing_and_the_ends_are_the_limits():
    table = joint_table()
    np.testing.assert_array_equal(joints_from_action(np.zeros(NUM_JOINTS)), table.stand)
    np.testing.assert_allclose(joints_from_action(np.ones(NUM_JOINTS)), table.high, atol=1e-12)
    np.testing.assert_allclose(joints_from_action(-np.ones(NUM_JOINTS)), table.low, atol=1e-12)
    np.testing.assert_allclose(joints_from_action(np.full(NUM_JOINTS, 7.0)), table.high, atol=1e-12)
    assert (table.low < table.stand).all()
    assert (table.stand < table.high).all()


def test_the_modes_are_those_of_the_robot_s_brain():
    assert {name: mode.dim for name, mode in MODES.items()} == {
        "arms": 17,
        "upper_body": 20,
        "whole_body": 29,
        "whole_body_command": 32,
    }
    for mode in MODES.values():
        covered = [i for part in mode.groups.values() for i in range(part.start, part.stop)]
        assert covered == list(range(mode.dim))
    with pytest.raises(UnknownNameError, match="upper_body"):
        action_mode("uper_body")


@pytest.mark.parametrize("name", sorted(MODES))
def test_an_action_sets_the_joints_of_its_mode_and_the_base(name):
    mode, scale = MODES[name], EMBODIMENTS.resolve("humanoid")
    assert scale is from_action
    high = scale(np.ones(mode.dim))
    np.testing.assert_allclose(high[: mode.num_joints], joint_table().high[mode.joints])
    np.testing.assert_allclose(high[mode.num_joints :], COMMAND_LIMIT[: 3 * mode.command])
    assert scale(np.zeros((5, mode.dim))).shape == (5, mode.dim)


def test_datasets_know_the_robot_s_numbers():
    robot, env = ROBOTS["humanoid"], make()
    assert len(robot.state) == env.proprio_dim
    assert set(robot.action_dims) == {mode.dim for mode in MODES.values()}
    for mode in MODES.values():
        assert len(robot.action(mode.dim)) == mode.dim
        assert robot.num_joints(mode.dim) == mode.num_joints
    assert robot.action(17)[0] == "left_shoulder_pitch"
    assert robot.action(17)[-1] == "yaw_rate"
    with pytest.raises(ConfigError, match="17, 20, 29, 32"):
        robot.action(8)


def test_actions_of_no_mode_are_refused():
    with pytest.raises(ValueError, match="17, 20, 29, 32"):
        from_action(np.zeros(8))


# ---- the ramp -----------------------------------------------------------------------------


@settings(max_examples=30)
@given(st.lists(UNIT, min_size=1, max_size=4), st.sampled_from([4.0, 8.0, 99.0]))
def test_the_ramp_keeps_velocity_and_acceleration_limits(goals, speed):
    ramp = JointRamp(speed)
    for goal in goals:
        for _ in range(9):
            before = ramp.velocity
            ramp.step(joints_from_action(np.array(goal)))
            assert (np.abs(ramp.velocity) <= np.minimum(speed, MAX_VELOCITY) + 1e-9).all()
            change = np.abs(ramp.velocity - before)
            assert (change <= RAMP_ACCELERATION * CONTROL_DT_S + 1e-9).all()


@settings(max_examples=20)
@given(UNIT)
def test_the_ramp_arrives_without_overshoot(goal):
    ramp, target = JointRamp(8.0), joints_from_action(np.array(goal))
    start = ramp.position
    for _ in range(150):
        points = ramp.step(target)
        assert (ramp.position >= np.minimum(start, target) - 1e-3).all()
        assert (ramp.position <= np.maximum(start, target) + 1e-3).all()
    np.testing.assert_allclose(ramp.position, target, atol=1e-4)
    np.testing.assert_allclose(points[-1], target, atol=1e-3)


# ---- the model ----------------------------------------------------------------------------


def test_the_body_has_what_the_robot_has(model):
    assert [model.joint(i + 1).name for i in range(NUM_JOINTS)] == list(JOINT_NAMES)
    assert [model.actuator(i).name for i in range(NUM_JOINTS)] == list(JOINT_NAMES)
    assert model.body_mass.sum() == pytest.approx(33.341, abs=1e-3)
    assert (model.nq, model.nv, model.nu) == (36, 35, 29)
    torso = model.body("torso_link").id
    assert model.camera("head").bodyid[0] == torso
    places = np.array([model.site(f"microphone{i}").pos for i in range(4)])
    assert (model.site_bodyid[[model.site(f"microphone{i}").id for i in range(4)]] == torso).all()
    np.testing.assert_allclose(np.linalg.norm(np.diff(places, axis=0), axis=1), 0.02)
    assert {model.sensor(i).name.split("-")[1] for i in range(4)} == {"torso", "pelvis"}


# The RealSense D435i on the torso of Unitree's g1_29dof_rev_1_0.urdf, joint d435_joint: m, rad.
D435_PLACE, D435_PITCH = (0.0576235, 0.01753, 0.42987), 0.8307767239493009


def pitch_of(model, camera):
    """Rad below the torso's horizon that a camera looks, upright and straight ahead."""
    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, model.camera(camera).quat)
    right, _, back = rotation.reshape(3, 3).T
    np.testing.assert_allclose(right, [0.0, -1.0, 0.0], atol=1e-5)
    return float(np.arctan2(back[2], -back[0]))


def test_the_head_camera_sits_where_the_robot_s_does_and_looks_as_steeply_down(model):
    torso = model.body("torso_link").id
    assert model.cam_bodyid[model.camera("head").id] == torso
    np.testing.assert_allclose(model.camera("head").pos, D435_PLACE, atol=1e-6)
    assert pitch_of(model, "head") == pytest.approx(D435_PITCH, abs=1e-5)


def test_tasks_whose_head_camera_looks_elsewhere_say_so_in_the_readme():
    looks = {}
    for task in HUMANOIDS:
        own = make(task, microphones=()).model
        np.testing.assert_allclose(own.camera("front").pos, D435_PLACE, atol=1e-6)
        assert own.camera("front").fovy == own.camera("head").fovy
        if abs(pitch_of(own, "front") - D435_PITCH) > 1e-5:
            looks[task] = round(pitch_of(own, "front"), 3)
    said = re.search(
        r"head camera looks ([\d.]+),\s+([\d.]+) and ([\d.]+) rad down in the (\w+), the (\w+) and "
        r"the (\w+) task \(the robot's: ([\d.]+)\)",
        " ".join(GUIDE.read_text().split()),
    )
    assert said is not None
    assert looks == {
        f"humanoid_{name}": float(pitch)
        for name, pitch in zip(said.groups()[3:6], said.groups()[:3], strict=True)
    }
    assert float(said.group(7)) == round(D435_PITCH, 3)


def test_the_standing_robot_touches_the_floor_with_its_soles_and_nothing_else():
    env = make(lower="standing")
    env.reset(seed=0)
    for _ in range(50):
        env.advance(np.zeros(17))
    names = {env.model.geom(int(g)).name for pair in env.data.contact.geom for g in pair}
    assert names == {"floor", *(f"{s}_sole{i}" for s in ARM_OF for i in range(4))}


def test_hands_meet_the_trunk_and_objects_meet_the_body(model):
    bits = {model.geom(i).name: i for i in range(model.ngeom)}
    hand, chest, thigh = bits["left_palm"], bits["chest"], bits["left_thigh"]

    def meet(a, b):
        return bool(
            model.geom_contype[a] & model.geom_conaffinity[b]
            or model.geom_contype[b] & model.geom_conaffinity[a]
        )

    assert meet(hand, chest)
    assert meet(hand, thigh)
    assert not meet(chest, thigh)
    assert all(model.geom_conaffinity[g] & 2 for g in (hand, chest, thigh, bits["left_shin"]))


def test_an_unknown_robot_is_named_and_a_missing_one_says_what_to_do(monkeypatch, tmp_path):
    with pytest.raises(UnknownNameError, match="menagerie"):
        load_humanoid("menagerei")
    monkeypatch.setenv("MENAGERIE_ROOT", str(tmp_path))
    with pytest.raises(ConfigError, match=r"g1\.xml does not exist"):
        load_humanoid("menagerie")


@needs_menagerie
def test_our_humanoid_is_the_published_one(model):
    """Mass, inertia, limits, gains and forward kinematics agree; six decimals were carried."""
    theirs = load_humanoid("menagerie").compile()
    assert [theirs.joint(i + 1).name for i in range(NUM_JOINTS)] == list(JOINT_NAMES)
    np.testing.assert_allclose(model.body_mass, theirs.body_mass, rtol=1e-6)
    np.testing.assert_allclose(model.body_inertia, theirs.body_inertia, atol=1e-6)
    np.testing.assert_allclose(model.body_ipos, theirs.body_ipos, atol=1e-6)
    np.testing.assert_allclose(model.jnt_range, theirs.jnt_range, atol=1e-9)
    np.testing.assert_allclose(model.jnt_actfrcrange, theirs.jnt_actfrcrange)
    np.testing.assert_allclose(model.dof_armature, theirs.dof_armature)
    np.testing.assert_allclose(model.dof_frictionloss, theirs.dof_frictionloss)
    np.testing.assert_allclose(model.actuator_gainprm, theirs.actuator_gainprm)
    np.testing.assert_allclose(model.actuator_biasprm, theirs.actuator_biasprm, atol=1e-5)
    np.testing.assert_allclose(model.key("stand").qpos, theirs.key("stand").qpos)
    rng = np.random.default_rng(2)
    a, b = mujoco.MjData(model), mujoco.MjData(theirs)
    for _ in range(20):
        a.qpos[7:] = b.qpos[7:] = rng.uniform(model.jnt_range[1:, 0], model.jnt_range[1:, 1])
        mujoco.mj_forward(model, a)
        mujoco.mj_forward(theirs, b)
        np.testing.assert_allclose(a.xpos, b.xpos, atol=1e-5)
        np.testing.assert_allclose(a.ximat, b.ximat, atol=1e-4)
        for site in ("left_hand", "right_foot", "imu_in_torso", "microphone3"):
            np.testing.assert_allclose(a.site(site).xpos, b.site(site).xpos, atol=1e-5)


@needs_menagerie
def test_the_published_body_plays_the_task():
    env = make(robot="menagerie", cameras=("front",), image_size=48)
    env.reset(seed=0, options={"episode": 0})
    over = False
    while not over:
        _, terminated, truncated, info = env.advance(env.expert_action())
        over = terminated or truncated
    assert info["is_success"]
    assert env.frame("front", 0).std() > 5
    env.close()


# ---- kinematics ---------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["left", "right"])
def test_inverse_kinematics_reaches_before_the_chest(side):
    kinematics, rng = HumanoidKinematics(), np.random.default_rng(3)
    table, mirror = joint_table(), 1.0 if side == "left" else -1.0
    for _ in range(25):
        target = np.array([rng.uniform(0.2, 0.33), rng.uniform(0.0, 0.25), rng.uniform(0.05, 0.3)])
        target[1] *= mirror
        joints = kinematics.inverse(target, side)
        assert np.linalg.norm(kinematics.hand(joints, side) - target) < 5e-3
        assert (joints >= table.low).all()
        assert (joints <= table.high).all()
        other = ARM_OF["right" if side == "left" else "left"]
        np.testing.assert_array_equal(joints[other], table.stand[other])
        np.testing.assert_array_equal(joints[:15], table.stand[:15])


def test_inverse_kinematics_depends_on_the_target_alone():
    kinematics, target = HumanoidKinematics(), np.array([0.3, 0.1, 0.2])
    first = kinematics.inverse(target, "left", waist=True)
    kinematics.inverse(np.array([0.2, -0.2, 0.1]), "right")
    np.testing.assert_array_equal(kinematics.inverse(target, "left", waist=True), first)
    copy = pickle.loads(pickle.dumps(kinematics))
    np.testing.assert_array_equal(copy.inverse(target, "left", waist=True), first)


def test_the_waist_lengthens_the_reach():
    kinematics, target = HumanoidKinematics(), np.array([0.54, 0.0, 0.2])
    gaps = [
        np.linalg.norm(
            kinematics.hand(kinematics.inverse(target, "left", waist=w), "left") - target
        )
        for w in (False, True)
    ]
    assert gaps[1] < gaps[0] - 0.02


# ---- keeping up ---------------------------------------------------------------------------


def survives(env, newton_seconds, direction, steps=75):
    """Push the standing robot for 0.1 s; whether it still stands after ``steps``."""
    env.reset(seed=0)
    for step in range(steps):
        force = newton_seconds / 0.1 if 10 <= step < 15 else 0.0
        env.push(force * np.array([np.cos(direction), np.sin(direction), 0.0]))
        env.advance(np.zeros(env.action_dim))
        if env.has_fallen():
            return False
    return True


def test_standing_survives_a_light_push_and_falls_under_a_heavy_one():
    env = make(lower="standing")
    assert all(survives(env, 5.0, angle) for angle in (0.0, 1.6, 3.1, -1.6))
    assert not survives(env, 40.0, 1.6, steps=125)
    assert env.lost()
    assert env.progress() == 0.0


def test_the_harness_holds_more_than_the_ankles():
    assert survives(make(lower="harness"), 15.0, 1.6)


WALKS = "humanoid_follow"


@pytest.mark.parametrize("lower", [name for name in LOWER_BODIES if name != "base"])
def test_a_task_that_walks_refuses_a_body_that_stays_where_it_is(lower):
    with pytest.raises(ConfigError, match=f"walks: .*got '{lower}'.*lower=base"):
        make(WALKS, lower=lower)


def test_a_task_that_walks_refuses_a_mode_without_a_base_command():
    with pytest.raises(ConfigError, match=r"mode must be one of arms, .*got 'whole_body'"):
        make(WALKS, mode="whole_body")
    make(WALKS, mode="whole_body_command", lower="base")


@pytest.mark.parametrize("task", [name for name in HUMANOIDS if name != WALKS])
def test_a_fall_is_a_failure_and_ends_the_episode(task):
    """In every task, also where what counts happens while the robot lies on the floor."""
    env = make(task, lower="standing", microphones=())
    env.reset(seed=0)
    env.data.qvel[1] = 4.0  # m/s, thrown to the left
    terminated = False
    while not terminated and env.control_step < 60:
        _, terminated, _, info = env.advance(np.zeros(env.action_dim))
    assert terminated
    assert env.has_fallen()
    env.is_success = lambda: True  # whatever is touched
    assert not info["is_success"]
    assert not env.advance(np.zeros(env.action_dim), past_end=True)[3]["is_success"]


@pytest.mark.parametrize("lower", ["standing", "harness"])
def test_it_stands_while_the_arms_swing(lower):
    env, rng = make(lower=lower), np.random.default_rng(5)
    env.reset(seed=0)
    action = np.zeros(17)
    for step in range(150):
        if step % 50 == 0:  # full range, one target a second
            action[:14] = rng.uniform(-1, 1, 14)
        env.advance(action, past_end=True)
    assert not env.has_fallen()


def test_the_base_follows_commands_with_a_lag_and_stays_up():
    env = make(lower="base")
    env.reset(seed=0)
    action = np.zeros(17)
    action[14:] = 1.0, -1.0, 0.0
    env.advance(action, past_end=True)
    assert 0.0 < env.lower.velocity[0] < 0.2
    for _ in range(99):
        env.advance(action, past_end=True)
        assert (np.abs(env.lower.velocity) <= COMMAND_LIMIT + 1e-9).all()
    np.testing.assert_allclose(env.lower.velocity, [1.5, -0.5, 0.0], atol=1e-2)
    np.testing.assert_allclose(env.data.qpos[:2], [1.5 * 1.75, -0.5 * 1.75], atol=0.06)
    assert env.data.qpos[2] == pytest.approx(0.79, abs=0.02)
    action[14:] = 0.0, 0.0, 1.0
    for _ in range(100):
        env.advance(action, past_end=True)
    assert 1.5 < 2 * np.arctan2(env.data.qpos[6], env.data.qpos[3]) < 1.9
    assert not env.has_fallen()


def test_a_pickled_base_goes_on_where_it_was():
    env, action = make(lower="base"), np.full(17, 0.5)
    env.reset(seed=0)
    for _ in range(5):
        env.advance(action)
    copy = pickle.loads(pickle.dumps(env))
    for _ in range(5):
        env.advance(action)
        copy.advance(action)
    assert env.world.state_hash() == copy.world.state_hash()


def test_an_unknown_lower_body_is_named():
    with pytest.raises(UnknownNameError, match="harness"):
        make(lower="harnes")


def test_the_guide_names_every_way_of_staying_up():
    text = " ".join(GUIDE.read_text().split())
    number, said = re.search(
        r"(\w+) ways of staying up: (.*?)\. Each task has its own", text
    ).groups()
    assert set(re.findall(r"`(\w+)` \(", said)) == set(LOWER_BODIES)
    assert number == {4: "four", 5: "five", 6: "six"}[len(list(LOWER_BODIES))]


# ---- the task -----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", sorted(MODES))
def test_every_mode_holds_reaches_and_stays_within_the_limits(mode):
    env = make(mode=mode)
    env.reset(seed=0, options={"episode": 1})
    assert env.action_space.shape == (MODES[mode].dim,)
    assert env.joint_scale.shape == (MODES[mode].num_joints,)
    over = False
    while not over:
        _, terminated, truncated, info = env.advance(env.expert_action())
        env.count_limits()
        over = terminated or truncated
    assert info["is_success"]
    shares = env.limits.shares()
    assert shares["velocity"].max() == 0.0
    assert shares["position"].max() == 0.0
    assert shares["torque"].max() < 0.35  # of one joint's time, when an arm sets off


def test_the_expert_touches_the_post():
    env, done = make(), 0
    for episode in range(12):
        _, info = env.reset(seed=4, options={"episode": episode})
        for _ in range(env.EPISODE_STEPS):
            _, terminated, truncated, info = env.advance(env.expert_action())
            if terminated or truncated:
                break
        done += info["is_success"]
    assert done >= 11


def test_a_wrong_post_fails():
    env = make()
    env.reset(seed=4, options={"episode": 0})
    wrong = env._knobs[1]
    side = "left" if wrong[1] > 0 else "right"
    for _ in range(env.EPISODE_STEPS):
        _, terminated, _, info = env.advance(env.reach_action(wrong, side))
        if terminated:
            break
    assert terminated
    assert not info["is_success"]
    assert info["progress"] == 0.0


def test_proprioception_is_joints_and_the_way_down():
    env = make(lower="standing")
    env.reset(seed=0)
    np.testing.assert_allclose(env.agent_pos()[:NUM_JOINTS], 0.0, atol=1e-6)
    np.testing.assert_allclose(env.agent_pos()[NUM_JOINTS:], [0.0, 0.0, -1.0], atol=1e-6)
    for _ in range(40):
        env.push(np.array([60.0, 0.0, 0.0]))
        env.advance(np.zeros(17))
    assert env.agent_pos()[NUM_JOINTS] > 0.03  # leaning forward, down is ahead of the pelvis


def test_every_knob_is_in_the_head_camera_s_view():
    env = make()
    eye = env.world.camera_id("front")
    for episode in range(20):
        env.reset(seed=1, options={"episode": episode})
        rotation = env.data.cam_xmat[eye].reshape(3, 3)
        points = (env._knobs - env.data.cam_xpos[eye]) @ rotation
        tangent = np.tan(np.radians(env.model.cam_fovy[eye] / 2))
        assert (points[:, 2] < 0.0).all()
        assert (np.abs(points[:, :2]) < -tangent * points[:, 2:]).all()
