"""Charts of the report as SVG: success with its interval, and differences.

Colour tells the condition and shape tells the policy; both repeat what the label beside
says, so nothing depends on seeing colours. Colours are CSS variables (``report.css``), one
set for light and one for dark pages.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from neon_sim.observation.conditions import CONDITIONS

from ..analysis.results import Comparison, PlottedCell
from ..analysis.verdict import label
from ..runs.scripted import CONDITION
from ..runs.sweep import base_name
from .markup import Html, join, tag

PANEL_WIDTH = 400
ROW_HEIGHT = 27
LETTER = 7.3  # width of a letter in units of the panel, for the column of labels
MAX_LABEL = 24  # letters
SHAPES = ("circle", "square", "diamond", "triangle")


def percent(value: float | None) -> str:
    """``41 %``, with a decimal only where it is not whole: ``41.5 %``."""
    if value is None:
        return "not measured"
    return f"{100 * value:.1f}".removesuffix(".0") + " %"


def colour_class(condition: str) -> str:
    """CSS class that carries the colour of a condition."""
    known = condition in CONDITIONS or condition == CONDITION
    return f"c-{condition}" if known else "c-other"


def shape_of(policy: str, cells: Sequence[PlottedCell]) -> str:
    """Shape of a policy among those of a task, the same under every setting of a sweep."""
    policies = list(dict.fromkeys(base_name(cell["policy"]) for cell in cells))
    name = base_name(policy)
    return SHAPES[policies.index(name) % len(SHAPES)] if name in policies else SHAPES[0]


def marker(shape: str, x: float, y: float, colour: str, size: float = 6.0) -> Html:
    """One point of a chart; the wide edge in page colour keeps overlaps apart."""
    name = f"mark {colour}"
    if shape == "square":
        side = 0.9 * size
        return tag(
            "rect", x=_n(x - side), y=_n(y - side), width=_n(2 * side), height=_n(2 * side),
            rx=1, class_=name,
        )  # fmt: skip
    if shape == "diamond":
        reach = 1.25 * size
        path = f"M{_n(x)} {_n(y - reach)}l{_n(reach)} {_n(reach)}l{_n(-reach)} {_n(reach)}"
        return tag("path", d=f"{path}l{_n(-reach)} {_n(-reach)}z", class_=name)
    if shape == "triangle":
        path = f"M{_n(x)} {_n(y - 1.15 * size)}l{_n(1.15 * size)} {_n(2 * size)}"
        return tag("path", d=f"{path}h{_n(-2.3 * size)}z", class_=name)
    return tag("circle", cx=_n(x), cy=_n(y), r=_n(size), class_=name)


def swatch(policy: str, condition: str, cells: Sequence[PlottedCell]) -> Html:
    """The mark of a column, for legends and tables."""
    point = marker(shape_of(policy, cells), 8, 8, colour_class(condition), 5)
    return tag("svg", point, viewBox="0 0 16 16", class_="swatch", aria_hidden="true")


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


# ---- success by condition ----------------------------------------------------------------


def success_panel(
    task: str, cells: Sequence[PlottedCell], lines: Sequence[tuple[str, float]] = ()
) -> Html:
    """Success of one task: a row a column, with its 95 % interval.

    Args:
        task: registry name. cells: of the summary.
        lines: (what, rate) of levels that ask for a dashed line.
    """
    columns = [(cell["policy"], cell["condition"]) for cell in cells]
    names = [label(column, columns) for column in columns]
    left = 14 + LETTER * min(max(map(len, names)), MAX_LABEL)
    right = PANEL_WIDTH - 62
    bottom = 6 + ROW_HEIGHT * len(cells)
    parts = [_axis(left, right, bottom)]
    parts += [_level(what, _at(rate, left, right), bottom) for what, rate in lines]
    for index, (cell, name) in enumerate(zip(cells, names, strict=True)):
        y = 6 + ROW_HEIGHT * (index + 0.5)
        parts.append(_row(cell, name, shape_of(cell["policy"], cells), y, left, right))
    spoken = "; ".join(
        f"{name} {percent(cell['any_time']['rate'])}"
        for name, cell in zip(names, cells, strict=True)
    )
    return tag(
        "svg",
        *parts,
        viewBox=f"0 0 {PANEL_WIDTH} {_n(bottom + 22)}",
        role="img",
        aria_label=f"Success on {task}: {spoken}",
        class_="chart",
    )


def _at(rate: float, left: float, right: float) -> float:
    return left + rate * (right - left)


def _axis(left: float, right: float, bottom: float) -> Html:
    parts = []
    for tick in (0, 25, 50, 75, 100):
        x = _at(tick / 100, left, right)
        parts.append(tag("path", d=f"M{_n(x)} 4V{_n(bottom)}", class_="grid"))
        name = f"{tick} %" if tick == 100 else str(tick)
        parts.append(
            tag("text", name, x=_n(x), y=_n(bottom + 15), class_="tick", text_anchor="middle")
        )
    return join(parts)


def _level(what: str, x: float, bottom: float) -> Html:
    title = tag("title", what)
    return tag("path", title, d=f"M{_n(x)} 2V{_n(bottom)}", class_="level")


def _row(cell: PlottedCell, name: str, shape: str, y: float, left: float, right: float) -> Html:
    rate, interval = cell["any_time"]["rate"], cell["any_time"]["interval"]
    colour = colour_class(cell["condition"])
    shown = name if len(name) <= MAX_LABEL else name[: MAX_LABEL - 1] + "…"
    words = tag("text", shown, x=_n(left - 12), y=_n(y + 4), class_="name", text_anchor="end")
    if rate is None:
        nothing = tag(
            "text", percent(rate), class_="tick", x=PANEL_WIDTH - 4, y=_n(y + 4), text_anchor="end"
        )
        return tag("g", words, nothing)
    assert interval is not None  # both are there, or neither
    low, high = interval
    a, b = _at(low, left, right), _at(high, left, right)
    title = (
        f"{name}: {cell['any_time']['successes']} of {cell['any_time']['n']} episodes, "
        f"{percent(rate)}, 95 % interval {percent(low)} to {percent(high)}"
    )
    seeds = [
        tag(
            "circle",
            cx=_n(_at(seed["rate"], left, right)),
            cy=_n(y + 10),
            r=1.8,
            class_=f"seed {colour}",
        )
        for seed in cell["per_train_seed"]
        if seed["rate"] is not None
    ]
    return tag(
        "g",
        tag("title", title),
        words,
        tag("path", d=f"M{_n(a)} {_n(y)}H{_n(b)}", class_=f"bar {colour}"),
        marker(shape, _at(rate, left, right), y, colour),
        *seeds,
        tag(
            "text", percent(rate), x=PANEL_WIDTH - 4, y=_n(y + 4), class_="value",
            text_anchor="end",
        ),
    )  # fmt: skip


def level_key(lines: Sequence[tuple[str, float]]) -> Html:
    """What a panel's dashed level is: ``blind, from the certificate: 14.5 %``."""
    mark = line_swatch("level")
    keys = [
        tag("span", mark, f"{what}: {percent(rate)}", class_="column level-key")
        for what, rate in lines
    ]
    return tag("div", *keys, class_="keys") if keys else Html("")


