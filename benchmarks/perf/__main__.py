"""``python -m neon_sim.benchmarks.perf``: run the measures, print a table, write JSON."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Annotated

from annotated_types import Interval

# One core is what is measured; numpy and torch read this when they are imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import neon_sim  # noqa: F401  (registers the Gymnasium ids)
from neon_sim.command import Parser, entry_point
from neon_sim.errors import EXIT_FAILED, ConfigError
from neon_sim.files import hold_file
from neon_sim.registry import TASKS, Registry, task_entry
from neon_sim.rules import option

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
Repeats = Annotated[int, Interval(ge=1, le=10_000)]
WORDS = option(list[str])
ASKED_FOR = ("foundation",)  # measured when named alone: minutes a model, or a GPU


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = Parser(prog="python -m neon_sim.benchmarks.perf", description=__doc__)
    parser.add_argument(
        "--measure",
        type=WORDS,
        help=f"by comma, of {', '.join(MEASURES)} (default: all but {', '.join(ASKED_FOR)})",
    )
    parser.add_argument("--task", type=WORDS, help="tasks by comma (default: all)")
    parser.add_argument(
        "--backbone", type=WORDS, default=[], help="of foundation, by comma (default: what fits)"
    )
    parser.add_argument(
        "--repeats", type=option(Repeats), default=7, help="interleaved repetitions (default: 7)"
    )
    parser.add_argument("--out", type=option(Path), default=Path("runs/perf.json"))
    parser.add_argument("--strict", action="store_true", help="exit 1 when a target is missed")
    return parser


@entry_point("perf", "nothing was written")
def main(arguments: list[str]) -> int:
    """Run what was asked for; returns the exit code."""
    args = build_parser().parse_args(arguments)
    usual = [name for name in MEASURES if name not in ASKED_FOR]
    hold_file("--out", args.out)
    if args.backbone and "foundation" not in (args.measure or ()):
        raise ConfigError(
            f"--backbone is of --measure foundation (got {','.join(args.backbone)}); leave it out"
        )
    measures = {name: MEASURES.resolve(name) for name in args.measure or usual}
    tasks = tuple(task_entry(name).name for name in args.task or TASKS)
    options = Options(args.repeats, tasks, tuple(args.backbone))
    rows: list[Row] = []
    for name, measure in measures.items():
        print(f"{name} ...", file=sys.stderr, flush=True)
        rows += measure(options)
    print(table(rows))
    write_json(args.out, rows)
    print(f"written: {args.out}")
    missed = args.strict and not all(row.met for row in rows)
    return EXIT_FAILED if missed else 0


if __name__ == "__main__":
    sys.exit(main())
