"""Images that are the content of a file, as programs get them from a robot's messages, HTTP and open files."""

from __future__ import annotations

import io
import tempfile
from array import array
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from xsam_edge.runtime.errors import ImageError, InputError
from xsam_edge.runtime.image.content import is_content, open_content
from xsam_edge.runtime.image.load import load_image
from xsam_edge.runtime.image.regions import region_mask

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


def png(pixels: Any = PIXELS) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


class Answer:
    """What is read once, as an answer of HTTP."""

    def __init__(self, content: Any) -> None:
        self._content = content

    def read(self) -> Any:
        content, self._content = self._content, b""
        return content


def after_writing() -> io.BytesIO:
    stream = io.BytesIO()
    stream.write(png())
    return stream


FORMS: dict[str, Any] = {
    "bytes": png,
    "bytearray": lambda: bytearray(png()),
    "memoryview": lambda: memoryview(png()),
    "array": lambda: array("B", png()),
    "uint8 [N]": lambda: np.frombuffer(png(), np.uint8),
    "stream": lambda: io.BytesIO(png()),
    "stream at its end": after_writing,
    "answer": lambda: Answer(png()),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_image(form: str) -> None:
    source = FORMS[form]()
    assert is_content(source)
    np.testing.assert_array_equal(np.asarray(load_image(source)), PIXELS)


def test_an_open_file_stays_open(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(png())
    with (tmp_path / "x.png").open("rb") as file:
        for _ in range(2):
            np.testing.assert_array_equal(np.asarray(load_image(file)), PIXELS)
    with tempfile.NamedTemporaryFile() as file, tempfile.SpooledTemporaryFile() as spooled:
        for temporary in (file, spooled):
            temporary.write(png())
            np.testing.assert_array_equal(np.asarray(load_image(temporary)), PIXELS)


def test_orientation_is_that_of_a_file() -> None:
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(PIXELS).save(stream, "PNG", exif=exif)
    assert load_image(stream.getvalue()).size == (20, 30)


def test_a_mask_of_a_region() -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[3:6, 4:9] = 255
    for source in (png(mask), io.BytesIO(png(mask))):
        np.testing.assert_array_equal(region_mask(source, (20, 30)), mask > 0)
    np.testing.assert_array_equal(region_mask((png(mask), 255), (20, 30)), mask > 0)


def closed() -> io.BytesIO:
    stream = io.BytesIO(png())
    stream.close()
    return stream


class Broken:
    def read(self) -> bytes:
        raise OSError("connection reset")


@pytest.mark.parametrize(
    ("source", "kind", "message"),
    [
        (b"", ImageError, r"^the image is empty \(0 bytes\)"),
        (io.BytesIO(), ImageError, r"^the image is empty \(0 bytes\)"),
        (np.zeros(0, np.uint8), ImageError, r"^the image is empty \(0 bytes\)"),
        (b"some text", ImageError, "^the image is not an image that Pillow can read"),
        (png()[:20], ImageError, "^the image is a damaged PNG file"),
        (png()[:200], ImageError, "^the image is truncated or damaged"),
        (array("f", [1.0]), InputError, "^the image has values of 4 bytes; give the bytes of an image file"),
        (closed(), InputError, "^the image is a file that is closed"),
        (io.StringIO("text"), InputError, r"^the image is a file whose read\(\) gave 'text'; expected bytes"),
        (Answer(None), InputError, r"^the image is a file whose read\(\) gave None; expected bytes"),
        (Broken(), ImageError, r"^the image cannot be read from Broken \(connection reset\)"),
        (object(), InputError, "^an image must be a path, the bytes of an image file, an open file,"),
        (7, InputError, "^an image must be a path"),
        ([1, 2], InputError, "^an image must be a path"),
    ],
)
def test_what_is_none_is_told(source: Any, kind: type[InputError], message: str) -> None:
    with pytest.raises(kind, match=message):
        load_image(source)


def test_content_has_no_order_of_colours() -> None:
    with pytest.raises(InputError, match="bgr is of arrays of pixels"):
        load_image(png(), bgr=True)


def test_a_view_with_gaps_is_copied() -> None:
    content = png()
    spaced = np.repeat(np.frombuffer(content, np.uint8), 2)
    assert open_content(memoryview(spaced)[::2], "it").read() == content
