"""Data sets: drawn scenes, and folders in the common formats."""
