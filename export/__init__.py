"""From a checkpoint to a bundle. Needs the extra ``export`` (torch, transformers, onnx)."""
