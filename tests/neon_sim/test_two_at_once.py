"""Two equal commands at once: the second one is refused in one line, and a kill blocks nobody.

The first is a real process that trains; the second runs here while the first holds its result.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from train_fakes import SIZE, blob_dataset

from neon_sim import rl, train
from neon_sim.errors import EXIT_USER
from neon_sim.files import locked
from neon_sim.tensor_file import read_tensors

Words = Callable[[Path, str, int], list[str]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return blob_dataset(tmp_path_factory.mktemp("demonstrations") / "blobs", range(8))


@pytest.fixture
def train_words(data: Path) -> Words:
    """A head of so many steps; each takes a few milliseconds."""

    def _words(out: Path, seed: str, steps: int) -> list[str]:
        small = f"policy=neon_tiny condition=blind policy.clip.image_size={SIZE} batch_size=4"
        run = f"seed={seed} steps={steps} save_every=5 data={data} out={out}"
        return [*small.split(), *run.split()]

    return _words


def rl_words(out: Path, seed: str, steps: int) -> list[str]:
    small = "task=arm_reach envs=1 rollout_steps=16 batch_size=16 epochs=1 save_every=16 --resume"
    return [*small.split(), f"seed={seed}", f"steps={steps}", f"out={out}"]


def begin(module: str, words: list[str], held: Path) -> subprocess.Popen[str]:
    """Start a command and wait until it holds its result."""
    command = [sys.executable, "-m", module, *words]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not held.exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "the lock was never taken"
        time.sleep(0.05)
    return process


@pytest.mark.slow
@pytest.mark.parametrize("command", ["train", "rl"])
def test_the_second_of_two_equal_commands_is_refused(
    command: str, train_words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module = {"train": train, "rl": rl}[command]
    words = {"train": train_words, "rl": rl_words}[command]
    name = {"train": "blind-seed0", "rl": "ppo-seed0"}[command]
    endless = 1_000_000
    held = tmp_path / "out" / f".lock-{name}.json"
    process = begin(f"neon_sim.{command}", words(tmp_path / "out", "0", endless), held)
    try:
        capsys.readouterr()
        assert module.main(words(tmp_path / "out", "0", endless)) == EXIT_USER
        said = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
        assert len(said) == 1
        assert f"{name} is being written by process {process.pid} (" in said[0]
        assert "wait until that ends or stop it" in said[0]
        # another seed is another result, and the folder takes it meanwhile
        assert module.main(words(tmp_path / "out", "1", 16)) == 0
        assert process.poll() is None
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    # nothing that the killed one left is in the way: a lock is let go, however its holder ended
    with locked(tmp_path / "out", name=name):
        states = [path.name for path in (tmp_path / "out").glob(f"{name}.state.pt")]
    if not states:  # killed before its first state: the same command with fewer steps is a new run
        assert module.main(words(tmp_path / "out", "0", 16)) == 0


def test_what_another_process_finished_meanwhile_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first ends between the look of the second and its lock."""
    from neon_sim.policies.ppo import trainer

    words = rl_words(tmp_path, "0", 16)
    begin_trainer = trainer.RLTrainer

    def slow(*arguments: object) -> object:
        monkeypatch.setattr(trainer, "RLTrainer", begin_trainer)
        assert rl.main(words) == 0
        made = begin_trainer(*arguments)  # type: ignore[arg-type]
        monkeypatch.setattr(made, "run", lambda: pytest.fail("trained again"))
        return made

    monkeypatch.setattr(trainer, "RLTrainer", slow)
    assert rl.main(words) == 0
    assert read_tensors(tmp_path / "ppo-seed0.safetensors", "neon_sim.rl/1", "")
