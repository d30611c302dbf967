"""What defeats a published system of this kind, fault by fault, and the test that holds it here.

The faults are those found in the wheel of ``neon-vla`` 0.1.5. Where another file asks the question,
it is named; what nobody asked is asked below.

A backbone said to hear has no way in for sound.
    test_video_backbones.py::test_omni_hears
    test_video_backbones.py::test_sound_of_a_clip_reaches_omni_and_nobody_else
Tokens are joined and cut at a length, so that sound and instruction are always cut off.
    test_video_backbones.py::test_tribev2_cuts_nothing_off
    test_budget.py::test_too_many_tokens_are_refused_when_the_config_is_read
    test_fusion.py::test_what_does_not_fit_is_an_error_and_not_cut_off
    test_fusion.py::test_every_modality_changes_the_output
A missing modality crashes a join of fixed width.
    test_video_backbones.py::test_tribev2_without_a_modality_uses_its_mask_token
    test_fusion.py::test_all_padded_is_finite_and_blind
Adapters are never trained, for the backbone runs without gradients.
    test_video_backbones.py::test_lora_trains_the_language_model_and_nothing_else
The time base of a clip differs between data, model and robot.
    test_seed_faults.py::test_a_clip_has_one_time_base_in_data_model_and_robot
    test_seed_faults.py::test_a_chunk_is_played_at_the_rate_it_was_labelled_at
    test_train.py::test_cached_features_are_the_live_ones
    test_video_backbones.py::test_times_of_a_clip_reach_the_model
The evaluator shows one image; the temporal path is optional and unused.
    test_seed_faults.py::test_a_video_policy_is_shown_the_whole_clip
    test_policies.py::test_time_reaches_the_video_policy_and_not_the_repeated_one
Proprioception is given the width of the action, and the robot has another.
    test_seed_faults.py::test_proprioception_has_the_width_of_the_robot
Gradients are counted as accumulated and are not; rows go through the network one by one.
    test_video_backbones.py::test_gradient_accumulation_is_one_large_batch
    test_seed_faults.py::test_rows_of_a_batch_go_through_the_network_together
Scores are random numbers where something is missing, or are printed after a load has failed.
    test_cli.py::test_errors_are_one_line_and_exit_2
    test_runner.py::test_failed_episodes_make_the_exit_code_1_and_are_listed
    test_policies.py::test_a_missing_head_names_the_command_that_makes_it
    test_encoders.py::test_missing_torchvision_weights_are_never_replaced_by_random_ones
Random numbers come from hash(str) and differ in every process.
    test_house.py::test_no_hash_and_no_global_random_state
    test_clock_seeding.py::test_keys_do_not_depend_on_the_process
The seed of a reset is ignored; the environment is none of Gymnasium's.
    test_envs.py::test_gymnasium_finds_nothing_to_complain_about
    test_envs.py::test_two_runs_are_equal_to_the_bit
The head camera is fixed to the world.
    test_humanoid.py::test_every_knob_is_in_the_head_camera_s_view
Heads crash in other action modes, saturate in sampling, or cannot reach a joint limit.
    test_action_heads.py::test_overfits_a_batch_and_reaches_the_joint_limits
    test_action_heads.py::test_ddim_of_an_exact_network_gives_the_chunk
A part is declared and never fed.
    test_heads.py::test_every_parameter_gets_a_gradient
    test_action_heads.py::test_gradients_reach_every_parameter
The robot takes the first action of each chunk and drops the rest; latency is not known.
    test_executor.py::test_latency_keeps_the_old_chunk_until_the_new_one_is_there
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

import neon_sim  # noqa: F401  (registers the Gymnasium ids)
from neon_sim.chunks import ChunkExecutor
from neon_sim.clock import CAMERA_HZ, CHUNK_STEPS, CONTROL_DT_S, TICKS_PER_CONTROL
from neon_sim.config.loading import config_names, load_config
from neon_sim.config.policy import PolicyConfig
from neon_sim.demonstrations.windows import chunk_labels
from neon_sim.observation.batch import ClipBatch, observe_row
from neon_sim.observation.clips import ClipConfig, plan_clip
from neon_sim.policies import BackboneConfig, BackboneInput, VideoBackbone
from neon_sim.policies.backbones.foundation.family import family_class
from neon_sim.policies.backbones.foundation.inputs import frame_interval_s
from neon_sim.policies.network import NetworkInput, new_network
from neon_sim.policies.policy import TrainedPolicy
from neon_sim.policies.tower import make_tower
from neon_sim.policies.training.feature_cache import episode_layout
from neon_sim.registry import TASKS
from neon_sim.robots import ROBOTS
from neon_sim.vocabulary import WORDS

SMALL = ClipConfig(num_frames=4, fps=12.5, image_size=24)
SETTINGS = PolicyConfig(
    backbone="random", image_backbone="random_image", backbone_args={"dim": "8"}, clip=SMALL
)


def test_every_fault_has_a_test() -> None:
    files = {path.name: path for path in Path(__file__).parent.rglob("test_*.py")}
    named = re.findall(r"^    (\w+\.py)::(\w+)$", __doc__ or "", re.M)
    assert len(named) > 20
    for file, name in named:
        functions = ast.walk(ast.parse(files[file].read_text()))
        assert name in {f.name for f in functions if isinstance(f, ast.FunctionDef)}, name


@pytest.mark.parametrize("fps", [2.5, 4.0, 12.5, 25.0])
def test_a_clip_has_one_time_base_in_data_model_and_robot(fps: float) -> None:
    """A window of a dataset and the robot at that moment have one clip, of the rate it says."""
    clip = ClipConfig(num_frames=5, fps=fps)
    tower = SimpleNamespace(clip=clip, per_frame=False, num_frames=1, times=torch.from_numpy)
    layout = episode_layout(tower, 250, 50)
    step, plan = int(layout.steps[-1]), layout.plans[-1]
    live = plan_clip(clip, step * TICKS_PER_CONTROL)
    np.testing.assert_array_equal(plan.ticks, live.ticks)
    np.testing.assert_array_equal(plan.time_s, live.time_s)
    seconds = frame_interval_s(plan.time_s.astype(np.float64), fps=1.0)
    assert seconds == pytest.approx(1 / fps, abs=1 / CAMERA_HZ / 4)


def test_a_chunk_is_played_at_the_rate_it_was_labelled_at() -> None:
    """16 steps are 0.32 s in the labels and on the robot, whatever rate the camera is asked for."""
    tape = np.arange(40, dtype=np.float32)[:, None] / 40
    chunks, _ = chunk_labels(tape, np.array([7]))
    executor = ChunkExecutor(replan_steps=16)
    executor.reset(tape[0])
    executor.push(chunks[0])
    played = [executor.next()[0] for _ in range(CHUNK_STEPS)]
    np.testing.assert_array_equal(played, tape[7 : 7 + CHUNK_STEPS])
    assert pytest.approx(0.32) == CHUNK_STEPS * CONTROL_DT_S


def test_a_video_policy_is_shown_the_whole_clip() -> None:
    """What the bench observes reaches the backbone as frames of different moments."""
    env = gymnasium.make(TASKS["arm_block"].env_id, cameras=(), disable_env_checker=True)
    env.reset(seed=0)
    core = env.unwrapped
    for _ in range(45):
        core.advance(core.hold_action())  # type: ignore[attr-defined]
    tower = make_tower(SETTINGS, "video")
    shown = []
    encode = tower.backbone.encode
    tower.backbone.encode = lambda batch: shown.append(batch.video) or encode(batch)
    player = TrainedPolicy(SETTINGS, tower, new_network(SETTINGS, tower, WORDS, 0))
    player.act(observe_row(env, player.clip, player.needs))
    env.close()
    frames = shown[0][0]
    assert frames.shape == (4, 24, 24, 3)
    assert len({frame.tobytes() for frame in frames}) == 4, "the puck slides"


@pytest.mark.parametrize("name", config_names("policy"))
def test_a_policy_with_a_video_backbone_uses_it(name: str) -> None:
    """But for what is there to do without: mechanisms over single frames, recipes of others."""
    config = load_config(PolicyConfig, "policy", name, [])
    without = name.startswith("mech_") or name.endswith("_style")
    if config.backbone != config.image_backbone and not without:
        assert config.condition == "video"
        assert config.clip.num_frames > 1


@pytest.mark.parametrize("robot", list(ROBOTS))
def test_proprioception_has_the_width_of_the_robot(robot: str) -> None:
    """And the action that of its mode: neither is taken for the other."""
    task = next(entry for entry in TASKS.values() if entry.robot == robot)
    env = gymnasium.make(task.env_id, cameras=(), disable_env_checker=True)
    observation, _ = env.reset(seed=0)
    feels = len(observation["agent_pos"])
    assert feels == len(ROBOTS[robot].state)
    assert env.action_space.shape[0] in ROBOTS[robot].action_dims  # type: ignore[index]
    env.close()
    tower = make_tower(SETTINGS, "frame")
    for action_dim in ROBOTS[robot].action_dims:
        network = new_network(SETTINGS, tower, WORDS, 0, feels, action_dim)
        tokens = tower.encode(_nothing(feels))
        pose = torch.from_numpy(observation["agent_pos"])[None]
        batch = NetworkInput(tokens, pose, torch.ones(1, 16, dtype=torch.int64))
        assert network.sample(batch).shape == (1, CHUNK_STEPS, action_dim)


def _nothing(feels: int) -> ClipBatch:
    """A black frame."""
    return ClipBatch(
        video=np.zeros((1, 1, 24, 24, 3), dtype=np.uint8),
        mask=np.ones((1, 1), dtype=bool),
        time_s=np.zeros((1, 1), dtype=np.float32),
        state=None,
        agent_pos=np.zeros((1, feels), dtype=np.float32),
        text=["reach the red post"],
    )


@pytest.mark.parametrize("family", ["qwen_vl", "vjepa2", "tribev2", "fvlm"])
def test_rows_of_a_batch_go_through_the_network_together(
    tiny: Callable[[str], Path], family: str
) -> None:
    size = family_class(family).TINY_IMAGE_SIZE
    backbone = VideoBackbone(
        BackboneConfig(str(tiny(family)), torch_dtype="float32", image_size=size)
    )
    backbone.load()
    assert backbone.family is not None
    assert backbone.family.network is not None
    parts = [backbone.family.network]
    more: list[dict[str, Any]] = [{}] * 6
    rng = np.random.default_rng(0)
    if family == "tribev2":  # three encoders and the fusion
        parts += [getattr(backbone.family, name) for name in ("ears", "reader", "fusion")]
        sounds = rng.uniform(-0.1, 0.1, (6, 8000)).astype(np.float32)
        more = [{"audio": sound, "text": "catch the ball"} for sound in sounds]
    calls: list[str] = []
    for part in parts:
        part.register_forward_hook(lambda module, *_: calls.append(type(module).__name__))
    clips = rng.integers(0, 256, (6, 4, 40, 40, 3), dtype=np.uint8)
    rows = [
        BackboneInput(video_frames=list(clip), **said)
        for clip, said in zip(clips, more, strict=True)
    ]
    assert len(backbone.encode_batch(rows)) == 6
    assert len(calls) == len(set(calls)) == len(parts)
