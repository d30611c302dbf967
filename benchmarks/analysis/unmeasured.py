"""What was not measured decides nothing: comparisons with rows that raised or are not there.

An error is no defeat and a missing row no draw. A verdict stands only where it is the same with
every such pair counted in favour of the one side and of the other, and where at most 1 % of
either side's rows raised; everything else is not comparable, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .pairing import Lack, Pair
from .results import Comparison, Outcome, Unmeasured
from .statistics import holm
from .verdict import names_of

MAX_RAISED = 0.01  # of a side's rows, in a comparison that stands
Judge = Callable[[Comparison, float], Outcome]


def lack_of(pair: Pair) -> Unmeasured | None:
    """What a comparison lacks; None where every row holds an outcome."""
    if not pair.rest[0].size and pair.n:
        return None
    return {
        "pairs": int(pair.rest[0].size),
        "rows": [lack.planned for lack in pair.lack],
        "raised": [lack.raised for lack in pair.lack],
        "missing": [lack.missing for lack in pair.lack],
    }


def is_broken(lacks: Sequence[Lack]) -> bool:
    """Whether more rows of either side raised than any verdict may rest on."""
    return any(lack.raised > MAX_RAISED * lack.planned for lack in lacks)


def judge_family(family: Sequence[Comparison], alpha: float, judge: Judge) -> None:
    """Correct the p-values of a family (Holm), and find the comparisons that cannot be made.

    Args:
        family: comparisons as ``summary.describe_pair`` makes them; ``p_holm`` is written into each
            (and into each of its ``ways``), and ``incomparable``, the reason, where one is none.
        alpha: level of the verdicts.
        judge: what a comparison shows, ``verdict.outcome``.
    """
    for pair in family:
        reason = _reason(pair)
        if reason:
            pair["incomparable"] = reason
    values = [_worst_p(pair) for pair in family]
    for pair, adjusted in zip(family, holm(values), strict=True):
        pair["p_holm"] = adjusted
    for index, pair in enumerate(family):
        if "incomparable" in pair or not pair.get("ways"):
            continue
        for way in pair["ways"]:
            way["p_holm"] = holm([*values[:index], way["p"], *values[index + 1 :]])[index]
        if len({judge({**pair, **way, "ways": []}, alpha) for way in pair["ways"]}) > 1:
            pair["incomparable"] = f"{_lacks(pair)}: what they might have been decides"


def _reason(pair: Comparison) -> str:
    """Why a comparison cannot stand, whatever its numbers are."""
    lack = pair.get("unmeasured")
    if lack is None:
        return ""
    if not pair["n"]:
        return _lacks(pair) or "they have no episode in common"
    sides = zip(lack["rows"], lack["raised"], lack["missing"], strict=True)
    if is_broken([Lack(*counts) for counts in sides]):
        return f"{_lacks(pair)}; more than {100 * MAX_RAISED:g} % raised"
    return "" if pair.get("ways") else _lacks(pair)


def _lacks(pair: Comparison) -> str:
    """``video raised an error in 12 of 12 rows; frame lacks 3 of 12 rows``."""
    lack, parts = pair["unmeasured"], []
    for name, rows, raised, missing in zip(
        names_of(pair), lack["rows"], lack["raised"], lack["missing"], strict=True
    ):
        if raised:
            parts.append(f"{name} raised an error in {raised} of {rows} rows")
        if missing:
            parts.append(f"{name} lacks {missing} of {rows} rows")
    return "; ".join(parts)


def _worst_p(pair: Comparison) -> float:
    if "incomparable" in pair:
        return 1.0  # it stays one of the comparisons that were asked for
    return max([pair["p"], *(way["p"] for way in pair.get("ways", ()))])
