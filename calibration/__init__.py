"""Ranges, precision search and figures of accuracy for quantised bundles (built on the runtime only)."""
