"""What ONNX Runtime makes of a quantised graph: how many of its products run on integers."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

from xsam_edge.runtime.backends.onnxruntime import cpu_disabled, find_model
from xsam_edge.runtime.bundle.manifest import GraphSpec, Manifest, bundle_path

INTEGER_PRODUCTS = (
    "MatMulIntegerToFloat",
    "DynamicQuantizeMatMul",
    "QLinearMatMul",
    "QGemm",
    "QLinearConv",
    "MatMulNBits",
)
_FLOAT_PRODUCTS = ("MatMul", "Gemm", "FusedMatMul", "Conv", "FusedConv", "FusedGemm")


def integer_products(bundle: Path, manifest: Manifest) -> dict[str, dict[str, int]]:
    """Products of each quantised graph by operator, as they are after ONNX Runtime's optimisers on a CPU.

    Products of two activations, such as attention's, are among those of floating point.
    """
    return {
        name: _count(bundle_path(bundle, spec.file), spec)
        for name, spec in manifest.graphs.items()
        if spec.quantized and spec.file.endswith(".onnx")
    }


def _count(path: Path, spec: GraphSpec) -> dict[str, int]:
    import onnx
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        optimised = Path(folder) / "optimised.onnx"
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.optimized_model_filepath = str(optimised)
        # Weights apart: protobuf holds no more than 2 GB.
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "weights.bin")
        options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
        model = find_model(onnxruntime, path)
        model.configure(options)
        onnxruntime.InferenceSession(
            model.content, options, providers=["CPUExecutionProvider"], disabled_optimizers=cpu_disabled(spec)
        )
        graph = onnx.load(optimised, load_external_data=False).graph
    counts = Counter(node.op_type for node in graph.node)
    return {op: counts[op] for op in (*INTEGER_PRODUCTS, *_FLOAT_PRODUCTS) if counts[op]}
