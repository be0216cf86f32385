"""Streams of frames: sources, the threads between them and the graphs, results with the age of their frame."""
