"""``neon-bench``: run policies on tasks, compare, certify, report.

Exit codes: 0 all went well; 1 an episode raised (or ``doctor`` found a fault); 2 the user
has something to mend (one line says what); 130 stopped by Ctrl-C, finished episodes kept.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from neon_sim.errors import ConfigError, NeonError

EXIT_ERRORS, EXIT_USER, EXIT_INTERRUPTED = 1, 2, 130
LISTS = ("tasks", "policies", "conditions", "backbones", "suites")
RUN_EPILOG = (
    "key=value sets a field of the policy (replan_steps=8, clip.num_frames=4, head=flow) or of "
    "the run (checkpoint=PATH, blending=linear, robot=menagerie, start_noise=0.05). A checkpoint "
    "may hold {condition} and {train_seed}. A policy of your own is module:function."
)


def words(text: str) -> list[str]:
    """``a,b`` as a list without empty parts."""
    return [part.strip() for part in text.split(",") if part.strip()]


def integers(text: str) -> list[int]:
    """``0,1,2`` as a list."""
    return [int(part) for part in words(text)]


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(prog="neon-bench", description="When does seeing time pay?")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_run(commands)
    _add_compare(commands)
    _add_certify(commands)
    _add_listen(commands)
    report = commands.add_parser("report", help="write report.html of a run")
    report.add_argument("run", type=Path, metavar="RUN")
    report.add_argument("--videos", type=int, default=2, help="pairs of videos a task (0: none)")
    listing = commands.add_parser("list", help="what there is")
    listing.add_argument("what", choices=LISTS)
    commands.add_parser("doctor", help="what runs on this machine, and what mends the rest")
    return parser


def _add_workers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--batch", type=int, default=8, help="environments side by side (8)")
    parser.add_argument("--executor", default="local", help="local (default) or ray")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def _add_run(commands: Any) -> None:
    run = commands.add_parser("run", help="run policies on tasks, paired", epilog=RUN_EPILOG)
    run.add_argument("--policy", type=words, default=[], help="names, by comma (the suite's)")
    run.add_argument("--condition", type=words, default=[], help="names, by comma")
    run.add_argument("--suite", help="tasks of configs/suite/ (arm)")
    run.add_argument("--task", type=words, default=[], help="single tasks, by comma")
    run.add_argument("--episodes", type=int, help="of every cell (the suite's number)")
    run.add_argument("--seed", type=int, default=0)
    run.add_argument("--train-seeds", type=integers, default=[0], help="of the heads (0)")
    steps = {"type": integers, "default": [], "metavar": "N[,N]"}
    run.add_argument("--latency-steps", **steps, help="control steps of 20 ms (0); several: sweep")
    run.add_argument("--replan-steps", **steps, help="control steps between looks; several: sweep")
    run.add_argument("--until-decided", action="store_true", help="stop a task when it is clear")
    run.add_argument("--alpha", type=float, default=0.05)
    run.add_argument("--out", type=Path, required=True, help="run folder")
    run.add_argument("--resume", action="store_true", help="complete the run that is there")
    run.add_argument("--videos", type=int, default=2, help="pairs of videos a task (0: none)")
    _add_workers(run)
    run.add_argument("overrides", nargs="*", metavar="key=value")


def _add_compare(commands: Any) -> None:
    compare = commands.add_parser("compare", help="the table of a run, or of two runs, paired")
    compare.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    compare.add_argument("--json", action="store_true", help="print JSON")


def _add_certify(commands: Any) -> None:
    certify = commands.add_parser("certify", help="what does a task need? prove it")
    certify.add_argument("--task", type=words, default=[], help="by comma")
    certify.add_argument("--suite", help="tasks of configs/suite/ (arm)")
    certify.add_argument("--episodes", type=int, default=200)
    certify.add_argument("--seed", type=int, default=0)
    certify.add_argument("--train-seeds", type=integers, default=[0])
    certify.add_argument("--policy", help="whose oracle, blind or muted heads")
    certify.add_argument("--run", type=Path, default=Path("runs/certify"), help="folder of runs")
    certify.add_argument("--out", type=Path, help="folder of certificates (assets/certificates)")
    _add_workers(certify)
    certify.add_argument("overrides", nargs="*", metavar="key=value")


def _add_listen(commands: Any) -> None:
    listen = commands.add_parser("listen", help="a page that plays the cues of sound tasks")
    listen.add_argument("--task", type=words, default=[], help="by comma")
    listen.add_argument("--suite", help="tasks of configs/suite/ (sound)")
    listen.add_argument("--seed", type=int, default=0)
    listen.add_argument("--episode", type=int, default=0)
    listen.add_argument("--out", type=Path, required=True, help="HTML file")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse; ``key=value`` may stand anywhere."""
    parser = build_parser()
    args, rest = parser.parse_known_args(arguments)
    stray = [text for text in rest if text.startswith("-") or "=" not in text]
    if stray or (rest and not hasattr(args, "overrides")):
        parser.error(f"unrecognized arguments: {' '.join(stray or rest)}")
    if rest:
        args.overrides = [*args.overrides, *rest]
    return args


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    args = parse(arguments)
    command = ["neon-bench", *(sys.argv[1:] if arguments is None else arguments)]
    try:
        return COMMANDS[args.command](args, command)
    except NeonError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USER
    except KeyboardInterrupt:
        out = getattr(args, "out", None) if args.command == "run" else getattr(args, "run", None)
        kept = f"; finished episodes are kept in {out}, --resume completes them" if out else ""
        print(f"\nstopped{kept}", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # `neon-bench compare RUN | head`
        sys.stderr.close()
        return 0


def run_command(args: argparse.Namespace, command: list[str]) -> int:
    """``neon-bench run``."""
    from .plan import make_plan
    from .results import RunFolder
    from .sweep import swept

    plan = make_plan(
        policies=args.policy,
        conditions=args.condition,
        tasks=args.task,
        suite=args.suite,
        episodes=args.episodes,
        seed=args.seed,
        train_seeds=args.train_seeds,
        latency_steps=0,
        until_decided=args.until_decided,
        alpha=args.alpha,
        overrides=args.overrides,
    )
    plan = swept(plan, args.replan_steps, args.latency_steps)
    folder = RunFolder(args.out)
    failed = play(plan, folder, args, command, resume=args.resume)
    _print_summary(folder)
    _write_report(folder, args.videos, not args.quiet)
    return EXIT_ERRORS if failed else 0


def play(
    plan: Any, folder: Any, args: argparse.Namespace, command: list[str], *, resume: bool
) -> bool:
    """Compute a plan with a progress bar; True when an episode raised."""
    from .progress import Bar
    from .runner import Resources, run

    resources = Resources(args.workers, args.batch, args.executor, command)
    with Bar(plan, folder, quiet=args.quiet) as bar:
        rows = run(plan, folder, resources, resume=resume, progress=bar)
    return any(row["error"] is not None for row in rows)


def _print_summary(folder: Any) -> None:
    from .compare import summary_of_run
    from .tables import summary_text

    print(summary_text(summary_of_run(folder, write=True)))


def _write_report(folder: Any, videos: int, verbose: bool) -> None:
    from .report import write_report

    if videos < 0:
        raise ConfigError(f"--videos must be at least 0 (got {videos})")
    path = write_report(folder, videos=videos, verbose=verbose)
    print(f"\nreport: {path}")


def compare_command(args: argparse.Namespace, command: list[str]) -> int:
    """``neon-bench compare``."""
    import json

    from .compare import compare_runs, summary_of_run
    from .results import RunFolder
    from .tables import summary_text

    if len(args.runs) > 2:
        raise ConfigError(f"compare takes one run or two (got {len(args.runs)})")
    first, *others = (RunFolder(path) for path in args.runs)
    summary = compare_runs(first, others[0]) if others else summary_of_run(first)
    print(json.dumps(summary, indent=1) if args.json else summary_text(summary))
    return 0


def certify_command(args: argparse.Namespace, command: list[str]) -> int:
    """``neon-bench certify``."""
    from .certify import certify

    return certify(args, command, play)


def report_command(args: argparse.Namespace, command: list[str]) -> int:
    """``neon-bench report``."""
    from .results import RunFolder

    _write_report(RunFolder(args.run), args.videos, verbose=True)
    return 0


def listen_command(args: argparse.Namespace, command: list[str]) -> int:
    """``neon-bench listen``."""
    from .listen import write_page
    from .suites import chosen_tasks

    tasks = chosen_tasks(args.task, args.suite, "sound")
    print(f"page: {write_page(args.out, tasks, args.seed, args.episode)}")
    return 0


def list_command(args: argparse.Namespace, command: list[str]) -> int:
    """``neon-bench list``."""
    from .listing import listing

    print(listing(args.what))
    return 0


def doctor_command(args: argparse.Namespace, command: list[str]) -> int:
    """``neon-bench doctor``."""
    from neon_sim.doctor import doctor, format_findings, healthy

    findings = doctor()
    print(format_findings(findings))
    return 0 if healthy(findings) else EXIT_ERRORS


COMMANDS = {
    "run": run_command,
    "compare": compare_command,
    "certify": certify_command,
    "report": report_command,
    "listen": listen_command,
    "list": list_command,
    "doctor": doctor_command,
}

if __name__ == "__main__":
    sys.exit(main())
