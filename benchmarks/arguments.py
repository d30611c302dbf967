"""The command line of ``neon-bench``: every option with its unit, its default and examples."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Interval

from neon_sim.clock import CHUNK_STEPS
from neon_sim.command import Parser
from neon_sim.rules import Batch, Episodes, Seed, Workers, option

if TYPE_CHECKING:  # argparse has no public name for it
    Commands = argparse._SubParsersAction[Parser]

Videos = Annotated[int, Interval(ge=0, le=10)]
Latency = Annotated[int, Interval(ge=0, le=1000)]
Replan = Annotated[int, Interval(ge=1, le=CHUNK_STEPS)]
Level = Annotated[float, Interval(gt=0, lt=1)]
LISTS = ("tasks", "policies", "conditions", "backbones", "suites")
OPTIONS = ("policy", "suite", "task", "episodes", "seed", "train_seeds", "workers", "out")
CODES = (
    "exit codes: 0 all went well; 1 what was measured failed (an episode raised, doctor found a "
    "fault); 2 something is yours to mend (one line says what); 70 a fault of this package; 130 "
    "Ctrl-C; 141 nobody read the output to its end"
)
RUN_ABOUT = """\
key=value sets a field of the policy (replan_steps=8, clip.num_frames=4, head=flow) or of the
run (checkpoint=PATH, blending=linear, robot=menagerie, start_noise=0.05 rad; of the humanoid
lower=standing|reflex|learned|harness|base, what keeps it up, and mode=arms|upper_body|whole_body|
whole_body_command, what a policy sets). A checkpoint may hold {policy},
{condition}, {task} and {train_seed}. A policy of your own is module:function,
called with condition, task and train_seed; what it returns has clip (a ClipConfig), needs (of
video, state, audio, flow, body), reset(num_envs) and act(ClipBatch) -> (B, 16, A) floats in
[-1, 1]."""
RUN_EXAMPLES = (
    "neon-bench run --policy neon_tiny --condition frame,video --suite arm --out runs/x",
    "neon-bench run --policy expert --task arm_latch --replan-steps 1,8 --latency-steps 0,5 "
    "--out runs/latch",
    "neon-bench run --policy expert --task humanoid_goalkeeper --out runs/stands lower=standing",
    "neon-bench run --policy neon_tiny --task arm_catch --out runs/z checkpoint=runs/catch",
)
COMPARE_EXAMPLES = ("neon-bench compare runs/x", "neon-bench compare runs/old runs/new --json")
CERTIFY_EXAMPLES = (
    "neon-bench certify --task arm_block --out runs/certificates",
    "neon-bench certify --suite sound --episodes 100 --out runs/certificates",
)
LISTEN_EXAMPLES = ("neon-bench listen --suite sound --out runs/cues.html",)
REPORT_EXAMPLES = ("neon-bench report runs/x", "neon-bench report runs/x --videos 0")


WORD, WORDS, PLACE = option(str), option(list[str]), option(Path)
SEED, EPISODES = option(Seed), option(Episodes)


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = Parser(
        prog="neon-bench",
        description="When does seeing time pay? COMMAND --help shows options and examples.",
        epilog=CODES,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_run(commands)
    _add_compare(commands)
    _add_certify(commands)
    _add_report(commands)
    _add_listen(commands)
    _add_list(commands)
    _add_doctor(commands)
    return parser


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse; ``key=value`` may stand anywhere, but an option is no setting.

    Raises:
        ConfigError: what is not understood. SystemExit: after ``--help``, with code 0.
    """
    parser = build_parser()
    args, rest = parser.parse_known_args(arguments)
    stray = [text for text in rest if text.startswith("-") or "=" not in text]
    if stray or (rest and not hasattr(args, "overrides")):
        parser.error(f"unrecognized arguments: {' '.join(stray or rest)}")
    if rest:
        args.overrides = [*args.overrides, *rest]
    for text in getattr(args, "overrides", []):
        key, _, value = text.partition("=")
        if key.replace("-", "_") in OPTIONS:
            option = f"--{key.replace('_', '-')}"
            parser.error(f"{key} is an option and no setting: {option} {value} (got {text})")
    return args


def _command(
    commands: Commands, name: str, summary: str, examples: Sequence[str], about: str = ""
) -> argparse.ArgumentParser:
    """A subcommand whose help ends in example command lines."""
    shown = "\n".join(["examples:", *(f"  {line}" for line in examples)])
    return commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog="\n\n".join(part for part in (about, shown) if part),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _add_processes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--workers",
        type=option(Workers),
        default=min(2, os.cpu_count() or 1),
        metavar="N",
        help="processes, which change no result (default: %(default)s)",
    )


