"""What a segmentation call returns: its segments, and their forms for other programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xsam_edge.runtime import arguments
from xsam_edge.runtime.errors import InputError, XSamError
from xsam_edge.runtime.image.load import ImageSource, load_image
from xsam_edge.runtime.results import rle
from xsam_edge.runtime.results.overlay import draw
from xsam_edge.runtime.results.segment import Segment


@dataclass(frozen=True, eq=False)
class Result:
    """The answer to one prompt on one image.

    ``image_size`` is (height, width). ``text`` is what the model generated, "" where it generated nothing;
    ``token_ids`` are all generated ids, the stop token included.
    ``id_map`` int32 [H, W] is there for panoptic (segment ids, 0 = void) and semantic results (class indices, -1 where
    no class is); it is read-only, since the segments' masks are cut out of it. ``timings`` are milliseconds by stage.
    Without ``answered`` the model gave no segmentation; ``reason`` says why there is none, or why the best mask was not
    taken. ``best_score``, 0..1, is that of the mask that answers best, taken or not, where one thing was asked for.
    ``llm_forwards`` counts the passes through the language model that the answer took: 1 where no step of decoding was
    needed. A pass for several prompts counts for each of them.
    Two results are equal when all but the image and what it took to get there is.
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

    def __post_init__(self) -> None:
        for segment in self.segments:
            if segment.size != tuple(self.image_size):
                raise InputError(f"a mask is {segment.size}; expected the image's size {self.image_size}")

    def __len__(self) -> int:
        return len(self.segments)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Result):
            return NotImplemented
        if self.id_map is None or other.id_map is None:
            return self.id_map is other.id_map and self._values() == other._values()
        return self._values() == other._values() and np.array_equal(self.id_map, other.id_map)

    def _values(self) -> tuple[object, ...]:
        size = tuple(self.image_size)
        texts = self.text, self.prompt, self.reason
        return self.task, self.segments, size, texts, self.answered, self.token_ids, self.best_score

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

    def overlay(self, image: ImageSource | None = None, alpha: float = 0.45) -> Image.Image:
        """The image with its segments drawn in; ``image``, as :meth:`XSam.look` takes it, defaults to the one that
        was segmented.

        See ``overlay.draw``. Raises InputError where there is no image, or one of another size.
        """
        picture = self.image if image is None else load_image(image)
        if picture is None:
            raise InputError("this result keeps no image; pass the one that was segmented: result.overlay(image)")
        return draw(picture, self.segments, alpha=alpha)

    def to_coco(self, image_id: int | str | None = None) -> list[dict[str, Any]]:
        """One COCO annotation per segment, as a ``results`` file wants them.

        ``category_id`` is the segment's ``label_id``; ``segmentation`` is compressed RLE, ``bbox`` [x, y, width,
        height]; ``label`` is added where there is one. Raises InputError for an ``image_id`` that is neither a whole
        number nor text.
        """
        if image_id is not None and not isinstance(image_id, str):
            image_id = arguments.count("image_id", image_id)
        annotations = []
        for segment in self.segments:
            annotation: dict[str, Any] = {} if image_id is None else {"image_id": image_id}
            x0, y0, x1, y1 = segment.box
            annotation |= {
                "category_id": segment.label_id,
                "segmentation": dict(rle.encode(segment.mask)),
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": segment.area,
                "score": segment.score,
                "iscrowd": 0,
            }
            if segment.label is not None:
                annotation["label"] = segment.label
            annotations.append(annotation)
        return annotations

    def to_json(self) -> dict[str, Any]:
        """Everything but the images, as values that ``json.dumps`` takes; masks as compressed COCO RLE."""
        return {
            "task": self.task,
            "prompt": self.prompt,
            "text": self.text,
            "answered": self.answered,
            "found": self.found,
            "reason": self.reason,
            "best_score": self.best_score,
            "image_size": [int(side) for side in self.image_size],
            "segments": [
                {
                    "id": segment.id,
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
        return supervision.Detections(
            xyxy=self.boxes,
            mask=self.masks,
            confidence=self.scores,
            class_id=np.array([segment.label_id for segment in self.segments], int),
            data={"class_name": np.array([label or "" for label in self.labels])},
        )
