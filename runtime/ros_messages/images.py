"""Images as ROS sends them, ``sensor_msgs/Image`` and ``sensor_msgs/CompressedImage``, to arrays of 8 bits.

A message is any object with the fields of its type: of rclpy, of rosbags, or a stand-in. ``data`` may be bytes, an
``array``, a NumPy array or a list.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xsam_edge.runtime import arguments
from xsam_edge.runtime.errors import ImageError, InputError
from xsam_edge.runtime.image.load import MAX_PIXELS, stored_image, to_rgb
from xsam_edge.runtime.ros_messages import colours

Pixels = NDArray[np.uint8]  # [H, W, 3] in RGB, or [H, W] of grey
Range = tuple[float, float]

_COMPRESSED = "the compressed image"


@dataclass(frozen=True)
class _Plain:
    """Rows of pixels: the samples of each, of 1 or 2 bytes, and where in them red, green and blue are."""

    samples: int
    size: int
    order: slice | None = None


_RGB, _BGR = slice(0, 3), slice(2, None, -1)
_PLAIN = {
    "mono8": _Plain(1, 1),
    "8UC1": _Plain(1, 1),
    "mono16": _Plain(1, 2),
    "16UC1": _Plain(1, 2),
    "rgb8": _Plain(3, 1, _RGB),
    "bgr8": _Plain(3, 1, _BGR),
    "8UC3": _Plain(3, 1, _BGR),  # OpenCV's name of three bytes, in its order
    "rgba8": _Plain(4, 1, _RGB),
    "bgra8": _Plain(4, 1, _BGR),
    "rgb16": _Plain(3, 2, _RGB),
    "bgr16": _Plain(3, 2, _BGR),
}
_BAYER = {f"bayer_{pattern}{8 * size}": (pattern, size) for pattern in colours.BAYER for size in (1, 2)}
# Where in four bytes, that two pixels share, luma, U and V are.
_PACKED = {"uyvy": (1, 0, 2), "yuv422": (1, 0, 2), "yuyv": (0, 1, 3), "yuv422_yuy2": (0, 1, 3)}
_PLANAR = {"nv12": (0, 1), "nv21": (1, 0)}  # where in a pair U and V are, in rows below those of luma

ENCODINGS = (*_PLAIN, *_BAYER, *_PACKED, *_PLANAR)
"""Every encoding of ``sensor_msgs/Image`` that :func:`to_array` takes."""


def is_compressed(message: Any) -> bool:
    """Whether a message is a ``sensor_msgs/CompressedImage``, told by its fields."""
    return hasattr(message, "format") and not hasattr(message, "encoding")


def to_array(message: Any, *, depth_range: Range | None = None) -> Pixels:
    """The pixels of either type of image, uint8 [H, W, 3] in RGB, or [H, W] of what has one channel.

    Alpha is dropped. Of 16 bits the upper 8 are taken, or with ``depth_range`` (low, high) what lies between becomes
    0 to 255 and what lies outside the nearer of these, which is how depth in millimetres can be seen. Compressed images
    are JPEG, PNG or whatever else Pillow reads, with their pixels as they are stored: an orientation in EXIF is
    not applied, since masks are to lie on what the camera sent.

    Raises:
        ImageError: this message is damaged: of no size, with a step or data of another length, or pixels that cannot
            be decoded.
        InputError: an encoding that is not known, as all messages of a topic will have; or a wrong ``depth_range``.
    """
    low, high = _checked(depth_range)
    if is_compressed(message):
        return _decompressed(message, low, high)
    encoding = arguments.text("the encoding of an image message", message.encoding)
    width, height = int(message.width), int(message.height)
    if encoding not in ENCODINGS:
        raise InputError(
            f"the image message has the encoding {encoding!r}, which is not known; convert it to one of "
            f"{', '.join(ENCODINGS)}"
        )
    if width < 1 or height < 1 or width * height > MAX_PIXELS:
        raise ImageError(
            f"the image message is {width} x {height} pixels; at least 1 x 1 and at most {MAX_PIXELS} pixels were "
            "expected"
        )
    if (even := _evenness(encoding)) is not None and (width % even[0] or height % even[1]):
        raise ImageError(
            f"the image message is {width} x {height} pixels of {encoding}, which needs a width that {even[0]} and a "
            f"height that {even[1]} divides; set another size at the camera"
        )
    if encoding in _PACKED:
        rows = _rows(message, 2 * width, height)
        luma, u, v = _PACKED[encoding]
        return colours.from_yuv(rows[:, luma::2], rows[:, u::4], rows[:, v::4])
    if encoding in _PLANAR:
        rows = _rows(message, width, height + height // 2)
        u, v = _PLANAR[encoding]
        return colours.from_yuv(rows[:height], rows[height:, u::2], rows[height:, v::2])
    if encoding in _BAYER:
        pattern, size = _BAYER[encoding]
        if width < 2 or height < 2:
            raise ImageError(
                f"the image message is {width} x {height} pixels of {encoding}, which needs 2 x 2 at least"
            )
        mosaic = _samples(message, _rows(message, size * width, height), size)
        return _to_8_bits(colours.from_bayer(mosaic, pattern), low, high)
    plain = _PLAIN[encoding]
    values = _samples(message, _rows(message, plain.samples * plain.size * width, height), plain.size)
    if plain.order is None:
        return _to_8_bits(values, low, high)
    return _to_8_bits(values.reshape(height, width, plain.samples)[..., plain.order], low, high)


def _checked(depth_range: Range | None) -> Range:
    if depth_range is None:
        return 0.0, 0.0
    low, high = arguments.reals("depth_range", depth_range, 2, "the values that become 0 and 255")
    if not low < high:
        raise InputError(f"depth_range is ({low:g}, {high:g}); the second must be above the first")
    return low, high


def _evenness(encoding: str) -> tuple[int, int] | None:
    """By what width and height must be divisible."""
    return (2, 1) if encoding in _PACKED else (2, 2) if encoding in _PLANAR else None


def _octets(data: Any) -> Pixels:
    """The bytes of a message, whatever holds them; not copied where they need not be."""
    if isinstance(data, list | tuple):
        return np.array(data, np.uint8)
    return np.frombuffer(data, np.uint8)


def _rows(message: Any, row: int, rows: int) -> Pixels:
    """The rows of a message, uint8 [rows, row], without what pads each to ``step`` bytes."""
    data, step = _octets(message.data), int(message.step)
    what = f"the image message of {message.width} x {message.height} pixels of {message.encoding}"
    if step < row:
        raise ImageError(f"{what} has a step of {step} bytes, and a row of it takes {row}; mend what publishes it")
    # The last row may lack what pads it.
    if not step * (rows - 1) + row <= len(data) <= step * rows:
        raise ImageError(
            f"{what} and a step of {step} has {len(data)} bytes of data, and {step * rows} were expected; mend what "
            "publishes it"
        )
    if len(data) < step * rows:
        data = np.concatenate((data, np.zeros(step * rows - len(data), np.uint8)))
    whole: Pixels = data.reshape(rows, step)
    return whole[:, :row]


def _samples(message: Any, rows: Pixels, size: int) -> NDArray[Any]:
    """Uint8 or, in the order of this machine's bytes, uint16 samples."""
    if size == 1:
        return rows
    order = ">" if message.is_bigendian else "<"
    return np.ascontiguousarray(rows).view(f"{order}u2").astype(np.uint16, copy=False)


def _to_8_bits(values: NDArray[Any], low: float, high: float) -> Pixels:
    if values.dtype == np.uint8:
        return np.ascontiguousarray(values)
    if low == high:
        return (values >> 8).astype(np.uint8)
    scaled = np.rint((values.astype(np.float32) - low) * (255 / (high - low)))
    eight_bits: Pixels = np.clip(scaled, 0, 255).astype(np.uint8)
    return eight_bits


def _decompressed(message: Any, low: float, high: float) -> Pixels:
    form = arguments.text("the format of a compressed image message", message.format)
    if "compressedDepth" in form:
        raise InputError(
            f"the image message has the format {form!r}, which is not a picture; take the topic of the colours, or "
            "let image_transport republish it as raw"
        )
    data = _octets(message.data)
    if not len(data):
        raise ImageError(f"{_COMPRESSED} is empty (0 bytes); JPEG or PNG was expected")
    image, _ = stored_image(data)
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _to_8_bits(np.clip(np.asarray(image), 0, 65535).astype(np.uint16), low, high)
    if image.mode == "L":
        return np.asarray(image)
    return np.asarray(to_rgb(image, _COMPRESSED))
