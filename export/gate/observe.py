"""How far the inside of a reduced chain is from FP32: SQNR and cosine of stage outputs and of every block's output.

Both chains see the same pictures and the same appended answers, so that they run the same graphs in the same order.
Errors add up along the chain: what a block shows is its own and that of everything before it.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from xsam_edge.calibration.data.samples import Caption, Picture
from xsam_edge.calibration.evaluation.run import AskOptions, ask_scene
from xsam_edge.calibration.instrumented import Extra
from xsam_edge.calibration.staged.run import StagedRun, fits_whole
from xsam_edge.calibration.stored_weights import load_graph
from xsam_edge.export.gate.measure import decibels
from xsam_edge.export.gate.trial import written_backend
from xsam_edge.export.gate.weight_file import WeightFile
from xsam_edge.export.graph.passes import initializer
from xsam_edge.export.precision.blocks import members
from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.bundle.manifest import read_manifest
from xsam_edge.runtime.errors import XSamError
from xsam_edge.runtime.model import XSam
from xsam_edge.runtime.scene import Scene

KEPT = 8192  # elements of a tensor that are compared, evenly spread
_SUFFIX = "\tobserved"
_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16)

Observed = dict[str, dict[str, str]]
"""By graph, the value that each block or stage output is observed at."""


@dataclass
class Error:
    """Sums over everything that was compared of one tensor."""

    signal: float = 0.0
    noise: float = 0.0
    other: float = 0.0
    product: float = 0.0

    def add(self, reference: npt.NDArray[Any], other: npt.NDArray[Any]) -> None:
        """Compare two arrays of one shape."""
        a, b = reference.astype(np.float64), other.astype(np.float64)
        self.signal += float(a @ a)
        self.other += float(b @ b)
        self.product += float(a @ b)
        self.noise += float(np.square(a - b).sum())

    @property
    def sqnr_db(self) -> float | None:
        """Signal to quantisation noise in dB; None where both are equal."""
        return decibels(self.signal, self.noise)

    @property
    def cosine(self) -> float | None:
        """Cosine of both as vectors; None where one is zero."""
        scale = (self.signal * self.other) ** 0.5
        return self.product / scale if scale > 0 else None


def points(bundle: Path) -> tuple[Observed, Observed]:
    """Stage outputs and block outputs of an FP32 bundle, by graph."""
    stages: Observed = {}
    blocks: Observed = {}
    for name in contract.GRAPHS:
        graph = load_graph(bundle / f"{name}.onnx").graph
        stages[name] = {
            str(value.name): str(value.name)
            for value in graph.outputs
            if value.dtype in _FLOATS and not str(value.name).startswith(("new_key.", "new_value."))
        }
        blocks[name] = _block_outputs(graph)
    return stages, blocks


def _block_outputs(graph: ir.Graph) -> dict[str, str]:
    nodes = {str(node.name): node for node in graph}
    outputs = set(graph.outputs)
    by_block = {}
    for block, names in members(nodes).items():
        inside = {nodes[name] for name in names}
        for name in reversed(names):
            value = nodes[name].outputs[0]
            leaves = value in outputs or any(use.node not in inside for use in value.uses())
            if leaves and value.dtype in _FLOATS and value.shape is not None and len(value.shape) > 1:
                by_block[block] = str(value.name)
                break
    return by_block


def observed_name(value: str) -> str:
    """The output that :func:`add_observers` makes of a value."""
    return value + _SUFFIX


def add_observers(model: ir.Model, names: Iterable[str]) -> None:
    """Add an output for each named value: about ``KEPT`` of its elements, in float32."""
    graph = model.graph
    values = {str(value.name): value for node in graph for value in node.outputs}

    def constant(name: str, array: list[int]) -> ir.Value:
        return initializer(graph, name, np.array(array, np.int64))

    def node(op: str, *inputs: ir.Value, **attributes: int) -> ir.Value:
        made = ir.node(op, list(inputs), attributes=attributes or None)
        graph.append(made)
        return made.outputs[0]

    for name in dict.fromkeys(names):
        flat = node("Reshape", values[name], constant("\tflat", [-1]))
        size = node("Shape", flat)
        # An odd step, which meets every column of an image whose width is a power of two.
        step = node("Mul", node("Div", size, constant("\ttwice", [2 * KEPT])), constant("\ttwo", [2]))
        step = node("Add", step, constant("\tone", [1]))
        thin = node("Slice", flat, constant("\tzero", [0]), size, constant("\tzero", [0]), step)
        wide = node("Cast", thin, to=ir.DataType.FLOAT.value)
        wide.name, wide.type, wide.shape = observed_name(name), ir.TensorType(ir.DataType.FLOAT), ir.Shape([None])
        graph.outputs.append(wide)


def observer(observed: Sequence[Observed]) -> Callable[[str, ir.Model], None]:
    """What adds its observers to a graph of a name."""

    def edit(graph: str, model: ir.Model) -> None:
        add_observers(model, [name for places in observed for name in places.get(graph, {}).values()])

    return edit


def compare(
    reference: Path, bundle: Path, observed: Sequence[Observed], pictures: Sequence[Picture], threads: int
) -> dict[tuple[str, str], Error]:
    """Run both bundles over pictures that can be read; errors by graph and value."""
    recorded: dict[tuple[str, str], list[npt.NDArray[np.float32]]] = defaultdict(list)  # in the order of runs

    def record(file: str, outputs: Mapping[str, npt.NDArray[Any]]) -> None:
        for name, array in outputs.items():
            recorded[file, name].append(array)

    whole = fits_whole(read_manifest(reference))
    _run(reference, observer(observed), record, pictures, threads, whole)
    errors: dict[tuple[str, str], Error] = defaultdict(Error)
    runs: dict[tuple[str, str], int] = defaultdict(int)

    def listen(file: str, outputs: Mapping[str, npt.NDArray[Any]]) -> None:
        for name, array in outputs.items():
            expected = recorded[file, name][runs[file, name]]
            runs[file, name] += 1
            errors[file.removesuffix(".onnx"), name.removesuffix(_SUFFIX)].add(expected, array)

    _run(bundle, observer(observed), listen, pictures, threads, whole)
    return dict(errors)


def _run(
    bundle: Path,
    edit: Callable[[str, ir.Model], None],
    listen: Extra,
    pictures: Sequence[Picture],
    threads: int,
    whole: bool,
) -> None:
    with WeightFile(bundle) as weights:
        backend = written_backend(bundle, weights, threads, edit=edit, listen=listen)
        if not whole:
            StagedRun(bundle, backend, pictures, _ask, bundle / "stages").run_all()
            return
        model = XSam.load(bundle, backend=backend, verify="none")
        for picture in pictures:
            _ask(model, picture)


def _ask(model: XSam, picture: Picture, _last: bool = True) -> None:
    with model.look(picture.image()) as scene:
        ask_appended(scene, picture)


def ask_appended(scene: Scene, picture: Picture) -> None:
    """Ask all of a picture that has an answer to append, for what the graphs compute of it."""
    for ask in picture.asks:
        # A caption is decoded, and may be as long as each likes. What fails in post-processing has run.
        if not isinstance(ask, Caption):
            with contextlib.suppress(XSamError):
                ask_scene(scene, ask, AskOptions(answer="append", threshold=0.5))
