"""What a sink is: anything that takes the frames of a stream one by one, and can be closed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from xsam_edge.runtime.stream.answers import FrameResult, Late


class FrameSink(Protocol):
    """Takes the items of a stream in their order, from one thread.

    What was written before an error, or before ``close``, is readable; ``close`` may be called more than once.
    """

    def write(self, seen: FrameResult | Late) -> Sequence[Path]:
        """Take one item; returns the files that belong to this frame alone, one per result, or none.

        Raises:
            XSamError: it cannot be written as it is, such as a frame of another size.
            OSError: no room or no permission.
        """

    def close(self) -> None:
        """Finish what was written."""
