"""HTML by function call: everything is escaped unless it is markup already."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources

Child = str | int | float  # what an element may hold; text is escaped, Html is not
Attribute = str | int | float | bool | None
VOID = frozenset({"br", "img", "meta", "source"})


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def markup(value: Child) -> Html:
    """``value`` as markup; what is not ``Html`` is escaped."""
    return value if isinstance(value, Html) else Html(escape(str(value)))


def join(parts: Iterable[Child], between: str = "") -> Html:
    """Parts one after the other."""
    return Html(between.join(markup(part) for part in parts))


def tag(name: str, *children: Child, **attributes: Attribute) -> Html:
    """One element.

    Args:
        name: of the element. children: what it holds.
        attributes: ``class_`` is ``class``, ``data_x`` is ``data-x``; True is an attribute
            without value, False and None are none.
    """
    words = [name]
    for key, value in attributes.items():
        attribute = key.rstrip("_").replace("_", "-")
        if value is True:
            words.append(attribute)
        elif value is not False and value is not None:
            words.append(f'{attribute}="{escape(str(value))}"')
    opening = f"<{' '.join(words)}>"
    return Html(opening if name in VOID else f"{opening}{join(children)}</{name}>")


def table(
    head: Sequence[Child], rows: Iterable[Sequence[Child]], numbers: Sequence[int] = ()
) -> Html:
    """A table that scrolls sideways where the window is narrow.

    Args:
        head: titles. rows: cells. numbers: columns that hold numbers (flush right).
    """

    def line(name: str, cells: Sequence[Child]) -> Html:
        parts = [
            tag(name, cell, class_="n" if i in numbers else None) for i, cell in enumerate(cells)
        ]
        return tag("tr", *parts)

    body = tag("tbody", *[line("td", row) for row in rows])
    inner = tag("table", tag("thead", line("th", head)), body)
    return tag("div", inner, class_="scroll", tabindex="0")


def grouped_table(
    head: Sequence[Child],
    groups: Iterable[tuple[Child, Sequence[Sequence[Child]]]],
    numbers: Sequence[int],
) -> Html:
    """A table whose rows stand under headings; groups without rows are left out."""
    bodies = []
    for heading, rows in groups:
        if not rows:
            continue
        first = tag("tr", tag("th", heading, colspan=len(head), scope="rowgroup"), class_="group")
        lines = [
            tag(
                "tr", *[tag("td", c, class_="n" if i in numbers else None) for i, c in enumerate(r)]
            )
            for r in rows
        ]
        bodies.append(tag("tbody", first, *lines))
    titles = [tag("th", t, class_="n" if i in numbers else None) for i, t in enumerate(head)]
    inner = tag("table", tag("thead", tag("tr", *titles)), *bodies)
    return tag("div", inner, class_="scroll", tabindex="0")


def facts(pairs: Iterable[tuple[Child, Child]]) -> Html:
    """Names and values as a list."""
    return tag("dl", *[tag("div", tag("dt", name), tag("dd", value)) for name, value in pairs])


def details(title: Child, *children: Child) -> Html:
    """Something that is folded away at first."""
    return tag("details", tag("summary", title), *children)


def resource(name: str) -> str:
    """A text file beside this module: the template of a page, its style, its script."""
    return (resources.files(__package__) / name).read_text(encoding="utf-8")
