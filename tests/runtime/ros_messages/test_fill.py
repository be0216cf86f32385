from __future__ import annotations

import numpy as np
import pytest

from tests.runtime.ros_messages.stand_in import TYPES
from tests.runtime.ros_messages.test_found import result, segment
from xsam_edge.runtime.ros_messages import fill
from xsam_edge.runtime.ros_messages.found import found_in
from xsam_edge.runtime.ros_messages.header import Header
from xsam_edge.runtime.ros_messages.images import to_array

HEADER = Header(1_764_342_671, 123_456_789, "camera")
FOUND = found_in([result(segment((0, 0, 3, 2), 0.5, "cup")), result(segment((1, 1, 2, 4), 0.25))])


@pytest.mark.parametrize(
    ("pixels", "encoding", "step"),
    [
        (np.arange(24, dtype=np.uint8).reshape(2, 4, 3)[:, :3], "rgb8", 9),
        (np.arange(8, dtype=np.uint8).reshape(2, 4)[:, ::2], "mono8", 2),
        (np.array([[1, 256], [3, 65535]], np.dtype(">u2")), "16UC1", 4),
    ],
)
def test_images_are_told_as_they_are(pixels: np.ndarray, encoding: str, step: int) -> None:
    message = fill.image_message(TYPES, HEADER, pixels)
    assert (message.type, message.encoding, message.step) == ("sensor_msgs/msg/Image", encoding, step)
    assert (message.height, message.width, message.is_bigendian) == (*pixels.shape[:2], 0)
    assert Header.of(message.header) == HEADER
    shown = pixels >> 8 if encoding == "16UC1" else pixels
    np.testing.assert_array_equal(to_array(message), shown)
    assert (
        np.frombuffer(message.data, "<u2" if encoding == "16UC1" else np.uint8).tolist() == pixels.reshape(-1).tolist()
    )


def test_ids_are_named() -> None:
    message = fill.label_info_message(TYPES, HEADER, FOUND, 0.125)
    assert [(entry.class_id, entry.class_name) for entry in message.class_map] == [(1, "cup"), (2, "segment")]
    assert (message.threshold, Header.of(message.header)) == (0.125, HEADER)


def test_detections() -> None:
    message = fill.detections_message(TYPES, HEADER, FOUND)
    assert (message.type, Header.of(message.header)) == ("vision_msgs/msg/Detection2DArray", HEADER)
    first = message.detections[0]
    assert (first.id, Header.of(first.header)) == ("1", HEADER)
    assert (first.bbox.center.position.x, first.bbox.center.position.y, first.bbox.center.theta) == (1.5, 1.0, 0.0)
    assert (first.bbox.size_x, first.bbox.size_y) == (3.0, 2.0)
    (hypothesis,) = first.results
    assert (hypothesis.hypothesis.class_id, hypothesis.hypothesis.score) == ("cup", 0.5)
    assert hypothesis.pose.pose.orientation.w == 1.0
    assert hypothesis.pose.covariance.tolist() == [0.0] * 36
    assert [type(value) for value in vars(first.bbox.center.position).values()] == [str, float, float]


def test_a_frame_without_anything() -> None:
    assert fill.detections_message(TYPES, HEADER, ()).detections == []
    assert fill.label_info_message(TYPES, HEADER, ()).class_map == []
    assert fill.text_message(TYPES, "a cup").data == "a cup"
