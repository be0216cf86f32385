"""What the node needs of a model: a small protocol, so that something else may stand in for a bundle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from xsam_edge.runtime.backends.base import Backend
from xsam_edge.runtime.image.load import ImageSource
from xsam_edge.runtime.model import XSam
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.ros.parameters import Parameters
from xsam_edge.runtime.ros.prompts import FramePrompt
from xsam_edge.runtime.stream.stages import FrameQuestion, stages_of
from xsam_edge.runtime.stream.stream import Stages


class FrameModel(Protocol):
    """What answers frames."""

    backend: Backend | None
    facts: Mapping[str, str]  # for the diagnostics

    def check(self, prompt: FramePrompt) -> None:
        """See :meth:`FramePrompt.check`."""

    def stages(self, ask: FrameQuestion) -> Stages:
        """The stages of a stream; ``prepare`` takes an image."""

    def answer(self, image: ImageSource, prompt: FramePrompt) -> tuple[Result, ...]:
        """Ask once, beside a stream."""

    def close(self) -> None:
        """Free everything."""


Load = Callable[[Parameters], FrameModel]


class BundleModel:
    """A bundle that ``xsam-export`` wrote."""

    def __init__(self, xsam: XSam, bundle: Path) -> None:
        self._xsam = xsam
        self.backend: Backend | None = xsam.pipeline.backend
        manifest = xsam.manifest
        self.facts: Mapping[str, str] = {
            "bundle": str(bundle),
            "model": f"{manifest.variant}, {manifest.precision}",
            "backend": xsam.pipeline.backend.name,
        }

    def check(self, prompt: FramePrompt) -> None:
        """See :class:`FrameModel`."""
        prompt.check(self._xsam.language, self._xsam.pipeline.cache.capacity)

    def stages(self, ask: FrameQuestion) -> Stages:
        """See :class:`FrameModel`."""
        return stages_of(self._xsam.pipeline, self._xsam.language, ask)

    def answer(self, image: ImageSource, prompt: FramePrompt) -> tuple[Result, ...]:
        """See :class:`FrameModel`."""
        with self._xsam.look(image) as scene:
            answer = prompt.ask(scene)
        return (answer,) if isinstance(answer, Result) else tuple(answer)

    def close(self) -> None:
        """See :class:`FrameModel`."""
        self._xsam.close()


def load_bundle(parameters: Parameters) -> FrameModel:
    """Load the bundle that the parameters name; raises what :meth:`XSam.load` does."""
    options: dict[str, Any] = {"context": parameters.context} if parameters.context else {}
    bundle = Path(parameters.bundle)
    xsam = XSam.load(bundle, device=parameters.device, threads=parameters.threads, verify=parameters.verify, **options)
    return BundleModel(xsam, bundle)
