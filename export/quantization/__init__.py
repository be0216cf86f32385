"""Explicit quantisation: where a graph can be quantised, smoothing, Q/DQ nodes, and a plan applied to a graph."""
