"""HTML as nested calls: text is escaped unless it is markup already, so that no name can break out of its place."""

from __future__ import annotations

import html
import re

_VOID = {"img", "meta", "br", "rect", "line", "circle", "path"}
_SVG_EMPTY = {"rect", "line", "circle", "path"}
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


def tag(name: str, /, *children: str | None, **attributes: str | float | bool | None) -> Markup:
    """An element; children are escaped where they are text.

    ``class_`` is written ``class``, ``_`` inside of a name ``-``. None and False leave an attribute out, True has no
    value.
    """
    parts = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        label = key.rstrip("_").replace("_", "-")
        parts.append(label if value is True else f'{label}="{escape(_text(value))}"')
    start = " ".join(parts)
    if name in _VOID and not children:
        return Markup(f"<{start}/>" if name in _SVG_EMPTY else f"<{start}>")
    return Markup(f"<{start}>{join(*children)}</{name}>")


def _text(value: str | float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
