import json
from pathlib import Path

import numpy as np
import pytest

from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.results import rle
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.results.segment import Segment
from xsam_edge.runtime.tracking.video_tracks import VideoTracks, is_tracks


def segment(row: int, score: float, track_id: int | None, label: str | None = "cup", label_id: int = 0) -> Segment:
    mask = np.zeros((4, 6), bool)
    mask[row] = True
    return Segment.from_mask(mask, score, label, label_id).tracked(track_id)


@pytest.fixture
def tracks() -> VideoTracks:
    recorded = VideoTracks()
    recorded.add(1, [Result("refer", (segment(0, 0.5, 2), segment(1, 0.75, None)), (4, 6))])
    recorded.add(2, [])
    recorded.add(
        3, [Result("refer", (segment(2, 1.0, 2),), (4, 6)), Result("refer", (segment(3, 0.5, 5, None, 4),), (4, 6))]
    )
    recorded.add(4, ())
    return recorded


def test_an_entry_for_each_identity(tracks: VideoTracks) -> None:
    assert tracks.length == 5
    first, second = tracks.to_coco_video(7)
    masks = first.pop("segmentations")
    assert first == {"video_id": 7, "category_id": 0, "score": 0.75, "track_id": 2, "label": "cup"}
    assert [mask is not None for mask in masks] == [False, True, False, True, False]
    assert rle.decode(**masks[3]).sum(1).tolist() == [0, 0, 6, 0]
    assert second["segmentations"][:3] == [None] * 3
    assert (second["category_id"], second["track_id"], "label" in second) == (4, 5, False)


def test_the_most_frequent_label_is_that_of_a_track() -> None:
    tracks = VideoTracks()
    for index, (label, label_id) in enumerate([("cup", 1), ("bowl", 2), ("bowl", 2)]):
        tracks.add(index, [Result("refer", (segment(0, 1.0, 1, label, label_id),), (4, 6))])
    (entry,) = tracks.to_coco_video()
    assert (entry["category_id"], entry["label"]) == (2, "bowl")


def test_the_file_is_the_same(tracks: VideoTracks, tmp_path: Path) -> None:
    path = tmp_path / "tracks.json"
    path.write_text("old")
    assert not is_tracks(path)
    tracks.write(path, "clip")
    assert json.loads(path.read_text()) == tracks.to_coco_video("clip")
    assert is_tracks(path)
    VideoTracks().write(path)
    assert json.loads(path.read_text()) == []
    assert is_tracks(path)
    assert list(tmp_path.iterdir()) == [path]


def test_bad_input(tracks: VideoTracks, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="index is -1"):
        tracks.add(-1, ())
    with pytest.raises(InputError, match="expected a Result"):
        tracks.add(9, [segment(0, 0.5, 1)])  # type: ignore[list-item]
    with pytest.raises(InputError, match=r"video_id is 1\.5"):
        tracks.write(tmp_path / "tracks.json", 1.5)  # type: ignore[arg-type]
    with pytest.raises(OSError, match=r"nowhere/tracks\.json"):
        tracks.write(tmp_path / "nowhere" / "tracks.json")
    assert list(tmp_path.iterdir()) == []
    assert tracks.length == 5
