"""From an image to its features: pixels are made on the host, or on the device where its graph takes the image."""

from __future__ import annotations

import numpy as np

from xsam_edge.runtime.bundle.settings import Settings
from xsam_edge.runtime.chain.pipeline import ImageFeatures, Pipeline
from xsam_edge.runtime.image import preprocess
from xsam_edge.runtime.image.load import ImageSource
from xsam_edge.runtime.image.preprocess import Prepared


def prepare(image: ImageSource, pipeline: Pipeline, settings: Settings, *, bgr: bool = False) -> Prepared:
    """Load an image and make it ready for :func:`encode`; any thread may. Raises InputError: not an image."""
    return preprocess.prepare(image, settings, pipeline.takes_pictures, bgr=bgr)


def encode(prepared: Prepared, pipeline: Pipeline) -> ImageFeatures:
    """Run the image encoder, behind what makes its pixels if the host did not."""
    pixels = prepared.pixels
    if pixels is None:
        return pipeline.encode_picture(np.asarray(prepared.image)[None])
    return pipeline.encode_image(pixels.vision, pixels.mask)
