"""Pictures of results: translucent masks, crisp contours, labels."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from xsam_edge.runtime import arguments
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.results.segment import Segment

MIN_FONT = 10  # pixels
Color = tuple[int, int, int]
FIRST_COLORS: tuple[Color, ...] = (
    (52, 130, 246),
    (255, 122, 58),
    (38, 190, 124),
    (226, 74, 141),
    (250, 196, 45),
    (132, 94, 236),
    (18, 184, 204),
    (228, 62, 60),
    (146, 196, 52),
    (176, 116, 74),
    (196, 120, 232),
    (94, 140, 130),
)
_UNTRACKED: Color = (150, 150, 150)  # beside segments with an identity, one without
Rectangle = tuple[int, int, int, int]


def draw(
    image: Image.Image, segments: Sequence[Segment], alpha: float = 0.45, max_side: int | None = None
) -> Image.Image:
    """An RGB copy of ``image`` with its segments: fill of opacity ``alpha``, contour, label and score.

    A segment with an identity has that in its label, "#3 cup 0.93", and a colour of its own over all frames. Larger
    segments are drawn first, so that small ones stay visible. The picture is of the image's size or, with
    ``max_side``, scaled down to a longer side of at most so many pixels. A label is left out where it does not fit
    inside the picture. Raises InputError for a mask that is not of the image's size, for an ``alpha`` outside 0..1 and
    for what is neither an image nor segments.
    """
    arguments.instance("image", image, Image.Image, "a PIL image")
    alpha = arguments.share("alpha", alpha)
    longest = max(image.size) if max_side is None else arguments.count("max_side", max_side, 1)
    for segment in segments:
        arguments.instance("a segment", segment, Segment, "a Segment")
        if segment.size != (image.height, image.width):
            raise InputError(
                f"a mask is {segment.size}; expected the image's height and width {(image.height, image.width)}"
            )
    scale = min(longest, max(image.size)) / max(image.size)  # whole numbers are compared: of any size
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    picture = image if size == image.size else image.resize(size, Image.Resampling.BOX, reducing_gap=2.0)
    canvas = np.array(picture.convert("RGB"))

    colors = _colors(segments)
    stroke = max(1, round(max(size) / 500))
    labels = []
    for segment, color in sorted(zip(segments, colors, strict=True), key=lambda pair: -pair[0].area):
        mask = _sample(segment.mask, size)
        _paint(canvas, mask, color, alpha, stroke)
        labels.append((_text(segment), color, _anchor(mask, segment.is_thing)))  # masks of large images are large
    drawn = Image.fromarray(canvas)
    _label(drawn, labels)
    return drawn


def _colors(segments: Sequence[Segment]) -> list[Color]:
    """By identity where segments are tracked, so that a thing keeps its colour over frames; else by label."""
    ids = [segment.track_id for segment in segments]
    if any(ids):
        return [_UNTRACKED if track_id is None else palette(track_id - 1) for track_id in ids]
    return segment_colors([segment.label_id for segment in segments])


def segment_colors(label_ids: Iterable[int]) -> list[Color]:
    """One colour per segment, all different for the first few dozen.

    The first segment of a label has the label's own colour, whatever else is in the picture; further segments of it
    take colours that no label of this picture uses.
    """
    labels = list(label_ids)
    spare = max(labels, default=-1) + 1
    seen: set[int] = set()
    colors = []
    for label in labels:
        if label in seen:
            colors.append(palette(spare))
            spare += 1
        else:
            seen.add(label)
            colors.append(palette(label))
    return colors


def palette(index: int) -> Color:
    """The ``index``-th colour: a dozen chosen by eye, then hues a golden section apart."""
    if index < len(FIRST_COLORS):
        return FIRST_COLORS[index]
    hue = (0.1 + index * 0.61803399) % 1.0
    saturation = (0.78, 0.6, 0.92)[index % 3]
    value = (1.0, 0.86)[index // 3 % 2]
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def _sample(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Bool [H, W] -> [height, width] of ``size`` (width, height), nearest neighbour."""
    height, width = mask.shape
    if (width, height) == size:
        return mask
    rows = (np.arange(size[1]) * 2 + 1) * height // (2 * size[1])
    columns = (np.arange(size[0]) * 2 + 1) * width // (2 * size[0])
    sampled: NDArray[np.bool_] = mask[rows[:, None], columns]
    return sampled


