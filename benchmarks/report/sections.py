"""The sections of ``report.html``; each takes what is in a run's folder and gives markup."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from neon_sim.clock import CONTROL_HZ
from neon_sim.files import inside

from ..analysis.pairing import Column
from ..analysis.results import CellSummary, Comparison, Summary, TaskEntry
from ..analysis.statistics import episodes_for_equivalence
from ..analysis.tables import NOTHING, p_text, percent, warning_sentences
from ..analysis.verdict import UNDECIDED, headline_pairs, label, names_of, outcome, reach_text
from ..film.media import has_sound
from ..film.videos import Films, Side, VideoGroup
from ..runs.sweep import base_name, setting_of, setting_text
from .charts import forest, forest_reach, legend, level_key, signed, success_panel, swatch
from .markup import Child, Html, details, grouped_table, tag

KINDS = {
    "temporal": "needs to see time",
    "sound": "needs to hear",
    "static": "control: one picture should do",
    "state": "no picture tells",
}
CHIPS = {
    "better": "better",
    "worse": "better",
    "equivalent": "equivalent",
    "open": "undecided",
    "small": "undecided, n too small",
    "incomparable": "not comparable",
}
SWEPT_VIDEOS = (
    "Of a sweep, two policies or conditions are shown under its first setting, and a policy alone "
    "under its best and its worst setting; which it is stands below each video. "
)
MANY_PAIRS = 12  # more are folded away


def section(name: str, title: str, *children: Child) -> Html:
    """A part of the page that the list of contents can point to."""
    return tag("section", tag("h2", title), *children, id=name)


def note(*text: Child) -> Html:
    """Small print."""
    return tag("p", *text, class_="note")


def interval(low_high: Sequence[float] | None) -> str:
    """``66.0 to 79.9``, in percent; a dash where nothing was measured."""
    if low_high is None:
        return NOTHING
    return f"{100 * low_high[0]:.1f} to {100 * low_high[1]:.1f}"


def plain_p(p: float, of: str) -> str:
    """``p of difference < 0.001`` or ``p of equivalence = 0.041``."""
    value = "<\u00a00.001" if p < 0.001 else f"=\u00a0{p:.{3 if p < 0.1 else 2}f}"
    return f"p of {of}\u00a0{value}"


# ---- verdict ------------------------------------------------------------------------------


def verdict(summary: Summary, missing: int) -> Html:
    """The answer: one sentence, what stands in its way, a line a task (and setting of a sweep)."""
    compared = [
        (task, pair) for task, entry in summary["tasks"].items() for pair in headline_pairs(entry)
    ]
    parts = [tag("h1", summary["verdict"])]
    parts += [tag("p", text, class_="alert") for text in _warnings(summary, compared, missing)]
    if compared:
        reach = forest_reach([pair for _, pair in compared])
        lines = [
            _verdict_line(task, summary["tasks"][task], pair, summary, reach)
            for task, pair in compared
        ]
        parts.append(tag("ul", *lines, class_="verdicts"))
        parts.append(_how_to_read(summary))
    return tag("header", *parts, id="verdict")


def _warnings(
    summary: Summary, compared: Sequence[tuple[str, Comparison]], missing: int
) -> list[str]:
    found = warning_sentences(summary)
    if missing:
        found.append(f"This run is not complete: {missing} episodes are missing.")
    if summary["failures"]:
        count = len(summary["failures"])
        found.append(
            f"{count} episode{'s' if count > 1 else ''} raised an error and "
            f"{'are' if count > 1 else 'is'} no outcome, neither a success nor a failure; see the "
            "list at the end. --resume plays what raised again."
        )
    outcomes = {outcome(pair, summary["alpha"]) for _, pair in compared}
    if outcomes and outcomes <= set(UNDECIDED):
        found.append(
            "Undecided: these data show neither a difference nor equivalence. More episodes may."
        )
    if "small" in outcomes:
        enough = episodes_for_equivalence(summary["margin"], summary["alpha"])
        found.append(
            f"“Undecided, n too small”: with fewer than {enough} episodes not even equal "
            "outcomes in every one of them would show equivalence."
        )
    if not compared:
        found.append(
            "Nothing was compared: that takes two conditions, or two policies with a network."
        )
    return found


def _verdict_line(
    task: str, entry: TaskEntry, pair: Comparison, summary: Summary, reach: float
) -> Html:
    kind = outcome(pair, summary["alpha"])
    a, b = names_of(pair)
    winner = {"better": b, "worse": a}.get(kind)
    chip = tag("b", f"{winner} {CHIPS[kind]}" if winner else CHIPS[kind], class_=f"chip {kind}")
    small = setting_text(setting_of(pair["a"][0])) or KINDS.get(entry["kind"], "")
    name = tag("div", tag("strong", task), tag("small", small))
    if kind == "incomparable":
        text = f"{a} and {b}: {pair['incomparable']}"
        return tag("li", name, tag("div"), tag("div", chip, tag("span", text)))
    low, high = pair["interval"]
    p = f"{plain_p(pair['p_holm'], 'difference')} after correction"
    if pair.get("unmeasured"):
        p += f"; {pair['unmeasured']['pairs']} pairs not measured change nothing"
    if kind in UNDECIDED:
        p += f"; {reach_text(pair)}"
    if kind == "equivalent":
        margin = f"{100 * summary['margin']:.0f} points"
        p = f"equivalent within {margin}, {plain_p(pair['p_equivalent'], 'equivalence')}"
    text = (
        f"{b} − {a}: {signed(pair['difference'])} points "
        f"(95 % interval {signed(low)} to {signed(high)}; {p})"
    )
    picture = forest(pair, reach, summary["margin"], kind)
    return tag("li", name, picture, tag("div", chip, tag("span", text)))


def _how_to_read(summary: Summary) -> Html:
    total = sum(len(entry["pairs"]) for entry in summary["tasks"].values())
    return note(
        "Dot: difference in success rate, in points; line: its 95 % interval; grey band: "
        f"±{100 * summary['margin']:.0f} points. Two sides are equivalent when the data show that "
        "the difference lies inside the band. A side is better when the p of the difference, "
        f"corrected for the {total} comparisons of this run (Holm), is at most "
        f"{summary['alpha']:g}. Everything else is undecided."
    )


# ---- chart ---------------------------------------------------------------------------------


def all_columns(summary: Summary) -> list[tuple[str, str]]:
    """Every column of the run in order."""
    return list(
        dict.fromkeys(
            (cell["policy"], cell["condition"])
            for entry in summary["tasks"].values()
            for cell in entry["cells"]
        )
    )


def all_cells(summary: Summary) -> list[CellSummary]:
    """Every cell of the run; shapes of policies go by this order."""
    return [cell for entry in summary["tasks"].values() for cell in entry["cells"]]


def chart(
    summary: Summary, certificates: dict[str, dict[str, Any]], curves: Sequence[Html] = ()
) -> Html:
    """Success by task and column, and what a sweep found, which has no columns here."""
    panels = []
    for task, entry in summary["tasks"].items():
        cells = [cell for cell in entry["cells"] if not setting_of(cell["policy"])]
        if not cells:
            continue
        lines = levels(cells, certificates.get(task, {}))
        counts = sorted({cell["n"] for cell in cells})
        shown = " or ".join(map(str, counts)) if len(counts) < 3 else f"{counts[0]} to {counts[-1]}"
        panels.append(
            tag(
                "figure",
                tag("figcaption", tag("strong", task), f" n = {shown}", level_key(lines)),
                success_panel(task, cells, lines),
            )
        )
    small = "Dots: success at any time in the episode; lines: 95 % intervals."
    if any(cell["per_train_seed"] for cell in all_cells(summary)):
        small += " Small dots: single training seeds."
    columns = list(dict.fromkeys((base_name(p), word) for p, word in all_columns(summary)))
    bodies = [tag("div", *panels, class_="panels"), note(small)] if panels else []
    return section(
        "chart",
        "Success",
        legend(all_cells(summary), columns, summary.get("own_policies", {})),
        *bodies,
        *curves,
    )


def levels(cells: Sequence[CellSummary], certificate: dict[str, Any]) -> list[tuple[str, float]]:
    """Rates that a policy reaches without seeing: the blind column's, else the certificate's."""
    for cell in cells:
        rate = cell["any_time"]["rate"]
        if cell["condition"] == "blind" and rate is not None:
            return [("blind", rate)]
    if certificate.get("kind") == "sound":
        return [("chance, for who does not hear", certificate["sound"]["chance"])]
    stored = certificate.get("entries", {}).get("blind", {})
    if "rate" in stored:
        return [("blind, from the certificate", stored["rate"])]
    return []


# ---- tables --------------------------------------------------------------------------------


def named(cell: CellSummary, columns: Sequence[Column], cells: Sequence[CellSummary]) -> Html:
    """A column's mark and name."""
    column = (cell["policy"], cell["condition"])
    return tag("span", swatch(*column, cells), label(column, columns), class_="column")


