"""All that can be done with an image before a graph is needed, and beside one: it touches no model."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from xsam_edge.runtime.bundle.settings import Settings
from xsam_edge.runtime.image.load import ImageSource, load_image
from xsam_edge.runtime.image.preprocess import mask_pixels, vision_pixels
from xsam_edge.runtime.image.resize import Frame


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
