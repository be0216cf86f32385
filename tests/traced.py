"""Exports of one session trace equal modules once: most bundles differ in weights and precision only."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager

import onnx_ir as ir
import pytest
from torch import nn

from xsam_edge.export import bundle
from xsam_edge.export.graph.graphs import GRAPHS
from xsam_edge.export.graph.trace import TraceRequest

_OF_TORCH = set(vars(nn.Module()))


@contextmanager
def shared() -> Iterator[None]:
    """Within, a graph that was built of a module is handed out again, as a copy, to who builds it of an equal one."""
    build, built = bundle.build_graph, {}

    def build_once(model: bundle.XSam, name: str, precision: bundle.FloatType = "fp32") -> tuple[ir.Model, dict]:
        key = name, precision, _content(GRAPHS[name](model))
        if key not in built:
            built[key] = build(model, name, precision)
        graph, plans = built[key]
        return graph.clone(), dict(plans)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundle, "build_graph", build_once)
        yield


def _content(request: TraceRequest) -> bytes:
    """Everything that a trace depends on: types and attributes of all modules, shapes, names."""
    assert not list(request.module.buffers()), "of a buffer the values count, too"
    modules = [
        (path, type(module), {name: value for name, value in vars(module).items() if name not in _OF_TORCH})
        for path, module in request.module.named_modules()
    ]
    tensors = [*request.module.parameters(), *_flat(request.args)]
    shapes = [(str(tensor.dtype), tuple(tensor.shape)) for tensor in tensors]
    names = request.names, request.input_names, request.output_names, str(request.dynamic_shapes)
    return pickle.dumps((modules, shapes, names))


def _flat(values: tuple | list) -> list:
    return [tensor for value in values for tensor in (_flat(value) if isinstance(value, list) else [value])]
