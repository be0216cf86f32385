"""Precision plans: which node computes in what, as a file and as presets, and the blocks it is searched in."""
