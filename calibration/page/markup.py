"""HTML and SVG as nested calls: text is escaped unless it is markup, so that no name can break out of its place.

What is written is well-formed XML as well, whatever the names hold.
"""

from __future__ import annotations

import html
import re

_EMPTY = {"img", "meta", "br", "rect", "line", "circle", "path", "polyline"}
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


class Markup(str):
    """Text that is HTML."""

    __slots__ = ()


def escape(text: str) -> Markup:
    """``text`` as HTML; itself if it is ``Markup``. What no HTML document may hold becomes U+FFFD."""
    if isinstance(text, Markup):
        return text
    return Markup(html.escape(_CONTROL.sub("\ufffd", str(text)), quote=True))


def join(*parts: str | None) -> Markup:
    """One after the other; None is left out."""
    return Markup("".join(escape(part) for part in parts if part is not None))


def tag(name: str, /, *children: str | None, **attributes: str | float | None) -> Markup:
    """An element; children are escaped where they are text.

    ``class_`` is written ``class``, ``_`` inside of a name ``-``. None leaves an attribute or a child out.
    """
    parts = [name]
    for key, value in attributes.items():
        if value is not None:
            parts.append(f'{key.rstrip("_").replace("_", "-")}="{escape(_text(value))}"')
    start = " ".join(parts)
    if name in _EMPTY and not children:
        return Markup(f"<{start}/>")
    return Markup(f"<{start}>{join(*children)}</{name}>")


def _text(value: str | float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
