"""How long the whole comparison takes: six tasks x 50 episodes x four conditions."""

from __future__ import annotations

import tempfile
from pathlib import Path

from neon_sim.errors import NeonError

from ..cli import main
from .rows import Options, Row, row_of, wall_s

EPISODES, WORKERS = 50, 2
CONDITIONS = ("blind", "frame", "video", "video_repeat")
MAX_S = 600.0


def measure(options: Options) -> list[Row]:
    """Wall seconds of ``neon-bench run`` with the shipped heads, report and all; one repetition."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["run", "--policy", "neon_tiny", "--condition", ",".join(CONDITIONS)]
        arguments += ["--task", ",".join(options.tasks), "--episodes", str(EPISODES)]
        arguments += ["--workers", str(WORKERS), "--out", str(Path(folder) / "run")]

        def work() -> None:
            code = main(arguments)
            if code:
                raise NeonError(f"neon-bench {' '.join(arguments)} ended with {code}")

        seconds = wall_s(work)
    subject = f"{len(options.tasks)} tasks x {EPISODES} x {len(CONDITIONS)}"
    return [row_of("run, two workers", subject, [seconds], "s", at_most=MAX_S)]
