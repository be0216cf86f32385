"""Models that tests only read, loaded once."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from xsam_edge.runtime.model import XSam


@cache
def load(bundle: Path, context: int | None = None) -> XSam:
    """A model on two threads; the key-value cache and its prefix are what the last caller left."""
    return XSam.load(bundle, context=context, threads=2, verify="none")
