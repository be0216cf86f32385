"""TensorRT and TensorRT-RTX: engines, the memory they read and write, and when work runs."""
