"""Grounded captions as GranD-f publishes them, in four forms, as captions whose phrases have masks.

Captions and phrases are lower-cased. As in the official ``ImgGCGSegDataset``, phrases of data to train on that the
caption does not hold, or whose place in it overlaps an earlier one, are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from xsam_edge.calibration.data.files import Id, Size, by_id, read_annotations
from xsam_edge.calibration.data.masks import CocoSegmentation, parse_segmentation
from xsam_edge.runtime.bundle.constraints import FileName, PositiveInt, is_inside
from xsam_edge.runtime.bundle.conversion import at_key
from xsam_edge.runtime.errors import InputError

_FEWEST_WORDS = 3  # of a caption of Flickr30k

Grounded = tuple[str, CocoSegmentation]
"""A phrase with its mask."""


@dataclass(frozen=True)
class Captioned:
    """An image with a caption and its phrases, in their order; ``size`` is None where the data do not tell it."""

    file_name: str
    size: Size | None
    caption: str
    phrases: tuple[Grounded, ...]


@dataclass(frozen=True)
class Captions:
    """What files hold; ``without_outline`` counts phrases without a mask, ``unpaired`` captions whose phrases and masks
    are not as many.
    """

    records: tuple[Captioned, ...]
    without_outline: int
    unpaired: int = 0


@dataclass(frozen=True)
class _Grounding:
    extra_keys: ClassVar[bool] = True

    token_positives: tuple[int, int]  # where the phrase starts and ends
    rle_masks: tuple[Any, ...] | None = ()


@dataclass(frozen=True)
class _Record:
    extra_keys: ClassVar[bool] = True

    file_name: FileName
    caption: str
    groundings: Mapping[str, _Grounding]


@dataclass(frozen=True)
class _Ref:
    extra_keys: ClassVar[bool] = True

    sentence: str
    segmentation: Any = None


@dataclass(frozen=True)
class _RefRecord:
    extra_keys: ClassVar[bool] = True

    img_file_name: FileName
    caption: str
    refs: tuple[_Ref, ...]
    height: PositiveInt | None = None
    width: PositiveInt | None = None


@dataclass(frozen=True)
class _FlickrImage:
    extra_keys: ClassVar[bool] = True

    id: Id
    file_name: FileName
    caption: str
    height: PositiveInt
    width: PositiveInt


@dataclass(frozen=True)
class _FlickrPhrase:
    extra_keys: ClassVar[bool] = True

    image_id: Id
    tokens_positive: tuple[tuple[int, int], ...]
    sam_mask: Any = None


@dataclass(frozen=True)
class _Flickr:
    extra_keys: ClassVar[bool] = True

    images: tuple[_FlickrImage, ...]
    annotations: tuple[_FlickrPhrase, ...]


@dataclass(frozen=True)
class _PairImage:
    extra_keys: ClassVar[bool] = True

    id: Id
    file_name: str | None = None
    height: PositiveInt | None = None
    width: PositiveInt | None = None


@dataclass(frozen=True)
class _PairMask:
    extra_keys: ClassVar[bool] = True

    image_id: Id
    segmentation: Any = None


@dataclass(frozen=True)
class _PairMasks:
    extra_keys: ClassVar[bool] = True

    images: tuple[_PairImage, ...]
    annotations: tuple[_PairMask, ...]


@dataclass(frozen=True)
class _PairCaption:
    extra_keys: ClassVar[bool] = True

    image_id: Id
    caption: str
    labels: tuple[str, ...]


@dataclass(frozen=True)
class _PairCaptions:
    extra_keys: ClassVar[bool] = True

    annotations: tuple[_PairCaption, ...]


Reader = Callable[[Path], Captions]


def read_groundings(path: Path) -> Captions:
    """A list of ``{file_name, caption, groundings: {phrase: {token_positives, rle_masks}}}`` (GranDf_HA, OpenPsg)."""
    records, without_outline = [], 0
    for index, record in enumerate(read_annotations(path, tuple[_Record, ...])):
        caption = _clean(record.caption)
        placed = []
        for phrase, grounding in record.groundings.items():
            named = f"{path}: [{index}].groundings{at_key(phrase)}.rle_masks"
            segmentation = parse_segmentation(list(grounding.rle_masks or ()), named)
            if segmentation.polygons:
                raise InputError(f"{named} holds polygons; expected run-length encoded masks")
            without_outline += segmentation.is_empty
            if not segmentation.is_empty and _clean(phrase) and _clean(phrase) in caption:
                placed.append((*grounding.token_positives, _clean(phrase), segmentation))
        phrases = tuple(_apart(placed))
        size = phrases[0][1].runs[0].size if phrases else None
        records.append(Captioned(record.file_name, size, caption, phrases))
    return Captions(tuple(records), without_outline)


def read_refs(path: Path) -> Captions:
    """A list of ``{id: {img_file_name, caption, refs: [{sentence, segmentation}]}}`` (RefCOCOg)."""
    records, without_outline = [], 0
    for index, item in enumerate(read_annotations(path, tuple[Mapping[str, _RefRecord], ...])):
        for key, record in item.items():
            caption = _clean(record.caption)
            placed = []
            for number, ref in enumerate(record.refs):
                named = f"{path}: [{index}]{at_key(key)}.refs[{number}].segmentation"
                segmentation = parse_segmentation(ref.segmentation, named)
                phrase = _clean(ref.sentence)
                without_outline += segmentation.is_empty
                if not segmentation.is_empty and phrase and phrase in caption:
                    start = caption.index(phrase)
                    placed.append((start, start + len(phrase), phrase, segmentation))
            size = (record.height, record.width) if record.height and record.width else None
            records.append(Captioned(record.img_file_name, size, caption, tuple(_apart(placed))))
    return Captions(tuple(records), without_outline)


def read_flickr(path: Path) -> Captions:
    """COCO's form with a ``caption`` of each image, and ``tokens_positive`` and ``sam_mask`` of its phrases."""
    data = read_annotations(path, _Flickr)
    images = by_id(data.images, f"{path}: images")
    captions = {image.id: _clean(image.caption) for image in images.values()}
    placed: dict[Id, list[tuple[int, int, str, CocoSegmentation]]] = {image: [] for image in images}
    without_outline = 0
    for index, record in enumerate(data.annotations):
        where = f"{path}: annotations[{index}]"
        if record.image_id not in captions:
            raise InputError(f"{where}: image_id {record.image_id!r} is not among the file's images")
        segmentation = parse_segmentation(record.sam_mask, f"{where}.sam_mask")
        without_outline += segmentation.is_empty
        if not segmentation.is_empty and record.tokens_positive:
            start, end = record.tokens_positive[0]
            phrase = captions[record.image_id][max(0, start) : max(0, end)].strip()
            if phrase:
                placed[record.image_id].append((start, end, phrase, segmentation))
    records = tuple(
        Captioned(image.file_name, (image.height, image.width), captions[image.id], tuple(_apart(placed[image.id])))
        for image in images.values()
        if len(captions[image.id].split()) >= _FEWEST_WORDS
    )
    return Captions(records, without_outline)