def rates(summary: Summary) -> Html:
    """Success rates of every cell."""
    columns, cells = all_columns(summary), all_cells(summary)
    clustered = any("cluster" in cell["any_time"] for cell in cells)
    swapped = any(cell.get("swapped") for cell in cells)
    head = ["", "training seeds", "n", "successes", "rate %", "Wilson interval"]
    head += ["over seeds"] if clustered else []
    head += ["at the end %", "interval"]
    head += ["as heard %", "interval"] if swapped else []
    head += ["errors", "missing"]
    groups = []
    for task, entry in summary["tasks"].items():
        rows = [
            [named(cell, columns, cells), *_rate_cells(cell, clustered, swapped)]
            for cell in entry["cells"]
        ]
        groups.append((task, rows))
    small = (
        "Rate: successful at any time in the episode; at the end: successful in its last state. "
        "95 % intervals, in percent. Errors: episodes that raised; missing: that were not played; "
        "neither are in n or in any rate."
    )
    if clustered:
        small += (
            " Over seeds: from drawing training seeds and episodes again (bootstrap), which is "
            "the interval of the chart; Wilson's takes every episode as independent."
        )
    if swapped:
        small += (
            " As heard: successful by the cue that sounded, where that was another episode's; a "
            "policy that listens does what it hears, and is then no better than chance at what "
            "was right."
        )
    body = grouped_table(head, groups, numbers=range(1, len(head)))
    return section("rates", "Rates", body, note(small))


