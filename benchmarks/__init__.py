"""Measurements of speed, memory and energy: each compares its sides in one run and says what it ran on."""
