"""From a bundle of ONNX graphs to a bundle of engines. Needs polygraphy and TensorRT or TensorRT-RTX, never torch."""
