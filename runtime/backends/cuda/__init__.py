"""CUDA, as far as a backend needs it: checked calls, memory that is reused, tensors between host and device."""
