"""The runtime as a side of a measurement: first answer on a new image, next answer on the same one."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Literal

from xsam_edge.benchmarks.measure import Pixels, Sample
from xsam_edge.benchmarks.watch import Script, WatchedBackend
from xsam_edge.runtime.bundle.manifest import Manifest, read_manifest
from xsam_edge.runtime.bundle.verification import Verify
from xsam_edge.runtime.cli.common import load_bundle
from xsam_edge.runtime.cli.progress import ProgressPrinter
from xsam_edge.runtime.cores import usable_cores
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.language import prompts
from xsam_edge.runtime.model import XSam, choose_backend
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.scene import Scene

Answering = Literal["greedy", "append", "scripted"]
#: How an answer comes about, as the output explains it.
ANSWERING = {
    "greedy": "the model's own greedy answer",
    "append": "the task's known answer is given behind the prompt, nothing is decoded",
    "scripted": "greedy, but what is chosen is made the task's known answer, as a trained model would say it; every "
    "side does the same work",
}

INCLUDED = (
    "first: a picture in memory to a mask at its own size, pre- and post-processing included, the picture never seen "
    "before; next: another phrase on the same picture. Loading, warm-up and decoding of image files are not included."
)


def was_trained(manifest: Manifest) -> bool:
    """Whether a bundle has weights of a checkpoint: random ones have no hash."""
    return bool(manifest.source.sha256)


class RuntimeSide:
    """A loaded bundle whose graphs are watched. ``threads`` is what every graph uses of a CPU."""

    def __init__(
        self, name: str, xsam: XSam, watch: WatchedBackend, answering: Answering, threads: int, device: str = "cpu"
    ) -> None:
        self.name = name
        self.xsam = xsam
        self.threads = threads
        self.device = device
        self._watch = watch
        self.answering = answering
        self._scene: Scene | None = None

    @property
    def setup(self) -> dict[str, Any]:
        """How this side runs."""
        return {
            "what": "xsam-edge runtime",
            "backend": self.xsam.pipeline.backend.name,
            "precision": self.xsam.manifest.precision,
            "threads": self.threads,
            "answering": ANSWERING[self.answering],
        }

    def first(self, picture: Pixels, phrase: str) -> Sample:
        """See :class:`xsam_edge.benchmarks.measure.Side`."""
        if self._scene is not None:
            self._scene.close()
        self._prepare(phrase)
        start = time.perf_counter()
        self._scene = self.xsam.look(picture)
        return self._ask(phrase, start, self._scene.timings.get("preprocess", 0.0))

    def next(self, phrase: str) -> Sample:
        """See :class:`xsam_edge.benchmarks.measure.Side`."""
        self._prepare(phrase)
        return self._ask(phrase, time.perf_counter(), 0.0)

    def look(self, picture: Pixels) -> Scene:
        """Encode a picture."""
        return self.xsam.look(picture)

    def ask(self, scene: Scene, phrases: list[str]) -> list[Result]:
        """Answers to phrases as one batch. A scripted side is given its answers: a script is for one prompt."""
        self._watch.script = None
        return scene.refer(phrases, answer="greedy" if self.answering == "greedy" else "append", threshold="official")

    def _prepare(self, phrase: str) -> None:
        self._watch.calls = []
        if self.answering == "scripted":
            self._watch.script = script_of(self.xsam, phrase)

    def _ask(self, phrase: str, start: float, preprocess_ms: float) -> Sample:
        assert self._scene is not None, "next follows first"
        result = self._scene.refer(
            phrase, answer="append" if self.answering == "append" else "greedy", threshold="official"
        )
        total = 1e3 * (time.perf_counter() - start)
        mask = result.segments[0].mask if result.segments else None
        postprocess_ms = result.timings.get("postprocess", 0.0)
        return Sample(total, preprocess_ms, postprocess_ms, tuple(self._watch.calls), result.token_ids, mask)


def script_of(xsam: XSam, phrase: str) -> Script:
    """The known answer to a referring prompt, behind that prompt."""
    settings, tokenizer = xsam.manifest.settings, xsam.language.tokenizer
    prompt = prompts.refer(phrase, settings.prompt, tokenizer.reserved)
    ids = tokenizer.encode_prompt(prompt.text)
    images = int((ids < 0).sum())
    assert prompt.answer is not None
    start = len(ids) + images * (settings.model.image_tokens - 1)
    return Script(start, tokenizer.encode(prompt.answer).tolist())


def open_bundle(
    bundle: Path,
    progress: ProgressPrinter,
    *,
    answering: Answering | None,
    device: str,
    threads: int,
    context: int | None,
    verify: Verify,
) -> RuntimeSide:
    """Load a bundle to be measured; ``answering`` None is greedy, and scripted where weights are random.

    Raises:
        BundleError, BackendError: it cannot be loaded.
        InputError: a script was asked for on a device that the host cannot write.
    """
    manifest = read_manifest(bundle)
    if manifest.engine is not None:
        device = "cuda"
    if answering is None:
        answering = "greedy" if was_trained(manifest) else "scripted" if device == "cpu" else "append"
    if answering == "scripted" and device != "cpu":
        raise InputError(
            f"--answer scripted needs ONNX graphs on --device cpu, and {bundle} runs on {device}; use --answer append"
        )
    watch = WatchedBackend(choose_backend(bundle, manifest, device, threads, context), manifest)
    xsam = load_bundle(bundle, progress, verify=verify, context=context, backend=watch)
    return RuntimeSide(str(bundle), xsam, watch, answering, threads or usable_cores(), device)
