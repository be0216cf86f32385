"""A GPU checked in minutes: what it can do, what the runtime does on it, and what PyTorch does beside that."""
