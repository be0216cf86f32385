"""The tracks of a video in the form of YouTube-VIS: an entry for each identity, a mask for each frame."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from xsam_edge.runtime import arguments
from xsam_edge.runtime.results import rle
from xsam_edge.runtime.results.result import Result

_HEADS = (b'[\n{"video_id": ', b"[\n]\n")  # of a file with tracks, and of one without


def is_tracks(path: Path) -> bool:
    """Whether a file is one that ``VideoTracks`` wrote, by its beginning."""
    with path.open("rb") as file:
        return file.read(max(map(len, _HEADS))).startswith(_HEADS)


@dataclass
class _Recorded:
    """One identity so far."""

    masks: dict[int, rle.Rle] = field(default_factory=dict)  # by frame
    scores: float = 0.0
    labels: Counter[tuple[int, str | None]] = field(default_factory=Counter)


class VideoTracks:
    """Gathers the segments that have a ``track_id``, as run lengths: pictures and masks are not kept.

    >>> tracks = VideoTracks()
    >>> for seen in xsam.track("clip.mp4", refer="the cup"):
    ...     tracks.add(seen.index, () if seen.late else seen.results)
    >>> tracks.write("tracks.json")
    """

    def __init__(self) -> None:
        self._tracks: dict[int, _Recorded] = {}
        self._length = 0

    @property
    def length(self) -> int:
        """Frames up to the last that was added."""
        return self._length

    def add(self, index: int, results: Sequence[Result]) -> None:
        """Take in a frame; ``index`` counts from 0, and frames that are never added have no masks.

        Raises:
            InputError: an argument of another type or out of range.
        """
        index = arguments.count("index", index)
        answers = arguments.items("results", results, "a list of Results")
        for result in answers:
            arguments.instance("a result", result, Result, "a Result")
        self._length = max(self._length, index + 1)
        for segment in (segment for result in answers for segment in result):
            if segment.track_id is not None:
                track = self._tracks.setdefault(segment.track_id, _Recorded())
                track.masks[index] = rle.encode(segment.mask)
                track.scores += segment.score
                track.labels[segment.label_id, segment.label] += 1

    def to_coco_video(self, video_id: int | str = 1) -> list[dict[str, Any]]:
        """An entry for each identity, as a results file of YouTube-VIS has them.

        ``segmentations`` has for each frame of the video, up to the last that was added, the compressed RLE or None;
        ``score`` is the mean over the frames in which there is one. ``category_id`` is the segments' ``label_id``, the
        most frequent one. ``track_id``, and ``label`` where there is one, are added. Raises InputError for a
        ``video_id`` that is neither a whole number nor text.
        """
        return list(self._entries(video_id))

    def write(self, path: str | os.PathLike[str], video_id: int | str = 1) -> None:
        """Write the same as a JSON file, which is there completely or not at all, in place of one that is there.

        Raises:
            InputError: as ``to_coco_video``.
            OSError: no room or no permission.
        """
        target = arguments.path("path", path, "the file to write")
        part = target.with_name(f".xsam-{uuid4().hex}")
        try:
            with part.open("w", encoding="utf-8") as file:
                file.write("[")
                for number, entry in enumerate(self._entries(video_id)):
                    file.write(f"{',' if number else ''}\n{json.dumps(entry)}")
                file.write("\n]\n")
            part.replace(target)
        except OSError as error:
            raise OSError(error.errno, error.strerror or str(error), str(target)) from error
        finally:
            part.unlink(missing_ok=True)

    def _entries(self, video_id: int | str) -> Iterator[dict[str, Any]]:
        if not isinstance(video_id, str):
            video_id = arguments.count("video_id", video_id)
        for track_id, track in sorted(self._tracks.items()):
            ((category, label), _), *_ = track.labels.most_common(1)
            entry: dict[str, Any] = {
                "video_id": video_id,
                "category_id": category,
                "score": track.scores / len(track.masks),
                "segmentations": [
                    dict(mask) if (mask := track.masks.get(frame)) else None for frame in range(self._length)
                ],
                "track_id": track_id,
            }
            yield entry if label is None else {**entry, "label": label}