def line_swatch(class_: str, *marks: Html) -> Html:
    """A short line with a mark on it, for the key of a curve."""
    line = tag("path", d="M1 8H31", class_=class_)
    return tag("svg", line, *marks, viewBox="0 0 32 16", class_="swatch long", aria_hidden="true")


def legend(
    cells: Sequence[PlottedCell],
    columns: Sequence[tuple[str, str]],
    own: Collection[str] = (),
) -> Html:
    """What each mark stands for, in words; ``own``: policies that are the user's."""
    items = []
    for policy, word in columns:
        if word == CONDITION:
            about = SCRIPTED_WORDS.get(policy, "a scripted policy")
        elif policy in own:
            about = f"a policy of the user's own, called with condition {word}"
        else:
            about = CONDITIONS[word].about if word in CONDITIONS else ""
        items.append(
            tag(
                "li",
                swatch(policy, word, cells),
                tag("b", label((policy, word), columns)),
                tag("span", about),
            )
        )
    return tag("ul", *items, class_="legend")


SCRIPTED_WORDS = {
    "expert": "a script that knows the true state",
    "random": "random targets",
    "hold": "never moves",
}


# ---- curves -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Curve:
    """Success over some setting.

    Attributes:
        name: of the line. points: (setting, rate, low, high) in the order of the setting.
    """

    name: str
    points: list[tuple[int, float, float, float]]


CURVE_LEFT, CURVE_TOP, CURVE_HEIGHT = 46, 10, 190


def curves_panel(
    title: str,
    curves: Sequence[Curve],
    axis: str,
    condition: str,
    lines: Sequence[tuple[str, float]] = (),
) -> Html:
    """Success over a setting, a line a curve, with 95 % intervals; settings stand evenly.

    Args:
        title: for those who cannot see. curves: at least one. axis: what the setting is.
        condition: whose colour the lines have; shapes and dashes tell them apart.
        lines: (what, rate) of levels that ask for a dashed line.
    """
    settings = sorted({point[0] for curve in curves for point in curve.points})
    right, bottom = PANEL_WIDTH - 16, CURVE_TOP + CURVE_HEIGHT
    step = (right - CURVE_LEFT - 40) / max(len(settings) - 1, 1)
    places = {value: CURVE_LEFT + 20 + step * i for i, value in enumerate(settings)}
    parts = [_curve_axes(places, right, bottom)]
    for what, rate in lines:
        level = f"M{CURVE_LEFT} {_n(_height(rate))}H{_n(right)}"
        parts.append(tag("path", tag("title", what), d=level, class_="level"))
    for index, curve in enumerate(curves):
        shift = 5.0 * (index - (len(curves) - 1) / 2)
        parts.append(_curve(curve, index, {v: x + shift for v, x in places.items()}, condition))
    parts.append(
        tag("text", axis, x=_n((CURVE_LEFT + right) / 2), y=bottom + 34, class_="tick",
            text_anchor="middle")
    )  # fmt: skip
    spoken = "; ".join(
        f"{curve.name}: "
        + ", ".join(f"{value} {percent(rate)}" for value, rate, *_ in curve.points)
        for curve in curves
    )
    return tag(
        "svg",
        *parts,
        viewBox=f"0 0 {PANEL_WIDTH} {bottom + 42}",
        role="img",
        aria_label=f"Success of {title} over {axis}. {spoken}",
        class_="chart",
    )


