"""The graph ``pixels``: a picture resized and normalised to the very values that the host computes.

The host adds bytes times whole numbers of 22 bits: sums of 30 bits, of which float32 keeps 24. So the graph has two
sums, of the upper and of the lower bits of the weights, and what the lower one carries goes to the upper one. Every
number on the way is a whole one that float32 has, whatever the order of a sum. There is nothing to train or to trace.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, log2
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from xsam_edge.export.graph.passes import infer_types, rename
from xsam_edge.export.graph.trace import OPSET
from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.bundle.settings import MaskInput, Settings, VisionInput
from xsam_edge.runtime.image.preprocess import pixel_tables, square_colour
from xsam_edge.runtime.image.taps import FILTERS, PRECISION_BITS, most_taps

_EXACT_BITS = 24  # of a float32
_IR_VERSION = 10


def has_pixels(settings: Settings) -> bool:
    """Whether the graph can do what the settings ask for."""
    return all(rule.resample in FILTERS for rule in (settings.vision_input, settings.mask_input))


def low_bits(taps: int) -> int:
    """Bits of the lower part of a weight, of which products with ``taps`` bytes have an exact sum; at most 11."""
    return min(PRECISION_BITS // 2, 1 + floor(_EXACT_BITS - log2(255 * taps)))


def pixels_graph(settings: Settings) -> ir.Model:
    """The graph of :mod:`xsam_edge.runtime.bundle.contract`, whole, for pictures of any size."""
    picture = _value(contract.PICTURE, ir.DataType.UINT8, (1, contract.HEIGHT, contract.WIDTH, 3))
    write, inputs, outputs = _Writer(), [picture], []
    # Compilers want another type than bytes, and have no smaller one that holds them.
    pixels = write("Squeeze", write("Cast", picture, to=ir.DataType.FLOAT16), write.integers(0))
    for name, rule, taps in (
        (contract.PIXEL_VALUES, settings.vision_input, contract.VISION_TAPS),
        (contract.MASK_PIXEL_VALUES, settings.mask_input, contract.MASK_TAPS),
    ):
        axes: list[tuple[ir.Value, ir.Value]] = []
        for axis, size in ((contract.HEIGHT, rule.height), (contract.WIDTH, rule.width)):
            indices = _value(contract.indices(name, axis), ir.DataType.INT64, (size, taps))
            weights = _value(contract.weights(name, axis), ir.DataType.FLOAT, (size, taps))
            axes.append((indices, weights))
            inputs += axes[-1]
        output = _value(name, ir.DataType.FLOAT, (1, 3, rule.height, rule.width))
        write("Unsqueeze", _Resize(write, rule).of(pixels, *axes), write.integers(0), output=output)
        outputs.append(output)
    graph = ir.Graph(
        inputs,
        outputs,
        nodes=write.nodes,
        initializers=write.constants,
        opset_imports={"": OPSET},
        name=contract.PIXELS,
    )
    model = ir.Model(graph, ir_version=_IR_VERSION, producer_name="xsam-edge")
    rename(model)
    infer_types(model)
    return model


class _Resize:
    """Pillow's resize, and the normalisation, for one encoder."""

    def __init__(self, write: _Writer, rule: VisionInput | MaskInput) -> None:
        self.write, self.rule = write, rule
        self.low_bits = low_bits(most_taps(rule))

    def of(self, pixels: ir.Value, rows: tuple[ir.Value, ir.Value], columns: tuple[ir.Value, ir.Value]) -> ir.Value:
        """Float16 [H, W, 3] of whole numbers to float32 [3, h, w]; 0 where an output has no weight at all."""
        write = self.write
        narrow = write("Cast", self._pass(pixels, *columns, axis=1), to=ir.DataType.FLOAT16)
        values = write("Transpose", self._pass(narrow, *rows, axis=0), perm=[2, 0, 1])
        tables = write.floats(pixel_tables(self.rule).reshape(-1))
        places = write("Add", values, write.floats(256 * np.arange(3).reshape(-1, 1, 1)))
        normalised = write("Gather", tables, write("Cast", places, to=ir.DataType.INT32))
        covered = [write("Greater", self._sum(weights, 1), write.floats(0)) for _, weights in (rows, columns)]
        both = write("And", write("Unsqueeze", covered[0], write.integers(1)), covered[1])
        return write("Where", both, normalised, write.floats(0))

    def _pass(self, values: ir.Value, indices: ir.Value, weights: ir.Value, *, axis: int) -> ir.Value:
        """Float16 [H, W, 3] to float32, whole numbers 0..255, with n places along ``axis``; taps are [n, T]."""
        write = self.write
        # Times a power of two is exact wherever it is computed, which a division need not be.
        down, up = write.floats(2.0**-self.low_bits), write.floats(2.0**self.low_bits)
        taps = write("Cast", write("Gather", values, self._behind_first(indices), axis=axis), to=ir.DataType.FLOAT)
        # What is behind the taps in the axes' order: channels, and in the rows' pass columns.
        weights = write("Unsqueeze", weights, write.integers(*range(2, 4 - axis)))
        high = write("Round", write("Mul", weights, down))
        low = write("Sub", weights, write("Mul", high, up))
        carried = write("Floor", write("Mul", self._weighted(taps, low, axis), down))
        total = write("Add", self._weighted(taps, high, axis), carried)
        bits = PRECISION_BITS - self.low_bits
        rounded = write("Add", total, write.floats(2.0 ** (bits - 1)))
        whole = write("Floor", write("Mul", rounded, write.floats(2.0**-bits)))
        return write("Clip", whole, write.floats(0), write.floats(255))

    def _weighted(self, taps: ir.Value, weights: ir.Value, axis: int) -> ir.Value:
        """The sum over the taps, which are behind ``axis``, and over the colour around the picture."""
        write = self.write
        sums = self._sum(write("Mul", taps, self._behind_first(weights)), axis + 1)
        if not (isinstance(self.rule, VisionInput) and self.rule.pad_to_square):
            return sums
        colour = write.floats(np.array(square_colour(self.rule)))
        return write("Add", sums, write("Mul", write("Gather", weights, write.integer(0), axis=1), colour))

    def _behind_first(self, taps: ir.Value) -> ir.Value:
        integers = self.write.integers
        return self.write("Slice", taps, integers(1), integers(np.iinfo(np.int64).max), integers(1))

    def _sum(self, values: ir.Value, axis: int) -> ir.Value:
        return self.write("ReduceSum", values, self.write.integers(axis), keepdims=0)