def _grow(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask and every pixel beside it (four neighbours)."""
    grown: NDArray[np.bool_] = mask.copy()
    grown[1:] |= mask[:-1]
    grown[:-1] |= mask[1:]
    grown[:, 1:] |= mask[:, :-1]
    grown[:, :-1] |= mask[:, 1:]
    return grown


def _paint(canvas: NDArray[np.uint8], mask: NDArray[np.bool_], color: Color, alpha: float, stroke: int) -> None:
    """Fill and outline one mask in uint8 [H, W, 3]: a line of the colour inside the edge, a dark hairline outside."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return
    window = (
        slice(max(0, int(rows[0]) - stroke), int(rows[-1]) + 1 + stroke),
        slice(max(0, int(columns[0]) - stroke), int(columns[-1]) + 1 + stroke),
    )
    inside, pixels = mask[window], canvas[window]
    for channel, paint in enumerate(np.array(color, np.float32)):
        # By a table: all of a large image as floating-point numbers is too much.
        filled = (np.arange(256, dtype=np.uint8) * (1 - alpha) + paint * alpha + 0.5).astype(np.uint8)
        plane = pixels[..., channel]
        np.copyto(plane, filled[plane], where=inside)
    outside = ~inside
    near = outside
    for _ in range(stroke):
        near = _grow(near)
    halo = inside
    for _ in range(max(1, stroke // 2)):
        halo = _grow(halo)
    halo = halo & outside
    pixels[halo] = (pixels[halo] * 0.45).astype(np.uint8)
    pixels[inside & near] = color


def _text(segment: Segment) -> str:
    track = "" if segment.track_id is None else f"#{segment.track_id} "
    label = f"{' '.join(segment.label.split())} " if segment.label else ""
    return f"{track}{label}{segment.score:.2f}"


@dataclass(frozen=True)
class _Anchor:
    """Where a label would like to be: its left end and baseline side, or its centre."""

    x: int
    y: int
    centred: bool


def _anchor(mask: NDArray[np.bool_], is_thing: bool) -> _Anchor | None:
    """The top left corner of an object, the heart of stuff; None for an empty mask."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    if is_thing:
        return _Anchor(int(columns[0]), int(rows[0]), centred=False)
    # Erode a coarse copy until nothing is left: the last to go lies deepest inside.
    step = max(1, max(mask.shape) // 96)
    coarse = mask[step // 2 :: step, step // 2 :: step]
    if not coarse.any():
        return _Anchor(int(columns[len(columns) // 2]), int(rows[len(rows) // 2]), centred=True)
    core = np.pad(coarse, 1)
    while True:
        smaller = ~_grow(~core)
        if not smaller[1:-1, 1:-1].any():
            break
        core = smaller
    ys, xs = np.nonzero(core[1:-1, 1:-1])
    middle = len(ys) // 2
    return _Anchor(int(xs[middle]) * step + step // 2, int(ys[middle]) * step + step // 2, centred=True)


def _label(picture: Image.Image, labels: Sequence[tuple[str, Color, _Anchor | None]]) -> None:
    """Draw chips inside the picture, smallest segment last, each at the free place next to its anchor."""
    width, height = picture.size
    font_size = max(MIN_FONT, round(max(width, height) / 60))
    font = ImageFont.load_default(font_size)
    pad = max(2, font_size // 4)
    chip_height = font_size + 2 * pad
    canvas = ImageDraw.Draw(picture)
    taken: list[Rectangle] = []
    for text, color, anchor in labels:
        if anchor is None or chip_height > height:
            continue
        text = _shorten(text, font, max(width // 3, min(width, 12 * font_size)) - 2 * pad)
        chip_width = round(font.getlength(text)) + 2 * pad
        if not text or chip_width > width:
            continue
        left = anchor.x - chip_width // 2 if anchor.centred else anchor.x
        top = anchor.y - chip_height // 2 if anchor.centred else anchor.y - chip_height
        left = min(max(0, left), width - chip_width)
        box = _free_place(left, top, chip_width, chip_height, height, taken)
        taken.append(box)
        canvas.rounded_rectangle((box[0], box[1], box[2] - 1, box[3] - 1), radius=pad, fill=color)
        light = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2] > 140
        canvas.text(
            (box[0] + pad, (box[1] + box[3]) / 2),
            text,
            font=font,
            fill=(0, 0, 0) if light else (255, 255, 255),
            anchor="lm",
        )


def _shorten(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, limit: float) -> str:
    """``text``, or as much of it as fits ``limit`` pixels with "..." in the middle (the score stays); "" if none."""
    if font.getlength(text) <= limit:
        return text
    words, _, score = text.rpartition(" ")
    while words and font.getlength(f"{words}... {score}") > limit:
        words = words[:-1].rstrip()
    if words:
        return f"{words}... {score}"
    return score if font.getlength(score) <= limit else ""


def _free_place(left: int, top: int, width: int, height: int, limit: int, taken: Sequence[Rectangle]) -> Rectangle:
    """The chip's rectangle: moved down, else up, past the chips already there; on top of them where all is full."""

    def at(y: int) -> Rectangle:
        return left, y, left + width, y + height

    def free(box: Rectangle) -> bool:
        return all(box[2] <= t[0] or t[2] <= box[0] or box[3] <= t[1] or t[3] <= box[1] for t in taken)

    wanted = min(max(0, top), limit - height)
    places = [wanted, *(t[3] for t in taken), *(t[1] - height for t in taken)]
    inside = [y for y in places if 0 <= y <= limit - height]
    for y in sorted(inside, key=lambda y: abs(y - wanted)):
        if free(at(y)):
            return at(y)
    return at(wanted)
