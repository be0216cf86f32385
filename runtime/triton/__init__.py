"""What a model of NVIDIA's Triton Inference Server needs: requests of tensors to questions, results to tensors.

Nothing here imports Triton. ``model.py`` of a repository that ``xsam-export --triton`` writes does, and has no more to
do than to hand arrays on to a :class:`Service`.
"""

from xsam_edge.runtime.triton.service import Service

__all__ = ["Service"]
