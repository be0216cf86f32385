"""From torch modules to ONNX files: tracing, passes, weights."""
