"""``tracks.json``: the masks of each identity over all frames, in the form of YouTube-VIS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from xsam_edge.runtime.stream.answers import FrameResult, Late
from xsam_edge.runtime.tracking.video_tracks import VideoTracks

TRACKS = "tracks.json"


class TrackSink:
    """Gathers the tracks of frames, and writes them into a folder when it is closed."""

    def __init__(self, folder: Path) -> None:
        self._path, self._tracks = folder / TRACKS, VideoTracks()
        self._closed = False
        self._begun = False

    def write(self, seen: FrameResult | Late) -> Sequence[Path]:
        """Take in a frame."""
        self._begun = True
        self._tracks.add(seen.index, () if seen.late else seen.results)
        return ()

    def close(self) -> None:
        """Write the file, unless no frame came. Raises OSError where there is no room."""
        if self._closed or not self._begun:
            return
        self._closed = True
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._tracks.write(self._path)
