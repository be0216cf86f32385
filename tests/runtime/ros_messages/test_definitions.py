from __future__ import annotations

import re

import pytest

from xsam_edge.runtime.ros_messages.definitions import VISION_MSGS


def test_every_type_of_the_package_that_is_named_is_defined() -> None:
    named = {name for text in VISION_MSGS.values() for name in re.findall(r"vision_msgs/(\w+)", text)}
    assert {f"vision_msgs/msg/{name}" for name in named} < VISION_MSGS.keys()


def test_rosbags_takes_them() -> None:
    typesys = pytest.importorskip("rosbags.typesys")
    store = typesys.get_typestore(typesys.Stores.ROS2_HUMBLE)
    for name, text in VISION_MSGS.items():
        store.register(typesys.get_types_from_msg(text, name))
    assert store.types.keys() >= VISION_MSGS.keys()
