"""What a run says of who played: the user's own policies; heads on seeds of their training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from report_fakes import Reader
from run_fakes import plan

from neon_sim.benchmarks.cli import main
from neon_sim.benchmarks.running.players import Players, check_players, load_player
from neon_sim.benchmarks.running.runner import Resources, run
from neon_sim.benchmarks.runs.folder import RunFolder
from neon_sim.benchmarks.runs.plan import make_plan, plan_of
from neon_sim.errors import CheckpointError, ConfigError, PolicyError, RunError
from neon_sim.registry import POLICY_PARTS

OWN = """
from bench_fakes import Fake
from neon_sim.config.policy import ClipConfig

class Mine(Fake):
    name, version, files = "gaze", "2.1", [{weights!r}]

def make(condition, task, train_seed):
    mine = Mine(frozenset({{"video"}}))
    mine.clip = ClipConfig(num_frames=1, image_size=32)
    {more}
    return mine
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes a module of the user's own; returns its policy."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "weights.bin").write_bytes(b"1234")

    def write(name: str, more: str = "pass") -> str:
        text = OWN.format(weights=str(tmp_path / "weights.bin"), more=more)
        (tmp_path / f"{name}.py").write_text(text)
        return f"{name}:make"

    return write


def command_of(policy: str, out: Path, *more: str) -> list[str]:
    words = ["run", "--policy", policy, "--task", "arm_block", "--episodes", "1", "--workers", "1"]
    return [*words, "--videos", "0", "--quiet", "--out", str(out), *more]


def test_a_policy_of_ones_own_is_described_by_itself(module, tmp_path, capsys) -> None:
    policy = module("gaze_policy")
    out = tmp_path / "run"
    assert main(command_of(policy, out)) == 0
    shown = capsys.readouterr().out
    manifest = json.loads((out / "manifest.json").read_text())
    (said,) = manifest["own_policies"][policy]
    assert said["clip"] | {"num_frames": 1, "image_size": 32} == said["clip"]
    assert said["needs"] == ["video"]
    assert (said["name"], said["version"], said["module"]) == ("gaze", "2.1", "gaze_policy.py")
    assert said["cells"] == ["video/0/arm_block"]
    assert len(said["sha256"]) == 64
    ((path, digest),) = said["files"].items()
    assert path.endswith("weights.bin")
    assert digest.startswith("03ac674216f3e15c")  # sha256 of 1234
    entry = manifest["config"]["policies"][0]
    assert entry["config"] == {"replan_steps": 4}
    assert "checkpoint" not in entry
    for theirs in ("neon_tiny", "chunk_mlp"):
        assert theirs not in json.dumps({**manifest, "command": []})
    sentence = (
        f"{policy} is a policy of the user's own: it calls itself gaze 2.1, sees 1 frame of 32"
    )
    assert sentence in shown
    page = (out / "report.html").read_text()
    text = " ".join(Reader(page).text)
    assert sentence in text
    assert "a policy of the user's own, called with condition video" in text
    assert "the clip through the video backbone" not in text
    assert (
        json.loads((out / "summary.json").read_text())["own_policies"] == manifest["own_policies"]
    )
    assert main(["compare", str(out)]) == 0
    assert sentence in capsys.readouterr().out
    assert plan_of(manifest["config"]).policies[0].config.replan_steps == 4


def test_a_run_is_not_continued_by_other_code_or_files(module, tmp_path) -> None:
    policy = module("own_changed")
    the_plan, folder = plan([policy], episodes=1), RunFolder(tmp_path / "run")
    run(the_plan, folder, Resources())
    run(the_plan, folder, Resources(), resume=True)
    (tmp_path / "weights.bin").write_bytes(b"5678")
    with pytest.raises(RunError, match=f"different: {policy}.files"):
        run(the_plan, folder, Resources(), resume=True)
    (tmp_path / "weights.bin").write_bytes(b"1234")
    module("own_changed", "mine.clip.num_frames = 3")
    with pytest.raises(RunError, match=f"different: {policy}.sha256"):
        run(the_plan, folder, Resources(), resume=True)


