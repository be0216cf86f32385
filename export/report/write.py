"""Writing a report into a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from xsam_edge.export.report.facts import Report, WorstCase
from xsam_edge.export.report.html import html

JSON_FILE = "report.json"
HTML_FILE = "report.html"


def write_report(folder: Path, report: Report, pictures: Mapping[WorstCase, bytes]) -> None:
    """Write ``report.json`` and ``report.html`` into ``folder``, in place of those that are there.

    ``pictures`` are JPEGs of worst cases; they are part of the page only.
    """
    (folder / JSON_FILE).write_text(report.to_json(), encoding="utf-8")
    (folder / HTML_FILE).write_text(html(report, pictures), encoding="utf-8")
