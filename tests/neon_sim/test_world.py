"""The world: our settings hold, time is ticks, and a frame of the past shows the past."""

from __future__ import annotations

import gc
import pickle

import numpy as np
import pytest
from world_scene import SCENE

from neon_sim.clock import PHYSICS_DT_S, TICKS_PER_CAMERA
from neon_sim.errors import ConfigError, UnknownNameError
from neon_sim.simulation.camera import FAST_QUALITY
from neon_sim.simulation.gl import mujoco
from neon_sim.simulation.world import World, check_settings

SIZE = 64


@pytest.fixture
def world():
    world = World(SCENE)
    yield world
    world.close()


def _push(world: World, ticks: int, target: float = 0.8) -> None:
    world.step(np.full((ticks, world.model.nu), target))


# ---- settings ---------------------------------------------------------------------------


def test_our_settings_are_forced_on_any_model(world):
    model = world.model
    assert model.opt.jacobian == mujoco.mjtJacobian.mjJAC_DENSE
    assert model.opt.timestep == PHYSICS_DT_S  # the scene asks for 4 ms
    assert not mujoco.mj_isSparse(model)
    assert (model.mat_reflectance == 0).all()  # the scene's floor reflects
    for name, value in FAST_QUALITY.items():
        assert getattr(model.vis.quality, name) == value


def test_large_models_stay_dense_too():
    """MuJoCo goes sparse by itself from 60 degrees of freedom on; 4.0.0 is wrong there."""
    bodies = "".join(
        f"<body pos='{i} 0 1'><freejoint/><geom size='0.1'/></body>" for i in range(12)
    )
    world = World(f"<mujoco><worldbody>{bodies}</worldbody></mujoco>")
    assert world.model.nv >= 60
    assert not mujoco.mj_isSparse(world.model)


@pytest.mark.parametrize(
    ("path", "value"),
    [("opt.timestep", 0.004), ("vis.quality.shadowsize", 4096), ("opt.jacobian", 2)],
)
def test_a_model_with_other_settings_is_refused(world, path, value):
    owner, _, name = path.rpartition(".")
    target = world.model
    for part in owner.split("."):
        target = getattr(target, part)
    setattr(target, name, value)
    with pytest.raises(ConfigError, match=name):
        check_settings(world.model)


def test_a_spec_and_its_text_make_the_same_world(world):
    twin = World(mujoco.MjSpec.from_string(SCENE))
    _push(world, 30)
    _push(twin, 30)
    assert twin.state_hash() == world.state_hash()


# ---- time -------------------------------------------------------------------------------


def test_step_counts_ticks_and_is_plain_mujoco(world):
    data = mujoco.MjData(world.model)
    mujoco.mj_forward(world.model, data)
    controls = np.linspace(-1, 1, 57)[:, None]
    world.step(controls)
    for row in controls:
        data.ctrl[:] = row
        mujoco.mj_step(world.model, data)
    assert world.tick == 57
    assert np.array_equal(world.data.qpos, data.qpos)
    assert np.array_equal(world.data.qvel, data.qvel)


def test_how_ticks_are_grouped_changes_nothing():
    whole, parts = World(SCENE), World(SCENE)
    _push(whole, 90)
    for ticks in (1, 19, 7, 33, 30):
        _push(parts, ticks)
    assert whole.state_hash() == parts.state_hash()
    expected = whole.frame("front", 60, SIZE, SIZE)
    assert np.array_equal(expected, parts.frame("front", 60, SIZE, SIZE))


def test_reset_starts_again_from_what_is_given(world):
    start = world.state_hash()
    qpos = world.data.qpos.copy()
    qpos[0] = 0.3
    world.reset(qpos, mocap_pos=np.array([[0.1, 0.2, 0.3]]))
    moved = world.state_hash()
    _push(world, 40)
    assert world.state_hash() != moved
    world.reset(qpos, mocap_pos=np.array([[0.1, 0.2, 0.3]]))
    assert world.tick == 0
    assert world.state_hash() == moved != start
    world.reset()
    assert world.state_hash() == start


def test_arrays_of_the_wrong_shape_are_errors(world):
    with pytest.raises(ValueError, match=r"ctrl must be \(n, 1\)"):
        world.step(np.zeros((10, 3)))
    with pytest.raises(ValueError, match="qpos must be"):
        world.reset(np.zeros(3))


# ---- frames -----------------------------------------------------------------------------


