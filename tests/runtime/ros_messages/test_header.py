from __future__ import annotations

from types import SimpleNamespace

import pytest

from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.ros_messages.header import Header


def test_every_nanosecond_comes_back() -> None:
    stamp = SimpleNamespace(sec=1_764_342_671, nanosec=123_456_789)
    header = Header.of(SimpleNamespace(stamp=stamp, frame_id="camera_optical"))
    assert header == Header(1_764_342_671, 123_456_789, "camera_optical")
    assert header.stamp_ns == 1_764_342_671_123_456_789  # a float holds every 256th of these
    assert Header.at(header.stamp_ns, "camera_optical") == header


def test_a_stamp_before_zero_is_none() -> None:
    with pytest.raises(InputError, match="stamp_ns is -1"):
        Header.at(-1)
