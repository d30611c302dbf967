"""What a policy sets and what keeps the humanoid up, from a command to a policy that acts."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from neon_sim.benchmarks.cli import main as bench
from neon_sim.benchmarks.runs.folder import RunFolder
from neon_sim.benchmarks.runs.plan import RunOptions
from neon_sim.config.loading import load_config
from neon_sim.demonstrations import collection as collect
from neon_sim.demonstrations import episode as demonstrate
from neon_sim.demonstrations.dataset import DemoDataset
from neon_sim.demonstrations.settings import CollectConfig
from neon_sim.envs.humanoid.robot import MODES
from neon_sim.errors import CheckpointError, ConfigError, UnknownNameError
from neon_sim.policies.ppo.settings import RLConfig
from neon_sim.policies.training.command import main as train
from neon_sim.registry import LOWER_BODIES, TASKS
from neon_sim.robots import ROBOTS, body_arguments, check_action_dim, check_body

TASK = "humanoid_reach"
POLICY = ("backbone=random", "image_backbone=random_image", "clip.num_frames=2")
SPLIT = (*POLICY, "clip.image_size=48", "head_args.groups=1")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two demonstrations of 20 numbers an action."""
    out = tmp_path_factory.mktemp("demos") / "set"
    words = [f"task={TASK}", "episodes=2", f"out={out}", "image_size=48", "mix.clean=1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demonstrate, "BANK_EPISODES", 2)
        assert collect.main([*words, "mix.noisy=0", "mix.delayed=0", "mode=upper_body"]) == 0
    return out


@pytest.fixture(scope="module")
def head(demos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head split by group, after three steps of training."""
    out = tmp_path_factory.mktemp("head")
    words = [f"data={demos}", f"out={out}", "steps=3", "batch_size=4", "condition=frame"]
    assert train([*words, "device=cpu", *(f"policy.{word}" for word in SPLIT)]) == 0
    return out


def play(out: Path, *words: str) -> int:
    short = ["--episodes", "1", "--out", str(out), "--videos", "0", "--workers", "1", "--quiet"]
    return bench(["run", *short, *words])


def expert(out: Path, *words: str) -> int:
    return play(out, "--policy", "expert", "--task", "humanoid_goalkeeper", *words)


def test_the_names_are_those_of_the_environments() -> None:
    assert ROBOTS["humanoid"].modes == {name: mode.dim for name, mode in MODES.items()}
    for entry in TASKS.values():
        assert entry.resolve().MODE in ROBOTS[entry.robot].modes
    assert set(LOWER_BODIES) == {"standing", "reflex", "learned", "harness", "base"}


def test_demonstrations_say_their_mode_and_hold_its_numbers(demos: Path) -> None:
    dataset = DemoDataset.open(demos)
    assert dataset.info["features"]["action"]["shape"] == [20]
    assert dataset.info["features"]["action"]["names"][0] == "waist_yaw"
    assert dataset.provenance["config"]["mode"] == "upper_body"
    assert "lower" not in dataset.provenance["config"]


def test_demonstrations_of_another_body_are_another_dataset(
    demos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"task={TASK}", "episodes=2", f"out={demos}", "image_size=48", "mix.clean=1"]
    assert collect.main([*words, "mix.noisy=0", "mix.delayed=0", "mode=whole_body"]) == 2
    assert "mode=upper_body" in capsys.readouterr().err


def test_a_policy_of_another_mode_is_trained_and_acts(head: Path, tmp_path: Path) -> None:
    words = ("--policy", "neon_tiny", "--task", TASK, "--condition", "frame", *SPLIT)
    assert play(tmp_path / "run", *words, f"checkpoint={head}", "mode=upper_body") == 0
    folder = RunFolder(tmp_path / "run")
    assert [row["error"] for row in folder.read_rows()] == [None]
    assert folder.read_json(folder.manifest)["config"]["options"]["mode"] == "upper_body"


@pytest.mark.parametrize("mode", [(), ("mode=whole_body",)])
def test_a_checkpoint_of_another_mode_is_refused(
    head: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], mode: tuple[str, ...]
) -> None:
    words = ("--policy", "neon_tiny", "--task", TASK, "--condition", "frame", *SPLIT)
    assert play(tmp_path / "run", *words, f"checkpoint={head}", *mode) == 2
    message = capsys.readouterr().err
    assert "actions of 20 numbers" in message
    assert "mode=upper_body" in message
    assert not (tmp_path / "run").exists()


def test_what_keeps_the_robot_up_decides_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert expert(tmp_path / "own") == 0
    assert expert(tmp_path / "feet", "lower=standing") == 0
    own, feet = (RunFolder(tmp_path / name).read_rows()[0] for name in ("own", "feet"))
    assert own["mean_jerk"] != feet["mean_jerk"]  # the pelvis gives way, the arm aims elsewhere
    assert expert(tmp_path / "feet", "lower=harness", "--resume") == 2
    assert "different: options" in capsys.readouterr().err
    assert expert(tmp_path / "feet", "lower=standing", "--resume") == 0
    assert bench(["compare", str(tmp_path / "own"), str(tmp_path / "feet")]) == 2
    assert "with lower=standing, so their episodes are no pairs" in capsys.readouterr().err


def test_a_run_from_before_there_was_such_a_setting_goes_on(tmp_path: Path) -> None:
    assert expert(tmp_path) == 0
    folder = RunFolder(tmp_path)
    manifest = folder.read_json(folder.manifest)
    for key in ("mode", "lower"):
        assert manifest["config"]["options"].pop(key) == ""
    folder.manifest.write_text(json.dumps(manifest))
    assert expert(tmp_path, "--resume") == 0
    assert bench(["compare", str(tmp_path)]) == 0


@pytest.mark.parametrize(
    ("mode", "lower", "text"),
    [("", "standing", "lower=standing is a setting"), ("arms", "", "mode=arms is a setting")],
)
def test_the_arm_has_no_choice(
    mode: str, lower: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match=text):
        check_body(["humanoid_reach", "arm_catch"], mode, lower)
    with pytest.raises(ConfigError, match=text):
        CollectConfig(task=["arm_catch"], mode=mode, lower=lower).validate()
    with pytest.raises(ConfigError, match=text):
        RLConfig(task="arm_catch", out="x", mode=mode, lower=lower).validate()
    with pytest.raises(ConfigError, match="has a robot of its own"):
        RLConfig(task="balance", out="x", mode=mode, lower=lower).validate()
    words = [f"{key}={value}" for key, value in body_arguments(mode, lower).items()]
    assert play(tmp_path / "x", "--policy", "expert", "--task", "arm_catch", *words) == 2
    assert text in capsys.readouterr().err


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="upper_body"):
        check_body([TASK], "uper_body", "")
    with pytest.raises(UnknownNameError, match="standing"):
        RLConfig(task=TASK, out="x", lower="standin").validate()
    check_action_dim(17, "it", TASK, "")
    with pytest.raises(CheckpointError, match="train on demonstrations of this mode"):
        check_action_dim(8, "it", TASK, "")


def test_reinforcement_learning_takes_them_and_keeps_them() -> None:
    config = load_config(
        RLConfig, "rl", None, [f"task={TASK}", "out=x", "mode=whole_body", "lower=standing"]
    )
    assert {"mode": "whole_body", "lower": "standing"}.items() <= config.decides().items()
    from neon_sim.policies.ppo.env import make_env

    env = make_env(config, 0)
    assert env.action_space.shape == (29,)
    assert type(env.core.lower).__name__ == "Standing"
    env.close()


def test_a_certificate_is_of_the_task_as_it_is_registered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["certify", "--out", str(tmp_path), "--task"]
    assert bench([*words, "humanoid_goalkeeper", "lower=standing"]) == 2
    assert "a certificate is of the task as it is registered" in capsys.readouterr().err
    assert bench([*words, "humanoid_balance"]) == 2
    message = capsys.readouterr().err
    assert "no ladder and no certificate" in message
    assert len(message.splitlines()) == 1
    assert asdict(RunOptions())["lower"] == ""


@pytest.mark.parametrize("setting", ["lower=standing", "mode=whole_body"])
def test_a_body_that_a_task_refuses_leaves_no_folder_behind(setting, tmp_path, capsys):
    """Said before anything is written, so that the mended command may name the same folder."""
    run, data = tmp_path / "run", tmp_path / "data"
    arguments = ["run", "--policy", "expert", "--task", "humanoid_follow", "--episodes", "1"]
    assert bench([*arguments, "--out", str(run), setting]) == 2
    assert "where the robot walks" in capsys.readouterr().err
    assert collect.main(["task=humanoid_follow", "episodes=1", f"out={data}", setting]) == 2
    told = capsys.readouterr().err
    assert "where the robot walks" in told
    assert "run the same command" not in told
    assert not run.exists()
    assert not data.exists()
