"""Exact optical flow: what it measures, who is told it, and that data hold what is seen live."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import numpy as np
import pytest
import torch

from neon_sim.config.loading import load_config
from neon_sim.config.policy import PolicyConfig
from neon_sim.demonstrations.assemble import assemble
from neon_sim.demonstrations.collection import content_config
from neon_sim.demonstrations.dataset import DemoDataset
from neon_sim.demonstrations.episode import Bank, record_episode
from neon_sim.demonstrations.layout import FLOW_KEY
from neon_sim.demonstrations.settings import CollectConfig, MixConfig
from neon_sim.demonstrations.shards import shard_path, write_shard
from neon_sim.errors import ConfigError, DatasetError
from neon_sim.observation.batch import ClipBatch, observe_row
from neon_sim.observation.clips import FLOW_SIDE, ClipConfig, clip_spacing
from neon_sim.observation.conditions import condition
from neon_sim.observation.ladder import apply_condition
from neon_sim.observation.wrappers import TemporalClip
from neon_sim.policies.backbones.own.exact_flow import ExactFlow
from neon_sim.policies.backbones.own.random import RandomImageBackbone
from neon_sim.policies.network import new_network
from neon_sim.policies.tower import make_tower
from neon_sim.policies.training.feature_cache import FeatureTable, episode_layout
from neon_sim.policies.training.settings import TrainConfig
from neon_sim.policies.training.trainer import Trainer
from neon_sim.registry import task_entry
from neon_sim.simulation.world import World
from neon_sim.vocabulary import WORDS

HALF = np.tan(np.radians(45.0) / 2)
EYE_M = 2.0  # height of the camera, which looks straight down
TASK = "arm_conveyor_pick"
SCENE = """
<mujoco>
  <option gravity="0 0 0"/>
  <visual>
    <headlight ambient="0.4 0.4 0.4" diffuse="0.4 0.4 0.4" specular="0 0 0"/>
    <map znear="0.001" zfar="100"/>
  </visual>
  <worldbody>
    {floor}
    <body name="rig" mocap="true" pos="0 0 2"><camera name="front" fovy="45"/></body>
    <body name="plate" mocap="true" pos="{plate}">
      <geom type="box" size="{size}" rgba="1 0 0 1" contype="0" conaffinity="0"/>
    </body>
    {more}
  </worldbody>
