"""``python -m neon_sim.benchmarks.perf``: run the measures, print a table, write JSON."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

# One core is what is measured; numpy and torch read this when they are imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import neon_sim  # noqa: F401  (registers the Gymnasium ids)
from neon_sim.command import Parser, entry_point
from neon_sim.errors import EXIT_FAILED
from neon_sim.registry import TASKS, Registry, task_entry

from .rows import Options, Row, table, write_json

MEASURES = Registry(
    "measure",
    {
        "encoders": "neon_sim.benchmarks.perf.encoders:measure",
        "env_step": "neon_sim.benchmarks.perf.env_step:measure",
        "foundation": "neon_sim.benchmarks.perf.foundation:measure",
        "grid": "neon_sim.benchmarks.perf.grid:measure",
        "sound": "neon_sim.benchmarks.perf.sound:measure",
        "temporal": "neon_sim.benchmarks.perf.temporal:measure",
        "training": "neon_sim.benchmarks.perf.training:measure",
    },
)
ASKED_FOR = ("foundation",)  # measured when named alone: minutes a model, or a GPU


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(prog="python -m neon_sim.benchmarks.perf", description=__doc__)
    parser.add_argument(
        "--measure",
        help=f"by comma, of {', '.join(MEASURES)} (default: all but {', '.join(ASKED_FOR)})",
    )
    parser.add_argument("--task", help="tasks by comma (default: all)")
    parser.add_argument(
        "--backbone", default="", help="of foundation, by comma (default: what fits)"
    )
    parser.add_argument("--repeats", type=int, default=7, help="interleaved repetitions")
    parser.add_argument("--out", type=Path, default=Path("runs/perf.json"))
    parser.add_argument("--strict", action="store_true", help="exit 1 when a target is missed")
    return parser.parse_args(arguments)


@entry_point("perf", "nothing was written")
def main(arguments: list[str]) -> int:
    """Run what was asked for; returns the exit code."""
    args = parse(arguments)
    usual = [name for name in MEASURES if name not in ASKED_FOR]
    names = args.measure.split(",") if args.measure else usual
    chosen = args.task.split(",") if args.task else list(TASKS)
    options = Options(
        args.repeats,
        tuple(task_entry(name).name for name in chosen),
        tuple(name for name in args.backbone.split(",") if name),
    )
    rows: list[Row] = []
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        rows += MEASURES.resolve(name)(options)
    print(table(rows))
    write_json(args.out, rows)
    print(f"written: {args.out}")
    missed = args.strict and not all(row.met for row in rows)
    return EXIT_FAILED if missed else 0


if __name__ == "__main__":
    sys.exit(main())
