"""How long the whole comparison takes: six tasks x 50 episodes x four conditions."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from neon_sim.errors import NeonError

from .rows import Options, Row, row_of, wall_s

EPISODES, WORKERS = 50, 2
CONDITIONS = ("blind", "frame", "video", "video_repeat")
MAX_S = 600.0


def measure(options: Options) -> list[Row]:
    """Wall seconds of ``neon-bench run`` with the shipped heads, report and all; one repetition."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "neon_sim.benchmarks.cli", "run", "--policy", "neon_tiny"]
        command += ["--condition", ",".join(CONDITIONS), "--task", ",".join(options.tasks)]
        command += ["--episodes", str(EPISODES), "--workers", str(WORKERS), "--quiet"]
        command += ["--out", str(Path(folder) / "run")]

        def work() -> None:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise NeonError(f"{' '.join(command)} failed: {done.stderr.strip()[-400:]}")

        seconds = wall_s(work)
    subject = f"{len(options.tasks)} tasks x {EPISODES} x {len(CONDITIONS)}"
    return [row_of("run, two workers", subject, [seconds], "s", at_most=MAX_S)]
