"""The collect command: expert labels on perturbed states, resume, workers, errors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from neon_sim.config.loading import load_config
from neon_sim.config.policy import PolicyConfig
from neon_sim.demonstrations import collection as command
from neon_sim.demonstrations import recorder as collect_worker
from neon_sim.demonstrations.dataset import DemoDataset
from neon_sim.demonstrations.episode import Bank, choose_kind, pose_bank, record_episode
from neon_sim.demonstrations.settings import (
    COLLECTION_SEED,
    CollectConfig,
    MixConfig,
    PerturbConfig,
)
from neon_sim.demonstrations.shards import RecordedEpisode
from neon_sim.errors import EXIT_BUG, ConfigError, NeonError, UnknownNameError
from neon_sim.files import LOCK_FILE
from neon_sim.observation.clips import ClipConfig
from neon_sim.registry import POLICY_PARTS, task_entry

TASK = task_entry("arm_reach")
SIZE = 32
NUM = 16  # enough that a run can be stopped half-way


def settings(out: Path, **changes: Any) -> CollectConfig:
    values: dict[str, Any] = {
        "task": [TASK.name],
        "episodes": 4,
        "out": str(out),
        "image_size": SIZE,
    }
    return CollectConfig(**(values | changes))


def arguments(out: Path, *more: str) -> list[str]:
    return [f"task={TASK.name}", f"episodes={NUM}", f"out={out}", f"image_size={SIZE}", *more]


@pytest.fixture(scope="module")
def env() -> Any:
    made = gymnasium.make(TASK.env_id, cameras=(), image_size=SIZE).unwrapped
    yield made
    made.close()


@pytest.fixture(scope="module")
def bank(env: Any) -> Bank:
    return pose_bank(env, TASK, COLLECTION_SEED)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> DemoDataset:
    """Episodes collected in one go, in this process."""
    out = tmp_path_factory.mktemp("reference") / "demos"
    return command.collect(settings(out, episodes=NUM))


def record(env: Any, bank: Bank, kind: str, episode: int = 0, **perturb: Any) -> Any:
    mix = MixConfig(**{name: float(name == kind) for name in ("clean", "noisy", "delayed")})
    config = settings(Path("unused"), mix=mix, perturb=PerturbConfig(**perturb))
    return record_episode(env, TASK, config, episode, bank)


# ---- what an episode holds ----------------------------------------------------------------------


def test_clean_episodes_execute_the_label(env: Any, bank: Bank) -> None:
    episode = record(env, bank, "clean")
    assert episode.identity.source == "expert"
    assert episode.identity.success
    np.testing.assert_array_equal(episode.action, episode.executed_action)


@pytest.mark.parametrize("kind", ["noisy", "delayed"])
def test_led_astray_but_labelled_by_the_expert(env: Any, bank: Bank, kind: str) -> None:
    """Replaying what was executed visits the recorded states, where the expert says the label."""
    episode: RecordedEpisode = record(env, bank, kind, episode=3)
    assert episode.identity.source == kind
    assert np.abs(episode.action - episode.executed_action).max() > 0.02
    config = settings(Path("unused"))
    rng = collect_worker_rng(3)
    options = {"episode": 3, "start_noise": float(rng.uniform(0, config.perturb.start_noise_rad))}
    env.reset(seed=config.run_seed, options=options)
    assert env.initial_hash() == episode.identity.initial_hash
    for row, executed in enumerate(episode.executed_action):
        np.testing.assert_array_equal(env.agent_pos(), episode.agent_pos[row])
        np.testing.assert_array_equal(env.environment_state(), episode.environment_state[row])
        np.testing.assert_array_equal(env.expert_action(), episode.action[row])
        env.advance(executed)
    for j, frame in enumerate(episode.frames["front"]):
        np.testing.assert_array_equal(env.frame("front", 20 * j), frame)
    assert len(episode.frames["front"]) == -(-len(episode.action) // 2)


def collect_worker_rng(episode: int) -> np.random.Generator:
    from neon_sim.seeding import episode_rng

    return episode_rng(TASK.name, TASK.version, COLLECTION_SEED, episode, "collect")


def test_the_gripper_stays_the_experts(env: Any, bank: Bank) -> None:
    episode = record(env, bank, "noisy", episode=1, noise_std=0.2)
    np.testing.assert_array_equal(episode.action[:, 7], episode.executed_action[:, 7])


def test_the_arm_gives_less_away_where_it_was_led_astray(env: Any, bank: Bank) -> None:
    """The first joint's position tells the expert's wish less than where only the expert moves."""

    def leak(kind: str) -> float:
        episodes = [record(env, bank, kind, e) for e in range(20)]
        where = np.concatenate([e.agent_pos[:, 0] for e in episodes])
        wish = np.concatenate([e.action[:, 0] for e in episodes])
        return float(np.corrcoef(where, wish)[0, 1])

    assert leak("delayed") < leak("clean") - 0.1


def test_kinds_follow_the_mix() -> None:
    rng = np.random.default_rng(0)
    drawn = [choose_kind(MixConfig(clean=1, noisy=3, delayed=0), rng) for _ in range(400)]
    assert drawn.count("delayed") == 0
    assert 0.68 < drawn.count("noisy") / 400 < 0.82


class ConstantPolicy:
    """Sends the arm to one pose, whatever it sees."""

    clip = ClipConfig(num_frames=2, image_size=SIZE)
    needs = frozenset({"video"})
    replan_steps = 4
    action_dim = 8
    value = 0.1

    def reset(self, num_envs: int) -> None:
        assert num_envs == 1

    def act(self, clip: Any) -> np.ndarray:
        assert clip.video.shape == (1, 2, SIZE, SIZE, 3)
        return np.full((1, 16, 8), self.value, dtype=np.float32)


def test_dagger_moves_the_policy_and_asks_the_expert(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        collect_worker, "load_any_policy", lambda config, task: (ConstantPolicy(), "constant")
    )
    dataset = command.collect(settings(tmp_path / "d", policy="neon_tiny", beta=0.5, episodes=8))
    sources = [meta.source for meta in dataset.episodes]
    assert {"dagger:constant"} < set(sources)
    episode = dataset.load(sources.index("dagger:constant"))
    np.testing.assert_array_equal(episode.executed_action, np.float32(0.1))
    assert np.abs(episode.action - 0.1).max() > 0.05


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """An untrained head on proprioception and text, as training would save it."""
    config = PolicyConfig(name="tiny", clip=ClipConfig(num_frames=1), condition="blind")
    tower = POLICY_PARTS.resolve("make_tower")(config, "blind")
    words = ["touch", "the", "post", "red", "green", "blue", "yellow"]
    metadata = {
        "policy": asdict(config),
        "condition": "blind",
        "tasks": [TASK.name],
        "train_seed": 0,
        "backbone": {"name": "none", "fingerprint": tower.fingerprint()},
    }
    path = tmp_path / "mine.safetensors"
    network = POLICY_PARTS.resolve("new_network")(config, tower, words, 0)
    POLICY_PARTS.resolve("save_checkpoint")(path, network, metadata)
    return path


def test_dagger_with_a_checkpoint(checkpoint: Path, tmp_path: Path) -> None:
    mine = {"policy": str(checkpoint), "beta": 0.0, "episodes": 2}
    dataset = command.collect(settings(tmp_path / "d", **mine))
    assert {m.source for m in dataset.episodes} == {"dagger:mine"}
    assert len(dataset.provenance["config"]["policy_sha256"]) == 64
    again = command.collect(settings(tmp_path / "e", **mine))
    assert again.content_hash == dataset.content_hash


def test_dagger_with_a_checkpoint_of_another_task(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["task=arm_block", "episodes=2", f"out={tmp_path / 'd'}", f"policy={checkpoint}"]
    assert command.main(line) == 2
    assert "was not trained on 'arm_block'" in capsys.readouterr().err


def test_a_policy_that_returns_nan_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = type("Broken", (ConstantPolicy,), {"value": np.nan})
    monkeypatch.setattr(
        collect_worker, "load_any_policy", lambda config, task: (broken(), "broken")
    )
    status = command.main(arguments(tmp_path / "d", "policy=neon_tiny", "beta=0"))
    assert status == 2
    assert "arm_reach episode 0: dagger:broken returned an action" in capsys.readouterr().err


def test_unknown_policy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(arguments(tmp_path / "d", "policy=neon_tini", "beta=0")) == 2
    assert "policy 'neon_tini' is no policy (" in capsys.readouterr().err


# ---- the collection as a whole ------------------------------------------------------------------


def test_dataset_identifies_its_episodes(reference: DemoDataset) -> None:
    assert [(m.seed, m.episode) for m in reference.episodes] == [(1000, e) for e in range(NUM)]
    assert {m.task_name for m in reference.episodes} == {TASK.name}
    assert len({m.initial_hash for m in reference.episodes}) == NUM
    assert all(m.description.startswith("touch the ") for m in reference.episodes)
    made = reference.provenance["made_with"]
    assert {"mujoco", "renderer", "commit"} <= set(made)
    assert reference.image_size == SIZE


def test_workers_change_nothing(reference: DemoDataset, tmp_path: Path) -> None:
    out = tmp_path / "demos"
    process = start(arguments(out, "workers=2"))
    assert process.wait(60) == 0
    for path in reference.root.rglob("*"):
        if path.is_file() and path.name != "neon_sim.json":
            assert path.read_bytes() == (out / path.relative_to(reference.root)).read_bytes()


def test_several_tasks_in_one_dataset(tmp_path: Path) -> None:
    names = ["arm_reach", "arm_block"]
    dataset = command.collect(settings(tmp_path / "d", task=names, episodes=2))
    assert [m.task_name for m in dataset.episodes] == ["arm_reach"] * 2 + ["arm_block"] * 2
    assert DemoDataset.open(tmp_path / "d", "arm_block").num_episodes == 2


def test_only_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = collect_worker.record_episode

    def fail_second(*args: Any) -> RecordedEpisode:
        episode = real(*args)
        if args[3] == 1:
            object.__setattr__(episode.identity, "success", False)
        return episode

    monkeypatch.setattr(collect_worker, "record_episode", fail_second)
    mix = MixConfig(clean=1, noisy=0, delayed=0)
    dataset = command.collect(settings(tmp_path / "d", only_success=True, mix=mix))
    assert [m.episode for m in dataset.episodes] == [0, 2, 3]


def start(argv: list[str]) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "neon_sim.collect", *argv]
    return subprocess.Popen(line, stderr=subprocess.PIPE, text=True)


def wait_for_shards(out: Path, number: int) -> None:
    deadline = time.monotonic() + 60
    while len(list(out.glob(".shards/*.npz"))) < number:
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_and_continued_loses_and_repeats_nothing(
    reference: DemoDataset, tmp_path: Path, workers: int
) -> None:
    out = tmp_path / "demos"
    process = start(arguments(out, f"workers={workers}"))
    wait_for_shards(out, 2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "meta").exists()
    shards = {p: p.stat().st_mtime_ns for p in out.glob(".shards/*.npz")}
    assert len(shards) >= 2
    last = max(shards)
    last.write_bytes(last.read_bytes()[:-50])  # and the disk lost the end of one file
    (out / ".shards" / "0000015.npz.77.partial").write_bytes(b"half")
    dataset = command.collect(settings(out, episodes=NUM))
    assert [m.episode for m in dataset.episodes] == list(range(NUM))
    assert dataset.content_hash == reference.content_hash
    assert not (out / ".shards").exists()


def test_ctrl_c_keeps_what_is_finished(reference: DemoDataset, tmp_path: Path) -> None:
    out = tmp_path / "demos"
    process = start(arguments(out, "workers=2"))
    wait_for_shards(out, 1)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "run the same command to continue" in error
    assert "Traceback" not in error
    assert command.main(arguments(out)) == 0
    assert DemoDataset.open(out).content_hash == reference.content_hash


def test_finished_collection_is_left_alone(
    reference: DemoDataset, capsys: pytest.CaptureFixture[str]
) -> None:
    files = (p for p in reference.root.rglob("*") if p.is_file() and p.name != LOCK_FILE)
    before = {p: p.stat().st_mtime_ns for p in files}
    assert command.main(arguments(reference.root, "workers=2")) == 0
    assert f"finished already: {NUM} episodes; nothing to do" in capsys.readouterr().err
    assert before == {p: p.stat().st_mtime_ns for p in before}


def test_other_settings_are_refused_by_name(
    reference: DemoDataset, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(arguments(reference.root, "perturb.noise_std=0.5")) == 2
    error = capsys.readouterr().err
    assert "begun with perturb.noise_std=0.03, now it is 0.5" in error


def test_begun_with_another_renderer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def one_and_no_more(_: CollectConfig, root: Path) -> None:
        (root / command.SHARDS_FOLDER).mkdir(exist_ok=True)
        (root / command.SHARDS_FOLDER / "episode.npz").touch()  # what is kept holds the settings
        raise ZeroDivisionError

    monkeypatch.setattr(command, "record_missing", one_and_no_more)
    with pytest.raises(ZeroDivisionError):
        command.collect(settings(tmp_path))
    monkeypatch.setattr(command, "renderer_info", lambda: {"backend": "x", "gl_renderer": "y"})
    with pytest.raises(ConfigError, match=r"made with renderer=.*now it is x"):
        command.collect(settings(tmp_path))


def test_foreign_folders_are_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match=r"holds 'thesis\.tex' and is no collection"):
        command.collect(settings(tmp_path))
    other = tmp_path / "other"
    (other / "data").mkdir(parents=True)
    with pytest.raises(ConfigError, match="holds 'data'"):
        command.collect(settings(other))


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    with command.locked(tmp_path), pytest.raises(NeonError, match="being written by process"):
        command.collect(settings(tmp_path))


def test_full_disk_keeps_what_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real, calls = collect_worker.write_shard, []

    def full_at_third(path: Path, episode: RecordedEpisode) -> None:
        calls.append(path)
        if len(calls) == 3:
            raise OSError(28, "No space left on device", str(path))
        real(path, episode)

    out = tmp_path / "d"
    with monkeypatch.context() as patch:
        patch.setattr(collect_worker, "write_shard", full_at_third)
        assert command.main(arguments(out)) == 2
    error = capsys.readouterr().err
    assert "episode 2: no space left" in error
    assert "2 finished episodes are kept" in error
    assert command.main(arguments(out)) == 0
    assert DemoDataset.open(out).num_episodes == NUM


def test_a_worker_that_dies_is_reported(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "d"
    process = start(arguments(out, "workers=2"))
    wait_for_shards(out, 1)
    victim = next(iter(children(process.pid)))
    os.kill(victim, signal.SIGKILL)
    _, error = process.communicate(timeout=60)
    finished = (out / "meta").exists()  # it may have been done already
    assert finished or (process.returncode == 2 and "a worker died" in error)


def children(pid: int) -> list[int]:
    """Processes that ``pid`` started and that record (not multiprocessing's own helper)."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            line = (folder / "cmdline").read_text()
        except OSError:
            continue
        if parent == pid and "spawn_main" in line:
            found.append(int(folder.name))
    return found


# ---- the command line ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("task=arm_juggle", "unknown task 'arm_juggle'"),
        ("episodes=none", "episodes must be int"),
        ("episodes=0", "episodes must be 1 to 1000000"),
        ("episoden=3", "Did you mean 'episodes'"),
        ("beta=2", "beta must be 0 to 1 "),
        ("mix.clean=-1", "mix.clean must be 0 to 1 "),
        ("perturb.delay_max=3", "perturb.delay_max must be 0 to 1 "),
        ("condition=video", "condition is for DAgger"),
    ],
)
def test_bad_arguments(
    argument: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import re

    assert command.main([f"out={tmp_path / 'd'}", argument]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "d").exists()


def test_a_task_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="each task once"):
        CollectConfig(task=["arm_catch", "ArmCatch"]).validate()
    with pytest.raises(UnknownNameError):
        CollectConfig(task=["arm_juggle"]).validate()


