"""The commands xsam-eval and xsam-verify."""
