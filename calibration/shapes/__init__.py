"""Drawn scenes: pictures of simple shapes with everything that can be asked of them, made from a seed."""