class _Writer:
    """Nodes and constants of a graph, in the order in which they are written."""

    def __init__(self) -> None:
        self._tape = ir.tape.Tape()
        self._constants: dict[tuple[str, tuple[int, ...], bytes], ir.Value] = {}

    @property
    def nodes(self) -> Sequence[ir.Node]:
        """All nodes."""
        return self._tape.nodes

    @property
    def constants(self) -> Sequence[ir.Value]:
        """All constants."""
        return self._tape.initializers

    def __call__(
        self, op: str, *inputs: ir.Value, output: ir.Value | None = None, **attributes: int | Sequence[int]
    ) -> ir.Value:
        """Write a node."""
        return self._tape.op(op, inputs, attributes, output=output)

    def floats(self, values: npt.ArrayLike) -> ir.Value:
        """A float32 constant."""
        return self._constant(np.asarray(values, np.float32))

    def integers(self, *values: int) -> ir.Value:
        """An int64 constant of one axis."""
        return self._constant(np.asarray(values, np.int64))

    def integer(self, value: int) -> ir.Value:
        """An int64 constant without axes."""
        return self._constant(np.asarray(value, np.int64))

    def _constant(self, array: npt.NDArray[Any]) -> ir.Value:
        key = array.dtype.name, array.shape, array.tobytes()
        if key not in self._constants:
            self._constants[key] = self._tape.initializer(ir.tensor(array), f"constant_{len(self._constants)}")
        return self._constants[key]


def _value(name: str, dtype: ir.DataType, shape: Sequence[int | str]) -> ir.Value:
    return ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(shape))