def test_a_frame_shows_the_state_of_its_tick(world):
    """Drawn late or at once, memorised or not: the picture of tick t is that of qpos(t)."""
    at_once = []
    for _ in range(4):
        at_once.append(world.render_now("front", SIZE, SIZE))
        _push(world, TICKS_PER_CAMERA)
    late = [world.frame("front", k * TICKS_PER_CAMERA, SIZE, SIZE) for k in range(4)]
    assert np.array_equal(at_once, late)
    assert len({frame.tobytes() for frame in late}) == 4


def test_frames_are_full_size_finite_and_not_empty(world):
    image = world.frame("side", 0, 48, 80)
    assert image.shape == (48, 80, 3)
    assert image.dtype == np.uint8
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 20


def test_drawing_leaves_the_physics_alone(world):
    twin = World(SCENE)
    for _ in range(5):
        _push(world, TICKS_PER_CAMERA)
        _push(twin, TICKS_PER_CAMERA)
        world.frame("front", world.tick, SIZE, SIZE)
        world.render_now("side", SIZE, SIZE)
    assert world.state_hash() == twin.state_hash()


def test_a_returned_frame_may_be_scribbled_on(world):
    first = world.frame("front", 0, SIZE, SIZE)
    kept = first.copy()
    first[:] = 0
    assert np.array_equal(world.frame("front", 0, SIZE, SIZE), kept)


def test_every_size_and_camera_is_drawn_in_its_own_buffer(world):
    alone = World(SCENE).frame("front", 0, 96, 96)
    world.frame("front", 0, 120, 160, "view")
    world.frame("side", 0, 32, 32)
    assert np.array_equal(world.frame("front", 0, 96, 96), alone)


def test_a_view_for_people_leaves_the_settings_and_observations_alone(world):
    before = world.frame("front", 0, SIZE, SIZE)
    world.frame("front", 0, 96, 128, "view")
    check_settings(world.model)
    world.reset()
    assert np.array_equal(world.frame("front", 0, SIZE, SIZE), before)


def test_colours_changed_between_episodes_show(world):
    before = world.frame("front", 0, SIZE, SIZE)
    world.model.geom("blue").rgba[:] = [0.1, 0.9, 0.1, 1]
    world.reset()
    assert not np.array_equal(world.frame("front", 0, SIZE, SIZE), before)


def test_memory_for_frames_is_bounded(world, monkeypatch):
    monkeypatch.setattr("neon_sim.simulation.world.FRAME_CACHE_BYTES", 3 * SIZE * SIZE * 3)
    _push(world, 10 * TICKS_PER_CAMERA)
    ticks = range(0, world.tick + 1, TICKS_PER_CAMERA)
    first = [world.frame("front", tick, SIZE, SIZE) for tick in ticks]
    assert len(world._frames) == 3
    assert np.array_equal(first, [world.frame("front", tick, SIZE, SIZE) for tick in ticks])


@pytest.mark.parametrize("tick", [-20, 7, 60])
def test_a_frame_that_does_not_exist_is_an_error(world, tick):
    _push(world, 40)
    with pytest.raises(ValueError, match=r"multiple of 20 in \[0, 40\]"):
        world.frame("front", tick, SIZE, SIZE)


def test_an_unknown_camera_names_the_known_ones(world):
    with pytest.raises(UnknownNameError, match=r"Did you mean 'front'\? Known: front, side"):
        world.frame("frnt", 0, SIZE, SIZE)


# ---- life and death ---------------------------------------------------------------------


def test_a_pickled_world_goes_on_to_the_bit(world):
    _push(world, 50)
    drawn = world.frame("front", 20, SIZE, SIZE)
    twin = pickle.loads(pickle.dumps(world))
    assert twin.state_hash() == world.state_hash()
    assert np.array_equal(twin.frame("front", 20, SIZE, SIZE), drawn)
    _push(world, 50, -0.5)
    _push(twin, 50, -0.5)
    assert twin.state_hash() == world.state_hash()
    assert np.array_equal(
        twin.frame("front", 100, SIZE, SIZE), world.frame("front", 100, SIZE, SIZE)
    )


def test_a_closed_world_draws_again(world):
    before = world.frame("front", 0, SIZE, SIZE)
    world.close()
    world.reset()
    assert np.array_equal(world.frame("front", 0, SIZE, SIZE), before)


def test_worlds_that_vanish_do_not_disturb_those_that_stay(world):
    before = world.render_now("front", SIZE, SIZE)
    for _ in range(5):
        other = World(SCENE)
        other.render_now("side", 96, 96)
        del other
    gc.collect()
    assert np.array_equal(world.render_now("front", SIZE, SIZE), before)
