"""The model that a user holds: load a bundle, look at images.

>>> xsam = XSam.load("bundle/")
>>> scene = xsam.look("street.jpg")
>>> scene.refer("the man ironing").masks
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from xsam_edge.runtime.answering import LanguageModel
from xsam_edge.runtime.backends.base import Backend
from xsam_edge.runtime.backends.onnxruntime import OnnxRuntimeBackend
from xsam_edge.runtime.engines import check_engine, find_environment
from xsam_edge.runtime.errors import BundleError, InputError
from xsam_edge.runtime.images import ImageSource, load_image
from xsam_edge.runtime.manifest import (
    EMBEDDINGS_FILE,
    TOKENIZER_FILE,
    Manifest,
    check_files,
    read_manifest,
)
from xsam_edge.runtime.memory_plan import check_memory
from xsam_edge.runtime.pipeline import ImageFeatures, Pipeline
from xsam_edge.runtime.preprocess import mask_pixels, vision_pixels
from xsam_edge.runtime.resize import Frame
from xsam_edge.runtime.scene import Scene
from xsam_edge.runtime.tokens import Tokenizer

# A cache this long holds the longest of the paper's prompts (2,541 tokens) and a long answer.
DEFAULT_CONTEXT = 4096


class XSam:
    """A loaded bundle. One image prefix and one conversation are cached at a time; not thread-safe."""

    def __init__(self, manifest: Manifest, pipeline: Pipeline, language: LanguageModel) -> None:
        self.manifest = manifest
        self.pipeline = pipeline
        self.language = language

    @classmethod
    def load(
        cls,
        bundle: str | Path,
        *,
        device: str = "cpu",
        context: int | None = None,
        threads: int = 0,
        verify: bool = True,
        backend: Backend | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> XSam:
        """Check and load a bundle.

        Args:
            bundle: the directory that ``xsam-export`` wrote.
            device: "cpu" or "cuda", of ONNX Runtime; engines run on the GPU that they were built for.
            context: tokens that the key-value cache holds, prompt and answer; at most what the model was trained
                for, and what its engines were built for. The default is 4,096 or that limit.
            threads: of ONNX Runtime on a CPU; 0 takes every core.
            verify: check the SHA-256 of every file before it is opened. Engines are native code: their bundles are
                always checked.
            backend: another implementation of the backend interface, in place of ``device`` and ``threads``.
            progress: called with the bytes of each block that was hashed.

        Raises:
            BundleError: no bundle, another schema, or an altered file.
            BackendError: the backend is not installed or cannot load a graph; its subclasses say that engines need
                another version of their library, another GPU, a GPU at all, or more memory.
        """
        bundle = Path(bundle)
        manifest = read_manifest(bundle)
        engine = manifest.engine
        check_files(bundle, manifest, hashes=verify or engine is not None, progress=progress)
        limit = manifest.settings.model.context_length
        if engine is not None:
            limit = min(limit, engine.context)
        if context is not None and not 1 <= context <= limit:
            raise InputError(f"context is {context}; this model takes 1 to {limit} tokens")
        context = context or min(limit, DEFAULT_CONTEXT)
        backend = backend or _choose_backend(manifest, device, threads, context)
        tokenizer = Tokenizer.from_file(bundle / TOKENIZER_FILE)
        table = _token_embeddings(bundle, manifest)
        pipeline = Pipeline(bundle, manifest, backend, context)
        return cls(manifest, pipeline, LanguageModel(pipeline, tokenizer, table, manifest.settings))

    def look(self, image: ImageSource) -> Scene:
        """Encode an image once; every question about it starts from the scene that is returned.

        Args:
            image: a path, a PIL image, or a uint8 array [H, W, 3], [H, W] or [H, W, 4].

        Raises:
            InputError: not an image.
        """
        start = time.perf_counter()
        picture = load_image(image)
        settings = self.manifest.settings
        pixel_values = vision_pixels(picture, settings.vision_input)
        mask_pixel_values, scaled = mask_pixels(picture, settings.mask_input)
        prepared = time.perf_counter()
        features = self.encode(pixel_values, mask_pixel_values)
        encoded = time.perf_counter()
        frame = Frame((picture.height, picture.width), scaled, (settings.mask_input.height, settings.mask_input.width))
        timings = {"preprocess": 1e3 * (prepared - start), "image_encoder": 1e3 * (encoded - prepared)}
        return Scene(self, picture, features, frame, timings)

    def encode(
        self, pixel_values: npt.NDArray[np.float32], mask_pixel_values: npt.NDArray[np.float32]
    ) -> ImageFeatures:
        """Run the image encoder on prepared pixels, [1, 3, h, w] and [1, 3, H, W]."""
        return self.pipeline.encode_image(pixel_values, mask_pixel_values)


def _choose_backend(manifest: Manifest, device: str, threads: int, context: int) -> Backend:
    if manifest.engine is None:
        return OnnxRuntimeBackend(device, threads)
    environment = find_environment(manifest.engine.flavour)
    check_engine(manifest, environment)
    if environment.device is not None:
        check_memory(manifest, context, environment.device)
    from xsam_edge.runtime.backends.tensorrt.backend import TensorRTBackend  # for those that have a GPU

    # Where host and GPU share their memory, it is scarce.
    return TensorRTBackend(manifest, overlap=environment.device is not None and not environment.device.integrated)


def _token_embeddings(bundle: Path, manifest: Manifest) -> npt.NDArray[np.floating]:
    table, path = manifest.embeddings, bundle / EMBEDDINGS_FILE
    try:
        return np.memmap(path, np.dtype(table.dtype), "r", shape=(table.rows, table.columns))
    except (OSError, ValueError, TypeError) as error:
        raise BundleError(f"{path} cannot be mapped as {table} ({error}); export the bundle again") from None
