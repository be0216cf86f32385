from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import pytest

from tests.runtime.ros_messages.test_found import result, segment
from xsam_edge.runtime.errors import BackendError
from xsam_edge.runtime.ros_messages import fill
from xsam_edge.runtime.ros_messages.found import found_in
from xsam_edge.runtime.ros_messages.header import Header
from xsam_edge.runtime.ros_messages.images import to_array
from xsam_edge.runtime.ros_messages.store import store, types


@pytest.fixture
def fresh() -> Iterator[None]:
    store.cache_clear()
    yield
    store.cache_clear()


@pytest.mark.usefixtures("fresh")
def test_without_rosbags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rosbags.typesys", None)
    with pytest.raises(BackendError, match=r"bags need the package rosbags.*; run `pip install 'xsam-edge\[bags\]'`"):
        types()


def test_messages_pass_through_bytes() -> None:
    pytest.importorskip("rosbags")
    header = Header(7, 999_999_999, "camera")
    found = found_in([result(segment((0, 0, 3, 2), 0.5, "cup"))])
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    for name, message in {
        "sensor_msgs/msg/Image": fill.image_message(types(), header, pixels),
        "vision_msgs/msg/LabelInfo": fill.label_info_message(types(), header, found),
        "vision_msgs/msg/Detection2DArray": fill.detections_message(types(), header, found),
    }.items():
        again = store().deserialize_cdr(store().serialize_cdr(message, name), name)
        assert Header.of(again.header) == header
        if name == "sensor_msgs/msg/Image":
            np.testing.assert_array_equal(to_array(again), pixels)
    assert again.detections[0].bbox.size_x == 3.0
