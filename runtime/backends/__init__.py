"""What graphs run on: the interface, ONNX Runtime, and TensorRT."""
