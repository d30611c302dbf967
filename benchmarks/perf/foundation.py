"""What a look through a foundation model costs: published size, random weights, the user's path.

Weights are drawn in the published shape, written to a scratch folder and loaded like any other, in
bf16 (on a CPU in float32: few of them have bf16 arithmetic) and with the language model in NF4, so
nothing has to be had from a hub. Measured only when asked for (``--measure foundation``): a model
fills a GPU, or takes minutes on a CPU. One that does not fit here is named, and gives no row.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from neon_sim.errors import unknown_name
from neon_sim.registry import POLICY_PARTS

from .rows import Options, Row, row_of, wall_s

FRAMES = (4, 16)
BATCHES = {"cuda": (1, 16), "cpu": (1,)}
WEIGHTS = {"cuda": ("bf16", 1.6), "cpu": ("fp32", 3.2)}  # GB to have free for one of bf16 weights
PAGE_BYTES, WATCH_S = 4096, 0.02


def measure(options: Options) -> list[Row]:
    """Rows of every model that was asked for and fits.

    Raises:
        UnknownNameError: no such model.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    known = POLICY_PARTS.resolve("foundation_gb")()
    for name in options.backbones:
        if name not in known:
            raise unknown_name("foundation backbone", name, known)
    rows: list[Row] = []
    for name in options.backbones or known:
        gigabytes, packs = known[name]
        word, room = WEIGHTS[device]
        short = _shortage(room * gigabytes, device)
        if short:
            print(f"skipped {name}: {short}", file=sys.stderr)
            continue
        print(f"{name} ...", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            model = POLICY_PARTS.resolve("random_foundation")(name, Path(folder), device)
            for packed in (False, True) if packs else (False,):
                model.open(packed)
                rows += _looks(model, f"{name} {'nf4' if packed else word}", options.repeats)
    return rows


def _shortage(need_gb: float, device: str) -> str:
    """What is missing for a model; empty when nothing is."""
    memory = torch.cuda.mem_get_info()[0] if device == "cuda" else _available_bytes()
    disk = shutil.disk_usage(tempfile.gettempdir()).free
    for free, where in ((memory, f"{device} memory"), (disk, tempfile.gettempdir())):
        if free < need_gb * 1e9:
            return f"needs {need_gb:.1f} GB of {where}, {free / 1e9:.1f} GB are free"
    return ""


def _available_bytes() -> int:
    """Memory that can be had without swapping."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(x.split()[1]) for x in lines if x.startswith("MemAvailable")) * 1024


def _looks(model: Any, subject: str, repeats: int) -> list[Row]:
    """Milliseconds and peak memory of a look, for each length and batch."""
    rows: list[Row] = []
    for frames in FRAMES:
        for batch in BATCHES[model.device]:
            look, where = model.look(frames, batch), f"{subject}, {frames} frames, batch {batch}"
            look()  # warm-up
            with _peak_gb(model.device) as peak:
                times = [1000 * wall_s(look) for _ in range(repeats)]
            rows += [
                row_of("encode", where, times, "ms"),
                row_of("peak memory", where, peak, "GB"),
            ]
    return rows


@contextmanager
def _peak_gb(device: str) -> Iterator[list[float]]:
    """Most memory held meanwhile, GB: of the allocator on CUDA, of the process on a CPU."""
    peak = [0.0]
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        yield peak
        peak[0] = torch.cuda.max_memory_allocated() / 1e9
        return
    done = threading.Event()

    def watch() -> None:
        ended = False
        while not ended:  # one look more after the end: short work is seen, too
            ended = done.wait(WATCH_S)
            resident = int(Path("/proc/self/statm").read_text().split()[1])
            peak[0] = max(peak[0], resident * PAGE_BYTES / 1e9)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()
