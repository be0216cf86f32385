from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.sinks.video import VideoSink
from xsam_edge.runtime.stream.answers import FrameResult, Late
from xsam_edge.runtime.stream.sources import Video


def test_late_frames_leave_a_gap(tmp_path: Path) -> None:
    pytest.importorskip("av")
    picture = Result("refer", (), (40, 60), image=Image.new("RGB", (60, 40), (90, 90, 90)))
    sink = VideoSink(tmp_path / "out.mp4")
    for number in range(4):
        facts = (number, 7 + number / 4, None, 1.0, 0)
        sink.write(Late(*facts, 5.0, "answer") if number == 1 else FrameResult(*facts, {}, (picture,)))
    assert not (tmp_path / "out.mp4").exists()
    sink.close()
    sink.close()
    frames = list(Video(tmp_path / "out.mp4"))
    np.testing.assert_allclose([frame.timestamp for frame in frames], [0, 0.5, 0.75], atol=0.002)
