"""Backends of the gate: the graphs of a plan, before and after it is written, and what an engine of them computes.

A trial lowers the FP32 graphs of a bundle in memory when they are opened, a measurement reads those that were written.
Both are the same graphs from there on: FP16 is rounded as :mod:`~xsam_edge.export.gate.rounding` says, weights are
mapped from files, and ONNX Runtime gets the same options. So a trial's numbers are those of the bundle that its plan
writes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from xsam_edge.calibration.instrumented import EditedBackend, EditedGraph, Extra
from xsam_edge.calibration.staged.run import fits_whole
from xsam_edge.calibration.stored_weights import StoredWeight, load_graph
from xsam_edge.export.gate.frame import write_frame
from xsam_edge.export.gate.rounding import round_halves
from xsam_edge.export.gate.weight_file import WeightFile
from xsam_edge.export.graph.graphs import FP32_TENSORS
from xsam_edge.export.graph.passes import infer_types
from xsam_edge.export.precision.plan import Assignment, NodePrecision
from xsam_edge.export.quantization.kv_cache import CacheCodes
from xsam_edge.export.quantization.lowering import fill_weights, lower, node_names, open_graph
from xsam_edge.runtime.backends.onnxruntime import QUANTIZED_DISABLED
from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.bundle.manifest import GraphSpec, read_manifest

_FP32 = NodePrecision("fp32")

Edit = Callable[[str, ir.Model], None]
"""Given a graph's name, changes it."""


def _leave(_name: str, _model: ir.Model) -> None:
    """Change nothing."""


class EngineBackend(EditedBackend):
    """ONNX Runtime on the CPU, computing what engines of typed graphs would.

    Args:
        read: opens a typed graph; weights are in files of its folder, or made when they are asked for.
        weights: where the latter are kept; in the same folder.
        edit: changes a graph that is ready to run.
        listen: see ``EditedBackend``.
        threads: 0 takes every core.
        quantized: whether any graph is quantised.
    """

    def __init__(
        self,
        read: Callable[[Path], ir.Model],
        weights: WeightFile,
        threads: int,
        *,
        quantized: bool,
        edit: Edit = _leave,
        listen: Extra | None = None,
    ) -> None:
        def ready(path: Path) -> ir.Model:
            model = read(path)
            round_halves(model)
            edit(path.stem, model)
            return model

        super().__init__(ready, listen, threads, disabled=QUANTIZED_DISABLED if quantized else ())
        self._weights = weights

    def session(self, model: ir.Model, path: Path) -> Any:
        """See ``EditedBackend``. Weights are made here: of a part of a graph, its own alone."""
        for name, value in model.graph.initializers.items():
            if isinstance(lazy := value.const_value, ir.LazyTensor) and not isinstance(lazy, StoredWeight):
                value.const_value = self._weights.keep(f"{path.stem}:{name}", name, lazy.numpy, lazy.dtype)
        return super().session(model, path)

    def release(self) -> None:
        """See ``EditedBackend``."""
        self._weights.clear()


def written_backend(
    bundle: Path, weights: WeightFile, threads: int = 0, *, edit: Edit = _leave, listen: Extra | None = None
) -> EngineBackend:
    """A backend on the graphs of a bundle as they were written; ``weights`` is a file of its folder."""

    def read(path: Path) -> ir.Model:
        model = load_graph(path)
        infer_types(model)
        return model

    quantized = any(spec.quantized for spec in read_manifest(bundle).graphs.values())
    return EngineBackend(read, weights, threads, quantized=quantized, edit=edit, listen=listen)


class Trials:
    """Makes the backends of trials on one FP32 bundle.

    Where a trial leaves a whole graph in FP32, as most do, its session is opened once for all of them, unless the model
    is too large for that.
    """

    def __init__(
        self,
        base: Path,
        ranges: Mapping[str, float],
        weights: WeightFile,
        threads: int = 0,
        cache_ranges: Mapping[str, npt.NDArray[np.float32]] | None = None,
    ) -> None:
        """``ranges`` as for ``lowering.lower``; ``weights`` is a file in the folder of ``base``.

        ``cache_ranges`` are those of ``CacheCodes``, for assignments that quantise the cache.
        """
        self._cache_ranges = cache_ranges or {}
        self._base, self._ranges, self._weights, self._threads = base, ranges, weights, threads
        self._nodes = node_names(base) if fits_whole(read_manifest(base)) else {}
        self._plain: dict[str, EditedGraph] = {}

    def bundle(self, assignment: Assignment) -> Path:
        """What a trial's backend is loaded with: embeddings and the rest of a bundle, with the types of its graphs."""
        if assignment.float == "fp32" and assignment.kv_cache is None:
            return self._base
        folder = self._base / f"frame-{assignment.float}-{assignment.kv_cache or 'floats'}"
        if not folder.exists():
            folder.mkdir()
            write_frame(self._base, folder, assignment.float, assignment.kv_cache)
        return folder

    def backend(self, assignment: Assignment, *, edit: Edit | None = None, listen: Extra | None = None) -> TrialBackend:
        """A backend on graphs of an assignment, to be loaded with its :meth:`bundle`.

        ``edit`` and ``listen`` as for ``EngineBackend``.
        """

        kv_cache = assignment.kv_cache
        cache = None if kv_cache is None else CacheCodes(kv_cache, self._cache_ranges)

        def read(path: Path) -> ir.Model:
            opened = open_graph(path)
            lower(opened, assignment.float, assignment.nodes, self._ranges, FP32_TENSORS, cache=cache)
            return fill_weights(opened)

        plain: set[str] = set()
        if assignment.float == "fp32" and edit is None:
            plain = {name for name, nodes in self._nodes.items() if all(assignment.nodes[n] == _FP32 for n in nodes)}
            if cache is not None:
                plain.discard(contract.LLM)
        quantized = cache is not None or any(item.quantized for item in assignment.nodes.values())
        return TrialBackend(
            self._base,
            read,
            self._weights,
            self._threads,
            quantized=quantized,
            kept=self._plain,
            plain=plain,
            edit=edit or _leave,
            listen=listen,
        )


class TrialBackend(EngineBackend):
    """The graphs of ``base``, whichever bundle asks; those in ``plain`` are FP32, and kept."""

    def __init__(
        self,
        base: Path,
        read: Callable[[Path], ir.Model],
        weights: WeightFile,
        threads: int,
        *,
        quantized: bool,
        kept: dict[str, EditedGraph],
        plain: set[str],
        edit: Edit = _leave,
        listen: Extra | None = None,
    ) -> None:
        super().__init__(read, weights, threads, quantized=quantized, edit=edit, listen=listen)
        self._base, self._kept, self._plain = base, kept, plain

    def edited(self, path: Path) -> ir.Model:
        """See ``EditedBackend``."""
        return super().edited(self._base / path.name)

    def session(self, model: ir.Model, path: Path) -> Any:
        """See ``EditedBackend``."""
        return super().session(model, self._base / path.name)

    def open(self, path: Path, spec: GraphSpec) -> EditedGraph:  # type: ignore[override]
        """See :class:`xsam_edge.runtime.backends.base.Backend`."""
        if path.stem not in self._plain:
            return super().open(path, spec)
        if path.stem not in self._kept:
            self._kept[path.stem] = super().open(path, spec)
        return self._kept[path.stem]
