"""Answers as message objects of whatever library has the types: rclpy's classes, those of a store of rosbags.

What a message says is the same for all of them, and is written here once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xsam_edge.runtime.ros_messages.found import Found
from xsam_edge.runtime.ros_messages.header import Header


@dataclass(frozen=True)
class Types:
    """``get`` gives the class of a name such as "sensor_msgs/msg/Image", which takes all its fields by name.

    ``octets`` makes of uint8 [N] what a field ``uint8[]`` takes: itself for rosbags, an ``array`` for rclpy.
    """

    get: Callable[[str], Callable[..., Any]]
    octets: Callable[[NDArray[np.uint8]], Any]

    def make(self, name: str, **fields: Any) -> Any:
        """A message of the type ``name``."""
        return self.get(name)(**fields)


def header_message(types: Types, header: Header) -> Any:
    """A ``std_msgs/Header``."""
    stamp = types.make("builtin_interfaces/msg/Time", sec=header.sec, nanosec=header.nanosec)
    return types.make("std_msgs/msg/Header", stamp=stamp, frame_id=header.frame_id)


def image_message(types: Types, header: Header, pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> Any:
    """A ``sensor_msgs/Image`` of uint8 [H, W, 3] (``rgb8``) or [H, W] (``mono8``), or uint16 [H, W] (``16UC1``)."""
    height, width = pixels.shape[:2]
    encoding = "rgb8" if pixels.ndim == 3 else "mono8" if pixels.dtype == np.uint8 else "16UC1"
    rows = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<"))
    return types.make(
        "sensor_msgs/msg/Image",
        header=header_message(types, header),
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=0,
        step=rows.strides[0],
        data=types.octets(rows.reshape(-1).view(np.uint8)),
    )


def label_info_message(types: Types, header: Header, found: Sequence[Found], threshold: float = 0.0) -> Any:
    """A ``vision_msgs/LabelInfo``: what the ids of the mask image of the same stamp are called."""
    names = [types.make("vision_msgs/msg/VisionClass", class_id=thing.id, class_name=thing.label) for thing in found]
    return types.make(
        "vision_msgs/msg/LabelInfo", header=header_message(types, header), class_map=names, threshold=threshold
    )


def detections_message(types: Types, header: Header, found: Sequence[Found]) -> Any:
    """A ``vision_msgs/Detection2DArray``: ``id`` is that of the mask image, ``class_id`` the label."""
    detections = [_detection(types, header, thing) for thing in found]
    return types.make("vision_msgs/msg/Detection2DArray", header=header_message(types, header), detections=detections)


def text_message(types: Types, text: str) -> Any:
    """A ``std_msgs/String``, which has no header."""
    return types.make("std_msgs/msg/String", data=text)


def _detection(types: Types, header: Header, thing: Found) -> Any:
    x, y = thing.centre
    width, height = thing.size
    middle = types.make("vision_msgs/msg/Pose2D", position=types.make("vision_msgs/msg/Point2D", x=x, y=y), theta=0.0)
    box = types.make("vision_msgs/msg/BoundingBox2D", center=middle, size_x=width, size_y=height)
    named = types.make("vision_msgs/msg/ObjectHypothesis", class_id=thing.label, score=thing.score)
    hypothesis = types.make("vision_msgs/msg/ObjectHypothesisWithPose", hypothesis=named, pose=_no_pose(types))
    return types.make(
        "vision_msgs/msg/Detection2D",
        header=header_message(types, header),
        results=[hypothesis],
        bbox=box,
        id=str(thing.id),
    )


def _no_pose(types: Types) -> Any:
    """A pose in space, which nothing here knows: at the origin, not turned."""
    place = types.make("geometry_msgs/msg/Point", x=0.0, y=0.0, z=0.0)
    turn = types.make("geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=0.0, w=1.0)
    pose = types.make("geometry_msgs/msg/Pose", position=place, orientation=turn)
    return types.make("geometry_msgs/msg/PoseWithCovariance", pose=pose, covariance=np.zeros(36))
