"""From comparisons to words: what a pair, a task and a whole run show.

A comparison ends in one of six ways (``outcome``). That a run was too small to decide is told
apart from a run that could have decided and did not, from a difference shown to be absent, and
from rows that were never measured (``unmeasured.py``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..runs.plan import SWEPT
from ..runs.scripted import CONDITION
from ..runs.sweep import base_name, setting_of, setting_text
from .results import CellSummary, Comparison, Outcome, TaskEntry, Turned, Way
from .statistics import episodes_for_equivalence

MARGIN = 0.10  # of the equivalence test between conditions, in success rate
OUTCOMES = ("better", "worse", "equivalent", "open", "small", "incomparable")
UNDECIDED = ("open", "small")  # outcomes that are neither a difference nor its absence


def label(column: Sequence[str], others: Sequence[Sequence[str]] = ()) -> str:
    """Short name of a column among others: the condition, the policy, or both.

    Of a sweep the setting follows: ``video@replan8``.
    """
    policy, _, setting = column[0].partition(SWEPT)
    tail, word = SWEPT * bool(setting) + setting, column[1]
    if word == CONDITION:
        return policy + tail
    policies = {base_name(other[0]) for other in others if other[1] != CONDITION} | {policy}
    conditions = {other[1] for other in others if other[1] != CONDITION} | {word}
    if len(policies) == 1 and len(conditions) > 1:
        return word + tail
    name = policy if len(conditions) == 1 and len(policies) > 1 else f"{policy} {word}"
    return name + tail


def points(value: float) -> str:
    """A rate as points: ``41``."""
    return f"{100 * value:.0f}"


def headline_pairs(entry: TaskEntry) -> list[Comparison]:
    """The comparison a task is about, ``oriented``; of a sweep one for every setting.

    Video against frame, or against muted where the task is one of sound; the first comparison
    where they did not both run.
    """
    groups: dict[str, list[Comparison]] = {}
    for pair in entry["pairs"]:
        groups.setdefault(setting_of(pair["a"][0]), []).append(pair)
    other = "muted" if entry.get("kind") == "sound" else "frame"
    return [oriented(_about(pairs, {other, "video"})) for pairs in groups.values()]


def _about(pairs: Sequence[Comparison], wanted: set[str]) -> Comparison:
    for pair in pairs:
        if pair["a"][0] == pair["b"][0] and {pair["a"][1], pair["b"][1]} == wanted:
            return pair
    return pairs[0]


def names_of(pair: Comparison) -> tuple[str, str]:
    """Short names of a and b, without the setting of a sweep, which they share."""
    a, b = ((base_name(policy), word) for policy, word in (pair["a"], pair["b"]))
    return label(a, [b]), label(b, [a])


def outcome(pair: Comparison, alpha: float) -> Outcome:
    """``"better"`` (b beats a), ``"worse"``, ``"equivalent"``, ``"open"``, ``"small"`` or
    ``"incomparable"``.

    ``"open"``: this many episodes could have shown equivalence and did not, nor a difference;
    ``"small"``: there are too few of them for that, whatever had happened in them.
    ``"incomparable"``: rows raised or are missing, and the reason stands in the pair.
    """
    if "incomparable" in pair:
        return "incomparable"
    for way in pair.get("ways", ()):  # all ways end alike, else it would be incomparable
        return outcome({**pair, **way, "ways": []}, alpha)
    p = pair.get("p_holm", pair["p"])
    low, high = pair["interval"]
    if p <= alpha and (low > 0 or high < 0):
        return "better" if pair["difference"] > 0 else "worse"
    if pair["episodes"] < episodes_for_equivalence(MARGIN, alpha):
        return "small"  # resampling several training seeds does not see how few there are
    return "equivalent" if pair["p_equivalent"] <= alpha else "open"


def oriented(pair: Comparison) -> Comparison:
    """The pair with ``video`` as b where it is one of the two."""
    if pair["a"][1] != "video":
        return pair
    swapped: Comparison = {**pair, "a": pair["b"], "b": pair["a"]}
    if "interval" in pair:  # numbers are absent where nothing was measured
        swapped = {**swapped, **_turned(pair)}
    if "ways" in pair:
        swapped["ways"] = [{**way, **_turned(way)} for way in pair["ways"]]
    return swapped


def _turned(numbers: Comparison | Way) -> Turned:
    low, high = numbers["interval"]
    return {
        "only_a": numbers["only_b"],
        "only_b": numbers["only_a"],
        "difference": 0.0 - numbers["difference"],
        "interval": [0.0 - high, 0.0 - low],
    }


def task_verdict(task: str, entry: TaskEntry, alpha: float) -> str:
    """One sentence about one task."""
    found = headline_pairs(entry)
    if not found:
        rates = _short_rates(entry["cells"])
        return f"{task}: {', '.join(rates)}." if rates else f"{task}: no episodes."
    if len(found) > 1:
        gaps = sorted(pair["difference"] for pair in found if "incomparable" not in pair)
        span = f"; differences {points(gaps[0])} to {points(gaps[-1])} points" if gaps else ""
        sentence = _sentence([(task, pair) for pair in found], alpha)
        return f"{task}: {sentence.replace(f' ({task})', '')[:-1]}{span}."
    return f"{task}: {_pair_text(found[0], alpha)}."


def _pair_text(pair: Comparison, alpha: float) -> str:
    a, b = names_of(pair)
    kind = outcome(pair, alpha)
    if kind == "incomparable":
        return f"{a} and {b} are not comparable ({pair['incomparable']})"
    low, high = (points(x) for x in pair["interval"])
    gap = f"{points(abs(pair['difference']))} points"
    detail = f"difference {points(pair['difference'])} [{low}, {high}], {_p_text(pair, kind)}"
    if pair.get("unmeasured"):
        detail += f"; {pair['unmeasured']['pairs']} pairs not measured change nothing"
    if kind == "better":
        return f"{b} beats {a} by {gap} ({detail})"
    if kind == "worse":
        return f"{a} beats {b} by {gap} ({detail})"
    if kind == "equivalent":
        return f"{a} and {b} are equivalent within {points(MARGIN)} points ({detail})"
    detail += f"; {reach_text(pair)}"
    if kind == "small":
        return f"n = {pair['episodes']} is too small to decide between {a} and {b} ({detail})"
    return f"undecided between {a} and {b} ({detail})"


def _p_text(pair: Comparison, kind: Outcome) -> str:
    """The p-value that a verdict rests on, and what it is of."""
    if kind == "equivalent":
        return f"p of equivalence = {pair['p_equivalent']:.2g}"
    return f"p of difference = {pair['p_holm']:.2g}"


def reach_text(pair: Comparison) -> str:
    """What an undecided comparison could have shown with its number of episodes."""
    smallest = pair.get("smallest_shown")
    if smallest is None:
        return "at this n not even the largest difference shows"
    return f"at this n a difference shows from {math.ceil(100 * smallest - 1e-9)} points on"


def _short_rates(cells: Sequence[CellSummary]) -> list[str]:
    """``hold 3 %``; of a sweep the lowest and the highest."""
    rates: dict[str, list[float]] = {}
    for cell in cells:
        if cell["any_time"]["rate"] is not None:
            rates.setdefault(base_name(cell["policy"]), []).append(cell["any_time"]["rate"])
    return [
        f"{name} {points(found[0])} %"
        if len(found) == 1
        else f"{name} {points(min(found))} to {points(max(found))} % over {len(found)} settings"
        for name, found in rates.items()
    ]


def overall_verdict(tasks: dict[str, TaskEntry], alpha: float) -> str:
    """One sentence about the whole run."""
    found = [(task, pair) for task, entry in tasks.items() for pair in headline_pairs(entry)]
    return _sentence(found, alpha) if found else _rates_verdict(tasks)


def _sentence(found: Sequence[tuple[str, Comparison]], alpha: float) -> str:
    """What some comparisons of tasks show, those that end alike together."""
    groups: dict[str, list[tuple[str, Comparison]]] = {kind: [] for kind in OUTCOMES}
    for task, pair in found:
        groups[outcome(pair, alpha)].append((task, pair))
    pairs_named = {names_of(pair) for _, pair in found}
    a, b = min(pairs_named) if len(pairs_named) == 1 else ("the first column", "the second")
    counts = sorted({pair["episodes"] for _, pair in groups["small"]})
    n = " to ".join(map(str, dict.fromkeys([*counts[:1], *counts[-1:]])))
    known = len(pairs_named) > 1 or bool(groups["better"] or groups["worse"])
    words = {
        "better": f"{b} beats {a}",
        "worse": f"{a} beats {b}",
        "equivalent": f"{'the two' if known else f'{a} and {b}'} are equivalent",
        "open": f"undecided{'' if known else f' between {a} and {b}'}",
        "small": f"n = {n} is too small to decide{'' if known else f' between {a} and {b}'}",
        "incomparable": f"{'the two' if known else f'{a} and {b}'} are not comparable",
    }
    parts = [
        f"{words[kind]} {_where(group, len(found))}" for kind, group in groups.items() if group
    ]
    sentence = "; ".join(parts) + "."
    sentence = sentence.replace("comparable on all tasks", "comparable on any task")
    return sentence if sentence.startswith("n =") else sentence[0].upper() + sentence[1:]


def _where(group: Sequence[tuple[str, Comparison]], total: int) -> str:
    tasks = dict.fromkeys(task for task, _ in group)
    listed = f"({', '.join(tasks)})"
    if any(setting_of(pair["a"][0]) for _, pair in group):
        return f"under {len(group)} of {total} settings {listed}"
    count = "all" if len(group) == total > 1 else str(len(group))
    return f"on {count} {'task' if len(group) == 1 else 'tasks'} {listed}"


def _rates_verdict(tasks: dict[str, TaskEntry]) -> str:
    cells = [cell for entry in tasks.values() for cell in entry["cells"]]
    everyone = [(base_name(cell["policy"]), cell["condition"]) for cell in cells]
    totals: dict[str, dict[str, list[int]]] = {}
    for cell, column in zip(cells, everyone, strict=True):
        if not cell["n"]:
            continue
        settings = totals.setdefault(label(column, everyone), {})
        counts = settings.setdefault(setting_of(cell["policy"]), [0, 0])
        counts[0] += cell["any_time"]["successes"]
        counts[1] += cell["n"]
    shown = [f"{name} succeeds in {_rates_text(settings)}" for name, settings in totals.items()]
    return ("; ".join(shown) or "No episodes") + "."


def _rates_text(settings: dict[str, list[int]]) -> str:
    """Successes of one column; of a sweep the best and the worst setting, never their sum."""
    if len(settings) == 1:
        ((successes, n),) = settings.values()
        return f"{successes} of {n} episodes"
    best = max(settings, key=lambda name: settings[name][0] / settings[name][1])
    worst = min(reversed(settings), key=lambda name: settings[name][0] / settings[name][1])
    (most, n), (least, m) = settings[best], settings[worst]
    return (
        f"{most} of {n} episodes at best ({setting_text(best)}), in {least} of {m} at worst "
        f"({setting_text(worst)}), over {len(settings)} settings"
    )
