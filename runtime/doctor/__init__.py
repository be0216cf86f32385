"""What a machine is, what is installed on it, and what of a bundle it can run: the content of a bug report."""
