"""The embodiment: scaling is lossless, the ramp keeps the limits, the IK finds the hand."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neon_sim.clock import CONTROL_DT_S, PHYSICS_DT_S
from neon_sim.envs.arm.robot import (
    ACTION_DIM,
    FINGER_TRAVEL,
    HOME,
    JOINT_HIGH,
    JOINT_LOW,
    LIMIT_FRACTION,
    MAX_ACCELERATION,
    MAX_VELOCITY,
    NUM_JOINTS,
    ArmKinematics,
    Ramp,
    from_action,
    hand_rotation,
    joint_action,
    load_arm,
    to_action,
)
from neon_sim.errors import ConfigError, UnknownNameError
from neon_sim.simulation.gl import mujoco

LOW, HIGH = np.append(JOINT_LOW, 0.0), np.append(JOINT_HIGH, FINGER_TRAVEL)
UNIT = st.lists(st.floats(-1.0, 1.0), min_size=ACTION_DIM, max_size=ACTION_DIM)
needs_menagerie = pytest.mark.skipif(
    not os.environ.get("MENAGERIE_ROOT"), reason="MENAGERIE_ROOT is not set"
)


# ---- scaling ------------------------------------------------------------------------------


@given(UNIT)
def test_action_scaling_round_trips(values):
    action = np.array(values)
    targets = from_action(action)
    assert (targets >= LOW - 1e-12).all()
    assert (targets <= HIGH + 1e-12).all()
    np.testing.assert_allclose(to_action(targets), action, atol=1e-9)


def test_the_ends_of_the_action_are_the_joint_limits():
    np.testing.assert_allclose(from_action(np.ones(ACTION_DIM)), HIGH, atol=1e-12)
    np.testing.assert_allclose(from_action(-np.ones(ACTION_DIM)), LOW, atol=1e-12)
    np.testing.assert_allclose(from_action(np.full(ACTION_DIM, 9.0)), HIGH, atol=1e-12)


def test_a_joint_action_holds_those_joints():
    action = joint_action(HOME, 1.0)
    assert action.dtype == np.float32
    np.testing.assert_allclose(from_action(action)[:NUM_JOINTS], HOME, atol=1e-6)


# ---- the ramp -----------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.lists(UNIT, min_size=1, max_size=5))
def test_the_ramp_keeps_velocity_and_acceleration_limits(goals):
    ramp = Ramp()
    velocity_limit = np.append(MAX_VELOCITY * LIMIT_FRACTION, np.inf) + 1e-9
    dv_limit = np.append(MAX_ACCELERATION * LIMIT_FRACTION * CONTROL_DT_S, np.inf) + 1e-9
    for goal in goals:
        for _ in range(9):  # goals change in full flight
            before = ramp.velocity
            ramp.step(from_action(np.array(goal)))
            assert (np.abs(ramp.velocity) <= velocity_limit).all()
            assert (np.abs(ramp.velocity - before) <= dv_limit).all()


@settings(max_examples=40, deadline=None)
@given(UNIT)
def test_the_ramp_arrives_without_overshoot(goal):
    ramp, target = Ramp(), from_action(np.array(goal))
    start = ramp.position
    span_low, span_high = np.minimum(start, target), np.maximum(start, target)
    for _ in range(300):
        ramp.step(target)
        assert (ramp.position >= span_low - 1e-3).all()
        assert (ramp.position <= span_high + 1e-3).all()
    np.testing.assert_allclose(ramp.position, target, atol=1e-4)


def test_set_points_end_where_the_ramp_says():
    ramp = Ramp()
    points = ramp.step(from_action(np.zeros(ACTION_DIM)))
    assert points.shape == (10, ACTION_DIM)
    lead = np.append(np.full(NUM_JOINTS, 0.1), 0.04) * ramp.velocity
    np.testing.assert_allclose(points[-1], ramp.position + lead, atol=1e-12)


def test_measured_joint_velocity_stays_within_the_limits():
    """The published limits hold for the simulated arm, whatever a policy asks for."""
    model = load_arm().compile()
    data = mujoco.MjData(model)
    ramp, rng = Ramp(), np.random.default_rng(0)
    data.qpos[:] = [*HOME, FINGER_TRAVEL, FINGER_TRAVEL]
    fastest = np.zeros(NUM_JOINTS)
    for step in range(240):
        if step % 12 == 0:
            target = from_action(rng.uniform(-1, 1, ACTION_DIM))
        for row in ramp.step(target):
            data.ctrl[:] = row
            mujoco.mj_step(model, data)
            fastest = np.maximum(fastest, np.abs(data.qvel[:NUM_JOINTS]))
    assert (fastest <= MAX_VELOCITY).all()
    assert (fastest <= 1.15 * LIMIT_FRACTION * MAX_VELOCITY).all()
    assert fastest.max() > 0.6 * LIMIT_FRACTION * MAX_VELOCITY.max()  # it did move


# ---- the model ----------------------------------------------------------------------------


def test_the_arm_never_collides_with_itself():
    model = load_arm().compile()
    data, rng = mujoco.MjData(model), np.random.default_rng(1)
    for _ in range(50):
        data.qpos[:] = rng.uniform(model.jnt_range[:, 0], model.jnt_range[:, 1])
        mujoco.mj_forward(model, data)
        assert data.ncon == 0


def test_joint_ranges_of_the_code_are_those_of_the_model():
    model = load_arm().compile()
    np.testing.assert_allclose(model.jnt_range[:NUM_JOINTS, 0], JOINT_LOW)
    np.testing.assert_allclose(model.jnt_range[:NUM_JOINTS, 1], JOINT_HIGH)
    assert model.opt.timestep == PHYSICS_DT_S
    assert model.opt.jacobian == mujoco.mjtJacobian.mjJAC_DENSE


def test_an_unknown_robot_is_named():
    with pytest.raises(UnknownNameError, match="menagerie"):
        load_arm("menagerei")


def test_menagerie_without_its_files_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.delenv("MENAGERIE_ROOT", raising=False)
    with pytest.raises(ConfigError, match="MENAGERIE_ROOT"):
        load_arm("menagerie")
    monkeypatch.setenv("MENAGERIE_ROOT", str(tmp_path))
    with pytest.raises(ConfigError, match=r"panda\.xml does not exist"):
        load_arm("menagerie")


@needs_menagerie
def test_our_arm_is_the_published_one():
    """Mass, joint limits, armature, torque limits and forward kinematics agree."""
    ours, theirs = load_arm().compile(), load_arm("menagerie").compile()
    np.testing.assert_allclose(ours.body_mass, theirs.body_mass, rtol=1e-6)
    np.testing.assert_allclose(ours.body_inertia, theirs.body_inertia, rtol=1e-5)
    np.testing.assert_allclose(ours.jnt_range, theirs.jnt_range, atol=1e-9)
    np.testing.assert_allclose(ours.dof_armature, theirs.dof_armature)
    np.testing.assert_allclose(ours.dof_damping, theirs.dof_damping)
    np.testing.assert_allclose(ours.actuator_forcerange, theirs.actuator_forcerange)
    np.testing.assert_allclose(ours.actuator_gainprm, theirs.actuator_gainprm)
    rng = np.random.default_rng(2)
    a, b = mujoco.MjData(ours), mujoco.MjData(theirs)
    for _ in range(20):
        a.qpos[:] = b.qpos[:] = rng.uniform(ours.jnt_range[:, 0], ours.jnt_range[:, 1])
        mujoco.mj_forward(ours, a)
        mujoco.mj_forward(theirs, b)
        np.testing.assert_allclose(a.xpos, b.xpos, atol=1e-6)
        np.testing.assert_allclose(a.site("grip").xpos, b.site("grip").xpos, atol=1e-6)


# ---- kinematics ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kinematics():
    return ArmKinematics()


@pytest.mark.parametrize("axis", ["x", "y"])
def test_inverse_kinematics_reaches_the_workspace(kinematics, axis):
    posture = HOME if axis == "x" else np.array([*HOME[:6], np.pi / 4])
    rotation, rng = hand_rotation(axis), np.random.default_rng(3)
    for _ in range(60):
        position = np.array(
            [rng.uniform(0.4, 0.62), rng.uniform(-0.3, 0.3), rng.uniform(0.05, 0.3)]
        )
        joints = kinematics.inverse(position, rotation, posture=posture)
        point, hand = kinematics.forward(joints)
        assert np.linalg.norm(point - position) < 1e-3
        np.testing.assert_allclose(hand, rotation, atol=2e-2)
        assert (joints >= JOINT_LOW).all()
        assert (joints <= JOINT_HIGH).all()


def test_inverse_kinematics_depends_on_the_target_alone(kinematics):
    target, rotation = np.array([0.5, 0.2, 0.2]), hand_rotation("x")
    first = kinematics.inverse(target, rotation)
    kinematics.inverse(np.array([0.6, -0.3, 0.1]), rotation)
    again = ArmKinematics().inverse(target, rotation)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(
        first, pickle.loads(pickle.dumps(kinematics)).inverse(target, rotation)
    )


def test_near_targets_have_near_solutions(kinematics):
    rotation, last = hand_rotation("x"), None
    for y in np.linspace(-0.35, 0.35, 141):
        joints = kinematics.inverse(np.array([0.5, y, 0.1]), rotation)
        if last is not None:
            assert np.abs(joints - last).max() < 0.05
        last = joints


def test_a_hand_with_free_spin_still_points(kinematics):
    rotation = hand_rotation("x", 0.5)
    position = np.array([0.5, 0.25, 0.1])
    joints = kinematics.inverse(position, rotation, rotation_weight=0.1, spin_free=True)
    point, hand = kinematics.forward(joints)
    assert np.linalg.norm(point - position) < 1e-3
    assert hand[:, 2] @ rotation[:, 2] > 0.999
