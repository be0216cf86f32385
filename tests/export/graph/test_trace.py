from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn

from xsam_edge.export.graph.trace import OPSET, TraceRequest, fake_tensors, trace


class Small(nn.Module):
    """A layer in a layer, a parameter of its own and a constant made from sizes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(width, width, bias=False), nn.GELU())
        self.shift = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, pasts: list[Tensor]) -> tuple[Tensor, Tensor]:
        ramp = torch.arange(x.shape[2], dtype=torch.float32)
        joined = torch.cat((pasts[0], pasts[1]), dim=1)
        return self.inner(x + ramp) + self.shift, joined


def _request(width: int = 4) -> TraceRequest:
    with fake_tensors():
        module = Small(width)
    token, past = torch.export.Dim("token", min=0, max=1 << 20), torch.export.Dim("past", min=0, max=1 << 20)
    return TraceRequest(
        module,
        (torch.zeros(1, 3, width), [torch.zeros(1, 5, width)] * 2),
        ({1: token}, [{1: past}, {1: past}]),
        ("x", "past.0", "past.1"),
        ("y", "joined"),
        {"inner.0.weight": "model.inner.weight", "shift": "model.shift"},
    )


@pytest.fixture(scope="module")
def model() -> ir.Model:
    return trace(_request())


def test_weights_have_names_and_shapes_but_no_values(model: ir.Model) -> None:
    weights = {name: value for name, value in model.graph.initializers.items() if value.const_value is None}
    assert {name: tuple(value.shape.numpy()) for name, value in weights.items()} == {
        "model.inner.weight": (4, 4),
        "model.shift": (4,),
    }
    assert all(value.dtype == ir.DataType.FLOAT and value.name == name for name, value in weights.items())


def test_inputs_keep_their_names_and_axes(model: ir.Model) -> None:
    found = {value.name: [str(axis) for axis in value.shape] for value in model.graph.inputs}
    assert found == {
        "x": ["1", "token", "4"],
        "past.0": ["1", "past", "4"],
        "past.1": ["1", "past", "4"],
    }
    assert [value.name for value in model.graph.outputs] == ["y", "joined"]
    assert model.opset_imports[""] == OPSET


def test_constants_have_memory_of_their_own(model: ir.Model) -> None:
    constants = [value for value in model.graph.initializers.values() if value.const_value is not None]
    assert all(isinstance(value.const_value.numpy(), np.ndarray) for value in constants)
    assert all(value.const_value.numpy().base is None for value in constants)


def test_tracing_takes_no_memory_for_weights() -> None:
    """A matrix of 4 TB: it could not be allocated."""
    (matrix,) = (v for n, v in trace(_request(1 << 20)).graph.initializers.items() if n == "model.inner.weight")
    assert tuple(matrix.shape.numpy()) == (1 << 20, 1 << 20)


def test_tracing_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    trace(_request())
    assert capfd.readouterr() == ("", "")


def test_an_error_inside_leaves_no_fake_mode() -> None:
    with pytest.raises(RuntimeError), fake_tensors():
        raise RuntimeError
    assert type(torch.zeros(1)) is torch.Tensor
    assert torch.is_grad_enabled()
