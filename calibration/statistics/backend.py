"""A backend of the runtime that runs a bundle as usual and hands what its probes find to a listener."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnx_ir as ir

from xsam_edge.calibration.instrumented import CalibrationDevice, EditedBackend
from xsam_edge.calibration.statistics.probes import PARTS, Probe, instrument
from xsam_edge.calibration.stored_weights import load_graph

Listener = Callable[[str, Probe, Mapping[str, npt.NDArray[Any]]], None]
"""Called after each run of a graph with its file's name, a probe and what it found, by ``PARTS``."""


class ProbedBackend(EditedBackend):
    """ONNX Runtime, with probes in its graphs.

    ``choose`` names the probes of a graph; they are listened to in that order. ``threads`` and ``device`` as for
    ``EditedBackend``.
    """

    def __init__(
        self,
        choose: Callable[[ir.Model], Sequence[Probe]],
        listen: Listener,
        threads: int = 0,
        device: CalibrationDevice = "cpu",
    ) -> None:
        super().__init__(self._instrumented, self._hear, threads, device=device)
        self._choose, self._tell = choose, listen
        self._probes: dict[str, Sequence[Probe]] = {}  # by a graph's file

    def _instrumented(self, path: Path) -> ir.Model:
        model = load_graph(path)
        self._probes[path.name] = probes = tuple(self._choose(model))
        instrument(model, probes)
        return model

    def _hear(self, file: str, probed: Mapping[str, npt.NDArray[Any]]) -> None:
        for probe in self._probes[Path(file).name]:
            if probe.output(PARTS[0]) in probed:  # a part of a graph has those of its own
                self._tell(file, probe, {part: probed[probe.output(part)] for part in PARTS})
