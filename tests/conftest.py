"""Shared test settings: one thread everywhere, so that results and timings are repeatable."""

from __future__ import annotations

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import signal
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest
import torch

# A job that a shell started in the background ignores Ctrl-C, and so would what tests start.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
torch.set_num_threads(1)
# Property tests draw the same examples in every run, and a slow machine fails none of them.
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def _torch_seed() -> None:
    """Give every test the same torch seed, whatever ran before it."""
    torch.manual_seed(0)


@pytest.fixture
def hub_extra() -> None:
    """Skip where the matrix leaves the extra `hub` out; elsewhere a test without it fails."""
    if os.environ.get("NEON_MATRIX_LEG") == "lowest":
        pytest.skip("needs the extra hub")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of a tiny random checkpoint by family, made once."""
    from neon_sim.policies.backbones.random_weights import make_tiny

    made: dict[str, Path] = {}

    def _tiny(family: str) -> Path:
        if family not in made:
            made[family] = make_tiny(family, tmp_path_factory.mktemp(family))
        return made[family]

    return _tiny
