"""Peaks: how large the values get that a plan holds in FP16, which ends at 65,504, and what must be FP32 therefore.

The FP32 chain is run on a few pictures. Each value that the plan would hold in FP16 gives its two extremes, no more, so
that this takes the memory of the FP32 chain. A value whose magnitude leaves no room for other pictures is kept out of
FP16: what makes it and what reads it become FP32 islands. It needs no masks, so that it serves models whose masks mean
nothing.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from xsam_edge.calibration.data.samples import Caption, Picture
from xsam_edge.calibration.instrumented import CalibrationDevice, EditedBackend
from xsam_edge.calibration.staged.run import StagedRun, fits_whole
from xsam_edge.calibration.stored_weights import load_graph
from xsam_edge.export.gate.observe import ask_appended
from xsam_edge.export.graph.graphs import FP32_TENSORS
from xsam_edge.export.precision.plan import Assignment, GraphNames, NodePrecision, Plan, Rule, assign, matches
from xsam_edge.export.quantization.lowering import lower, open_graph
from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.bundle.manifest import HalfRange, read_manifest
from xsam_edge.runtime.errors import InputError, XSamError
from xsam_edge.runtime.model import XSam
from xsam_edge.runtime.progress import Progress, Step, within

LARGEST_HALF = 65504.0
MARGIN = 2.0
"""What room is left for other pictures: values from ``LARGEST_HALF / MARGIN`` on are not held in FP16."""

Values = Mapping[str, frozenset[str]]
"""Names of values by graph."""

_EXTREMES = {"ReduceMax": "\thighest", "ReduceMin": "\tlowest"}


@dataclass(frozen=True)
class Peaks:
    """The largest magnitude of each value, by graph and name, over so many pictures; values that were never computed
    have none.
    """

    pictures: int
    magnitudes: Mapping[tuple[str, str], float]

    def of(self, values: Values) -> dict[tuple[str, str], float]:
        """Those of some values."""
        return {(graph, name): peak for (graph, name), peak in self.magnitudes.items() if name in values[graph]}


def half_values(base: Path, assignment: Assignment) -> dict[str, frozenset[str]]:
    """What an assignment holds in FP16 of the values of an FP32 bundle, by graph."""
    floats = {name: NodePrecision(item.float) for name, item in assignment.nodes.items()}
    found = {}
    for name in contract.GRAPHS:
        opened = open_graph(base / f"{name}.onnx")
        own = _values(opened.model.graph)
        lower(opened, assignment.float, floats, {}, FP32_TENSORS)
        graph = opened.model.graph
        halves: set[str] = set()
        for value in (*graph.inputs, *(value for node in graph for value in node.outputs)):
            if value.dtype == ir.DataType.FLOAT16:
                halves |= {_source(value, own)} & own.keys()
        found[name] = frozenset(halves)
    return found


def _values(graph: ir.Graph) -> dict[str, ir.Value]:
    values = (*graph.inputs, *(value for node in graph for value in node.outputs))
    return {str(value.name): value for value in values if value.dtype == ir.DataType.FLOAT}


def _source(value: ir.Value, own: Mapping[str, ir.Value]) -> str:
    """The value of the FP32 graph that an FP16 value is, or is cast from."""
    name, node = str(value.name).removesuffix("_before_cast"), value.producer()
    if name not in own and node is not None and node.inputs and node.inputs[0] is not None:
        name = str(node.inputs[0].name).removesuffix("_before_cast")
    return name


def measure(
    base: Path,
    values: Values,
    pictures: Iterable[Picture],
    count: int,
    *,
    threads: int = 0,
    device: CalibrationDevice = "cpu",
    progress: Progress,
) -> Peaks:
    """Run an FP32 bundle over the first ``count`` pictures that can be read, with given answers.

    Raises:
        InputError: none can be read.
        BundleError, BackendError: the bundle cannot be loaded.
    """
    highest: dict[tuple[str, str], float] = defaultdict(float)

    def edit(path: Path) -> ir.Model:
        model = load_graph(path)
        add_extremes(model.graph, values[path.stem])
        return model

    def listen(file: str, outputs: Mapping[str, npt.NDArray[Any]]) -> None:
        for output, array in outputs.items():
            name, peak = peak_of(output, array)
            if peak is not None:
                highest[Path(file).stem, name] = max(highest[Path(file).stem, name], peak)

    backend = EditedBackend(edit, listen, threads, device=device)
    backend.runs_without_logits = False  # the head's products are of interest, though no token is
    chosen = list(itertools.islice((picture for picture in pictures if picture.is_readable()), count))
    if not chosen:
        raise InputError("no calibration picture can be read, so that peaks are unknown; give pictures that can")
    what = "range of FP16"
    if fits_whole(read_manifest(base)):
        model = XSam.load(base, backend=backend, verify="none")
        for done, picture in enumerate(chosen):
            progress(Step(what, done, len(chosen), "pictures"))
            _ask(model, picture)
    else:
        StagedRun(base, backend, chosen, _ask, base / "stages", progress=within(progress, what)).run_all()
    return Peaks(len(chosen), dict(highest))


def _ask(model: XSam, picture: Picture, _last: bool = True) -> None:
    """Ask all that has an answer to append; of a picture that asks for captions only, a phrase."""
    with model.look(picture.image()) as scene:
        if all(isinstance(ask, Caption) for ask in picture.asks):
            with contextlib.suppress(XSamError):
                scene.refer("the object", answer="append")
        ask_appended(scene, picture)


def add_extremes(graph: ir.Graph, names: Iterable[str]) -> None:
    """Add two outputs for each named float32 value, a scalar each; :func:`peak_of` reads them."""
    values = _values(graph)
    for name in sorted(names):
        for op, suffix in _EXTREMES.items():
            node = ir.node(op, [values[name]], attributes={"keepdims": 0})
            graph.append(node)
            made = node.outputs[0]
            made.name, made.type, made.shape = name + suffix, ir.TensorType(ir.DataType.FLOAT), ir.Shape([])
            graph.outputs.append(made)


def peak_of(output: str, array: npt.NDArray[Any]) -> tuple[str, float | None]:
    """The name of a value, and the magnitude of one of its extremes: infinite for NaN, None where it has no elements.

    Of no elements ONNX Runtime gives what is below, or above, all numbers.
    """
    name, extreme = output.rpartition("\t")[0], float(array)
    if extreme == (-np.inf if output.endswith(_EXTREMES["ReduceMax"]) else np.inf):
        return name, None
    return name, abs(extreme) if np.isfinite(extreme) else np.inf


def raise_peaks(base: Path, plan: Plan, names: GraphNames, peaks: Peaks, *, forced: bool) -> Plan:
    """The plan with an FP32 island at every node that makes or reads a value beyond the margin.

    An integer product stays one, with FP32 around it.

    Args:
        base: the FP32 bundle.
        plan: to be changed.
        names: of the bundle.
        peaks: of what the plan holds in FP16.
        forced: whether a rule for ``fp16`` is a user's own, and must not be overridden.

    Raises:
        InputError: a value that cannot be raised: an input or output of a graph, or one of a node that is forced.
    """
    limit = LARGEST_HALF / MARGIN
    beyond = {key: peak for key, peak in peaks.magnitudes.items() if peak >= limit}
    worst: dict[str, float] = {}
    for name in contract.GRAPHS:
        own = {value: peak for (graph, value), peak in beyond.items() if graph == name}
        if own:
            _check_edges(base, name, plan, own)
            for node, peak in _neighbours(base, name, own):
                worst[node] = max(worst.get(node, 0.0), peak)
    nodes = assign(plan, names).nodes
    low = [node for node in names.nodes if node in worst and nodes[node].float == "fp16"]
    for node in low:
        rule = _forcing(plan.rules, node) if forced else None
        if rule is not None:
            raise InputError(
                f"the precision plan keeps {node} in fp16 by its rule for {rule.nodes!r}, but it computes with values "
                f"of {worst[node]:.3g} on {_pictures(peaks.pictures)} and FP16 ends at {LARGEST_HALF:,.0f}; give it "
                "fp32 in the plan"
            )
    return replace(plan, islands=plan.islands + tuple(Rule(node, "fp32", _why(worst[node], peaks)) for node in low))


def half_range(base: Path, assignment: Assignment, peaks: Peaks, raised: int) -> HalfRange | None:
    """What a manifest says of an assignment with so many nodes raised; None where it holds nothing in FP16."""
    values = half_values(base, assignment)
    if not any(values.values()):
        return None
    held = peaks.of(values)
    if not held:
        return HalfRange(0)
    graph, name = largest = max(held, key=held.__getitem__)
    return HalfRange(peaks.pictures, held[largest], f"{graph}: {name}", raised)


def _neighbours(base: Path, name: str, peaks: Mapping[str, float]) -> Iterable[tuple[str, float]]:
    """The nodes that make or read values, each with a value's peak."""
    for node in load_graph(base / f"{name}.onnx").graph:
        for value in (*node.inputs, *node.outputs):
            if value is not None and (peak := peaks.get(str(value.name))) is not None:
                yield str(node.name), peak


