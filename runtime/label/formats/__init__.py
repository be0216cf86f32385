"""Data sets in the forms that other programs read; each is written picture by picture."""
