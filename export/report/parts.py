"""Pieces of the page: sections, tables, folds, chips, legends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from xsam_edge.export.report.charts import kind_of
from xsam_edge.export.report.markup import Markup, tag

Cell = str | Markup

_CLASSES = {"c": None, "n": "number", "w": "wide"}


def section(title: str, text: str | None, *children: Markup | None) -> Markup:
    """A titled part of the page."""
    return tag("section", tag("h2", title), tag("p", text, class_="note") if text else None, *children)


def table(head: Sequence[str], rows: Iterable[Sequence[Cell]], columns: str = "", foot: Sequence[Cell] = ()) -> Markup:
    """A table that scrolls where the page is narrow.

    ``columns`` has a letter for each: ``c`` for text, ``n`` for numbers, ``w`` for a bar. A row's first cell is its
    heading.
    """
    classes = [_CLASSES[letter] for letter in columns or "c" * len(head)]

    def line(cells: Sequence[Cell]) -> Markup:
        first, *rest = zip(cells, classes, strict=True)
        return tag("tr", tag("th", first[0], scope="row"), *(tag("td", cell, class_=name) for cell, name in rest))

    heads = (tag("th", text, scope="col", class_=name) for text, name in zip(head, classes, strict=True))
    parts = [tag("thead", tag("tr", *heads)), tag("tbody", *(line(cells) for cells in rows))]
    if foot:
        parts.append(tag("tfoot", line(foot)))
    return tag("div", tag("table", *parts), class_="scroll")


def fold(title: str, *children: Markup | None) -> Markup:
    """What is shown on demand, and on paper."""
    return tag("details", tag("summary", title), *children)


def chip(precision: str) -> Markup:
    """A precision as a small label."""
    return tag("span", precision, class_=f"chip {kind_of(precision)}")


def legend(entries: Iterable[tuple[str, str]], *, raised: bool = False) -> Markup | None:
    """Style classes and what they mean; None where there are none."""
    square: dict[str, str | int] = {"viewBox": "0 0 12 12", "width": 12, "height": 12, "aria_hidden": "true"}
    items = [
        tag("li", tag("svg", tag("rect", class_=kind, width=12, height=12, rx=2), **square), text)
        for kind, text in entries
    ]
    if raised:
        items.append(tag("li", tag("svg", tag("path", class_="raised", d="M6 2 l5 8 h-10 z"), **square), "raised"))
    return tag("ul", *items, class_="legend") if items else None
