"""Mask decoder logits to masks, one module per family of tasks, in numpy; equal to the official post-processing."""

from xsam_edge.runtime.postprocess.common import QueryMask
from xsam_edge.runtime.postprocess.instances import instance_masks
from xsam_edge.runtime.postprocess.interactive import interactive_mask
from xsam_edge.runtime.postprocess.panoptic import Panoptic, PanopticPiece, PanopticSegment, panoptic_segments
from xsam_edge.runtime.postprocess.refer import generalised_mask, grounded_masks, referred_mask
from xsam_edge.runtime.postprocess.semantic import Semantic, semantic_map

__all__ = [
    "Panoptic",
    "PanopticPiece",
    "PanopticSegment",
    "QueryMask",
    "Semantic",
    "generalised_mask",
    "grounded_masks",
    "instance_masks",
    "interactive_mask",
    "panoptic_segments",
    "referred_mask",
    "semantic_map",
]
