"""``report.html``: one file that needs nothing else, neither the network nor the run's folder.

Everything it says comes from the run's folder and from the certificates of the tasks.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from string import Template

from neon_sim.files import write_whole

from ..analysis.results import Summary
from ..certificates.common import read_certificate
from ..compare import summary_of_run
from ..film.videos import Films, make_videos
from ..runs.folder import RunFolder
from ..runs.stored import StoredRun, read_manifest, read_run
from .background import certificate_section, decisions, failures, provenance
from .claims import claims
from .markup import Html, join, markup, resource, tag
from .motion import limits, motion, sweep
from .sections import all_cells, all_columns, chart, pairs, rates, verdict, videos

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
    folder: Path | RunFolder,
    videos: int = 2,
    *,
    workers: int = 1,
    verbose: bool = False,
    own: Collection[str] = (),
    summary: Summary | None = None,
) -> Path:
    """Write ``report.html`` of a run, finished or not, and ``summary.json`` again.

    Args:
        folder: of the run. videos: pairs of videos a task, 0 to 10; 0 makes none.
        workers: processes that make videos. verbose: show a progress bar while videos are made.
        own: policies ``module:function`` that may be imported to draw their videos; a manifest
            alone imports nothing.
        summary: of the run's rows as they are, by who just made it and holds the run's lock.

    Returns:
        Path of the file.

    Raises:
        NeonError: no such run or a damaged one, rows that are no pairs, a video that cannot be
            made, no disk space.
    """
    run = folder if isinstance(folder, RunFolder) else RunFolder(folder)
    read_manifest(run)  # before a folder that is no run gets a lock
    with run.locked():
        if summary is None:
            summary = summary_of_run(run, write=True)
        found = make_videos(run, summary, videos, workers=workers, verbose=verbose, own=own)
        write_whole(run.report, page(run, summary, found))
    return run.report


def missing_episodes(stored: StoredRun) -> int:
    """Episodes of the plan that have no row; a task that was stopped early lacks none."""
    plan, decisions = stored.plan, stored.decisions
    wanted = sum(
        len(list(plan.cells(task)))
        * (decisions[task]["episodes"] if task in decisions else plan.episodes)
        for task in plan.tasks
    )
    return max(0, wanted - len(stored.rows))


def page(run: RunFolder, summary: Summary, films: Films) -> Html:
    """The whole document."""
    stored = read_run(run)
    found = {task: read_certificate(task) for task in summary["tasks"]}
    certificates = {task: body for task, body in found.items() if body is not None}
    columns, cells = all_columns(summary), all_cells(summary)
    parts = [
        verdict(summary, missing_episodes(stored)),
        claims(summary.get("claims", [])),
        _contents(),
        chart(summary, certificates, sweep(summary, certificates)),
        videos(films, run.videos, columns, cells),
        rates(summary),
        pairs(summary),
        decisions(summary),
        certificate_section(list(summary["tasks"]), certificates),
        motion(summary),
        limits(summary),
        provenance(stored.manifest),
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
