"""From an RGB image to the pixels of the two encoders, and from a region mask to the mask encoder's frame.

Equal, bit for bit, to what the official code computes with ``SiglipImageProcessor`` (transformers 4.57) and
``SamImageProcessor`` (``dataset/processors/image_processing_sam.py``): Pillow resizes in 8 bits, then value x
rescale_factor, minus mean, over std. As there are only 256 values, the arithmetic is done once per value.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from xsam_edge.runtime.bundle.settings import MaskInput, Settings, VisionInput
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.image.load import ImageSource, load_image
from xsam_edge.runtime.image.resize import Frame

_BAND_BYTES = 2**24  # of padded rows resized at a time


@dataclass(frozen=True, eq=False)
class Prepared:
    """An image and its pixels for both encoders, float32 [1, 3, h, w] and [1, 3, H, W]; ``ms`` is what it took."""

    image: Image.Image
    pixel_values: npt.NDArray[np.float32]
    mask_pixel_values: npt.NDArray[np.float32]
    frame: Frame
    ms: float


def prepare(image: ImageSource, settings: Settings) -> Prepared:
    """Load an image and make it ready for the image encoder. Thread-safe.

    Raises:
        InputError: not an image.
    """
    start = time.perf_counter()
    picture = load_image(image)
    pixel_values = vision_pixels(picture, settings.vision_input)
    mask_pixel_values, scaled = mask_pixels(picture, settings.mask_input)
    frame = Frame((picture.height, picture.width), scaled, (settings.mask_input.height, settings.mask_input.width))
    return Prepared(picture, pixel_values, mask_pixel_values, frame, 1e3 * (time.perf_counter() - start))


def vision_pixels(image: Image.Image, vision: VisionInput) -> npt.NDArray[np.float32]:
    """Return the vision encoder's pixels of an RGB image, float32 [1, 3, height, width].

    The image is stretched to the encoder's size, or first centred on a square of the mean colour
    (``expand2square`` of the official code) where ``pad_to_square`` is set.
    """
    _require_rgb(image)
    size = (vision.width, vision.height)
    if vision.pad_to_square:
        colour = (int(vision.mean[0] * 255), int(vision.mean[1] * 255), int(vision.mean[2] * 255))
        resized = _resize_on_square(image, size, colour, vision.resample)
    else:
        resized = image.resize(size, vision.resample)
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
    _normalise(image.resize((width, height), mask.resample), mask, out[0, :, :height, :width])
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


def _normalise(image: Image.Image, frame: VisionInput | MaskInput, out: npt.NDArray[np.float32]) -> None:
    """Write (pixel x factor - mean) / std of an 8-bit image to ``out``, float32 [3, h, w]."""
    # float64 product, then float32: the order and precision of transformers' rescale and normalize.
    values = (np.arange(256, dtype=np.float64) * frame.rescale_factor).astype(np.float32)
    pixels = np.asarray(image)
    for channel in range(3):
        table = (values - np.float32(frame.mean[channel])) / np.float32(frame.std[channel])
        out[channel] = table[pixels[..., channel]]


def _resize_on_square(
    image: Image.Image, size: tuple[int, int], colour: tuple[int, int, int], resample: int
) -> Image.Image:
    """Resize ``image``, centred on a square of ``colour``, to ``size`` (w, h), without making the square.

    Pillow resizes rows first, columns second, with 8 bits in between. Doing these two passes here gives the same
    bytes, while a 20,000 x 100 image needs no square of 1.2 GB.
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
