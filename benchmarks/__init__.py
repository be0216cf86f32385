"""Measurements: each compares two sides in one run and says what it ran on."""
