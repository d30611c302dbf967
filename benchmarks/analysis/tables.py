"""Summaries as text for the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import zip_longest

from ..runs.own_policy import own_sentences
from ..runs.stored import Decision
from .results import CellSummary, Claim, Comparison, Failure, Summary, Swapped
from .verdict import label, outcome

MARKS = {
    "better": "+",
    "worse": "-",
    "equivalent": "=",
    "open": ".",
    "small": "?",
    "incomparable": "not comparable",
}
NOTHING = "–"  # in place of a number that nobody measured


def align(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Rows as columns of equal width; the columns in ``right`` are flush right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def wrapped(rows: Sequence[Sequence[str]], widths: dict[int, int]) -> list[tuple[str, ...]]:
    """Rows whose long cells go on in rows below; a cell breaks at spaces, a word never.

    Args:
        widths: column -> most characters of a line, where words allow.
    """
    lines: list[tuple[str, ...]] = []
    for row in rows:
        parts = [
            textwrap.wrap(
                cell, widths.get(i, len(cell) or 1), break_long_words=False, break_on_hyphens=False
            )
            or [""]
            for i, cell in enumerate(row)
        ]
        lines += [tuple(cells) for cells in zip_longest(*parts, fillvalue="")]
    return lines


def shown(value: float | None, form: str = "", scale: float = 1.0) -> str:
    """A number, or a dash where there is none."""
    return NOTHING if value is None else format(scale * value, form)


def percent(value: float | None) -> str:
    """``73.5``."""
    return shown(value, ".1f", 100.0)


def span(interval: Sequence[float] | None, digits: int = 1) -> str:
    """``[66.0, 79.9]`` in percent."""
    if interval is None:
        return NOTHING
    return f"[{100 * interval[0]:.{digits}f}, {100 * interval[1]:.{digits}f}]"


def p_text(p: float) -> str:
    """A p-value without false precision."""
    return "<1e-4" if p < 1e-4 else f"{p:.4f}" if p < 0.1 else f"{p:.2f}"


def cells_table(summary: Summary) -> str:
    """Success, smoothness and latency of every cell."""
    head = (
        "task", "policy", "condition", "seeds", "n", "ok", "rate %", "95 % interval",
        "final %", "jerk", "jump mrad", "infer ms", "errors", "missing",
    )  # fmt: skip
    rows: list[tuple[str, ...]] = [head]
    everyone = [cell for entry in summary["tasks"].values() for cell in entry["cells"]]
    swapped = any(cell.get("swapped") for cell in everyone)
    if swapped:
        rows[0] = (*head, "as heard %", "95 % interval")
    for task, entry in summary["tasks"].items():
        for cell in entry["cells"]:
            any_time, final = cell["any_time"], cell["final"]
            rows.append(
                (
                    task,
                    cell["policy"],
                    cell["condition"],
                    str(len(cell["train_seeds"])),
                    str(cell["n"]),
                    str(any_time["successes"]),
                    percent(any_time["rate"]),
                    span(any_time["interval"]),
                    percent(final["rate"]),
                    shown(cell["mean_jerk"], ".0f"),
                    shown(cell["boundary_jump"], ".1f", 1e3),
                    shown(cell["inference_ms"], ".2f"),
                    str(cell["errors"] or ""),
                    str(cell["missing"] or ""),
                    *(_heard(cell) if swapped else ()),
                )
            )
    return align(rows, right=(3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14))


def _heard(cell: CellSummary) -> tuple[str, str]:
    """Success by the cue that sounded, where that was another episode's."""
    rate = cell.get("swapped")
    return (percent(rate["rate"]), span(rate["interval"])) if rate else ("", "")


def pairs_table(summary: Summary) -> str:
    """Every comparison, b against a; empty when there is none."""
    head = ("task", "a", "b", "only a", "only b", "b - a", "95 % interval", "p diff", "Holm", "")
    rows: list[tuple[str, ...]] = [head]
    for task, entry in summary["tasks"].items():
        columns = [(cell["policy"], cell["condition"]) for cell in entry["cells"]]
        for pair in entry["pairs"]:
            rows.append(
                (
                    task,
                    label(pair["a"], columns),
                    label(pair["b"], columns),
                    *_pair_numbers(pair),
                    MARKS[outcome(pair, summary["alpha"])],
                )
            )
    return align(rows, right=(3, 4, 5, 7, 8)) if len(rows) > 1 else ""


