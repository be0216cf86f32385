from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.results.segment import Segment
from xsam_edge.runtime.sinks.tracks import TrackSink
from xsam_edge.runtime.stream.answers import FrameResult, Late


def test_tracks_are_written_once_at_the_end(tmp_path: Path) -> None:
    mask = np.ones((4, 6), bool)
    result = Result("refer", (Segment.from_mask(mask, 0.9),), (4, 6)).tracked([4])
    sink = TrackSink(tmp_path / "out")
    sink.write(FrameResult(0, None, None, 0.0, 0, {}, (result,)))
    sink.write(Late(1, None, None, 5.0, 0, 1.0, "waiting"))
    assert not (tmp_path / "out").exists()
    sink.close()
    (entry,) = json.loads((tmp_path / "out" / "tracks.json").read_text())
    assert (entry["track_id"], entry["segmentations"][1]) == (4, None)
    (tmp_path / "out" / "tracks.json").unlink()
    sink.close()
    assert not (tmp_path / "out" / "tracks.json").exists()


def test_without_a_frame_nothing_is_written(tmp_path: Path) -> None:
    TrackSink(tmp_path / "out").close()
    assert not (tmp_path / "out").exists()
