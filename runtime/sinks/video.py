"""A video of the overlays, each from its frame's time to that of the next."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from xsam_edge.runtime.sinks.pictures import one_picture
from xsam_edge.runtime.stream.answers import FrameResult, Late
from xsam_edge.runtime.stream.recording import Recording


class VideoSink:
    """Raises what :class:`Recording` does."""

    def __init__(self, path: Path) -> None:
        self._recording = Recording(path)

    def write(self, seen: FrameResult | Late) -> Sequence[Path]:
        """Add the frame with the segments of all its results; a late one is shown as the frame before."""
        if not seen.late:
            self._recording.add(one_picture(seen.results), seen.timestamp)
        return ()

    def close(self) -> None:
        """The file has its name from now on."""
        self._recording.close()