</mujoco>
"""
FLOOR = '<geom type="plane" size="9 9 0.1" rgba="0.1 0.6 0.1 1"/>'


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def scene(
    plate: str = "0 0 0.5", size: str = "0.2 0.2 0.01", floor: str = FLOOR, more: str = ""
) -> World:
    return World(SCENE.format(plate=plate, size=size, floor=floor, more=more))


def after(world: World, **moved: Any) -> np.ndarray:
    """Flow (6, 6, 2) between the start and a frame in which mocap bodies stand elsewhere."""
    for name, (position, quaternion) in moved.items():
        body = int(world.model.body(name).mocapid[0])
        world.data.mocap_pos[body] = position
        world.data.mocap_quat[body] = quaternion
    world.step(np.zeros((20, world.model.nu)))
    return world.flow("front", world.tick, world.tick - 20).reshape(FLOW_SIDE, FLOW_SIDE, 2)


UPRIGHT = (1.0, 0.0, 0.0, 0.0)


def turned(axis: tuple[float, float, float], angle: float) -> np.ndarray:
    quaternion = np.zeros(4)
    mujoco.mju_axisAngle2Quat(quaternion, np.array(axis), angle)
    return quaternion


def red_centre(world: World, tick: int) -> np.ndarray:
    """(2,) cells: the middle of what is red in the picture, found by looking at it."""
    image = world.frame("front", tick, 192, 192).astype(int)
    rows, columns = np.nonzero(image[..., 0] > image[..., 1] + 60)
    return np.array([columns.mean(), rows.mean()]) / (192 / FLOW_SIDE)


# ---- what is measured ---------------------------------------------------------------------------


def test_a_sliding_body_moves_as_its_projected_centre_does() -> None:
    world = scene()
    flow = after(world, plate=((0.15, 0.08, 0.5), UPRIGHT))
    scale = FLOW_SIDE / 2 / HALF / (EYE_M - 0.51)  # cells a metre at the plate's upper face
    told = np.array([0.15, -0.08]) * scale  # the picture's y points down
    drawn = red_centre(world, 20) - red_centre(world, 0)
    assert np.abs(told - drawn).max() < 0.03, "the pinhole formula is what the renderer draws"
    covered = np.abs(flow - told).max(axis=2) < 2e-3
    assert covered.any(), "a cell that shows nothing but the plate has its displacement"
    assert covered[2, 3], "to the right of the middle and above it"
    assert not flow[:, 0].any(), "the floor has not moved"
    assert not flow[0].any()
    partly = flow[..., 0] / told[0]
    assert ((partly > -1e-3) & (partly < 1.001)).all(), "a cell has its share of what moves"


def test_a_body_that_comes_nearer_swells_and_one_that_turns_swirls() -> None:
    swell = after(scene(), plate=((0.0, 0.0, 0.7), UPRIGHT))
    assert swell[2, 2, 0] < -0.02
    assert swell[2, 3, 0] > 0.02
    assert swell[2, 2, 1] < -0.02
    assert swell[3, 2, 1] > 0.02
    np.testing.assert_allclose(swell[:, ::-1, 0], -swell[..., 0], atol=2e-2)
    swirl = after(scene(), plate=((0.0, 0.0, 0.5), turned((0, 0, 1), 0.2)))
    assert swirl[2, 2, 1] > 0.02, "counter-clockwise: down on the left"
    assert swirl[2, 3, 1] < -0.02
    assert swirl[2, 2, 0] < -0.02, "to the left above"
    assert swirl[3, 2, 0] > 0.02


def test_a_still_scene_is_exactly_zero() -> None:
    tilted = (0.3, -0.2, 1.7), turned((1, 0.5, 0.2), 0.3)
    rest = (
        '<body pos="0.3 0 0.1"><freejoint/><geom type="box" size=".1 .1 .1" rgba="0 0 1 1"/></body>'
    )
    world = scene(more=rest)
    world.model.opt.gravity[2] = -9.81
    after(world, rig=tilted, plate=((-0.2, 0.1, 0.4), tilted[1]))
    for _ in range(20):
        world.step(np.zeros((20, 0)))
    assert not world.flow("front", world.tick, world.tick - 20).any()
    assert not world.flow("front", world.tick, world.tick).any()


def test_a_moving_camera_moves_a_still_background() -> None:
    slide = after(scene(plate="0 0 -1"), rig=((0.1, 0.0, EYE_M), UPRIGHT))
    told = -0.1 * FLOW_SIDE / 2 / HALF / EYE_M
    np.testing.assert_allclose(slide[..., 0], told, atol=2e-3)
    np.testing.assert_allclose(slide[..., 1], 0.0, atol=2e-3)
    angle = 0.05
    sky = scene(plate="0 0 5", floor="")  # nothing in sight but the sky
    pan = after(sky, rig=((0.4, 0.0, EYE_M), turned((0, 1, 0), angle)))
    x = (np.arange(48) + 0.5) / 24 - 1  # rays, in half widths
    rays = np.arctan(x * HALF)
    column = (x - np.tan(rays - angle) / HALF).reshape(6, 8).mean(axis=1) * FLOW_SIDE / 2
    np.testing.assert_allclose(pan[[2, 3], :, 0].mean(axis=0), column, atol=0.01)
    assert (pan[..., 0] > 0.1).all(), "it turned to the left, so that all moved to the right"
    walk = after(scene(plate="0 0 5", floor=""), rig=((0.4, 0.3, EYE_M), UPRIGHT))
    assert not walk.any(), "the sky is endlessly far"


def test_the_circling_camera_of_a_task_moves_what_stands_still() -> None:
    env: Any = gymnasium.make("neon_sim/ArmParallax-v0", cameras=()).unwrapped
    env.reset(seed=0)
    for _ in range(12):
        env.advance(env.hold_action())
    flow = env.world.flow("front", 120, 80)
    camera, data, eye = env.world.camera_id("front"), mujoco.MjData(env.model), []
    for tick in (80, 120):
        data.qpos[:] = env.world.snapshot(tick).qpos
        mujoco.mj_kinematics(env.model, data)
        mujoco.mj_camlight(env.model, data)
        eye.append(data.cam_xpos[camera].copy())
    turn = data.cam_xmat[camera].reshape(3, 3)
    assert np.linalg.norm(eye[1] - eye[0]) > 0.01
    across = turn.T @ (eye[0] - eye[1])  # what stands still moves the other way in the picture
    moved = flow[np.abs(flow).max(axis=1) > 0.05]
    assert len(moved) >= 5
    cosine = moved @ (across[:2] * [1, -1]) / np.linalg.norm(moved, axis=1)
    assert np.median(cosine) / np.linalg.norm(across[:2]) > 0.98
    env.close()


def test_what_is_occluded_has_no_part_in_it() -> None:
    shade = '<geom type="box" pos="0 0 1" size="1 1 .01" rgba="0 0 1 1"/>'
    hidden = after(scene(more=shade), plate=((0.2, 0.0, 0.5), UPRIGHT))
    assert not hidden.any()
    ghost = shade.replace("0 0 1 1", "0 0 1 0")
    assert after(scene(more=ghost), plate=((0.2, 0.0, 0.5), UPRIGHT)).any(), "alpha 0 is not drawn"


def test_points_from_outside_the_picture_and_from_behind_the_camera() -> None:
    entered = after(scene(plate="1.2 0 0.5"), plate=((0.0, 0.0, 0.5), UPRIGHT))
    told = -1.2 * FLOW_SIDE / 2 / HALF / (EYE_M - 0.51)
    assert entered[..., 0].min() == pytest.approx(told, rel=1e-3), "as far as it came"
    far = after(scene(plate="30 0 0.5"), plate=((0.0, 0.0, 0.5), UPRIGHT))
    assert far.min() == -FLOW_SIDE, "at most the width of the picture"
    behind = after(scene(plate="0.2 0 2.5"), plate=((0.0, 0.0, 0.5), UPRIGHT))
    assert not behind.any()


def test_only_frames_of_this_episode_have_flow() -> None:
    world = scene()
    first = after(world, plate=((0.2, 0.0, 0.5), UPRIGHT))
    first[:] = 7.0
    assert world.flow("front", 20, 0).max() < 7.0, "what is given is a copy"
    again = pickle.loads(pickle.dumps(world))
    assert np.array_equal(again.flow("front", 20, 0), world.flow("front", 20, 0))
    world.reset()
    with pytest.raises(ValueError, match=r"tick must be a multiple of 20 in \[0, 0\]"):
        world.flow("front", 20, 0)
    still = after(world)
    assert not still.any(), "nothing is remembered of the episode before"
    with pytest.raises(ValueError, match="got 10"):
        world.flow("front", 20, 10)


# ---- who is told it -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def env() -> Any:
    made = gymnasium.make(task_entry(TASK).env_id, cameras=(), image_size=96)
    yield made.unwrapped
    made.close()


def collected(env: Any, root: Path, flow: bool) -> DemoDataset:
    """One episode of the expert as a dataset, as ``neon_sim.collect`` records it."""
    config = CollectConfig([TASK], 1, str(root), mix=MixConfig(1.0, 0.0, 0.0), flow=flow)
    bank = Bank(np.zeros((1, 8), dtype=np.float32), 100)
    write_shard(shard_path(root, 0), record_episode(env, task_entry(TASK), config, 0, bank))
    assemble(root, [shard_path(root, 0)], {"config": content_config(config)})
    return DemoDataset.open(root)


@pytest.fixture(scope="module")
def told(env: Any, tmp_path_factory: pytest.TempPathFactory) -> DemoDataset:
    return collected(env, tmp_path_factory.mktemp("told") / "set", flow=True)


@pytest.fixture(scope="module")
def untold(env: Any, tmp_path_factory: pytest.TempPathFactory) -> DemoDataset:
    return collected(env, tmp_path_factory.mktemp("untold") / "set", flow=False)


def policy(*overrides: str) -> PolicyConfig:
    return load_config(PolicyConfig, "policy", "mech_two_stream_flow", list(overrides))


def test_live_dataset_and_cache_agree_to_the_bit(
    env: Any, told: DemoDataset, tmp_path: Path
) -> None:
    config, meta, episode = policy(), told.episodes[0], told.load(0)
    assert meta.flow_ticks == clip_spacing(config.clip) == 40
    tower = make_tower(config, "stack")
    assert tower.needs == {"video", "flow"}
    layout = episode_layout(tower, meta.length, 16, meta.episode)
    table = FeatureTable([told], tower, 16, tmp_path, progress=False)
    hidden, mask, _ = table.gather(np.arange(len(layout.steps)))
    env.reset(seed=meta.seed, options={"episode": meta.episode, "start_noise": 0.0})
    seen = 0.0
    for step, action in enumerate(episode.executed_action):
        if step in layout.steps:
            row = observe_row(env, config.clip, tower.needs)
            assert row.flow is not None
            window = int(np.flatnonzero(layout.steps == step)[0])
            live = tower.encode(row)
            flow = live.hidden[0, ..., -2:]
            assert torch.equal(live.mask[0], mask[window])
            assert torch.equal(flow, hidden[window, ..., -2:])
            assert torch.equal(flow, (16 * torch.from_numpy(row.flow[0])).half())
            assert not flow[: int((~row.mask[0]).sum()) + 1].any(), "nothing before the first frame"
            seen = max(seen, float(flow.abs().max()))
        env.advance(action)
    assert seen > 0.2, "something moved"
    assert np.array_equal(told.flow(0, 80, 40), env.world.flow("front", 80, 40))


def test_a_dataset_with_flow_is_otherwise_the_same(told: DemoDataset, untold: DemoDataset) -> None:
    assert told.info["features"][FLOW_KEY]["shape"] == [72]
    assert np.array_equal(told.frames(0), untold.frames(0))
    assert np.array_equal(told.load(0).action, untold.load(0).action)
    assert told.content_hash != untold.content_hash


def test_who_does_not_ask_pays_nothing(
    env: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as closed:
        closed.setattr("neon_sim.simulation.world.World.flow", None)  # calling it would raise
        untold = collected(env, tmp_path / "set", flow=False)
        row = observe_row(env, policy().clip, {"video", "state"})
    assert row.flow is None
    assert FLOW_KEY not in untold.info["features"]
    assert "flow" not in untold.provenance["config"]


def test_the_wrapper_shows_flow_to_who_asks() -> None:
    made = gymnasium.make(task_entry(TASK).env_id, cameras=())
    clip = ClipConfig(num_frames=3, image_size=24)
    plain = TemporalClip(made, clip)
    observation, _ = plain.reset(seed=0)
    assert "video_flow" not in observation
    asked = TemporalClip(made, clip, flow=True)
    observation, _ = asked.reset(seed=0)
    for _ in range(12):
        observation = asked.step(asked.action_space.sample())[0]
    assert asked.observation_space.contains(observation)
    assert observation["video_flow"].shape == (3, 36, 2)
    assert observation["video_flow"].any()
    made.close()


def test_data_without_flow_or_of_another_spacing_is_refused_with_the_mend(
    told: DemoDataset, untold: DemoDataset, tmp_path: Path
) -> None:
    def trained_on(data: DemoDataset, *overrides: str) -> Trainer:
        run = TrainConfig(data=[str(data.root)], out=str(tmp_path), cache=str(tmp_path), steps=1)
        return Trainer(run, policy(*overrides), progress=False)

    with pytest.raises(DatasetError, match=rf"without exact flow.*task={TASK} flow=true"):
        trained_on(untold)
    with pytest.raises(DatasetError, match=r"over 0\.08 s.*asks for 0\.04 s.*clip\.fps=12\.5"):
        trained_on(told, "clip.fps=25")


# ---- conditions, backbone and motion stream -----------------------------------------------------


def batch(flow: np.ndarray | None, num_frames: int = 8) -> ClipBatch:
    rng = np.random.default_rng(0)
    return ClipBatch(
        video=rng.integers(0, 256, (1, num_frames, 96, 96, 3), dtype=np.uint8),
        mask=np.ones((1, num_frames), dtype=bool),
        time_s=-0.08 * np.arange(num_frames, dtype=np.float32)[None, ::-1],
        state=None,
        agent_pos=np.zeros((1, 8), dtype=np.float32),
        text=["lift the cup"],
        flow=flow,
    )


def test_a_condition_without_time_is_told_nothing_of_it() -> None:
    seen = batch(np.ones((1, 8, 36, 2), dtype=np.float32))
    for name in ("frame", "video_repeat"):
        left = apply_condition(condition(name), seen).flow
        assert left is not None
        assert not left.any()
    assert apply_condition(condition("blind"), seen).flow is None
    assert apply_condition(condition("stack"), seen).flow is seen.flow
    with pytest.raises(ConfigError, match=r"video_shuffle.*true neighbours"):
        apply_condition(condition("video_shuffle"), seen)


def test_tokens_are_the_encoders_with_their_places_flow() -> None:
    flow = np.random.default_rng(1).normal(size=(1, 8, 36, 2)).astype(np.float32)
    config = policy()
    tower, plain = make_tower(config, "stack"), replace(config, image_backbone="neon_tiny_image")
    encoded = tower.encode(batch(flow))
    assert torch.equal(
        encoded.hidden[..., :-2], make_tower(plain, "stack").encode(batch(None)).hidden
    )
    assert torch.equal(encoded.hidden[..., -2:], (16 * torch.from_numpy(flow)).half())
    keys = {key for f in (flow, -flow, None) for key in tower.row_keys(batch(f))}
    assert len(keys) == 3, "rows that differ in flow alone are told apart"
    with pytest.raises(ConfigError, match="needs exact optical flow"):
        tower.encode(batch(None))


def test_an_encoder_of_another_grid_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ExactFlow(image="random_image").finer == 2
    monkeypatch.setattr(RandomImageBackbone, "tokens_per_frame", 49)
    with pytest.raises(ConfigError, match=r"6 x 6 cells.*random_image has 49.*backbone\.image="):
        ExactFlow(image="random_image")


def test_the_motion_stream_keeps_places() -> None:
    """Flow of one corner reaches the motion stream's output there, not across the picture."""
    config = policy()
    tower = make_tower(config, "stack")
    network = new_network(config, tower, WORDS, 0).eval()
    stream = network.temporal
    assert stream.out_dim == tower.feature_dim - 2
    flow = np.zeros((1, 8, 36, 2), dtype=np.float32)
    corner = flow.copy()
    corner[0, 4, 0] = 1.0
    with torch.no_grad():
        outs = [
            stream(e.hidden.float(), e.mask, e.time_s)[0]
            for e in (tower.encode(batch(f)) for f in (flow, corner))
        ]
    change = (outs[0] - outs[1]).abs().amax(dim=-1).reshape(FLOW_SIDE, FLOW_SIDE)
    assert change[0, 0] > 1e-5
    assert change[:3, :3].min() > 0, "two 3 x 3 convolutions"
    assert not change[3:].any()
    assert not change[:, 3:].any()
