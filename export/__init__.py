"""From a checkpoint to a bundle of graphs or of engines. Needs the extra ``export`` (torch, transformers, onnx)."""
