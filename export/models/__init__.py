"""The torch modules of X-SAM, one file per part; parameters carry the names of the main line's checkpoints.

Modules hold no state but parameters and make every constant from sizes, so that they can be built on any device,
traced without weights and loaded afterwards. What sets one type of language model apart stands in a file of its own,
named by ``model_type``; those files, ``architecture`` and ``registry`` need no torch.
"""
