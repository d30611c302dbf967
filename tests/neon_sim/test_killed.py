"""Killed between any two files that it writes, a command finishes when it is run again.

``Kill`` ends a command at the n-th time it moves a finished file into place, just before or just
after; from then on nothing more reaches the disk, as in a process that is dead.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dataset_fakes import fake_episode
from train_fakes import SIZE, blob_dataset, policy, run

from neon_sim.config.policy import PolicyConfig
from neon_sim.dataset_check import check
from neon_sim.demonstrations import collection as command
from neon_sim.demonstrations.dataset import DemoDataset
from neon_sim.demonstrations.record import RECORD_FILE, content_files
from neon_sim.demonstrations.settings import CollectConfig
from neon_sim.demonstrations.shards import shard_path, write_shard
from neon_sim.errors import CheckpointError, DatasetError
from neon_sim.policies.ppo.command import learn
from neon_sim.policies.ppo.command import main as rl_main
from neon_sim.policies.ppo.settings import RLConfig
from neon_sim.policies.tower import make_tower
from neon_sim.policies.training.command import curve_path, main, read_curve, train
from neon_sim.policies.training.feature_cache import META_FILE, FeatureTable, build_cache
from neon_sim.registry import RL_ENVIRONMENTS
from neon_sim.tensor_file import read_tensors

RL_ENVIRONMENTS.register("echo", "rl_fakes:Echo")


class Killed(BaseException):
    """The process is gone."""


class Kill:
    """Ends a command at the ``at``-th move of a file into place, before or after it."""

    def __init__(self, patch: pytest.MonkeyPatch, at: int, after: bool) -> None:
        self.patch, self.at, self.after = patch, at, after
        self.moves = 0

    def __enter__(self) -> Kill:
        replace = os.replace

        def move(*places: Any, **options: Any) -> None:
            self.moves += 1
            if self.moves < self.at:
                return replace(*places, **options)
            if self.moves == self.at and self.after:
                replace(*places, **options)
            raise Killed

        self.patch.setattr(os, "replace", move)
        return self

    def __exit__(self, *_: object) -> None:
        self.patch.undo()


def kill_everywhere(
    patch: pytest.MonkeyPatch, folder: Path, work: Callable[[Path], Any]
) -> list[Any]:
    """Kill ``work`` at every file it writes, run it again each time; what the second runs gave."""
    results: list[Any] = []
    at = 0
    while True:
        at += 1
        for after in (False, True):
            out = folder / f"killed-{at}-{after}"
            try:
                with Kill(patch, at, after):
                    work(out)
                return results  # it wrote fewer files
            except Killed:
                results.append(work(out))


def assert_same_tensors(first: Path, second: Path, kind: str) -> None:
    (a, _), (b, _) = read_tensors(first, kind, ""), read_tensors(second, kind, "")
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name].numpy(), b[name].numpy(), err_msg=name)


# ---- train --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return blob_dataset(tmp_path_factory.mktemp("killed") / "set", range(4))


def blind() -> PolicyConfig:
    return policy(condition="blind")


def test_train_is_killed_anywhere(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(out: Path) -> Path:
        config = run(data, out, steps=3, save_every=1, cache=str(out / "features"), batch_size=4)
        return train(config, blind(), progress=False)

    whole = work(tmp_path / "whole")
    heads = kill_everywhere(monkeypatch, tmp_path, work)
    assert len(heads) == 14, (
        "cache (two files), lock, two states, curve, head; before and after each"
    )
    for head in heads:
        assert_same_tensors(head, whole, "neon_sim.head/1")
        assert read_curve(head)["points"] == read_curve(whole)["points"]
        left = [p.name for p in head.parent.iterdir() if not p.name.startswith(".")]
        assert sorted(left) == ["blind-seed0.curve.json", "blind-seed0.safetensors", "features"]


def arguments(data: Path, out: Path) -> list[str]:
    words = f"policy=neon_tiny condition=blind policy.clip.image_size={SIZE} steps=1 batch_size=4"
    return [*words.split(), f"data={data}", f"out={out}"]


def test_a_head_without_its_curve_is_finished(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a kill left behind when the head was written first."""
    assert main(arguments(data, tmp_path)) == 0
    head = tmp_path / "blind-seed0.safetensors"
    before = head.read_bytes()
    curve_path(head).unlink()
    (tmp_path / "blind-seed0.state.pt").write_bytes(b"of the killed run")
    assert main(arguments(data, tmp_path)) == 0
    assert "blind-seed0.safetensors" in capsys.readouterr().out
    assert curve_path(head).exists()
    assert not (tmp_path / "blind-seed0.state.pt").exists()
    assert head.read_bytes() == before


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"validation": {"a": 3}, "training": {}}', '{"validation": NaN}']
)
def test_a_curve_of_another_shape_is_an_error(text: str, tmp_path: Path) -> None:
    head = tmp_path / "video-seed0.safetensors"
    curve_path(head).write_text(text)
    with pytest.raises(CheckpointError, match=r"delete video-seed0\.curve\.json and run"):
        read_curve(head)


# ---- rl -----------------------------------------------------------------------------------------


def test_rl_is_killed_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def work(out: Path) -> Path:
        config = RLConfig(
            task="echo",
            out=str(out),
            steps=64,
            envs=2,
            rollout_steps=16,
            save_every=32,
            batch_size=16,
            epochs=1,
            hidden=[8],
            resume=True,
        )
        config.validate()
        out.mkdir(exist_ok=True)
        return learn(config, progress=False)

    whole = work(tmp_path / "whole")
    policies = kill_everywhere(monkeypatch, tmp_path, work)
    assert len(policies) == 18, "lock, of two blocks policy, state and curve, then curve and policy"
    names = sorted(p.name for p in whole.parent.iterdir())
    for path in policies:
        assert_same_tensors(path, whole, "neon_sim.rl/1")
        assert sorted(p.name for p in path.parent.iterdir()) == names
        curves = [json.loads(p.with_suffix(".curve.json").read_text()) for p in (path, whole)]
        assert curves[0]["points"] == curves[1]["points"]


