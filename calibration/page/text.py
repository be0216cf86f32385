"""Tables without a page: plain text in columns, and Markdown."""

from __future__ import annotations

from collections.abc import Collection, Sequence

Row = Sequence[str]


def aligned(rows: Sequence[Row], right: Collection[str] = ()) -> list[str]:
    """Rows as lines of text; columns whose cell in the first row is one of ``right`` end flush. Rows may be short."""
    count = max(map(len, rows), default=0)
    widths = [max(len(row[column]) for row in rows if column < len(row)) for column in range(count)]
    flush = [cell in right for cell in rows[0]] if rows else []
    flush += [False] * (count - len(flush))
    return [
        "  ".join(
            cell.rjust(width) if ends else cell.ljust(width)
            for cell, width, ends in zip(row, widths, flush, strict=False)
        ).rstrip()
        for row in rows
    ]


def markdown(head: Row, rows: Sequence[Row]) -> list[str]:
    """The lines of a Markdown table."""
    return [_line(head), "|" + "---|" * len(head), *map(_line, rows)]


def _line(cells: Row) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