def _check_edges(base: Path, name: str, plan: Plan, peaks: Mapping[str, float]) -> None:
    if plan.float == "fp32":
        return
    graph = load_graph(base / f"{name}.onnx").graph
    for what, values in (("output", graph.outputs), ("input", graph.inputs)):
        for value in values:
            if (peak := peaks.get(str(value.name))) is not None and value.name not in FP32_TENSORS:
                raise InputError(
                    f"{value.name}, an {what} of {name}, reaches {peak:.3g}, and FP16, which ends at "
                    f"{LARGEST_HALF:,.0f}, is its type between graphs; export with --precision fp32, or integers with "
                    "--float-precision fp32"
                )


def _forcing(rules: Sequence[Rule], node: str) -> Rule | None:
    """The rule that gives a node FP16, None where that is the plan's default."""
    own = [rule for rule in rules if rule.precision in ("fp32", "fp16") and matches(rule.nodes, node)]
    return own[-1] if own and own[-1].precision == "fp16" else None


def _why(peak: float, peaks: Peaks) -> str:
    return f"raised: values of {peak:.3g} on {_pictures(peaks.pictures)}; FP16 ends at {LARGEST_HALF:,.0f}"


def _pictures(count: int) -> str:
    return f"{count} picture{'' if count == 1 else 's'}"