def test_a_learning_curve_of_another_shape_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "task=echo",
        "steps=32",
        "envs=2",
        "rollout_steps=16",
        "batch_size=16",
        "epochs=1",
        "hidden=8",
    ]
    assert rl_main([*words, f"out={tmp_path}"]) == 0
    (tmp_path / "ppo-seed0.curve.json").write_text('{"points": [{"steps": "many"}]}')
    assert rl_main([*words, f"out={tmp_path}", "--resume"]) == 2
    assert "ppo-seed0.curve.json: points.0.steps" in capsys.readouterr().err


# ---- collect ------------------------------------------------------------------------------------


def test_collect_is_killed_anywhere_while_it_assembles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = CollectConfig(task=["arm_reach"], episodes=3)
    made = {"mujoco": "1", "renderer": "a", "gl_renderer": "b"}
    monkeypatch.setattr(command, "made_with", lambda: made)

    def record(config: CollectConfig, root: Path) -> None:
        for index in range(3):
            if not command.sound(shard_path(root, index)):
                write_shard(shard_path(root, index), fake_episode(index))

    monkeypatch.setattr(command, "record_missing", record)
    undo = pytest.MonkeyPatch()

    def work(out: Path) -> Path:
        config.out = str(out)
        command.collect(config)
        return out

    whole = DemoDataset.open(work(tmp_path / "whole"))
    roots = kill_everywhere(undo, tmp_path, work)
    assert len(roots) >= 2 * 7  # what was begun, three episodes, data, videos and meta
    for root in roots:
        assert DemoDataset.open(root).content_hash == whole.content_hash
        assert check(root).endswith("every row and picture can be read")
        assert not (root / ".shards").exists()
        assert not (root / ".assembling").exists()


def test_episodes_of_unknown_settings_are_not_taken_over(tmp_path: Path) -> None:
    write_shard(shard_path(tmp_path, 0), fake_episode(0))
    config = CollectConfig(task=["arm_reach"], episodes=1, out=str(tmp_path))
    with pytest.raises(DatasetError, match=r"config\.json.*is missing"):
        command.collect(config)


@pytest.mark.parametrize("text", ["[]", "{}", '{"config": 3, "made_with": {}}', '{"config": {}}'])
def test_a_begun_file_of_another_shape_is_an_error(text: str, tmp_path: Path) -> None:
    (tmp_path / ".shards").mkdir()
    (tmp_path / ".shards/config.json").write_text(text)
    with pytest.raises(DatasetError, match=r"config\.json"):
        command.collect(CollectConfig(task=["arm_reach"], out=str(tmp_path)))


# ---- feature cache ------------------------------------------------------------------------------


def test_a_damaged_cache_is_not_trained_on(data: Path, tmp_path: Path) -> None:
    dataset, tower = DemoDataset.open(data), make_tower(policy(), "frame")
    folder, _ = build_cache(dataset, tower, 8, tmp_path, progress=False)
    for name in ("hidden.bin", "mask.bin"):
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)
        with pytest.raises(DatasetError, match=rf"{name} is damaged.*delete"):
            FeatureTable([dataset], tower, 8, tmp_path, progress=False)
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)
    for ram_bytes in (1e9, 0):
        FeatureTable([dataset], tower, 8, tmp_path, ram_bytes, progress=False)
    for text in ("[]", "{}", '{"rows": "many"}'):
        (folder / META_FILE).write_text(text)
        with pytest.raises(DatasetError, match=r"meta\.json.*delete"):
            FeatureTable([dataset], tower, 8, tmp_path, progress=False)


@pytest.mark.parametrize("text", ["", "[]", '{"episodes": 99, "rows": 3}', '{"episodes": 2}'])
def test_a_begun_cache_whose_progress_is_no_such_thing_starts_again(
    text: str, data: Path, tmp_path: Path
) -> None:
    dataset, tower = DemoDataset.open(data), make_tower(policy(), "frame")
    whole, _ = build_cache(dataset, tower, 8, tmp_path / "whole", progress=False)
    folder = tmp_path / "begun" / whole.name
    folder.mkdir(parents=True)
    (folder / "progress.json").write_text(text)
    (folder / "hidden.bin").write_bytes(b"half")
    build_cache(dataset, tower, 8, tmp_path / "begun", progress=False)
    for name in ("hidden.bin", "mask.bin"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()


def test_a_cache_shorter_than_it_says_is_not_filled_with_zeros(data: Path, tmp_path: Path) -> None:
    dataset, tower = DemoDataset.open(data), make_tower(policy(), "frame")
    folder, _ = build_cache(dataset, tower, 8, tmp_path, progress=False)
    wanted = (folder / "hidden.bin").read_bytes()
    (folder / META_FILE).unlink()
    (folder / "hidden.bin").write_bytes(wanted[:100])
    build_cache(dataset, tower, 8, tmp_path, progress=False)
    assert (folder / "hidden.bin").read_bytes() == wanted


def test_the_record_of_a_dataset_is_written_last(data: Path) -> None:
    """Every file but the record itself is in it."""
    record = json.loads((data / RECORD_FILE).read_text())
    names = {path.relative_to(data).as_posix() for path in content_files(data)}
    assert set(record["sha256"]) == names