def read_pair(path: Path) -> Captions:
    """The files that GCG is evaluated by: ``*_gcg_coco_mask_gt.json``, whose path is given, and the one with captions.

    The phrases (``labels``) of an image and its masks are in the same order.
    """
    beside = captions_beside(path)
    masks, captions = read_annotations(path, _PairMasks), read_annotations(beside, _PairCaptions)
    images = by_id(masks.images, f"{path}: images")
    by_image: dict[Id, list[CocoSegmentation]] = {image: [] for image in images}
    for index, record in enumerate(masks.annotations):
        where = f"{path}: annotations[{index}]"
        if record.image_id not in by_image:
            raise InputError(f"{where}: image_id {record.image_id!r} is not among the file's images")
        by_image[record.image_id].append(parse_segmentation(record.segmentation, f"{where}.segmentation"))
    told: dict[Id, _PairCaption] = {}
    for caption in captions.annotations:
        told.setdefault(caption.image_id, caption)
    records, without_outline, unpaired = [], 0, 0
    for index, image in enumerate(images.values()):
        name = image.file_name or f"{image.id}.jpg"
        if not is_inside(name):
            raise InputError(f"{path}: images[{index}] names {name!r}, which is not a file inside of its folder")
        segmentations = by_image[image.id]
        if image.id not in told or len(told[image.id].labels) != len(segmentations):
            unpaired += 1
            continue
        pairs = list(zip(map(_clean, told[image.id].labels), segmentations, strict=True))
        without_outline += sum(segmentation.is_empty for _, segmentation in pairs)
        phrases = tuple(pair for pair in pairs if not pair[1].is_empty)
        size = (image.height, image.width) if image.height and image.width else _encoded_size(phrases)
        records.append(Captioned(name, size, _clean(told[image.id].caption), phrases))
    return Captions(tuple(records), without_outline, unpaired)


def captions_beside(path: Path) -> Path:
    """The file with the captions to one with masks."""
    return path.with_name(path.name.replace("_mask_gt", "_caption_gt"))


def _encoded_size(phrases: Sequence[Grounded]) -> Size | None:
    return next((runs.size for _, segmentation in phrases for runs in segmentation.runs), None)


def _apart(placed: Iterable[tuple[int, int, str, CocoSegmentation]]) -> Iterator[Grounded]:
    """Phrases by their place in the caption (start, end), without those that overlap an earlier one."""
    last = -1
    for start, end, phrase, segmentation in sorted(placed, key=lambda item: item[0]):
        if last < start < end:
            last = end
            yield phrase, segmentation


def _clean(text: str) -> str:
    return text.strip('"').strip().lower()
