"""What the node publishes of an answered frame. It needs rclpy; vision_msgs where it is installed."""

from __future__ import annotations

import io
from array import array
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from xsam_edge.runtime.ros.prompts import FramePrompt
from xsam_edge.runtime.ros_messages.fill import (
    Types,
    detections_message,
    header_message,
    image_message,
    label_info_message,
    text_message,
)
from xsam_edge.runtime.ros_messages.found import found_in, mask_image
from xsam_edge.runtime.ros_messages.header import Header
from xsam_edge.runtime.sinks.pictures import one_picture
from xsam_edge.runtime.stream.answers import FrameResult
from xsam_edge.runtime.stream.tracked import TrackedFrame

_DEPTH = 5
_LATCHED = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
_VISION = "vision_msgs"


@cache
def _message_class(name: str) -> Any:
    """The class of a type such as "sensor_msgs/msg/Image"."""
    package, _, kind = name.split("/")
    return getattr(import_module(f"{package}.msg"), kind)


def _octets(values: NDArray[np.uint8]) -> array[int]:
    """What rclpy takes as it is; of bytes and lists it would look at every item."""
    data = array("B")
    data.frombytes(np.ascontiguousarray(values).data)
    return data


TYPES = Types(_message_class, _octets)


class Publishers:
    """The publishers of a lifecycle node, which are silent until it is active.

    Without vision_msgs there are no detections and no names of ids; that is logged once.
    """

    def __init__(self, node: Any) -> None:
        self._node = node
        create = node.create_lifecycle_publisher
        self._mask = create(_message_class("sensor_msgs/msg/Image"), "~/mask", _DEPTH)
        self._overlay = create(_message_class("sensor_msgs/msg/CompressedImage"), "~/overlay/compressed", _DEPTH)
        self._caption = create(_message_class("std_msgs/msg/String"), "~/caption", _DEPTH)
        self._answer = create(_message_class("std_msgs/msg/String"), "~/answer", _DEPTH)
        self._labels = self._detections = None
        try:
            self._labels = create(_message_class(f"{_VISION}/msg/LabelInfo"), "~/label_info", _LATCHED)
            self._detections = create(_message_class(f"{_VISION}/msg/Detection2DArray"), "~/detections", _DEPTH)
        except ImportError:
            node.get_logger().warning(
                "vision_msgs is not installed: ~/detections and ~/label_info are left out; install the package "
                "ros-<distribution>-vision-msgs"
            )

    def publish(self, seen: FrameResult, prompt: FramePrompt) -> None:
        """Tell a frame's answer; nothing is drawn or encoded that nobody has subscribed to.

        Raises:
            InputError: more segments than an image of ids holds.
        """
        header = Header.of(seen.origin)
        texts = [result.text for result in seen.results if result.text]
        if texts:
            self._answer.publish(text_message(TYPES, "\n".join(texts)))
        if prompt.task == "chat":
            return
        if prompt.task == "describe":
            self._caption.publish(text_message(TYPES, "\n".join(result.caption for result in seen.results)))
        found = found_in(seen.results, tracked=isinstance(seen, TrackedFrame))
        if self._labels is not None and self._detections is not None:
            self._labels.publish(label_info_message(TYPES, header, found))
            self._detections.publish(detections_message(TYPES, header, found))
        if _is_wanted(self._mask):
            self._mask.publish(image_message(TYPES, header, mask_image(found, seen.result.image_size)))
        if _is_wanted(self._overlay):
            self._overlay.publish(self._drawn(seen, header))

    def _drawn(self, seen: FrameResult, header: Header) -> Any:
        parameters = self._node.parameters
        picture = one_picture(seen.results)
        if side := parameters.overlay_max_side:
            picture.thumbnail((side, side))
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=parameters.overlay_quality)
        data = _octets(np.frombuffer(file.getbuffer(), np.uint8))
        return TYPES.make(
            "sensor_msgs/msg/CompressedImage", header=header_message(TYPES, header), format="jpeg", data=data
        )


def _is_wanted(publisher: Any) -> bool:
    return bool(publisher.get_subscription_count())
