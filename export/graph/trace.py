"""From a torch module to an ONNX graph without its weights.

Modules are built and traced under ``FakeTensorMode``: a parameter has a shape but no memory, so that tracing the
full-size model needs no more memory than tracing a tiny one. Weights are written later, tensor by tensor
(:mod:`xsam_edge.export.graph.weights`).
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

# TensorRT 10.3 reads opsets up to 20; 20 has Gelu as one operator.
OPSET = 20


@dataclass(frozen=True)
class TraceRequest:
    """A module with everything that ``torch.onnx.export`` needs to know.

    ``names`` maps the module's parameter names to those of the checkpoint.
    """

    module: torch.nn.Module
    args: tuple[Any, ...]
    dynamic_shapes: tuple[Any, ...]
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    names: dict[str, str]


@contextlib.contextmanager
def fake_tensors() -> Iterator[None]:
    """Build modules and example inputs inside of this context: their tensors get no memory."""
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        yield


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's progress prints and the warnings that concern its own internals."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "torch.export")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def trace(request: TraceRequest) -> ir.Model:
    """Trace a module into an ONNX model at opset 20.

    Parameters are initialisers named as in the checkpoint, with a type and a shape but no value.
    """
    request.module.eval()
    with _quiet(), fake_tensors():
        program = torch.onnx.export(
            request.module,
            request.args,
            dynamo=True,
            optimize=False,  # its optimiser needs values; ours runs after the weights were taken out
            opset_version=OPSET,
            dynamic_shapes=request.dynamic_shapes,
            input_names=list(request.input_names),
            output_names=list(request.output_names),
            verbose=False,
        )
    assert program is not None
    model = program.model
    _detach_weights(model, request.names)
    return model


def _detach_weights(model: ir.Model, names: dict[str, str]) -> None:
    graph = model.graph
    for name, value in list(graph.initializers.items()):
        tensor = value.const_value
        assert tensor is not None
        value.type = ir.TensorType(tensor.dtype)
        value.shape = ir.Shape(tensor.shape.numpy())
        if name in names:
            value.const_value = None
            del graph.initializers[name]
            value.name = names[name]
            graph.initializers[names[name]] = value
        else:
            # A constant that the module made from its sizes. Materialise it, it may hold a view of a torch tensor.
            value.const_value = ir.tensor(tensor.numpy().copy(), name=name)
