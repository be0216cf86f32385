"""Explicit quantisation: where a graph can be quantised, smoothing, integer codes, Q/DQ nodes."""
