"""The chain over many pictures, one stage at a time: image encoder, the language model's parts, mask decoder.

The chain itself runs twice, with given answers. At first the image encoder runs and the language model is recorded;
then its parts run, and at last the mask decoder, between what the others gave. What waits from stage to stage lies in
files, for some pictures at a time. So memory holds one stage's weights, which are read once for those pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xsam_edge.calibration.data.samples import Picture
from xsam_edge.calibration.instrumented import EditedBackend
from xsam_edge.calibration.staged.calls import (
    Call,
    RecordedLanguageModel,
    ReplayedGraph,
    SilentGraph,
    SpooledGraph,
    load_calls,
    save_calls,
)
from xsam_edge.calibration.staged.language_model import GIVEN, PartedLanguageModel
from xsam_edge.calibration.staged.spool import Spool
from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.bundle.manifest import GraphSpec, Manifest, bundle_path, read_manifest
from xsam_edge.runtime.model import XSam
from xsam_edge.runtime.progress import Progress, Step, silent

PART_BYTES = 3 << 29
"""Weights of a part of the language model, as float32: with as much again for its activations, a few GB in all."""

PICTURES = 16
"""Pictures whose activations wait on the disk at a time: some 250 MB each at the size of the released model."""

WHOLE_BYTES = 2 << 30
"""Stored weights up to which a chain runs as a whole, with all of them in memory."""

Ask = Callable[[XSam, Picture, bool], object]
"""Asks all that is asked of a picture, the same each time, with given answers. Only the last time, when the bool is
true, are results what the chain gives."""


class _StagedBackend(EditedBackend):
    """Opens the graphs of one stage; the others are stood in for."""

    def __init__(self, whole: EditedBackend, stand_in: Callable[[Path, GraphSpec], Any | None]) -> None:
        super().__init__(whole.edited, whole.tell, whole.threads)
        self.runs_without_logits = False  # the language model's head is of interest, though no token is
        self._whole, self._stand_in = whole, stand_in

    def open(self, path: Path, spec: GraphSpec) -> Any:
        """See :class:`xsam_edge.runtime.backends.base.Backend`."""
        graph = self._stand_in(path, spec)
        return self._whole.open(path, spec) if graph is None else graph


def fits_whole(manifest: Manifest) -> bool:
    """Whether a chain is small enough to be run as a whole."""
    files = (manifest.files.get(f"{graph.file}.data") for graph in manifest.graphs.values())
    return sum(entry.bytes for entry in files if entry is not None) <= WHOLE_BYTES


@dataclass
class StagedRun:
    """Pictures on their way through a chain.

    Args:
        bundle: whose graphs ``backend`` edits.
        backend: told of what its graphs have besides the bundle's outputs.
        pictures: to be asked, all at once.
        ask: see ``Ask``; called at the first and at the last stage.
        folder: for what waits; :meth:`clear` empties it.
        part_bytes: see ``PART_BYTES``.
        answer_rows: so many last rows of each run are given to the language model's head, besides those asked for.
        progress: told of each picture, and of each prompt of the language model.
    """

    bundle: Path
    backend: EditedBackend
    pictures: Sequence[Picture]
    ask: Ask
    folder: Path
    part_bytes: int = PART_BYTES
    answer_rows: int = 0
    progress: Progress = silent
    calls: list[Call] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.spool = Spool(self.folder)
        spec = read_manifest(self.bundle).graphs[contract.LLM]
        path = bundle_path(self.bundle, spec.file)
        self._language = PartedLanguageModel(self.backend, path, spec, self.part_bytes, self.answer_rows)

    @property
    def stages(self) -> int:
        """How many there are, to be run by :meth:`run` in their order."""
        return len(self._language.division) + 2

    def run(self, stage: int) -> None:
        """Run a stage. Those before it were run, here or by a run before that left its folder.

        Raises:
            XSamError: what a stage before it left is not there, or the disk is full.
            BundleError, BackendError: a graph cannot be loaded, or fails.
        """
        if stage == 0:
            self.spool.clear()
            self._encode()
        elif stage < self.stages - 1:
            calls = self.calls = self.calls or load_calls(self.spool)
            self._language.run(stage - 1, calls, self.spool, self.progress)
        else:
            self._decode()

    def run_all(self) -> None:
        """Run every stage, and remove what waited; raises as :meth:`run`."""
        for stage in range(self.stages):
            self.run(stage)
        self.clear()

    def has(self, stage: int) -> bool:
        """Whether the folder holds what a stage goes on from."""
        return stage == 0 or self._marker(stage).is_file()

    def mark(self, stage: int) -> None:
        """Note that all before ``stage`` is done."""
        self._marker(stage).touch()
        if stage:
            self._marker(stage - 1).unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove what waits."""
        self.spool.clear()
        self.spool.folder.rmdir()

    def _marker(self, stage: int) -> Path:
        return self.folder / f"stage.{stage}"

    def _encode(self) -> None:
        recorded: list[RecordedLanguageModel] = []

        def stand_in(path: Path, spec: GraphSpec) -> Any:
            if path.stem == contract.LLM:
                recorded.append(RecordedLanguageModel(spec, self.spool))
                return recorded[0]
            if path.stem == contract.MASK_DECODER:
                return SilentGraph(spec)
            self.backend.maps_weights = True  # the activations of this graph take gigabytes themselves
            graph = self.backend.open(path, spec)
            self.backend.maps_weights = False
            return SpooledGraph(graph, spec, self.spool)

        self._ask_all(stand_in, "image encoder", last=False)
        self.calls = recorded[0].calls
        save_calls(self.spool, self.calls)

    def _decode(self) -> None:
        def stand_in(path: Path, spec: GraphSpec) -> Any:
            if path.stem == contract.LLM:
                return ReplayedGraph(spec, self.spool, GIVEN)
            if path.stem == contract.IMAGE_ENCODER:
                return ReplayedGraph(spec, self.spool, [tensor.name for tensor in spec.outputs])
            return None

        self._ask_all(stand_in, "mask decoder", last=True)

    def _ask_all(self, stand_in: Callable[[Path, GraphSpec], Any | None], what: str, *, last: bool) -> None:
        model = XSam.load(self.bundle, backend=_StagedBackend(self.backend, stand_in), verify="none")
        for index, picture in enumerate(self.pictures):
            self.progress(Step(what, index, len(self.pictures), "pictures"))
            self.ask(model, picture, last)
        del model
        self.backend.release()
