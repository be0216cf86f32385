"""The types of rosbags, which reads and writes messages where no ROS is installed."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

from xsam_edge.runtime.errors import BackendError
from xsam_edge.runtime.ros_messages.definitions import VISION_MSGS
from xsam_edge.runtime.ros_messages.fill import Types

INSTALL = "`pip install 'xsam-edge[bags]'`"


@cache
def store() -> Any:
    """The types of ROS 2 Humble, whose definitions of images newer ones share, and those of ``vision_msgs``.

    Raises:
        BackendError: rosbags is not installed, or cannot be loaded.
    """
    try:
        typesys = import_module("rosbags.typesys")
    except ImportError as error:
        raise BackendError(f"bags need the package rosbags, which cannot be loaded ({error}); run {INSTALL}") from error
    types = typesys.get_typestore(typesys.Stores.ROS2_HUMBLE)
    for name, definition in VISION_MSGS.items():
        types.register(typesys.get_types_from_msg(definition, name))
    return types


def types() -> Types:
    """The same as what messages are made with. Raises BackendError as :func:`store` does."""
    known = store().types
    return Types(known.__getitem__, lambda octets: octets)
