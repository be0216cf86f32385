"""The three graphs and the memory between them."""
