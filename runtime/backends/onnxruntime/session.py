"""Sessions of ONNX Runtime: their options on each kind of device, and that a graph is the one of its manifest."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from xsam_edge.runtime import arguments
from xsam_edge.runtime.backends.onnxruntime.library import import_library
from xsam_edge.runtime.bundle.dtypes import FP8
from xsam_edge.runtime.bundle.manifest import GraphSpec
from xsam_edge.runtime.errors import BackendError

CPU = "CPUExecutionProvider"
# It drops a Relu before a Q whose zero point is the least code, and takes the zero of FP8 for that.
WRONG_OPTIMIZERS = ("ReluQuantRewrite",)
# With the others a pair of Q and DQ is merged with another's, or a product with its bias, before it can become an
# integer product; without them every quantised linear layer does.
QUANTIZED_DISABLED = (*WRONG_OPTIMIZERS, "MatMulAddFusion", "CommonSubexpressionElimination")
# Its kernel takes four times as long as an addition and a normalisation do apart.
_CPU_DISABLED = ("SkipLayerNormFusion",)
_CPU_ENTRIES = {
    # Softmax makes a subnormal of every masked score, and a CPU takes some hundred cycles for each of those.
    "session.set_denormal_as_zero": "1",
    "session.use_env_allocators": "1",
}
# Each graph has threads of its own, which wait for work by spinning, also when it is another graph's turn.
THREAD_ENTRIES = {"session.force_spinning_stop": "1"}
# ONNX Runtime's names of element types, as sessions report them.
_TYPE_NAMES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(int64)": "int64",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(float8e4m3fn)": FP8,
}
# ONNX's numbers (TensorProto.DataType) of types that numpy has none of.
_NUMBERS = {FP8: 17}
_THREADS_A_CORE = 4
_ERRORS, _FATAL = 3, 4  # its warnings are about placement, not about results


@cache
def _share_activations() -> None:
    """Let the sessions of this process draw activations from one pool that grows by what is asked for.

    By default each has a pool of its own, which doubles.
    """
    ort = import_library()
    memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    as_requested, default = 1, -1
    settings = {"max_mem": 0, "arena_extend_strategy": as_requested}
    settings |= {"initial_chunk_size_bytes": default, "max_dead_bytes_per_chunk": default}
    with contextlib.suppress(Exception):  # the application registered one, which serves as well
        ort.create_and_register_allocator(memory, ort.OrtArenaCfg(settings))


def release_heap() -> None:
    """Give memory that was freed back to the system, where the C library is glibc, which keeps much of it.

    Loading packs weights and frees what they were packed from: of 4-bit weights half of their size again would stay.
    """
    if (trim := _trimmer()) is not None:
        trim(0)


@cache
def _trimmer() -> Callable[[int], int] | None:
    if sys.platform != "linux":
        return None
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except AttributeError:  # another C library
        return None
    return trim


def cpu_disabled(spec: GraphSpec) -> list[str]:
    """Optimisations that a graph on a CPU is better off without."""
    return [*_CPU_DISABLED, *(QUANTIZED_DISABLED if spec.quantized else ())]


def thread_count(threads: object) -> int:
    """The threads of a session on the CPU, 0 for every core; more than a few for each core only cost memory.

    Raises:
        InputError: not a whole number, or more than four for each logical core.
    """
    return arguments.count("threads", threads, 0, _THREADS_A_CORE * (os.cpu_count() or 1))


def cpu_options(threads: int) -> Any:
    """Options of a session on the CPU; ``threads`` = 0 takes every core."""
    options = import_library().SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _ERRORS
    _share_activations()
    for kind in (np.float16, np.float32, np.float64):
        np.finfo(kind)  # NumPy 1 warns of it where subnormals are zero, unless it knows it by then
    options.enable_mem_pattern = False  # which sets memory aside for every shape that was ever seen
    for name, value in (_CPU_ENTRIES | THREAD_ENTRIES).items():
        options.add_session_config_entry(name, value)
    return options


def gpu_options(ort: Any) -> Any:
    """Options of a session on a GPU, which leaves the CPU nothing but integers of shapes: one thread is enough."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = _FATAL  # errors are raised, which is enough
    options.enable_mem_pattern = False
    return options


def element_type(dtype: str) -> Any:
    """What a binding takes for the values of a manifest's dtype: numpy's type or, where it has none, ONNX's number."""
    return _NUMBERS[dtype] if dtype in _NUMBERS else np.dtype(dtype).type


def numbered_types(spec: GraphSpec) -> dict[str, int]:
    """ONNX's number of the type of each input and output that numpy has no type for: buffers hold its bytes."""
    return {item.name: _NUMBERS[item.dtype] for item in (*spec.inputs, *spec.outputs) if item.dtype in _NUMBERS}


def check_types(session: Any, path: Path, spec: GraphSpec) -> None:
    """Raise BackendError unless a session's inputs and outputs are those of a manifest."""
    for kind, of_session, of_manifest in (
        ("inputs", session.get_inputs(), spec.inputs),
        ("outputs", session.get_outputs(), spec.outputs),
    ):
        types = {tensor.name: _TYPE_NAMES.get(tensor.type, tensor.type) for tensor in of_session}
        if types != {tensor.name: tensor.dtype for tensor in of_manifest}:
            raise BackendError(f"{path} has other {kind} than its manifest says; export the bundle again")
