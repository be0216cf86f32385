"""Pieces of a page: its frame, sections, tables, folds, tiles, legends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from xsam_edge.calibration.page.markup import Markup, tag
from xsam_edge.calibration.page.style import CSS

Cell = str | Markup

# Nothing may be loaded and nothing run, whatever the names on a page say.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_CLASSES = {"c": None, "n": "number", "w": "wide"}


def page(title: str, *children: Markup | None, style: str = "") -> str:
    """A whole page, one file with everything in it, for any browser and without a script.

    ``style`` is what it adds to the style sheet.
    """
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", Markup(CSS + style)),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, tag('body', tag('main', *children)), lang='en')}\n"


def section(title: str, text: str | None, *children: Markup | None) -> Markup:
    """A titled part of the page."""
    return tag("section", tag("h2", title), tag("p", text, class_="note") if text else None, *children)


def table(head: Sequence[str], rows: Iterable[Sequence[Cell]], columns: str = "", foot: Sequence[Cell] = ()) -> Markup:
    """A table that scrolls where the page is narrow.

    ``columns`` has a letter for each: ``c`` for text, ``n`` for numbers, ``w`` for a chart. A row's first cell is its
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
    return scroll(tag("table", *parts))


def scroll(*children: Markup) -> Markup:
    """What scrolls sideways where the page is narrow."""
    return tag("div", *children, class_="scroll")


def fold(title: str, *children: Markup | None) -> Markup:
    """What is shown on demand, and on paper."""
    return tag("details", tag("summary", title), *children)


def tiles(entries: Iterable[tuple[str, str, str]]) -> Markup:
    """The figures that matter: name, value, and a few words below it."""
    return tag(
        "dl",
        *(tag("div", tag("dt", name), tag("dd", value, tag("small", more))) for name, value, more in entries),
        class_="tiles",
    )


def facts(entries: Mapping[str, Cell] | Iterable[tuple[str, Cell]]) -> Markup:
    """Names and what there is to say of them."""
    pairs = entries.items() if isinstance(entries, Mapping) else entries
    return tag("dl", *(part for name, text in pairs for part in (tag("dt", name), tag("dd", text))), class_="facts")


def bullets(texts: Iterable[str]) -> Markup:
    """A list."""
    return tag("ul", *(tag("li", text) for text in texts))


def chip(text: str, kind: str) -> Markup:
    """A word as a small label, in the colour of a style class."""
    return tag("span", text, class_=f"chip {kind}")


def legend(entries: Iterable[tuple[str, str]], *, marked: str = "") -> Markup | None:
    """Style classes and what they mean, and what a triangle means; None where there is nothing."""
    items = [_entry(tag("rect", class_=kind, width=12, height=12, rx=2), text) for kind, text in entries]
    if marked:
        items.append(_entry(tag("path", class_="mark", d="M6 2 l5 8 h-10 z"), marked))
    return tag("ul", *items, class_="legend") if items else None


def _entry(shape: Markup, text: str) -> Markup:
    return tag("li", tag("svg", shape, viewBox="0 0 12 12", width=12, height=12, aria_hidden="true"), text)
