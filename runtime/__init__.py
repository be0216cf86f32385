"""The runtime of X-SAM bundles: segment what you name, describe, reason about or point at.

>>> from xsam_edge.runtime import XSam
>>> xsam = XSam.load("bundle/")
>>> scene = xsam.look("street.jpg")
>>> scene.refer("the man ironing").overlay().save("out.png")

Needs numpy, tokenizers, pillow and one backend; never torch or transformers. What it has to say beside results goes to
the logger ``xsam_edge``, which is silent unless a program adds a handler.
"""

import logging

from xsam_edge.runtime.errors import (
    BackendError,
    BundleError,
    CheckpointError,
    ContextLengthError,
    InputError,
    XSamError,
)
from xsam_edge.runtime.model import XSam
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.results.segment import Segment
from xsam_edge.runtime.scene import Scene
from xsam_edge.runtime.stream.answers import FrameResult, Late
from xsam_edge.runtime.stream.reconnect import Reconnect
from xsam_edge.runtime.stream.tracked import TrackedFrame
from xsam_edge.runtime.tracking.detections import Detections
from xsam_edge.runtime.tracking.options import TrackerOptions
from xsam_edge.runtime.tracking.tracker import Track, Tracker
from xsam_edge.runtime.tracking.video_tracks import VideoTracks
from xsam_edge.runtime.versions import UntestedVersionWarning

logging.getLogger("xsam_edge").addHandler(logging.NullHandler())

__all__ = [
    "BackendError",
    "BundleError",
    "CheckpointError",
    "ContextLengthError",
    "Detections",
    "FrameResult",
    "InputError",
    "Late",
    "Reconnect",
    "Result",
    "Scene",
    "Segment",
    "Track",
    "TrackedFrame",
    "Tracker",
    "TrackerOptions",
    "UntestedVersionWarning",
    "VideoTracks",
    "XSam",
    "XSamError",
]
