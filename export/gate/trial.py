"""Trying a plan without writing it: the FP32 graphs of a bundle, lowered in memory when they are opened.

A trial reads the FP32 weights from their file; casts and integer codes are made when a session is opened. Its inputs
and outputs are float32, and its numbers those of the bundle that the same plan writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx_ir as ir

from xsam_edge.calibration.instrumented import EditedBackend, EditedGraph
from xsam_edge.export.precision.plan import NodePrecision
from xsam_edge.export.quantization.lowering import inline, lower, node_names, open_graph
from xsam_edge.runtime.backends.onnxruntime import QUANTIZED_DISABLED
from xsam_edge.runtime.bundle.manifest import GraphSpec

_FP32 = NodePrecision("fp32")


class Trials:
    """Makes the backends of trials on one FP32 bundle; ``ranges`` as for ``lowering.lower``.

    Where a trial leaves a whole graph in FP32, as most do, its session is opened once for all of them.
    """

    def __init__(self, bundle: Path, ranges: Mapping[str, float], threads: int = 0) -> None:
        self._ranges, self._threads = ranges, threads
        self._nodes = node_names(bundle)
        self._plain: dict[str, EditedGraph] = {}

    def backend(self, precisions: Mapping[str, NodePrecision]) -> TrialBackend:
        """A backend on graphs of these precisions."""
        plain = {name for name, nodes in self._nodes.items() if all(precisions[node] == _FP32 for node in nodes)}
        return TrialBackend(precisions, self._ranges, self._threads, self._plain, plain)


class TrialBackend(EditedBackend):
    """ONNX Runtime on the CPU, on graphs lowered to ``precisions``; those in ``plain`` are FP32, and kept."""

    def __init__(
        self,
        precisions: Mapping[str, NodePrecision],
        ranges: Mapping[str, float],
        threads: int,
        kept: dict[str, EditedGraph],
        plain: set[str],
    ) -> None:
        def edit(path: Path) -> ir.Model:
            opened = open_graph(path)
            lower(opened, "fp32", precisions, ranges, ())
            return inline(opened)

        quantized = any(item.quantized for item in precisions.values())
        super().__init__(edit, None, threads, disabled=QUANTIZED_DISABLED if quantized else ())
        self._kept, self._plain_names = kept, plain

    def open(self, path: Path, spec: GraphSpec) -> EditedGraph:  # type: ignore[override]
        """See :class:`xsam_edge.runtime.backends.base.Backend`."""
        if path.stem not in self._plain_names:
            return super().open(path, spec)
        if path.stem not in self._kept:
            self._kept[path.stem] = super().open(path, spec)
        return self._kept[path.stem]
