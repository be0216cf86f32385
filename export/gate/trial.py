"""Trying a plan without writing it: the FP32 graphs of a bundle, lowered in memory when they are opened.

A trial reads the FP32 weights from their file; casts and integer codes are made when a session is opened. Its inputs
and outputs are float32, and its numbers those of the bundle that the same plan writes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import onnx_ir as ir

from xsam_edge.calibration.activations.edited import EditedBackend, Extra
from xsam_edge.export.lowering import inline, lower, open_graph
from xsam_edge.export.precision.plan import NodePrecision
from xsam_edge.runtime.backends.onnxruntime import QUANTIZED_DISABLED


class TrialBackend(EditedBackend):
    """ONNX Runtime on the CPU, on graphs lowered to ``precisions``; ``ranges`` as for ``lowering.lower``.

    ``observe`` may add outputs to the lowered graph; ``listen`` gets them.
    """

    def __init__(
        self,
        precisions: Mapping[str, NodePrecision],
        ranges: Mapping[str, float],
        *,
        threads: int = 0,
        observe: Callable[[ir.Model], None] | None = None,
        listen: Extra | None = None,
    ) -> None:
        def edit(path: Path) -> ir.Model:
            opened = open_graph(path)
            lower(opened, "fp32", precisions, ranges, ())
            model = inline(opened)
            if observe:
                observe(model)
            return model

        quantized = any(item.quantized for item in precisions.values())
        super().__init__(edit, listen, threads, disabled=QUANTIZED_DISABLED if quantized else ())
