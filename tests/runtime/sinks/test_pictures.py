from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.results.segment import Segment
from xsam_edge.runtime.sinks.pictures import PictureSink, one_picture
from xsam_edge.runtime.sinks.tracks import TrackSink
from xsam_edge.runtime.stream.answers import FrameResult, Late

SIZE = (40, 60)


def result(*boxes: tuple[int, int]) -> Result:
    """A segment between each pair of columns."""
    columns = np.arange(SIZE[1])
    masks = [np.tile((columns >= left) & (columns < right), (SIZE[0], 1)) for left, right in boxes]
    segments = tuple(Segment.from_mask(mask, 0.9) for mask in masks)
    return Result("refer", segments, SIZE, image=Image.new("RGB", SIZE[::-1], (90, 90, 90)))


def seen(index: int, *results: Result) -> FrameResult:
    return FrameResult(index, None, None, 0.0, 0, {}, results)


def test_every_frame_is_written(tmp_path: Path) -> None:
    sink = PictureSink(tmp_path / "out")
    assert sink.write(seen(0, result((5, 20)))) == [tmp_path / "out" / "000000.jpg"]
    (path,) = sink.write(seen(1, result()))
    np.testing.assert_allclose(np.asarray(Image.open(path)), 90, atol=2)
    names = [path.name for path in sink.write(seen(2, result(), result((1, 9))))]
    assert names == ["000002-1.jpg", "000002-2.jpg"]
    assert sink.write(Late(3, None, None, 9.0, 0, 5.0, "waiting")) == ()
    sink.close()
    assert len(list((tmp_path / "out").iterdir())) == 4


def test_frames_of_an_earlier_run_are_removed(tmp_path: Path) -> None:
    sink = PictureSink(tmp_path)
    sink.write(seen(7, result((5, 20))))
    sink.write(seen(1234567, result(), result()))
    for name in ("notes.txt", "12.jpg", "000003.png"):
        (tmp_path / name).write_text("mine")
    PictureSink(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000003.png", "12.jpg", "notes.txt"]
    PictureSink(tmp_path / "no folder yet")
    assert not (tmp_path / "no folder yet").exists()


def test_tracks_of_an_earlier_run_are_removed(tmp_path: Path) -> None:
    tracks = TrackSink(tmp_path)
    tracks.write(seen(0, result()))
    tracks.close()
    assert (tmp_path / "tracks.json").exists()
    PictureSink(tmp_path)
    assert not (tmp_path / "tracks.json").exists()
    (tmp_path / "tracks.json").write_text('[{"id": 3}]')
    with pytest.raises(InputError, match=r"tracks\.json was not written by this command"):
        PictureSink(tmp_path)
    assert (tmp_path / "tracks.json").exists()


def test_what_is_tracked_keeps_its_colour_in_one_picture() -> None:
    left, right = result((0, 20)).tracked([3]), result((40, 60)).tracked([1])
    both, swapped = (np.asarray(one_picture(results)) for results in ([left, right], [right, left]))
    np.testing.assert_array_equal(both[30], swapped[30])


@pytest.mark.parametrize("content", ["a picture", "a text"])
def test_frames_that_others_wrote_are_not(content: str, tmp_path: Path) -> None:
    PictureSink(tmp_path).write(seen(0, result()))
    theirs = tmp_path / "000001.jpg"
    if content == "a picture":
        Image.new("RGB", (5, 5)).save(theirs)
    else:
        theirs.write_text("mine")
    before = theirs.read_bytes()
    with pytest.raises(InputError, match=r"000001\.jpg was not written by this command"):
        PictureSink(tmp_path)
    assert theirs.read_bytes() == before
    assert (tmp_path / "000000.jpg").exists(), "nothing is removed"


def test_several_results_in_one_picture() -> None:
    both = np.asarray(one_picture([result((0, 20)), result((40, 60))]))
    assert both.shape == (*SIZE, 3)
    left, middle, right = (both[30, column].tolist() for column in (10, 30, 50))
    assert middle == [90, 90, 90] and left != middle != right and left != right
    alone = result((0, 20))
    np.testing.assert_array_equal(np.asarray(one_picture([alone])), np.asarray(alone.overlay()))
