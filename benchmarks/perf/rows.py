"""What a measure returns, and how the rows are shown and written."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from neon_sim.simulation.gl import renderer_info

_PACKAGES = ("mujoco", "gymnasium", "numpy", "torch")


@dataclass(frozen=True)
class Options:
    """What every measure is told.

    Attributes:
        repeats: interleaved repetitions; the median over them is reported.
        tasks: registry names of the tasks to measure.
        backbones: foundation models to measure; all that fit by default.
    """

    repeats: int
    tasks: tuple[str, ...]
    backbones: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """One measured number.

    Attributes:
        measure, subject: what was measured, on what.
        value: the median; low, high: smallest and largest repetition.
        unit: of all three.
        at_most, at_least: the target, where there is one.
    """

    measure: str
    subject: str
    value: float
    unit: str
    low: float
    high: float
    at_most: float | None = None
    at_least: float | None = None

    @property
    def target(self) -> str:
        """The target as text; empty without one."""
        if self.at_most is not None:
            return f"<= {self.at_most:g}"
        return f">= {self.at_least:g}" if self.at_least is not None else ""

    @property
    def met(self) -> bool:
        """Whether the median meets the target; True without one."""
        above = self.at_least is None or self.value >= self.at_least
        return above and (self.at_most is None or self.value <= self.at_most)


def row_of(
    measure: str,
    subject: str,
    values: Sequence[float],
    unit: str,
    *,
    at_most: float | None = None,
    at_least: float | None = None,
) -> Row:
    """Row of the median of ``values`` with their range."""
    middle = statistics.median(values)
    return Row(measure, subject, middle, unit, min(values), max(values), at_most, at_least)


def wall_s(work: Callable[..., Any], *args: Any) -> float:
    """Wall seconds that ``work(*args)`` takes."""
    started = time.perf_counter()
    work(*args)
    return time.perf_counter() - started


def hardware() -> dict[str, Any]:
    """What the numbers were measured on."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [x for x in info.read_text().splitlines() if x.startswith("model name")]
        cpu = models[0].partition(":")[2].strip() if models else cpu
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "load_1min": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "renderer": renderer_info(),
        "versions": {name: metadata.version(name) for name in _PACKAGES},
    }


def table(rows: Sequence[Row]) -> str:
    """The rows as an aligned text table."""
    head = ("measure", "subject", "median", "range", "unit", "target", "")
    lines = [head]
    for row in rows:
        verdict = "" if not row.target else "met" if row.met else "MISSED"
        span = f"{row.low:.3g}-{row.high:.3g}"
        lines.append(
            (row.measure, row.subject, f"{row.value:.3g}", span, row.unit, row.target, verdict)
        )
    widths = [max(len(line[k]) for line in lines) for k in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def write_json(path: Path, rows: Sequence[Row]) -> None:
    """Write rows and hardware, so that a number is never without its machine."""
    path.parent.mkdir(parents=True, exist_ok=True)
    body = {
        "date": time.strftime("%Y-%m-%d"),
        "hardware": hardware(),
        "rows": [asdict(row) | {"met": row.met} for row in rows],
    }
    path.write_text(json.dumps(body, indent=1) + "\n")
