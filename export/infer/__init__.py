"""Which model a checkpoint is: its variant and its sizes, from tensors, the files of its parts and ``--config``."""
