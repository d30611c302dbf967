"""``report.html``: one file that needs nothing else, neither the network nor the run's folder.

Everything it says comes from the run's folder and from the certificates of the tasks.
"""

from __future__ import annotations

from pathlib import Path
from string import Template
from typing import Any

from neon_sim.files import write_whole

from .certificates import read_certificate
from .compare import plan_of_run, summary_of_run
from .markup import Html, join, markup, resource, tag
from .report_background import certificate_section, decisions, failures, provenance
from .report_claims import claims
from .report_motion import limits, motion, sweep
from .report_sections import all_cells, all_columns, chart, pairs, rates, verdict, videos
from .results import Row, RunFolder
from .summary import VERSION
from .videos import VideoGroup, make_videos

CONTENTS = (
    ("chart", "Success"),
    ("videos", "Videos"),
    ("rates", "Rates"),
    ("pairs", "Comparisons"),
    ("certificates", "Certificates"),
    ("motion", "Speed"),
    ("limits", "Limits"),
    ("provenance", "What ran where"),
    ("failures", "Errors"),
)


def write_report(
    folder: Path | RunFolder, videos: int = 2, *, workers: int = 1, verbose: bool = False
) -> Path:
    """Write ``report.html`` of a run, finished or not.

    Args:
        folder: of the run. videos: pairs of videos a task, 0 to 10; 0 makes none.
        workers: processes that make videos. verbose: show a progress bar while videos are made.

    Returns:
        Path of the file.

    Raises:
        NeonError: no such run, rows that are no pairs, a video that cannot be made, no disk
            space.
    """
    run = folder if isinstance(folder, RunFolder) else RunFolder(folder)
    plan_of_run(run)  # before a folder that is no run gets a lock
    with run.locked():
        summary = current_summary(run)
        groups = make_videos(run, summary, videos, workers=workers, verbose=verbose)
        write_whole(run.report, page(run, summary, groups))
    return run.report


def current_summary(run: RunFolder) -> dict[str, Any]:
    """``summary.json``, made again where it is missing, or older than the rows or this code."""
    rows = run.read_rows()
    if run.summary.exists():
        summary = run.read_json(run.summary)
        known = summary.get("version") == VERSION
        if known and _counts_of_rows(rows) == _counts_of_summary(summary):
            return summary
    return summary_of_run(run, write=True)


Counts = dict[tuple[str, str, str], tuple[int, int, int]]


def _counts_of_rows(rows: list[Row]) -> Counts:
    counts: Counts = {}
    for row in rows:
        key = row["task"], row["policy"], row["condition"]
        n, successes, errors = counts.get(key, (0, 0, 0))
        failed = row["error"] is not None
        counts[key] = n + 1, successes + bool(row["success"]), errors + failed
    return counts


def _counts_of_summary(summary: dict[str, Any]) -> Counts:
    return {
        (task, cell["policy"], cell["condition"]): (
            cell["n"],
            cell["any_time"]["successes"],
            cell["errors"],
        )
        for task, entry in summary.get("tasks", {}).items()
        for cell in entry["cells"]
    }


def missing_episodes(run: RunFolder, rows: list[Row]) -> int:
    """Episodes of the plan that have no row; a task that was stopped early lacks none."""
    plan = plan_of_run(run)
    decided = run.read_json(run.manifest).get("decisions", {})
    wanted = sum(
        len(list(plan.cells(task))) * decided.get(task, {}).get("episodes", plan.episodes)
        for task in plan.tasks
    )
    return max(0, wanted - len(rows))


def page(run: RunFolder, summary: dict[str, Any], groups: list[VideoGroup]) -> Html:
    """The whole document."""
    manifest, rows = run.read_json(run.manifest), run.read_rows()
    found = {task: read_certificate(task) for task in summary["tasks"]}
    certificates = {task: body for task, body in found.items() if body is not None}
    columns, cells = all_columns(summary), all_cells(summary)
    parts = [
        verdict(summary, missing_episodes(run, rows)),
        claims(summary.get("claims", [])),
        _contents(),
        chart(summary, certificates, sweep(summary, certificates)),
        videos(groups, run.videos, columns, cells),
        rates(summary),
        pairs(summary),
        decisions(summary),
        certificate_section(list(summary["tasks"]), certificates),
        motion(summary),
        limits(summary),
        provenance(manifest),
        failures(summary),
    ]
    name = run.path.resolve().name
    return Html(
        Template(resource("report.html")).substitute(
            title=markup(f"{name}: {summary['verdict']}"),
            what="report",
            name=markup(name),
            style=resource("report.css"),
            script=resource("report.js"),
            body=join(parts, "\n"),
        )
    )


def _contents() -> Html:
    links = [tag("a", title, href=f"#{name}") for name, title in CONTENTS]
    return tag("nav", *links, aria_label="Contents")
