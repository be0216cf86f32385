"""A bundle as a model of NVIDIA's Triton Inference Server. Needs neither torch nor a checkpoint, and no Triton."""
