"""Metrics of every task, and the run that gathers them."""