def _pair_numbers(pair: Comparison) -> tuple[str, ...]:
    """Counts, difference, interval and p; dashes where the two are not comparable."""
    if "incomparable" in pair:
        return (NOTHING,) * 6
    return (
        str(pair["only_a"]),
        str(pair["only_b"]),
        f"{100 * pair['difference']:+.1f}",
        span(pair["interval"]),
        p_text(pair["p"]),
        p_text(pair["p_holm"]),
    )


def summary_text(summary: Summary) -> str:
    """What a run prints at its end."""
    parts = [cells_table(summary)]
    pairs = pairs_table(summary)
    if pairs:
        parts.append(pairs)
        parts.append(
            "differences in points; p diff: p of the difference, exact (McNemar; with several "
            "training seeds sign flips of whole episodes), and corrected over this table (Holm);\n"
            "+ b better, - b worse, = equivalent within "
            f"{100 * summary['margin']:.0f} points, . undecided,\n"
            "? undecided, too few episodes; not comparable: rows raised or are missing, see below"
        )
    swaps = swap_sentences(summary)
    if swaps:
        parts.append("\n".join(swaps))
    if summary["decisions"]:
        parts.append(decisions_text(summary["decisions"]))
    if summary["failures"]:
        parts.append(failures_text(summary["failures"]))
    if summary.get("claims"):
        parts.append(claims_text(summary["claims"]))
    if summary.get("left_out"):
        parts.append("\n".join(summary["left_out"]))
    known = [*own_sentences(summary.get("own_policies", {})), *warning_sentences(summary)]
    if known:
        parts.append("\n".join(known))
    parts.append("\n".join(entry["verdict"] for entry in summary["tasks"].values()))
    parts.append(summary["verdict"])
    return "\n\n".join(parts)


def warning_sentences(summary: Summary) -> list[str]:
    """What stands against the numbers: weights nobody trained, episodes of the training."""
    repeated = [
        f"Trained on what is measured: {text}." for text in summary.get("training_seeds", [])
    ]
    return repeated + [
        f"{policy} looks through weights that were drawn, not trained ({', '.join(settings)}): "
        "what it scores says nothing of the model."
        for policy, settings in summary.get("drawn_weights", {}).items()
    ]


def swap_sentences(summary: Summary) -> list[str]:
    """What became of policies that heard another episode's sound, a sentence a column."""
    return [
        _swap_sentence(task, cell, heard)
        for task, entry in summary["tasks"].items()
        for cell in entry["cells"]
        if (heard := cell.get("swapped"))
    ]


def _swap_sentence(task: str, cell: CellSummary, heard: Swapped) -> str:
    right = cell["any_time"]
    text = (
        f"{task}: {cell['policy']} {cell['condition']} does what it hears in "
        f"{percent(heard['rate'])} % {span(heard['interval'])} of {cell['n']} episodes, and what "
        f"was right in {percent(right['rate'])} % {span(right['interval'])}"
    )
    pair = heard["against"]
    if not pair["n"] or pair.get("unmeasured"):
        return f"{text}."
    gap = f"{100 * pair['difference']:+.1f} points {span(pair['interval'])}"
    return f"{text}; {gap} from what it does with the true sound."


def claims_text(table: Sequence[Claim]) -> str:
    """The table of ``claims.claims_of_run``."""
    head = ("policy", "claim", "measure", "verdict", "video is")
    rows = [
        (entry["policy"], entry["claim"], entry["measure"], entry["verdict"], entry["why"])
        for entry in table
    ]
    return align([head, *rows])


def decisions_text(decisions: dict[str, Decision]) -> str:
    """What sequential stopping decided."""
    lines = []
    for task, entry in decisions.items():
        word = "decided" if entry["decided"] else "undecided"
        lines.append(
            f"{task}: {word} after {entry['episodes']} episodes (e-value {entry['e_value']:.3g})"
        )
    return "\n".join(lines)


def failures_text(failures: Sequence[Failure], most: int = 10) -> str:
    """Episodes that raised; they are no outcome, and the run counts as failed."""
    lines = [f"{len(failures)} episode(s) raised an error, and count as no outcome:"]
    for row in failures[:most]:
        seed = "" if row["train_seed"] is None else f" train seed {row['train_seed']}"
        lines.append(
            f"  {row['task']} {row['policy']} {row['condition']}{seed} "
            f"episode {row['episode']}: {row['error']}"
        )
    if len(failures) > most:
        lines.append(f"  ... and {len(failures) - most} more (see episodes.jsonl)")
    return "\n".join(lines)