def _curve_axes(places: dict[int, float], right: float, bottom: float) -> Html:
    parts = []
    for tick in (0, 25, 50, 75, 100):
        y = _height(tick / 100)
        name = f"{tick} %" if tick == 100 else str(tick)
        parts.append(tag("path", d=f"M{CURVE_LEFT} {_n(y)}H{_n(right)}", class_="grid"))
        parts.append(
            tag("text", name, x=CURVE_LEFT - 6, y=_n(y + 4), class_="tick", text_anchor="end")
        )
    for value, x in places.items():
        parts.append(
            tag("text", value, x=_n(x), y=_n(bottom + 16), class_="tick", text_anchor="middle")
        )
    return join(parts)


def _height(rate: float) -> float:
    return CURVE_TOP + (1.0 - rate) * CURVE_HEIGHT


def _curve(curve: Curve, index: int, places: dict[int, float], condition: str) -> Html:
    colour = f"{colour_class(condition)} dash{index % len(SHAPES)}"
    shape = SHAPES[index % len(SHAPES)]
    path = "L".join(f"{_n(places[v])} {_n(_height(rate))}" for v, rate, _, _ in curve.points)
    parts = [tag("path", d=f"M{path}", class_=f"line {colour}")]
    for value, rate, low, high in curve.points:
        x = places[value]
        title = f"{curve.name}, {value}: {percent(rate)}, {percent(low)} to {percent(high)}"
        bar = f"M{_n(x)} {_n(_height(low))}V{_n(_height(high))}"
        parts.append(tag("path", d=bar, class_=f"bar {colour}"))
        parts.append(tag("g", tag("title", title), marker(shape, x, _height(rate), colour, 5)))
    return tag("g", *parts)


# ---- differences ----------------------------------------------------------------------------


def forest_reach(pairs: Sequence[Comparison]) -> float:
    """Half the width of a common axis for these differences, in success rate."""
    widest = max((abs(end) for pair in pairs for end in pair.get("interval", ())), default=0.0)
    return min(1.0, max(0.25, math.ceil(widest / 0.25 - 1e-9) * 0.25))


def forest(pair: Comparison, reach: float, margin: float, kind: str) -> Html:
    """One difference with its interval about a zero line; the band is the margin.

    Args:
        pair: of the summary, oriented. reach: see ``forest_reach``. margin: success rate.
        kind: outcome, for the colour.
    """
    width, height = 260, 40
    middle, scale = width / 2, (width / 2 - 8) / reach

    def at(value: float) -> float:
        return middle + max(-reach, min(reach, value)) * scale

    low, high = pair["interval"]
    ends = [
        tag("text", f"{sign}{100 * reach:.0f}", x=x, y=38, class_="tick", text_anchor=anchor)
        for sign, x, anchor in (("−", 2, "start"), ("+", width - 2, "end"))
    ]
    spoken = f"{signed(pair['difference'])} points, {signed(low)} to {signed(high)}"
    winner = {"better": pair["b"], "worse": pair["a"]}.get(kind)
    colour = colour_class(winner[1]) if winner else "c-none"
    return tag(
        "svg",
        tag("rect", x=_n(at(-margin)), y=3, width=_n(2 * margin * scale), height=24, class_="band"),
        tag("path", d=f"M8 15H{width - 8}", class_="grid"),
        tag("path", d=f"M{_n(middle)} 1V29", class_="zero"),
        tag("path", d=f"M{_n(at(low))} 15H{_n(at(high))}", class_=f"bar {colour}"),
        marker("circle", at(pair["difference"]), 15, colour),
        *ends,
        tag("text", "0", x=_n(middle), y=38, class_="tick", text_anchor="middle"),
        viewBox=f"0 0 {width} {height}",
        role="img",
        aria_label=spoken,
        class_="forest",
    )


def signed(value: float, digits: int = 0) -> str:
    """A difference of rates in points with its sign: ``+38``, ``−4``, ``0``."""
    rounded = round(100 * value, digits)
    sign = "+" if rounded > 0 else "−" if rounded < 0 else ""
    return f"{sign}{abs(rounded):.{digits}f}"
