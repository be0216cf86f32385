"""Tensors of a checkpoint file, read without executing anything in it."""
