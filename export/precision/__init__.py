"""Precision plans: which node computes in what, as a file, as presets, and applied to a graph."""
