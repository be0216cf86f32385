"""ONNX Runtime: on the CPU, and on NVIDIA GPUs through its CUDA and TensorRT-RTX execution providers."""

from xsam_edge.runtime.backends.onnxruntime.backend import OnnxRuntimeBackend
from xsam_edge.runtime.backends.onnxruntime.devices import DEVICES, open_device
from xsam_edge.runtime.backends.onnxruntime.gpu import GpuBackend
from xsam_edge.runtime.backends.onnxruntime.library import one_line
from xsam_edge.runtime.backends.onnxruntime.linked import WEIGHTS_FOLDER, Model, find_model
from xsam_edge.runtime.backends.onnxruntime.providers import CUDA
from xsam_edge.runtime.backends.onnxruntime.session import (
    QUANTIZED_DISABLED,
    THREAD_ENTRIES,
    cpu_disabled,
    numbered_types,
    release_heap,
    thread_count,
)

__all__ = [
    "CUDA",
    "DEVICES",
    "QUANTIZED_DISABLED",
    "THREAD_ENTRIES",
    "WEIGHTS_FOLDER",
    "GpuBackend",
    "Model",
    "OnnxRuntimeBackend",
    "cpu_disabled",
    "find_model",
    "numbered_types",
    "one_line",
    "open_device",
    "release_heap",
    "thread_count",
]