def _rate_cells(cell: CellSummary, clustered: bool, swapped: bool) -> list[str]:
    whole, final = cell["any_time"], cell["final"]
    seeds = [str(seed) for seed in cell["train_seeds"] if seed is not None]
    row = [
        ", ".join(seeds) or "–",
        str(cell["n"]),
        str(whole["successes"]),
        percent(whole["rate"]),
        interval(whole["wilson"]),
    ]
    if clustered:
        row.append(interval(whole["cluster"]) if "cluster" in whole else "–")
    row += [percent(final["rate"]), interval(final["interval"])]
    if swapped:
        heard = cell.get("swapped")
        row += (percent(heard["rate"]), interval(heard["interval"])) if heard else ("–", "–")
    return [*row, str(cell["errors"]), str(cell["missing"])]


def pairs(summary: Summary) -> Html:
    """Every paired comparison; where there are many, those of the verdict first."""
    total = sum(len(entry["pairs"]) for entry in summary["tasks"].values())
    if not total:
        return section(
            "pairs", "Comparisons", note("None: this run has no two columns that are compared.")
        )
    small = note(
        "The same episodes under A and B, from the same start. Only A: episodes where A alone "
        "succeeded. Differences in points. p of difference: exact, from the episodes where the "
        "two differ (McNemar; with several training seeds, signs of whole episodes flipped). Holm: "
        "the same p corrected for all comparisons of this run. Not comparable: episodes raised or "
        "are missing, and what they might have been decides, or more than 1 % of a side's raised."
    )
    whole = _pairs_table(summary, {t: e["pairs"] for t, e in summary["tasks"].items()})
    if total <= MANY_PAIRS:
        return section("pairs", "Comparisons", whole, small)
    first = {task: headline_pairs(entry) for task, entry in summary["tasks"].items()}
    folded = details(f"all {total} comparisons", whole)
    return section("pairs", "Comparisons", _pairs_table(summary, first), small, folded)


def _pairs_table(summary: Summary, shown: dict[str, list[Comparison]]) -> Html:
    head = (
        "A", "B", "pairs", "only A", "only B", "both", "neither",
        "B − A", "95 % interval", "p of difference", "Holm", "",
    )  # fmt: skip
    groups = []
    for task, rows in shown.items():
        columns = [(c["policy"], c["condition"]) for c in summary["tasks"][task]["cells"]]
        groups.append((task, [_pair_row(row, columns, summary["alpha"]) for row in rows]))
    return grouped_table(head, groups, numbers=range(2, 11))


