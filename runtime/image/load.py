"""Loading an image: any file, Pillow image or array a user may have becomes an RGB Pillow image.

This module knows files and pixel formats; it knows nothing of models. The conversion is Pillow's
``convert("RGB")`` (alpha is dropped, not composited), as in the official ``load_image``, with two additions: the
EXIF orientation is applied, and grey of 16 or 32 bits is scaled to 8 bits where Pillow would clip it.
"""

from __future__ import annotations

import os
import struct
import threading
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps

from xsam_edge.runtime import arguments
from xsam_edge.runtime.errors import ImageError, InputError
from xsam_edge.runtime.image.content import ImageContent, is_content, open_content

ImageSource = str | os.PathLike[str] | ImageContent | Image.Image | npt.NDArray[Any]

MAX_PIXELS = 2**29
"""Largest width x height that is decoded: 2.1 GB as Pillow holds it, whose own limit is less than half of that."""

# Pillow decodes an opened file when its pixels are first asked for, which two threads must not do at once.
_SHARED = threading.Lock()

PILLOW, CONTENT = "the Pillow image", "the image"
_UNSAFE_FORMATS = frozenset({"EPS", "FPX", "MIC", "WMF"})  # handed on to Ghostscript, OLE parsers or the system


def load_image(source: ImageSource, *, bgr: bool = False, max_pixels: int | None = None) -> Image.Image:
    """Return ``source`` as an 8-bit RGB Pillow image, upright.

    ``source`` is a path, the content of a file (bytes, uint8 [N] or a file open for reading), a Pillow image, or a
    uint8 array [H, W], [H, W, 1], [H, W, 3] (RGB) or [H, W, 4] (RGBA); with ``bgr`` an array's colours are in OpenCV's
    order, BGR or BGRA. Of an animation the first frame is taken. An RGB image that needs no rotation is returned as it
    is, not copied.

    Raises InputError for an array of another type or shape and an image of more than ``max_pixels``, by default
    ``MAX_PIXELS``; ImageError for a path that is missing, empty, not an image or damaged.
    """
    if isinstance(source, np.ndarray) and not is_content(source):
        return _from_array(source, bgr, max_pixels)
    if bgr:
        raise InputError(f"bgr is of arrays of pixels, and the image is {arguments.found(source)}; leave bgr out")
    if isinstance(source, Image.Image):
        with _SHARED:
            return to_rgb(upright(_decoded(source, PILLOW, max_pixels)), PILLOW)
    image, name = decoded_image(source, max_pixels)
    return to_rgb(image, name)


def decoded_image(source: object, max_pixels: int | None = None) -> tuple[Image.Image, str]:
    """The pixels of a path, a file's content or a Pillow image, upright, and what messages call it.

    Raises InputError and ImageError as :func:`load_image` does.
    """
    if isinstance(source, Image.Image):
        with _SHARED:
            return upright(_decoded(source, PILLOW, max_pixels)), PILLOW
    image, name = stored_image(source, max_pixels)
    return upright(image), name


def stored_image(source: object, max_pixels: int | None = None) -> tuple[Image.Image, str]:
    """The pixels of a path or a file's content as stored, whatever their EXIF orientation, and what messages call it.

    Raises InputError and ImageError as :func:`load_image` does.
    """
    if isinstance(source, (str, os.PathLike)):
        path = arguments.path("the image", source, "the path of one image file")
        return _from_file(path, max_pixels), str(path)
    if is_content(source):
        with open_content(source, CONTENT) as stream:
            return _decoded(_identify(stream, CONTENT), CONTENT, max_pixels), CONTENT
    raise InputError(
        "an image must be a path, the bytes of an image file, an open file, a Pillow image or a uint8 array, not "
        f"{type(source).__name__}; convert it with numpy.asarray first"
    )


def _from_file(path: Path, max_pixels: int | None) -> Image.Image:
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder; give the path of one image file")
        with path.open("rb") as stream:
            if stream.seek(0, os.SEEK_END) == 0:
                raise ImageError(f"{path} is empty (0 bytes); an image file was expected")
            return _decoded(_identify(stream, str(path), str(path)), str(path), max_pixels)
    except FileNotFoundError:
        raise ImageError(f"{path} does not exist; check the path of the image") from None
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise ImageError(f"{path} cannot be read ({error}); check the path and its permissions") from error


