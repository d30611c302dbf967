"""``neon-bench``: run policies on tasks, compare, certify, report.

Exit codes: 0 all went well; 1 an episode raised (or ``doctor`` found a fault); 2 the user
has something to mend (one line says what); 70 a fault of this package; 130 stopped by Ctrl-C,
finished episodes kept; 141 nobody read the output to its end.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from neon_sim.command import entry_point
from neon_sim.errors import EXIT_FAILED, CheckpointError, ConfigError
from neon_sim.files import hold_file, hold_folder

from .arguments import parse

if TYPE_CHECKING:  # the parser alone must not take seconds
    from .analysis.results import Summary
    from .running.runner import Resources
    from .runs.folder import RunFolder
    from .runs.plan import RunPlan


@entry_point("")
def main(argv: list[str]) -> int:
    """Run one command; returns the exit code."""
    args = parse(argv)
    try:
        return COMMANDS[args.command](args, ["neon-bench", *argv])
    except KeyboardInterrupt:
        out = getattr(args, "out", None) if args.command == "run" else getattr(args, "run", None)
        kept = f"finished episodes are kept in {out}, --resume completes them" if out else ""
        raise KeyboardInterrupt(kept) from None


def run_command(args: argparse.Namespace, command: list[str]) -> int:
    """``neon-bench run``."""
    from .runs.folder import RunFolder
    from .runs.plan import make_plan
    from .runs.sweep import swept

    hold_folder("--out", args.out)
    _resources(args, command).validate()
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
    try:
        failed = play(plan, folder, args, command, resume=args.resume)
    except CheckpointError as error:
        raise CheckpointError(f"{error}{_made_by(args)}") from error
    with folder.locked():
        summary = _print_summary(folder)
        _write_report(folder, args, not args.quiet, summary)
    return EXIT_FAILED if failed else 0


def _made_by(args: argparse.Namespace) -> str:
    """What makes the heads of a suite's own policies, where a script does."""
    from .runs.suites import load_suite

    script = load_suite(args.suite).heads_by if args.suite and not args.policy else ""
    return (
        f". All heads of suite {args.suite} are made, and it is run, by {script}" if script else ""
    )


def play(
    plan: RunPlan, folder: RunFolder, args: argparse.Namespace, command: list[str], *, resume: bool
) -> bool:
    """Compute a plan with a progress bar; True when an episode raised."""
    from .running.players import check_players
    from .running.progress import Bar
    from .running.runner import run

    resources = _resources(args, command)
    allowed = getattr(args, "allow_training_seed", False)
    players = check_players(plan, allow_training_seed=allowed)  # before a bar says that it runs
    with Bar(plan, folder, quiet=args.quiet) as bar:
        rows = run(plan, folder, resources, resume=resume, progress=bar, players=players)
    return any(row["error"] is not None for row in rows)


def _resources(args: argparse.Namespace, command: list[str]) -> Resources:
    from .running.runner import Resources

    return Resources(args.workers, args.batch, args.executor, command)


def _print_summary(folder: RunFolder) -> Summary:
    from .analysis.tables import summary_text
    from .compare import summary_of_run

    summary = summary_of_run(folder, write=True)
    print(summary_text(summary))
    return summary


def _write_report(
    folder: RunFolder, args: argparse.Namespace, verbose: bool, summary: Summary | None = None
) -> None:
    from .report.page import write_report

    path = write_report(
        folder,
        videos=args.videos,
        workers=args.workers,
        verbose=verbose,
        own=args.policy,
        summary=summary,
    )
    print(f"\nreport: {path}")


def compare_command(args: argparse.Namespace, command: list[str]) -> int:
    """``neon-bench compare``."""
    import json

    from .analysis.tables import summary_text
    from .compare import compare_runs, summary_of_run
    from .runs.folder import RunFolder

    if len(args.runs) > 2:
        raise ConfigError(f"compare takes one run or two (got {len(args.runs)})")
    first, *others = (RunFolder(path) for path in args.runs)
    summary = compare_runs(first, others[0]) if others else summary_of_run(first)
    print(json.dumps(summary, indent=1) if args.json else summary_text(summary))
    pairs = [pair for entry in summary["tasks"].values() for pair in entry["pairs"]]
    broken = summary["failures"] or any("incomparable" in pair for pair in pairs)
    return EXIT_FAILED if broken else 0


def certify_command(args: argparse.Namespace, command: list[str]) -> int:
    """``neon-bench certify``."""
    from .certificates.visual import certify

    _resources(args, command).validate()
    return certify(args, command, play)


def report_command(args: argparse.Namespace, command: list[str]) -> int:
    """``neon-bench report``."""
    from .runs.folder import RunFolder

    _write_report(RunFolder(args.run), args, verbose=True)
    return 0


def listen_command(args: argparse.Namespace, command: list[str]) -> int:
    """``neon-bench listen``."""
    from .report.listen import write_page
    from .runs.suites import chosen_tasks

    hold_file("--out", args.out)
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
    from neon_sim.simulation.doctor import doctor, format_findings, healthy

    findings = doctor()
    print(format_findings(findings))
    return 0 if healthy(findings) else EXIT_FAILED


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