def _pair_row(pair: Comparison, columns: Sequence[Column], alpha: float) -> list[Child]:
    kind = outcome(pair, alpha)
    word = {"better": "B better", "worse": "A better"}.get(kind, CHIPS[kind])
    names = [label(pair["a"], columns), label(pair["b"], columns)]
    chip = tag("b", word, class_=f"chip {kind}")
    if kind == "incomparable":
        return [*names, pair["n"], *[NOTHING] * 8, chip]
    low, high = pair["interval"]
    return [
        *names,
        pair["n"],
        pair["only_a"],
        pair["only_b"],
        pair["both"],
        pair["neither"],
        signed(pair["difference"], 1),
        f"{signed(low, 1)} to {signed(high, 1)}",
        p_text(pair["p"]),
        p_text(pair["p_holm"]),
        chip,
    ]


# ---- videos ----------------------------------------------------------------------------------


def videos(
    films: Films, folder: Path, columns: Sequence[Column], cells: Sequence[CellSummary]
) -> Html:
    """The same episode under two columns, side by side."""
    groups = films.groups
    lacking = [
        note(
            f"No videos of {name}: it is code of the user's own, and drawing them imports it. "
            "Where you trust it: ", tag("code", f"neon-bench report RUN --policy {name}")
        )
        for name in films.unnamed
    ]  # fmt: skip
    if not groups:
        why = (
            "None: no episode of the compared columns was played to its end in both."
            if films.asked
            else "None: this report was made without videos."
        )
        none = lacking or [note(why)]
        return section("videos", "Videos", *none)
    intro = note(
        "The same episode, from the same start, under two columns, those that the verdict compares "
        "where it compares any; where they end differently comes first. Each was chosen as the "
        "first of its kind, not the best. "
        f"{SWEPT_VIDEOS if _swept(columns) else ''}The pictures are "
        "drawn for people: what the policy sees is smaller, and what it hears (where a task has "
        "sound) is quieter."
    )
    shown = [_video_group(group, folder, columns, cells) for group in groups]
    return section("videos", "Videos", intro, tag("div", *shown, class_="cards wide"), *lacking)


def _swept(columns: Sequence[Column]) -> bool:
    return any(setting_of(policy) for policy, _ in columns)


def _video_group(
    group: VideoGroup, folder: Path, columns: Sequence[Column], cells: Sequence[CellSummary]
) -> Html:
    alike = (
        f"Episode {group.episode} (seed {group.seed}). "
        f"{group.alike} of {group.total} episodes ended like this."
    )
    bare = [(base_name(policy), word) for policy, word in columns]
    names = [label((base_name(side.policy), side.condition), bare) for side in group.sides]
    settings = [setting_text(setting_of(side.policy)) for side in group.sides]
    heard_as = names if len(set(names)) > 1 or not any(settings) else settings
    shown = [
        _video(side, folder, cells, name, setting, sound)
        for side, name, setting, sound in zip(group.sides, names, settings, heard_as, strict=True)
    ]
    heard = any(has_sound(folder / side.video) for side in group.sides)
    sound = tag("button", "Sound", type="button", class_="sound") if heard else ""
    return tag(
        "article",
        tag("h3", group.task, " ", tag("q", group.description)),
        tag("div", *shown, class_="pair"),
        tag(
            "p",
            tag("button", "Play", type="button", class_="play"),
            sound,
            tag("span", alike),
            class_="controls",
        ),
        class_="videos",
    )


def _video(
    side: Side, folder: Path, cells: Sequence[CellSummary], name: str, setting: str, heard_as: str
) -> Html:
    ended = "succeeds" if side.success else "fails"
    if side.success and not side.success_final:
        ended = "succeeds, then loses it"
    caption = tag(
        "figcaption",
        tag("span", swatch(side.policy, side.condition, cells), tag("b", name), class_="column"),
        tag("b", ended, class_=f"chip {'better' if side.success else 'worse'}"),
        tag("small", f"{side.steps / CONTROL_HZ:.1f} s"),
        tag("small", setting, class_="setting") if setting else "",
    )
    video = tag(
        "video",
        src=data_url(folder / side.video, "video/mp4"),
        poster=data_url(folder / side.poster, "image/jpeg"),
        muted=True,
        data_sound=heard_as if has_sound(folder / side.video) else None,
        playsinline=True,
        preload="auto",
        width=320,
        height=240,
        aria_label=f"{name} {setting} {ended}",
    )
    return tag("figure", video, caption)


def data_url(path: Path, kind: str) -> str:
    """A file as part of the page.

    Raises:
        RunError: it is a link that leads out of its folder.
    """
    data = inside(path.parent, path.name, mend="delete the link and make the report again")
    return f"data:{kind};base64,{base64.b64encode(data.read_bytes()).decode()}"