def _identify(stream: IO[bytes], called: str, path: str = "") -> Image.Image:
    """Parse the header with Pillow's registered formats; messages call it ``called``.

    ``Image.open`` does the same and then applies ``Image.MAX_IMAGE_PIXELS``, a global of the whole process that this
    library must not change for its caller; ``_decoded`` applies ``max_pixels`` instead.
    """
    stream.seek(0)
    prefix = stream.read(16)
    tried: set[str] = set()
    for register in (Image.preinit, Image.init):
        register()
        for name in [name for name in Image.ID if name not in tried and name not in _UNSAFE_FORMATS]:
            tried.add(name)
            factory, accept = Image.OPEN[name]
            stream.seek(0)
            try:
                answer = accept(prefix) if accept else True
                if not answer or isinstance(answer, str):  # a string explains a refusal
                    continue
                return factory(stream, path)
            except (SyntaxError, IndexError, TypeError, struct.error):
                continue  # how a plugin says that the file is not its own
            except Exception as error:
                raise ImageError(f"{called} is a damaged {name} file ({error}); save the image again") from error
    raise ImageError(f"{called} is not an image that Pillow can read; convert it to PNG or JPEG")


def _decoded(image: Image.Image, name: str, max_pixels: int | None) -> Image.Image:
    width, height = image.size
    if width < 1 or height < 1:
        raise InputError(f"{name} is {width} x {height} pixels; at least 1 x 1 is needed")
    limit = _limit(max_pixels)
    if width * height > limit:
        raise InputError(f"{name} is {width} x {height} pixels, more than the limit of {limit}; scale it down first")
    try:
        image.load()
    except Exception as error:  # decoders raise anything on damaged data
        raise ImageError(
            f"{name} is truncated or damaged ({type(error).__name__}: {error}); save the image again"
        ) from error
    return image


def _limit(max_pixels: int | None) -> int:
    return MAX_PIXELS if max_pixels is None else max_pixels


def upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation; damaged EXIF data is no reason to refuse intact pixels."""
    try:
        if image.getexif().get(ExifTags.Base.Orientation, 1) == 1:
            return image  # exif_transpose would copy it
        turned = ImageOps.exif_transpose(image)
        turned.format = image.format
        return turned
    except Exception:
        return image


def to_rgb(image: Image.Image, name: str) -> Image.Image:
    """A decoded image in RGB. Raises InputError for pixels whose range is not known."""
    if image.mode == "RGB":
        return image
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.asarray(image)
        # Of a file's 16 bits even a dark picture is dark; a program that fills 32 has 8 bits in mind, or 16.
        narrow = image.mode == "I" and image.format is None and values.max(initial=0) <= 255
        return Image.fromarray(values.clip(0).astype(np.uint8) if narrow else _high_byte(values)).convert("RGB")
    if image.mode == "F":
        raise InputError(f"{name} holds floating-point pixels, whose range is unknown; convert it to 8 bits first")
    try:
        if image.mode == "P" and "transparency" in image.info:
            image = image.convert("RGBA")  # the same colours, without Pillow's warning
        return image.convert("RGB")
    except ValueError as error:
        raise InputError(
            f"{name} has mode {image.mode}, which Pillow cannot turn into RGB ({error}); convert it to RGB first"
        ) from error


def _high_byte(grey: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Scale 0..65535 to 0..255. Mode "I" comes from 16-bit files too (PGM, older Pillow's PNG)."""
    if grey.dtype.itemsize > 2:
        grey = np.clip(grey, 0, 65535)
    out = np.empty(grey.shape, np.uint8)
    np.right_shift(grey, 8, out=out, casting="unsafe")  # in blocks: no second array of 16 bits
    return out


def _from_array(array: npt.NDArray[Any], bgr: bool, max_pixels: int | None) -> Image.Image:
    if array.dtype != np.uint8:
        raise InputError(f"an image array must be uint8 (0..255), not {array.dtype}; scale and convert it first")
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise InputError(
            f"an image array must be [H, W], [H, W, 3] (RGB) or [H, W, 4], channels last, not {list(array.shape)}"
        )
    height, width = array.shape[:2]
    if height < 1 or width < 1:
        raise InputError(f"the image array is {height} x {width}; at least 1 x 1 is needed")
    limit = _limit(max_pixels)
    if height * width > limit:
        raise InputError(f"the image array is {height} x {width}, more than the limit of {limit} pixels")
    if array.ndim == 3:
        array = array[..., 0] if array.shape[2] == 1 else array[..., 2::-1] if bgr else array[..., :3]
    return to_rgb(Image.fromarray(np.ascontiguousarray(array)), "the image array")
