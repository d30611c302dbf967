"""The sections of ``report.html`` on how policies act: speed, limits of the robot, sweeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from neon_sim.clock import CONTROL_HZ

from ..analysis.results import CellSummary, LimitShare, Summary
from ..analysis.tables import shown
from ..runs.scripted import CONDITION
from ..runs.sweep import base_name, lateness, setting_of
from .charts import SHAPES, Curve, colour_class, curves_panel, level_key, line_swatch, marker
from .markup import Html, grouped_table, join, tag
from .sections import all_cells, all_columns, levels, named, note, section

KINDS = ("position", "velocity", "torque")  # of limits, as rows name them


def motion(summary: Summary) -> Html:
    """How fast the policy thinks and how smoothly the arm moves."""
    columns, cells = all_columns(summary), all_cells(summary)
    head = ("", "inference ms", "seeing ms", "jerk rad/s³", "jump mrad", "steps", "wall s")
    groups = [
        (
            task,
            [
                [
                    named(cell, columns, cells),
                    shown(cell["inference_ms"], ".2f"),
                    shown(cell["observe_ms"], ".2f"),
                    shown(cell["mean_jerk"], ".0f"),
                    shown(cell["boundary_jump"], ".1f", 1e3),
                    shown(cell["steps"], ".0f"),
                    shown(cell["wall_s"], ".2f"),
                ]
                for cell in entry["cells"]
            ],
        )
        for task, entry in summary["tasks"].items()
    ]
    small = (
        "Means over episodes without an error. Inference: one answer of the policy, its share of "
        "the batch; seeing: drawing what the policy looks at. Jerk: third difference of the "
        "commanded joint angles; jump: how far the command moves in the step where a new chunk of "
        f"actions takes over. A step is {1000 // CONTROL_HZ} ms of simulated time; wall: real time "
        "of an episode."
    )
    body = grouped_table(head, groups, numbers=range(1, len(head)))
    return section("motion", "Speed and smoothness", body, note(small))


def limits(summary: Summary) -> Html:
    """How long joints were at the robot's limits."""
    columns, cells = all_columns(summary), all_cells(summary)
    head = ("", *(f"{kind} {what} %" for kind in KINDS for what in ("mean", "worst")))
    groups = [
        (
            task,
            [
                [named(cell, columns, cells), *_limit_cells(cell["limits"])]
                for cell in entry["cells"]
                if cell.get("limits")
            ],
        )
        for task, entry in summary["tasks"].items()
    ]
    if not any(rows for _, rows in groups):
        return section("limits", "Limits of the robot", note("Rows of this run do not tell."))
    small = (
        "Share of an episode's control steps in which some joint was within 0.01 rad of an end of "
        "its range, as fast as the robot allows, or at 99 % of its motor's torque: mean over "
        "episodes, and the worst episode."
    )
    body = grouped_table(head, groups, numbers=range(1, len(head)))
    return section("limits", "Limits of the robot", body, note(small))


def _limit_cells(shares: dict[str, LimitShare]) -> list[str]:
    return [
        f"{100 * share:.1f}"
        for kind in KINDS
        for share in (shares[kind]["mean"], shares[kind]["worst"])
    ]


# ---- sweeps --------------------------------------------------------------------------------


def sweep(summary: Summary, certificates: dict[str, dict[str, Any]]) -> list[Html]:
    """Success over chunk length and latency, with small print; nothing without a sweep."""
    panels = [
        _sweep_panel(task, name, word, cells, certificates.get(task, {}))
        for task, entry in summary["tasks"].items()
        for (name, word), cells in _by_policy(entry["cells"]).items()
    ]
    if not panels:
        return []
    small = note(
        "Chunk length and latency: the same policy on the same episodes, asked again after so "
        f"many control steps of {1000 // CONTROL_HZ} ms; in between it acts on its last chunk of "
        "actions and takes nothing in. Late: how long an answer takes. Upright lines: 95 % "
        "intervals."
    )
    return [tag("div", *panels, class_="panels"), small]


def _by_policy(cells: list[CellSummary]) -> dict[tuple[str, str], list[CellSummary]]:
    """Swept cells by what was swept."""
    found: dict[tuple[str, str], list[CellSummary]] = {}
    for cell in cells:
        if setting_of(cell["policy"]) and cell["n"]:
            key = base_name(cell["policy"]), cell["condition"]
            found.setdefault(key, []).append(cell)
    return found


Point = tuple[int, float, float, float]  # setting, rate, and the two ends of its interval


def _swept_points(cells: Sequence[CellSummary], over_late: bool) -> dict[int, list[Point]]:
    """Points over latency by chunk length, or over chunk length by latency."""
    found: dict[int, list[Point]] = {}
    for cell in cells:
        replan, late, rate = cell["replan_steps"], cell["latency_steps"], cell["any_time"]
        assert replan is not None  # a swept cell with episodes has all of them
        assert late is not None
        assert rate["rate"] is not None
        assert rate["interval"] is not None
        low, high = rate["interval"]
        group, x = (replan, late) if over_late else (late, replan)
        found.setdefault(group, []).append((x, rate["rate"], low, high))
    return found


def _sweep_panel(
    task: str, name: str, word: str, cells: list[CellSummary], certificate: dict[str, Any]
) -> Html:
    """One policy: a curve a latency over chunk lengths; over latency where only that varies."""
    over_late = len({cell["replan_steps"] for cell in cells}) == 1
    curves = []
    for value, points in sorted(_swept_points(cells, over_late).items()):
        curve = f"chunks of {value}" if over_late else lateness(value)
        curves.append(Curve(curve, sorted(points)))
    axis = "control steps late" if over_late else "control steps between two looks"
    shown = name if word == CONDITION else f"{name} {word}"
    counts = sorted({cell["n"] for cell in cells})
    lines = levels((), certificate)
    caption = tag(
        "figcaption",
        tag("strong", task),
        f" {shown}, n = {' or '.join(map(str, counts))}",
        tag("div", *[_key(i, c.name, word) for i, c in enumerate(curves)], class_="keys"),
        level_key(lines),
    )
    return tag("figure", caption, curves_panel(f"{shown} on {task}", curves, axis, word, lines))


def _key(index: int, name: str, word: str) -> Html:
    colour = f"{colour_class(word)} dash{index % len(SHAPES)}"
    mark = line_swatch(f"line {colour}", marker(SHAPES[index % len(SHAPES)], 16, 8, colour, 5))
    return tag("span", join([mark, name], " "), class_="column")
