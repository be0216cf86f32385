"""The README is read to its end: what is long belongs into the README of a package."""

from __future__ import annotations

from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_the_readme_is_short() -> None:
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 178
    assert len(text.split()) <= 1700