def test_shipped_settings_load() -> None:
    config = load_config(CollectConfig, "collect", "arm", ["episodes=3"])
    assert (len(config.task), config.episodes) == (6, 3)


def test_a_fault_of_ours_in_an_episode_is_no_error_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this process and in another: the traceback, and what is kept; nothing that blocks."""
    faulty = type("Faulty", (ConstantPolicy,), {"act": lambda self, clip: 1 / 0})
    monkeypatch.setattr(
        collect_worker, "load_any_policy", lambda config, task: (faulty(), "faulty")
    )
    assert command.main(arguments(tmp_path / "d", "policy=neon_tiny", "beta=0")) == EXIT_BUG
    shown = capsys.readouterr().err
    assert "ZeroDivisionError" in shown
    assert "0 finished episodes are kept" in shown
    assert "a fault of neon_sim and not yours" in shown.splitlines()[-1]
    report = collect_worker.failed(0, settings(tmp_path / "d"), ZeroDivisionError("1/0"))
    assert "ZeroDivisionError" in report.trace
    assert not isinstance(report.error("3 are kept"), NeonError)
    no_memory = collect_worker.failed(0, settings(tmp_path / "d"), MemoryError())
    assert isinstance(no_memory.error("3 are kept"), NeonError)
    assert "out of memory" in no_memory.message
