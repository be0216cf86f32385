"""Bars of the hub's client that draw nothing and tell a progress how many bytes are there."""

from __future__ import annotations

import io
from typing import Any

from xsam_edge.runtime.progress import Progress, Step


def silent_bars(progress: Progress, what: str) -> type:
    """A class in the place of ``tqdm``.

    The client has several bars for one download: bytes of the network, bytes of the files, and files. Those of bytes
    are told, the farthest of them; which one moves depends on how the hub stores a file.
    """
    from tqdm import tqdm

    farthest = 0

    class SilentBar(tqdm):  # type: ignore[misc]
        """Is told when to draw, and at most ten times a second."""

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "disable": False, "file": io.StringIO()})

        def display(self, msg: str | None = None, pos: int | None = None) -> None:
            nonlocal farthest
            if self.unit == "B" and self.n >= farthest and self.n:
                farthest = int(self.n)
                total = int(self.total) if self.total and self.total >= self.n else None
                progress(Step(what, farthest, total, "bytes"))

    return SilentBar