def test_a_run_of_before_the_descriptions_can_be_continued(tmp_path) -> None:
    the_plan, folder = plan(episodes=1), RunFolder(tmp_path / "run")
    run(the_plan, folder, Resources())
    body = json.loads(folder.manifest.read_text())
    del body["own_policies"], body["training_seeds"]
    network = plan(["neon_tiny"]).resolved()["policies"][0]["config"]
    body["config"]["policies"][0] |= {"config": network, "checkpoint": None}
    folder.manifest.write_text(json.dumps(body))
    assert len(run(plan(episodes=2), folder, Resources(), resume=True)) == 2


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ("mine.name = 3", "name of policy"),
        ("mine.version = 'x' * 300", "at most 200 characters"),
        ("mine.files = 'weights.bin'", "must be a list of paths"),
        ("mine.files = ['no/where.bin']", "'no/where.bin' among its files"),
        ("mine.checkpoint = '/'", "'/' among its files"),
    ],
)
def test_a_description_that_is_none_is_refused(module, tmp_path, more, text) -> None:
    policy = module(f"own_bad_{len(more)}", more)
    with pytest.raises(PolicyError, match=text):
        check_players(plan([policy], episodes=1))


@pytest.mark.parametrize("setting", ["head=flow", "clip.num_frames=2", "checkpoint=weights.bin"])
def test_settings_that_reach_nobody_are_refused(setting) -> None:
    with pytest.raises(ConfigError, match="does not reach bench_fakes:drift, a policy of your own"):
        plan(overrides=[setting])
    assert plan(["bench_fakes:drift", "neon_tiny"], overrides=["clip.image_size=96"])


# ---- seeds of the training --------------------------------------------------------------


def heads(seed: int, policy: str = "neon_tiny") -> Any:
    return plan([policy], conditions=["frame"], tasks=["arm_reach"], seed=seed, episodes=3)


def test_shipped_heads_do_not_play_on_seeds_of_demonstrations(tmp_path, capsys) -> None:
    assert check_players(heads(999)).training_seeds == []
    with pytest.raises(ConfigError, match=r"neon_tiny frame: seed 1000 may be .*--seed below 1000"):
        check_players(heads(1000))
    assert check_players(plan(["expert", "hold"], seed=1000)) == Players()
    out = tmp_path / "run"
    command = ["run", "--policy", "neon_tiny", "--condition", "frame", "--task", "arm_reach"]
    command += ["--episodes", "1", "--seed", "1000", "--workers", "1", "--videos", "0", "--quiet"]
    assert main([*command, "--out", str(out)]) == 2
    assert "--allow-training-seed" in capsys.readouterr().err
    assert not out.exists()
    assert main([*command, "--out", str(out), "--allow-training-seed"]) == 0
    sentence = "Trained on what is measured: neon_tiny frame: seed 1000 may be one of the training"
    assert sentence in capsys.readouterr().out
    assert sentence in " ".join(Reader((out / "report.html").read_text()).text)
    assert main(["compare", str(out)]) == 0
    assert sentence in capsys.readouterr().out
    assert main([*command, "--out", str(out), "--resume"]) == 2  # asked for each time


def test_a_head_that_records_its_episodes_is_held_to_them(monkeypatch) -> None:
    loaded = load_player

    def recorded(spec: Any, cell: Any) -> Any:
        player = loaded(spec, cell)
        uses = [{"task": "arm_reach", "seed": 1000, "episodes": [[2, 9]]}]
        player.metadata = {**player.metadata, "demonstrations": uses}
        return player

    monkeypatch.setattr("neon_sim.benchmarks.running.players.load_player", recorded)
    assert check_players(heads(1001)).training_seeds == []
    with pytest.raises(ConfigError, match="1 of 3 episodes of arm_reach with seed 1000"):
        check_players(heads(1000))
    (said,) = check_players(heads(1000), allow_training_seed=True).training_seeds
    assert "demonstrations or training episodes" in said


# ---- empty is not the default -----------------------------------------------------------


@pytest.mark.parametrize("empty", ["", " "])
def test_an_empty_checkpoint_is_not_the_shipped_one(empty) -> None:
    spec = heads(0).policies[0]
    with pytest.raises(CheckpointError, match="None takes the head that ships"):
        POLICY_PARTS.resolve("load_policy")(spec.config, "frame", "arm_reach", 0, empty)
    with pytest.raises(ConfigError):
        make_plan(
            policies=["neon_tiny"], conditions=[], tasks=["arm_reach"], suite=None, episodes=1,
            seed=0, train_seeds=[0], latency_steps=0, until_decided=False, alpha=0.05,
            overrides=[f"checkpoint={empty}"],
        )  # fmt: skip
    with pytest.raises(ConfigError):
        plan(tasks=[], suite=empty)
