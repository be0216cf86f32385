"""Explicit quantisation: where a graph can be quantised, smoothing, lowering to integers with Q/DQ nodes."""