def _add_workers(parser: argparse.ArgumentParser) -> None:
    _add_processes(parser)
    parser.add_argument(
        "--batch",
        type=option(Batch),
        default=8,
        metavar="N",
        help="environments side by side in each, which change no result (default: 8)",
    )
    parser.add_argument(
        "--executor",
        type=WORD,
        default="local",
        metavar="NAME",
        help="local or ray (default: local)",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def _add_seeds(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--seed", type=SEED, default=0, metavar="N", help="of the episodes (default: 0)"
    )
    parser.add_argument(
        "--train-seeds",
        type=option(list[Seed]),
        default=[0],
        metavar="N[,N]",
        help="which trained heads play, each on every episode (default: 0)",
    )


def _add_tasks(parser: argparse.ArgumentParser, suite: str) -> None:
    parser.add_argument(
        "--suite",
        type=WORD,
        metavar="NAME",
        help=f"tasks of configs/suite/, see `neon-bench list suites` (default: {suite})",
    )
    parser.add_argument(
        "--task",
        type=WORDS,
        default=[],
        metavar="NAME[,NAME]",
        help="single tasks in place of a suite, see `neon-bench list tasks`",
    )


def _add_videos(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--videos",
        type=option(Videos),
        default=2,
        metavar="N",
        help="pairs of videos a task in the report; 0: none (default: 2)",
    )


def _add_overrides(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="settings of the policy and of the run"
    )


def _add_run(commands: Commands) -> None:
    run = _command(
        commands, "run", "run policies on tasks, on the same episodes", RUN_EXAMPLES, RUN_ABOUT
    )
    names: dict[str, Any] = {"type": WORDS, "default": [], "metavar": "NAME[,NAME]"}
    run.add_argument(
        "--policy", **names, help="see `neon-bench list policies` (default: the suite's)"
    )
    run.add_argument(
        "--condition",
        **names,
        help="what they are shown, see `neon-bench list conditions` (default: each policy's own)",
    )
    _add_tasks(run, "arm")
    run.add_argument(
        "--episodes",
        type=EPISODES,
        metavar="N",
        help="of every task, policy, condition and training seed (default: the suite's, 200)",
    )
    _add_seeds(run)
    steps: dict[str, Any] = {"default": [], "metavar": "N[,N]"}
    run.add_argument(
        "--latency-steps",
        type=option(list[Latency]),
        **steps,
        help="control steps of 20 ms that an answer comes late; several: a sweep (default: 0)",
    )
    run.add_argument(
        "--replan-steps",
        type=option(list[Replan]),
        **steps,
        help="control steps of 20 ms between two looks; several: a sweep (default: each policy's "
        "own)",
    )
    run.add_argument(
        "--until-decided",
        action="store_true",
        help="stop a task as soon as its first two columns are told apart, at the level of "
        "--alpha at every look",
    )
    run.add_argument(
        "--alpha",
        type=option(Level),
        default=0.05,
        metavar="P",
        help="level of every verdict (default: 0.05)",
    )
    run.add_argument(
        "--out", type=PLACE, required=True, metavar="DIR", help="run folder (required)"
    )
    run.add_argument(
        "--allow-training-seed",
        action="store_true",
        help="play policies on episodes of their own training too; table and page then say so",
    )
    run.add_argument("--resume", action="store_true", help="complete the run that is there")
    _add_videos(run)
    _add_workers(run)
    _add_overrides(run)


def _add_compare(commands: Commands) -> None:
    compare = _command(
        commands, "compare", "print the table of a run, or of two runs, paired", COMPARE_EXAMPLES
    )
    compare.add_argument(
        "runs", nargs="+", type=PLACE, metavar="RUN", help="one or two run folders"
    )
    compare.add_argument("--json", action="store_true", help="print JSON, as in summary.json")


def _add_certify(commands: Commands) -> None:
    certify = _command(
        commands, "certify", "prove what a task needs: time, ears, neither", CERTIFY_EXAMPLES
    )
    _add_tasks(certify, "arm")
    certify.add_argument(
        "--episodes",
        type=EPISODES,
        default=200,
        metavar="N",
        help="of every column; fewer than 100 certify nothing (default: 200)",
    )
    _add_seeds(certify)
    certify.add_argument(
        "--policy",
        type=WORD,
        metavar="NAME",
        help="whose oracle, blind or muted heads (default: neon_tiny, of sound tasks "
        "neon_tiny_hear)",
    )
    certify.add_argument(
        "--run",
        type=PLACE,
        default=Path("runs/certify"),
        metavar="DIR",
        help="folder of the runs it needs, which are resumed (default: runs/certify)",
    )
    certify.add_argument(
        "--out",
        type=PLACE,
        metavar="DIR",
        help="folder of the certificates (default: those that ship, assets/certificates)",
    )
    _add_workers(certify)
    _add_overrides(certify)


def _add_report(commands: Commands) -> None:
    report = _command(commands, "report", "write report.html of a run", REPORT_EXAMPLES)
    report.add_argument("run", type=PLACE, metavar="RUN", help="run folder")
    report.add_argument(
        "--policy",
        type=WORDS,
        default=[],
        metavar="NAME[,NAME]",
        help="policies of your own, module:function, that may be imported to draw their videos",
    )
    _add_videos(report)
    _add_processes(report)


def _add_listen(commands: Commands) -> None:
    listen = _command(
        commands, "listen", "write a page that plays the cues of sound tasks", LISTEN_EXAMPLES
    )
    _add_tasks(listen, "sound")
    for name in ("seed", "episode"):
        listen.add_argument(
            f"--{name}", type=SEED, default=0, metavar="N", help="of what is played (default: 0)"
        )
    listen.add_argument("--out", type=PLACE, required=True, metavar="FILE", help="HTML (required)")


def _add_list(commands: Commands) -> None:
    listing = _command(commands, "list", "print what there is", ("neon-bench list policies",))
    listing.add_argument("what", choices=LISTS, help="which list")


def _add_doctor(commands: Commands) -> None:
    _command(
        commands,
        "doctor",
        "print what runs on this machine, how fast (ms a frame), and what mends the rest",
        ("neon-bench doctor",),
        "Takes some seconds; exit code 1 when something that every run needs is missing.",
    )
