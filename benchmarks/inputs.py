"""Pictures and phrases to measure with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from xsam_edge.benchmarks.measure import Pixels
from xsam_edge.calibration.shapes.composition import compose
from xsam_edge.calibration.shapes.draw import draw
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.image.load import load_image

PHRASES = ("the largest shape", "the red circle", "the thing on the left", "the smallest shape")
_SIZE = (480, 640)
_DRAWN = 8  # different pictures; from then on, they come again with another pixel in a corner


def pictures(image: Path | None = None) -> tuple[Callable[[int], Pixels], str]:
    """A function that gives the picture of a round, and what the pictures are.

    No two rounds have the same picture, so that nothing which is kept of one can help with another: those of an image
    file differ in a corner's pixels.

    Raises:
        InputError: not an image.
    """
    if image is not None:
        pixels = np.asarray(load_image(image).convert("RGB"))
        height, width = pixels.shape[:2]
        return lambda index: _marked(pixels, index), f"{image}, {width} x {height}"
    height, width = _SIZE
    drawn: dict[int, Pixels] = {}

    def picture(index: int) -> Pixels:
        number = index % _DRAWN
        if number not in drawn:
            drawn[number] = draw(compose(number), width).pixels[:height]
        return _marked(drawn[number], index)

    return picture, f"drawn scenes, {width} x {height}"


def _marked(pixels: Pixels, index: int) -> Pixels:
    """A copy whose first pixels spell ``index``."""
    marked: Pixels = np.ascontiguousarray(pixels).copy()
    row = marked[0].reshape(-1)
    digits = np.frombuffer(index.to_bytes(4, "little"), np.uint8)[: row.size]
    row[: digits.size] ^= digits
    return marked


def phrases(arguments: Sequence[str] | None) -> list[str]:
    """Phrases of the command line: texts, and files with one per line.

    Raises:
        InputError: a file that is not text or holds no phrase.
    """
    texts: list[str] = []
    for text in arguments or PHRASES:
        if not _is_file(text):
            texts.append(text)
            continue
        try:
            lines = [line.strip() for line in Path(text).read_text(encoding="utf-8").splitlines()]
        except UnicodeDecodeError:
            raise InputError(f"{text} is not UTF-8 text; --prompts takes a file with one phrase per line") from None
        if not any(lines):
            raise InputError(f"{text} holds no phrase; write one per line")
        texts += filter(None, lines)
    return texts


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # too long for a name, or with a null byte
        return False
