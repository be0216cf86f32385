"""Data sets, metrics, statistics of activations, comparison with recorded outputs; built on the runtime alone."""
