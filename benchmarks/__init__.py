"""Measurements: each compares its sides in one run and says what it ran on."""
