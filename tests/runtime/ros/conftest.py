"""What tests with the real ROS share; they are left out where rclpy is not installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any

import pytest

collect_ignore_glob = [] if importlib.util.find_spec("rclpy") else ["test_node*.py", "test_spin*.py", "test_health*.py"]


@pytest.fixture(scope="session")
def ros() -> Iterator[None]:
    """ROS in this process, and variables for others."""
    import rclpy

    from tests.runtime.ros.network import environment

    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment().items():
            patch.setenv(name, value)
        rclpy.init()
        yield
        rclpy.try_shutdown()


@pytest.fixture
def listener(ros: None) -> Iterator[Any]:
    """A ``Listener`` for one test, after which no process that the test started is left."""
    from tests.runtime.ros.network import Listener, Process

    before = len(Process.started)
    listener = Listener()
    yield listener
    for process in Process.started[before:]:
        process.end()
    listener.close()
