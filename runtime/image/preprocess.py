"""From an RGB image to the pixels of the two encoders, and from a region mask to the mask encoder's frame.

Equal, bit for bit, to what the official code computes with ``SiglipImageProcessor`` (transformers 4.57) and
``SamImageProcessor`` (``dataset/processors/image_processing_sam.py``): Pillow resizes in 8 bits, then value x
rescale_factor, minus mean, over std. As there are only 256 values, the arithmetic is done once per value. A device may
do the same: see ``taps``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from xsam_edge.runtime.bundle.settings import MaskInput, Settings, VisionInput
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.image.load import ImageSource, load_image
from xsam_edge.runtime.image.resize import Frame

_BAND_BYTES = 2**24  # of padded rows resized at a time
_SIDE_BY_SIDE = 2**18  # pixels from which on a second thread takes less time than it gains


@dataclass(frozen=True, eq=False)
class EncoderPixels:
    """What the image encoder takes of an image: float32 [1, 3, h, w] for SigLIP and [1, 3, H, W] for SAM."""

    vision: npt.NDArray[np.float32]
    mask: npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Prepared:
    """An image and its pixels for both encoders; ``ms`` is what it took. Without ``pixels``, a device makes them."""

    image: Image.Image
    frame: Frame
    pixels: EncoderPixels | None
    ms: float


def _never(size: tuple[int, int]) -> bool:
    return False


def prepare(
    image: ImageSource,
    settings: Settings,
    resized_on_device: Callable[[tuple[int, int]], bool] = _never,
    *,
    bgr: bool = False,
) -> Prepared:
    """Load an image and make it ready for the image encoder. Thread-safe.

    Args:
        image: a path, a Pillow image or an array.
        settings: the model's.
        bgr: whether an array is BGR.
        resized_on_device: tells for a size (h, w) whether a device makes the pixels.

    Raises:
        InputError: not an image.
    """
    start = time.perf_counter()
    picture = load_image(image, bgr=bgr)
    size, rule = (picture.height, picture.width), settings.mask_input
    frame = Frame(size, scaled_size(size, rule), (rule.height, rule.width))
    pixels = None if resized_on_device(size) else encoder_pixels(picture, settings.vision_input, rule)
    return Prepared(picture, frame, pixels, 1e3 * (time.perf_counter() - start))


def encoder_pixels(image: Image.Image, vision: VisionInput, mask: MaskInput) -> EncoderPixels:
    """Return the pixels of an RGB image for both encoders, made side by side where that takes less time."""
    if max(image.width * image.height, mask.width * mask.height) < _SIDE_BY_SIDE:
        return EncoderPixels(vision_pixels(image, vision), mask_pixels(image, mask)[0])
    with ThreadPoolExecutor(1) as beside:
        pixels = beside.submit(vision_pixels, image, vision)
        mask_values, _ = mask_pixels(image, mask)
        return EncoderPixels(pixels.result(), mask_values)


def vision_pixels(image: Image.Image, vision: VisionInput) -> npt.NDArray[np.float32]:
    """Return the vision encoder's pixels of an RGB image, float32 [1, 3, height, width].

    The image is stretched to the encoder's size, or first centred on a square of the mean colour
    (``expand2square`` of the official code) where ``pad_to_square`` is set.
    """
    _require_rgb(image)
    size = (vision.width, vision.height)
    if vision.pad_to_square:
        resized = _resize_on_square(image, size, square_colour(vision), vision.resample)
    else:
        resized = _resize(image, size, vision.resample)
    out = np.empty((1, 3, vision.height, vision.width), np.float32)
    _normalise(resized, vision, out[0])
    return out


def mask_pixels(image: Image.Image, mask: MaskInput) -> tuple[npt.NDArray[np.float32], tuple[int, int]]:
    """Return the mask encoder's pixels of an RGB image, float32 [1, 3, height, width], and the scaled size (h, w).

    The image lies at the top left; what is right of and below the scaled size is zero.
    """
    _require_rgb(image)
    height, width = scaled_size((image.height, image.width), mask)
    out = np.zeros((1, 3, mask.height, mask.width), np.float32)
    _normalise(_resize(image, (width, height), mask.resample), mask, out[0, :, :height, :width])
    return out, (height, width)


def mask_prompt(region: npt.NDArray[np.bool_], mask: MaskInput) -> npt.NDArray[np.uint8]:
    """Return a region, bool [H, W] at the image's size, in the mask encoder's frame, uint8 [height, width] of 0 and 1.

    Resized by nearest neighbour and padded with zeros, as the official processor treats ``vprompt_masks``. A region
    too small to be met by any sample keeps the pixels that it falls on, so that a region never vanishes.
    """
    region = np.asarray(region, bool)
    height, width = scaled_size((region.shape[0], region.shape[1]), mask)
    nearest = Image.fromarray(region.view(np.uint8)).resize((width, height), Image.Resampling.NEAREST)
    out = np.zeros((mask.height, mask.width), np.uint8)
    out[:height, :width] = np.asarray(nearest)
    if not out.any():
        rows, columns = np.nonzero(region)
        out[rows * height // region.shape[0], columns * width // region.shape[1]] = 1
    return out


def scaled_size(size: tuple[int, int], mask: MaskInput) -> tuple[int, int]:
    """Return ``size`` (h, w) scaled so that the longest edge is ``longest_edge``; no edge is below one pixel.

    Source: ``_get_longest_edge_preprocess_shape`` of the official processor, which gives 0 for extreme ratios.
    """
    scale = mask.longest_edge * 1.0 / max(size)
    return max(1, int(size[0] * scale + 0.5)), max(1, int(size[1] * scale + 0.5))


def _require_rgb(image: Image.Image) -> None:
    if image.mode != "RGB":
        raise InputError(f"an RGB image was expected, not mode {image.mode}; pass it through load_image first")


def pixel_tables(rule: VisionInput | MaskInput) -> npt.NDArray[np.float32]:
    """(value x factor - mean) / std of every value, float32 [3, 256]."""
    # float64 product, then float32: the order and precision of transformers' rescale and normalize.
    values = (np.arange(256, dtype=np.float64) * rule.rescale_factor).astype(np.float32)
    mean, std = np.asarray(rule.mean, np.float32), np.asarray(rule.std, np.float32)
    table: npt.NDArray[np.float32] = (values - mean[:, None]) / std[:, None]
    return table


def square_colour(vision: VisionInput) -> tuple[int, int, int]:
    """What the official code fills a square with, 0..255."""
    return int(vision.mean[0] * 255), int(vision.mean[1] * 255), int(vision.mean[2] * 255)


def _normalise(image: Image.Image, rule: VisionInput | MaskInput, out: npt.NDArray[np.float32]) -> None:
    """Write the values of an 8-bit image to ``out``, float32 [3, h, w]."""
    pixels = np.asarray(image)
    for channel, table in enumerate(pixel_tables(rule)):
        np.take(table, pixels[..., channel], out=out[channel], mode="clip")  # in other modes it takes a copy of out


def _resize(image: Image.Image, size: tuple[int, int], resample: int) -> Image.Image:
    """Resize to (w, h): columns first, rows second, with 8 bits in between.

    So does every Pillow before 13; since then a tall image's rows may come first, which rounds other values.
    """
    if image.width != size[0]:
        image = image.resize((size[0], image.height), resample)
    return image.resize(size, resample)


def _resize_on_square(
    image: Image.Image, size: tuple[int, int], colour: tuple[int, int, int], resample: int
) -> Image.Image:
    """Resize ``image``, centred on a square of ``colour``, to ``size`` (w, h), without making the square.

    Two passes as those of ``_resize`` give the same bytes, while a 20,000 x 100 image needs no square of 1.2 GB.
    """
    side = max(image.size)
    left, top = (side - image.width) // 2, (side - image.height) // 2
    narrow = Image.new("RGB", (size[0], side), colour)
    band = max(1, _BAND_BYTES // (3 * side))
    for y in range(0, image.height, band):
        rows = min(band, image.height - y)
        padded = Image.new("RGB", (side, rows), colour)
        padded.paste(image.crop((0, y, image.width, y + rows)), (left, 0))
        narrow.paste(padded.resize((size[0], rows), resample), (0, top + y))
    return narrow.resize(size, resample)
