"""Pictures to look at: small ones with their segments, and a sheet of some that are spread over a set."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.image.load import load_image
from xsam_edge.runtime.label.records import Picture
from xsam_edge.runtime.results.overlay import draw

SHEET = "contact-sheet.jpg"
SHOWN = 24
_COLUMNS, _SIDE, _GAP, _TEXT = 6, 320, 8, 18  # pixels, but for columns
_CHARACTERS = 44  # of a name below a picture


def thumbnail(picture: Picture, side: int) -> Image.Image | None:
    """A picture with its segments, ``side`` pixels at most; None where the file is gone, or has another size."""
    try:
        image = load_image(picture.path)
        return draw(image, [segment.segment() for segment in picture.segments], max_side=side)
    except (InputError, OSError, MemoryError):
        return None


def jpeg(image: Image.Image, quality: int = 72) -> bytes:
    """The content of a JPEG file."""
    content = io.BytesIO()
    image.save(content, "JPEG", quality=quality)
    return content.getvalue()


def spread(count: int, most: int = SHOWN) -> set[int]:
    """Which of ``count`` things in a row are ``most`` that lie evenly among them."""
    return {(2 * number + 1) * count // (2 * min(most, count)) for number in range(min(most, count))}


def write_sheet(path: Path, pictures: Sequence[Picture]) -> None:
    """A sheet of pictures in rows, the names below."""
    shown = [(picture, image) for picture in pictures if (image := thumbnail(picture, _SIDE)) is not None]
    columns = min(_COLUMNS, max(1, len(shown)))
    rows = max(1, -(-len(shown) // columns))
    cell = _SIDE + _GAP, _SIDE + _GAP + _TEXT
    sheet = Image.new("RGB", (columns * cell[0] + _GAP, rows * cell[1] + _GAP), (250, 250, 250))
    canvas, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for number, (picture, image) in enumerate(shown):
        left, top = _GAP + number % columns * cell[0], _GAP + number // columns * cell[1]
        sheet.paste(image, (left + (_SIDE - image.width) // 2, top + (_SIDE - image.height) // 2))
        canvas.text((left, top + _SIDE + 3), _short(picture.name), font=font, fill=(60, 60, 60))
    sheet.save(path, "JPEG", quality=85)


def _short(name: str) -> str:
    text = name.encode("ascii", "replace").decode("ascii")  # what the font has
    text = "".join(character if character.isprintable() else "?" for character in text)
    return text if len(text) <= _CHARACTERS else f"...{text[3 - _CHARACTERS :]}"
