"""The commands ``xsam-segment`` and ``xsam-verify``."""
