"""Made-up runs for tests of the report, and a reader that holds a page to balanced tags."""

from __future__ import annotations

import io
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import av
import numpy as np

from neon_sim.benchmarks.report.markup import VOID
from neon_sim.benchmarks.runs.folder import Row, RunFolder, dump_row
from neon_sim.benchmarks.runs.plan import Cell, PolicySpec, RunPlan
from neon_sim.config.policy import PolicyConfig
from neon_sim.files import write_json

TASKS = ("arm_reach", "arm_catch")


NASTY = "ValueError: <script>alert('x')</script> & \"quotes\""


class Reader(HTMLParser):
    """Holds a page to balanced tags and collects what points elsewhere."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, name: str, attributes: Any) -> None:
        self.tags.append(name)
        if name not in VOID | {"link"}:
            self.open.append(name)
        for key, value in attributes:
            if key == "id":
                self.ids.append(value)
            if key in ("src", "href", "poster", "action", "srcset", "data"):
                self.links.append(value)

    def handle_endtag(self, name: str) -> None:
        assert self.open
        assert self.open.pop() == name

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def make_row(cell: Cell, episode: int, success: bool, **changes: Any) -> Row:
    row = {
        **cell._asdict(),
        "seed": 0,
        "episode": episode,
        "initial_hash": f"{cell.task}-{episode}",
        "success": success,
        "success_final": success,
        "progress": float(success),
        "steps": 80,
        "mean_jerk": 120.0,
        "boundary_jump": 0.004,
        "latency_steps": 0,
        "error": None,
        "timing": {"wall_s": 1.0, "inference_ms_mean": 4.25, "observe_ms_mean": 1.5, "looks": 10},
    }
    return {**row, **changes}


def synthetic(
    path: Path, wins: dict[str, int], episodes: int = 40, train_seeds: tuple[int, ...] = (0,)
) -> RunFolder:
    """A finished run in which the first so many episodes of a condition succeed."""
    spec = PolicySpec("neon_tiny", "network", tuple(wins), train_seeds, PolicyConfig())
    plan = RunPlan((spec,), TASKS, episodes)
    folder = RunFolder(path)
    folder.create()
    rows = [
        make_row(cell, episode, episode < wins[cell.condition])
        for task in TASKS
        for _, cell in plan.cells(task)
        for episode in range(episodes)
    ]
    save(folder, rows)
    manifest = {
        "version": 1,
        "command": ["neon-bench", "run", "--out", "a b"],
        "started": "2026-01-01 00:00:00 UTC",
        "finished": "2026-01-01 00:10:00 UTC",
        "config": plan.resolved(),
        "checkpoints": {f"neon_tiny/video/0/{task}": "c0ffee" * 10 for task in TASKS},
        "git_commit": "0123456789abcdef",
        "renderer": {"backend": "egl", "gl_renderer": "llvmpipe", "software": True},
        "cpu": "Example CPU",
        "cores": 2,
        "platform": "Linux",
        "versions": {"mujoco": "9.9.9"},
        "decisions": {},
    }
    write_json(folder.manifest, manifest)
    return folder


def save(folder: RunFolder, rows: list[Row]) -> None:
    folder.episodes.write_text("".join(dump_row(row) + "\n" for row in rows))


def decode(data: bytes) -> tuple[list[np.ndarray], Any]:
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        facts = stream.codec_context.name, stream.codec_context.pix_fmt, stream.average_rate
        return [f.to_ndarray(format="rgb24") for f in container.decode(stream)], facts
