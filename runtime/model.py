"""The model that a user holds: load a bundle, look at images.

>>> xsam = XSam.load("bundle/")
>>> scene = xsam.look("street.jpg")
>>> scene.refer("the man ironing").masks
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

from xsam_edge.runtime import arguments, encoding
from xsam_edge.runtime.backends.base import Backend
from xsam_edge.runtime.backends.cuda.tensors import DeviceTensors
from xsam_edge.runtime.backends.onnxruntime import open_device, thread_count
from xsam_edge.runtime.backends.subnormals import kept_subnormals
from xsam_edge.runtime.backends.tensorrt.backend import TensorRTBackend
from xsam_edge.runtime.backends.tensorrt.kernels import KernelCache
from xsam_edge.runtime.bundle.manifest import (
    EMBEDDINGS_FILE,
    TOKENIZER_FILE,
    Manifest,
    read_manifest,
)
from xsam_edge.runtime.bundle.verification import Verify, check_files
from xsam_edge.runtime.chain.pipeline import ImageFeatures, Pipeline, longest_context
from xsam_edge.runtime.device.compatibility import check_engine, find_environment, kernel_path
from xsam_edge.runtime.device.cuda_device import DeviceInfo, find_device
from xsam_edge.runtime.device.memory_plan import check_free_memory, check_memory
from xsam_edge.runtime.errors import BundleError, InputError
from xsam_edge.runtime.image.load import ImageSource
from xsam_edge.runtime.language.cache_pool import CachePool
from xsam_edge.runtime.language.generate import LanguageModel
from xsam_edge.runtime.language.speculative import Drafter
from xsam_edge.runtime.language.tokenizer import Tokenizer
from xsam_edge.runtime.progress import Progress, Step, silent
from xsam_edge.runtime.scene import Phrases, Scene
from xsam_edge.runtime.stream.reconnect import Reconnect
from xsam_edge.runtime.stream.stages import FrameQuestion, Frames, stream
from xsam_edge.runtime.stream.stream import FrameStream
from xsam_edge.runtime.stream.tracked import TrackedStream
from xsam_edge.runtime.tracking.options import TrackerOptions
from xsam_edge.runtime.versions import warn_of_untested

_log = logging.getLogger(__name__)
_OF_BACKENDS = ("open", "allocate", "upload", "download")

# A cache this long holds the longest of the paper's prompts (2,541 tokens) and a long answer.
DEFAULT_CONTEXT = 4096


# Features of some images, and of small models further key-value caches.
DEFAULT_SCENE_BYTES = 1 << 30


class XSam:
    """A loaded bundle. Any thread may use it: what is parallel and what waits is said in ``runtime/README.md``.

    Leaving its ``with`` block, or ``close``, frees what it holds.
    """

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
        verify: Verify = "full",
        backend: Backend | None = None,
        progress: Progress = silent,
        speculative: bool = True,
        scene_bytes: int = DEFAULT_SCENE_BYTES,
        drafts: bool | None = None,
    ) -> XSam:
        """Check and load a bundle.

        Warns (``UntestedVersionWarning``), once in a process, of a Python or a package of a version that the runtime
        was not tested with.

        Args:
            bundle: the directory that ``xsam-export`` wrote.
            device: "cpu", "cuda" or "tensorrt-rtx", of ONNX Runtime; engines run on the GPU that they were built for.
                A GPU is the calling thread's, as CUDA counts them, and every thread that uses the model uses that one.
            context: tokens that the key-value cache holds, prompt and answer; at most what the model was trained
                for, and what its engines were built for. The default is 4,096 or that limit.
            threads: of ONNX Runtime on a CPU, up to four for each logical core; 0 takes every core.
            verify: whose hashes are checked before a file is opened: "full", of every file; "changed", of those that
                changed since a check found them whole, which a record in the user's cache tells; "none". Engines are
                native code: their bundles are always checked in full.
            backend: another implementation of the backend interface, in place of ``device`` and ``threads``.
            progress: told what of the files was hashed, and that graphs are loaded.
            speculative: check the answer that a task is expected to have along with the prompt, in one forward,
                instead of decoding token by token. The answer is the same.
            scene_bytes: what open scenes may keep between questions besides the key-value cache that every model
                has: their image features, and further caches, one for each scene, so that questions to several
                scenes may take turns. Beyond it the scene that was used least recently is computed anew when it is
                asked again. Memory is taken when a second scene is asked, not before.
            drafts: the former name of ``speculative``.

        Raises:
            InputError: an argument of another type or out of range.
            BundleError: no bundle, another schema, or an altered file.
            BackendError: the backend is not installed or cannot load a graph; its subclasses say that engines need
                another version of their library, another GPU, a GPU at all, or more memory.
        """
        if drafts is not None:
            warnings.warn("drafts is now speculative, with the same meaning", FutureWarning, stacklevel=2)
            speculative = drafts
        bundle = arguments.path("bundle", bundle, "the folder of a bundle")
        device, threads = arguments.text("device", device), thread_count(threads)
        speculative = arguments.flag("speculative", speculative)
        scene_bytes = arguments.count("scene_bytes", scene_bytes)
        arguments.function("progress", progress)
        if backend is not None and not all(callable(getattr(backend, name, None)) for name in _OF_BACKENDS):
            raise arguments.wrong("backend", backend, "a Backend of runtime.backends.base")
        start = time.perf_counter()
        manifest = read_manifest(bundle)
        engine = manifest.engine
        limit = longest_context(manifest)
        context = min(limit, DEFAULT_CONTEXT) if context is None else _checked_context(context, limit)
        check_files(bundle, manifest, verify=verify, progress=progress)
        progress(Step("load"))
        backend = backend or choose_backend(bundle, manifest, device, threads, context)
        warn_of_untested("onnxruntime" if engine is None else engine.flavour)
        tokenizer = Tokenizer.from_file(bundle / TOKENIZER_FILE)
        table = _token_embeddings(bundle, manifest)
        with kept_subnormals():
            pipeline = Pipeline(bundle, manifest, backend, context)
        cache_pool = CachePool(pipeline.cache, pipeline.make_cache, scene_bytes)
        drafter = Drafter() if speculative else None
        language = LanguageModel(pipeline, tokenizer, table, manifest.settings, cache_pool, drafter)
        facts = manifest.variant, manifest.precision, bundle, backend.name, time.perf_counter() - start
        _log.info("%s in %s was loaded from %s on %s in %.1f s", *facts)
        return cls(manifest, pipeline, language)

    def look(self, image: ImageSource, *, bgr: bool = False) -> Scene:
        """Encode an image once; every question about it starts from the scene that is returned.

        Args:
            image: a path, the content of an image file (bytes, uint8 [N] or a file open for reading), a PIL image, or
                a uint8 array [H, W, 3] (RGB), [H, W] (grey) or [H, W, 4] (RGBA).
            bgr: an array's colours are in OpenCV's order, blue first.

        Raises:
            InputError: not an image, or ``bgr`` of one that is no array.
        """
        bgr = arguments.flag("bgr", bgr)
        prepared = encoding.prepare(image, self.pipeline, self.manifest.settings, bgr=bgr)
        return Scene.encoded(self.pipeline, self.language, prepared)

    def encode(
        self, pixel_values: npt.NDArray[np.float32], mask_pixel_values: npt.NDArray[np.float32]
    ) -> ImageFeatures:
        """Run the image encoder on prepared pixels, [1, 3, h, w] and [1, 3, H, W].

        Raises:
            InputError: other than float32 arrays of the encoder's sizes.
        """
        sizes = self.manifest.settings
        for name, pixels, rule in (
            ("pixel_values", pixel_values, sizes.vision_input),
            ("mask_pixel_values", mask_pixel_values, sizes.mask_input),
        ):
            arguments.array(name, pixels, np.float32, (1, 3, rule.height, rule.width))
        return self.pipeline.encode_image(pixel_values, mask_pixel_values)

    def stream(
        self,
        frames: Frames,
        *,
        refer: str | Phrases | None = None,
        ask: FrameQuestion | None = None,
        deadline: float | None = None,
        latest: bool | None = None,
        overlap: bool = False,
        clock: Callable[[], float] | None = None,
        reconnect: Reconnect | None = None,
        bgr: bool = False,
        strict: bool = False,
    ) -> FrameStream:
        """Ask the same of every frame of a stream, and iterate over the answers.

        The next frame is read and prepared while the graphs work on one. Each item is a ``FrameResult`` or a ``Late``,
        in the order of the frames. Other questions may be asked meanwhile, and take turns with the frames. Frames that
        are damaged are left out, logged and counted (``counts.damaged``). Other errors of the source and of a frame are
        raised where the stream is iterated, and end it; so is that of the first damaged frame where no other came.

        Args:
            frames: a folder, a video or a bag; a camera's number or device, a FIFO, "-" for standard input, a URL or a
                GStreamer pipeline; a source of ``runtime.stream.sources``; any iterable of images or of (seconds,
                image), whose arrays are not changed afterwards.
            refer: a phrase, or several that are asked of every frame.
            ask: any other question, e.g. ``lambda scene: scene.categories(["cup"])``; returns one result or several.
            deadline: the age in milliseconds after which a frame is given up and a ``Late`` comes in its place, at
                once. It may still be at work then, until the next frame is answered.
            latest: skip to the newest frame. The default is to answer every frame of a folder, a video or a
                collection, and to skip in cameras, URLs and iterators.
            overlap: encode the next frame beside the language model of one; a gain where graphs leave a device idle.
            clock: what timestamps are seconds of, to tell a frame's age; without, age counts from its arrival.
            reconnect: how often a live source that stopped is opened again, and how long a frame is waited for.
            bgr: arrays have their colours in OpenCV's order, blue first; of frames of one's own.
            strict: a damaged frame is an error, too, and ends the stream.

        Raises:
            InputError: no question or two, an argument of another type or out of range, or a source that cannot be
                read.
            BackendError: the package that reads the source is not installed.
        """
        return stream(
            self.pipeline,
            self.language,
            frames,
            refer=refer,
            ask=ask,
            deadline=deadline,
            latest=latest,
            overlap=overlap,
            clock=clock,
            reconnect=reconnect,
            bgr=bgr,
            strict=strict,
        )

    def track(
        self,
        frames: Frames,
        *,
        tracker: TrackerOptions | None = None,
        refer: str | Phrases | None = None,
        ask: FrameQuestion | None = None,
        deadline: float | None = None,
        latest: bool | None = None,
        overlap: bool = False,
        clock: Callable[[], float] | None = None,
        reconnect: Reconnect | None = None,
        bgr: bool = False,
        strict: bool = False,
    ) -> TrackedStream:
        """A stream whose segments have identities: what is seen again has the ``track_id`` that it had before.

        Each item is a ``TrackedFrame``, a ``FrameResult`` that also has ``tracks``, or a ``Late``.

        Args:
            frames: and all options but ``tracker``, as of :meth:`stream`.
            tracker: what the tracker keeps to. Its scores are those of segments that the question lets pass: what it
                leaves out cannot be followed.

        Raises:
            InputError: as :meth:`stream`, or other than options of a tracker.
            BackendError: as :meth:`stream`.
        """
        options = TrackerOptions() if tracker is None else tracker
        tracked = stream(
            self.pipeline,
            self.language,
            frames,
            refer=refer,
            ask=ask,
            deadline=deadline,
            latest=latest,
            overlap=overlap,
            clock=clock,
            reconnect=reconnect,
            bgr=bgr,
            strict=strict,
            tracker=arguments.instance("tracker", options, TrackerOptions, "TrackerOptions"),
        )
        return cast(TrackedStream, tracked)

    def close(self) -> None:
        """Free graphs, caches and the features of all scenes, once the questions that came before are answered.

        Then neither the model nor a scene of it can be asked: both raise InputError.
        """
        self.pipeline.close()
        self.language.cache_pool.close()

    def __enter__(self) -> XSam:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def choose_backend(bundle: Path, manifest: Manifest, device: str, threads: int, context: int | None) -> Backend:
    """The backend of a bundle, as :meth:`XSam.load` chooses it; raises its BackendError."""
    context = context or min(longest_context(manifest), DEFAULT_CONTEXT)
    if manifest.engine is None:
        chosen = open_device(device, threads)
        if isinstance(chosen, DeviceTensors):
            _check_free(manifest, context, find_device(), chosen)
        return chosen
    environment = find_environment(manifest.engine.flavour)
    check_engine(manifest, environment)
    gpu = environment.device
    assert gpu is not None, "engines were just found to have a device"
    check_memory(manifest, context, gpu)
    # Where host and GPU share their memory, it is scarce.
    file = kernel_path(bundle, manifest, gpu)
    backend = TensorRTBackend(manifest, overlap=not gpu.integrated, kernels=KernelCache(file) if file else None)
    _check_free(manifest, context, gpu, backend)
    return backend


def _checked_context(context: object, limit: int) -> int:
    try:
        return arguments.count("context", context, 1, limit)
    except InputError:
        raise InputError(f"context is {arguments.found(context)}; this model takes 1 to {limit} tokens") from None


def _check_free(manifest: Manifest, context: int, gpu: DeviceInfo, backend: DeviceTensors) -> None:
    if not gpu.integrated:  # CUDA takes the system's cache of files, which any program may have, for memory in use
        check_free_memory(manifest, context, gpu.name, *backend.free_memory())


def _token_embeddings(bundle: Path, manifest: Manifest) -> npt.NDArray[np.floating]:
    table, path = manifest.embeddings, bundle / EMBEDDINGS_FILE
    try:
        return np.memmap(path, np.dtype(table.dtype), "r", shape=(table.rows, table.columns))
    except (OSError, ValueError, TypeError) as error:
        raise BundleError(f"{path} cannot be mapped as {table} ({error}); export the bundle again") from None
