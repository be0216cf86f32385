"""What a segmentation call returns: its segments, and their forms for other programs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xsam_edge.runtime import arguments
from xsam_edge.runtime.errors import InputError, XSamError
from xsam_edge.runtime.image.load import ImageSource, load_image
from xsam_edge.runtime.results import files, rle
from xsam_edge.runtime.results.overlay import draw
from xsam_edge.runtime.results.polygons import coco_polygons, yolo_polygon
from xsam_edge.runtime.results.segment import Segment


@dataclass(frozen=True, eq=False)
class Result:
    """The answer to one prompt on one image.

    ``image_size`` is (height, width). ``text`` is what the model generated, "" where it generated nothing;
    ``caption`` is the same without the marks around phrases, as one reads it. ``token_ids`` are all generated ids, the
    stop token included.
    ``id_map`` int32 [H, W] is there for panoptic (segment ids, 0 = void) and semantic results (class indices, -1 where
    no class is); it is read-only, since the segments' masks are cut out of it. ``timings`` are milliseconds by stage.
    Without ``answered`` the model gave no segmentation; ``reason`` says why there is none, or why the best mask was not
    taken. ``best_score``, 0..1, is that of the mask that answers best, taken or not, where one thing was asked for.
    ``llm_forwards`` counts the passes through the language model that the answer took: 1 where no step of decoding was
    needed. A pass for several prompts counts for each of them.
    Two results are equal when all but the image and what it took to get there is.

    A result is a sequence of its segments: ``len``, iteration, indices and slices are theirs. Raises InputError for a
    value of another type or out of range.
    """

    task: str
    segments: tuple[Segment, ...]
    image_size: tuple[int, int]
    text: str = ""
    prompt: str = ""
    id_map: NDArray[np.int32] | None = field(default=None, repr=False)
    timings: Mapping[str, float] = field(default_factory=dict)
    answered: bool = True
    reason: str = ""
    image: Image.Image | None = field(default=None, repr=False)
    token_ids: tuple[int, ...] = field(default=(), repr=False)
    llm_forwards: int = 0
    best_score: float | None = None
    caption: str = ""

    def __post_init__(self) -> None:
        height, width = (
            arguments.count("image_size", side, 1)
            for side in arguments.items_of("image_size", self.image_size, 2, "height and width in pixels")
        )
        segments = arguments.items("segments", self.segments, "a list of Segments")
        for segment in segments:
            arguments.instance("a segment", segment, Segment, "a Segment")
            if segment.size != (height, width):
                raise InputError(f"a mask is {segment.size}; expected the image's size {(height, width)}")
        if self.id_map is not None:
            arguments.array("id_map", self.id_map, np.int32, (height, width))
        if self.image is not None:
            arguments.instance("image", self.image, Image.Image, "a PIL image, or None")
        if not isinstance(self.timings, Mapping):
            raise arguments.wrong("timings", self.timings, "milliseconds by stage, as a dict")
        for name, value in {
            "segments": tuple(segments),
            "image_size": (height, width),
            "answered": arguments.flag("answered", self.answered),
            "token_ids": tuple(
                arguments.count("a token id", token)
                for token in arguments.items("token_ids", self.token_ids, "a list of token ids")
            ),
            "llm_forwards": arguments.count("llm_forwards", self.llm_forwards),
            "best_score": None if self.best_score is None else arguments.share("best_score", self.best_score),
        }.items():
            object.__setattr__(self, name, value)
        for name in ("task", "text", "prompt", "reason", "caption"):
            arguments.text(name, getattr(self, name))

    def __len__(self) -> int:
        return len(self.segments)

    def __iter__(self) -> Iterator[Segment]:
        return iter(self.segments)

    @overload
    def __getitem__(self, index: int) -> Segment: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Segment, ...]: ...

    def __getitem__(self, index: int | slice) -> Segment | tuple[Segment, ...]:
        return self.segments[index]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Result):
            return NotImplemented
        if self.id_map is None or other.id_map is None:
            return self.id_map is other.id_map and self._values() == other._values()
        return self._values() == other._values() and np.array_equal(self.id_map, other.id_map)

    def _values(self) -> tuple[object, ...]:
        texts = self.text, self.prompt, self.reason
        return self.task, self.segments, self.image_size, texts, self.answered, self.token_ids, self.best_score

    @property
    def found(self) -> bool:
        """Whether any pixel was segmented."""
        return any(segment.area for segment in self.segments)

    @property
    def masks(self) -> NDArray[np.bool_]:
        """Bool [N, H, W], a copy."""
        if not self.segments:
            return np.zeros((0, *self.image_size), bool)
        return np.stack([segment.mask for segment in self.segments])

    @property
    def scores(self) -> NDArray[np.float32]:
        """Float32 [N], 0..1."""
        return np.array([segment.score for segment in self.segments], np.float32)

    @property
    def labels(self) -> list[str | None]:
        """The label of every segment."""
        return [segment.label for segment in self.segments]

    @property
    def boxes(self) -> NDArray[np.float32]:
        """Float32 [N, 4]: x0, y0, x1, y1 in pixels, x1 and y1 exclusive."""
        return np.array([segment.box for segment in self.segments], np.float32).reshape(-1, 4)

    def filter(
        self, threshold: float = 0.0, *, labels: Sequence[str | None] | None = None, min_area: int = 0
    ) -> Result:
        """This result with the segments that score ``threshold``, have one of ``labels`` and ``min_area`` pixels.

        What is left out of a map has no segment there: 0 in a panoptic one, -1 in a semantic one.

        Raises:
            InputError: an argument of another type or out of range.
        """
        least = np.float32(arguments.share("threshold", threshold))
        wanted = None if labels is None else arguments.items("labels", labels, "a list of labels")
        for label in wanted or ():
            if label is not None:
                arguments.text("a label", label)
        min_area = arguments.count("min_area", min_area)
        kept: list[Segment] = []
        left_out: list[Segment] = []
        for segment in self.segments:
            fits = np.float32(segment.score) >= least and segment.area >= min_area
            (kept if fits and (wanted is None or segment.label in wanted) else left_out).append(segment)
        id_map = self.id_map
        if id_map is not None and left_out:
            id_map = id_map.copy()
            for segment in left_out:
                id_map[segment.mask] = 0 if segment.id else -1
            id_map.setflags(write=False)
        reason = "no segment passed the filter" if left_out and not kept else self.reason
        return replace(self, segments=tuple(kept), id_map=id_map, reason=reason)

    def tracked(self, ids: Sequence[int | None]) -> Result:
        """This result with the identity of each segment, as a tracker gives them.

        Raises:
            InputError: not one for each segment, or none that counts from 1.
        """
        given = arguments.items_of("ids", ids, len(self), f"a track's id or None for each of {len(self)} segments")
        segments = (segment.tracked(track_id) for segment, track_id in zip(self, given, strict=True))
        return replace(self, segments=tuple(segments))

    def save(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> dict[str, Any]:
        """Write the files that ``xsam-segment`` writes into a folder, which is made.

        These are ``result.json``, a PNG of 0 and 255 for each mask, ``ids.png`` of 16 bits for a map and, where there
        are segments and the image, ``overlay.png``. The folder is there completely or not at all.

        Returns:
            the names of the files: ``result``, ``overlay`` and ``ids`` (None where there is none), and ``masks``.

        Raises:
            InputError: the folder exists and is not empty, or with ``overwrite`` holds more than such files.
            OSError: no room or no permission.
        """
        place = arguments.path("folder", folder, "the folder to write")
        return files.write_result(self, place, {}, arguments.flag("overwrite", overwrite))

    def overlay(
        self, image: ImageSource | None = None, alpha: float = 0.45, *, max_side: int | None = None
    ) -> Image.Image:
        """The image with its segments drawn in, at its own size unless ``max_side`` pixels are to be its longer side.

        ``image``, as :meth:`XSam.look` takes it, defaults to the one that was segmented. See ``overlay.draw``.
        Raises InputError where there is no image, or one of another size.
        """
        picture = self.image if image is None else load_image(image)
        if picture is None:
            raise InputError("this result keeps no image; pass the one that was segmented: result.overlay(image)")
        return draw(picture, self.segments, alpha=alpha, max_side=max_side)

    def to_coco(self, image_id: int | str | None = None, *, polygons: bool = False) -> list[dict[str, Any]]:
        """One COCO annotation per segment, as a ``results`` file wants them.

        ``category_id`` is the segment's ``label_id``; ``segmentation`` is compressed RLE; ``label`` and ``track_id``
        are added where there are any. There is no ``bbox``: pycocotools makes it of the mask, and where a result brings
        one, takes the box's area for the mask's, by which average precision tells small objects from large ones.

        With ``polygons`` they are annotations of a data set: ``segmentation`` is a list of polygons along the edges of
        pixels, ``bbox`` [x, y, width, height]. Raises InputError for an ``image_id`` that is neither a whole number nor
        text.
        """
        polygons = arguments.flag("polygons", polygons)
        if image_id is not None and not isinstance(image_id, str):
            image_id = arguments.count("image_id", image_id)
        annotations = []
        for segment in self.segments:
            annotation: dict[str, Any] = {} if image_id is None else {"image_id": image_id}
            annotation |= {
                "category_id": segment.label_id,
                "segmentation": coco_polygons(segment.mask) if polygons else dict(rle.encode(segment.mask)),
                "area": segment.area,
                "score": segment.score,
                "iscrowd": 0,
            }
            if polygons:
                x0, y0, x1, y1 = segment.box
                annotation["bbox"] = [x0, y0, x1 - x0, y1 - y0]
            if segment.label is not None:
                annotation["label"] = segment.label
            if segment.track_id is not None:
                annotation["track_id"] = segment.track_id
            annotations.append(annotation)
        return annotations

    def to_yolo(self) -> str:
        """The text of a label file of YOLO's segmentation: a line for each segment that has a pixel.

        A line is the segment's ``label_id`` and the corners of one polygon, x and y in 0..1 of the image's width and
        height. Parts of a mask that do not touch are joined by a line there and back.
        """
        lines = []
        for segment in self.segments:
            if corners := yolo_polygon(segment.mask):
                lines.append(" ".join([str(segment.label_id), *(f"{value:.6g}" for value in corners)]) + "\n")
        return "".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Everything but the images, as values that ``json.dumps`` takes; masks as compressed COCO RLE."""
        return {
            "task": self.task,
            "prompt": self.prompt,
            "text": self.text,
            "caption": self.caption,
            "answered": self.answered,
            "found": self.found,
            "reason": self.reason,
            "best_score": self.best_score,
            "image_size": list(self.image_size),
            "segments": [
                {
                    "id": segment.id,
                    "track_id": segment.track_id,
                    "label": segment.label,
                    "label_id": segment.label_id,
                    "score": segment.score,
                    "box": list(segment.box),
                    "area": segment.area,
                    "is_thing": segment.is_thing,
                    "mask": dict(rle.encode(segment.mask)),
                }
                for segment in self.segments
            ],
            "llm_forwards": self.llm_forwards,
            "timings_ms": {stage: float(value) for stage, value in self.timings.items()},
        }

    def to_supervision(self) -> Any:
        """A ``supervision.Detections`` with masks, boxes, scores, label ids and labels (``data["class_name"]``).

        Where a segment has a ``track_id``, these are its ``tracker_id``, -1 of those without.

        Raises XSamError where the package is not installed.
        """
        try:
            supervision = import_module("supervision")
        except ImportError as error:
            raise XSamError(
                "the package supervision is not installed; install it with: pip install 'xsam-edge[supervision]'"
            ) from error
        if not self.segments:
            return supervision.Detections.empty()
        ids = [segment.track_id for segment in self.segments]
        return supervision.Detections(
            xyxy=self.boxes,
            mask=self.masks,
            confidence=self.scores,
            class_id=np.array([segment.label_id for segment in self.segments], int),
            tracker_id=np.array([-1 if track_id is None else track_id for track_id in ids]) if any(ids) else None,
            data={"class_name": np.array([label or "" for label in self.labels])},
        )
