"""Precision plans: which node computes in what, as files and as the preset of each precision."""
