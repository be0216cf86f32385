"""Processes of ROS on the loopback, and a node that listens to them. It needs rclpy."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from std_msgs.msg import String
from std_srvs.srv import Trigger

PATIENCE = 60.0
ROOT = Path(__file__).parents[3]


def environment() -> dict[str, str]:
    """Variables under which processes of this test run see each other and nobody else."""
    return {
        # The first hundred have ports below those that a system gives away.
        "ROS_DOMAIN_ID": str(1 + os.getpid() % 100),
        "ROS_LOCALHOST_ONLY": "1",  # Humble
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",  # newer ones
        "RMW_IMPLEMENTATION": "rmw_fastrtps_cpp",
        # Processes that are killed here leave their shared memory, in which others may get stuck.
        "FASTDDS_BUILTIN_TRANSPORTS": "UDPv4",
        "PYTHONPATH": os.pathsep.join((str(ROOT / ".src"), str(ROOT))),
        "OMP_NUM_THREADS": "1",
    }


def until(condition: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """Wait until a condition holds; returns what it gave."""
    end = time.monotonic() + patience
    while not (found := condition()):
        assert time.monotonic() < end, f"{what} did not come within {patience:g} s"
        time.sleep(0.01)
    return found


class Process:
    """A process of Python, whose stderr can be read when it has ended."""

    started: ClassVar[list[Process]] = []

    def __init__(self, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        self.lines: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()
        self.started.append(self)

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.lines.append(line)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def end(self, number: int = signal.SIGKILL) -> int:
        """Send a signal, wait, and return the exit code."""
        if self.alive:
            self._process.send_signal(number)
        return self._process.wait(PATIENCE)

    def resident(self) -> int:
        """Bytes of memory."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


class Listener:
    """A node that collects messages, spun by a thread of its own.

    What it has it keeps to its end: an executor that waits may not have a publisher or a client taken from it.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[Any, str], Any] = {}
        self.node = rclpy.create_node(f"listener_{time.monotonic_ns()}")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self.diagnostics = self.listen(DiagnosticArray, "/diagnostics")
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            return

    def close(self) -> None:
        self._executor.shutdown(1.0)
        self._thread.join(PATIENCE)
        self.node.destroy_node()

    def listen(self, kind: Any, topic: str, qos: Any = 100) -> list[Any]:
        """The messages of a topic from now on, as they come."""
        messages: list[Any] = []
        self.node.create_subscription(kind, topic, messages.append, qos)
        return messages

    def talk(self, kind: Any, topic: str, qos: Any = 10) -> Any:
        """A publisher that somebody listens to."""
        if (kind, topic) not in self._kept:
            self._kept[kind, topic] = self.node.create_publisher(kind, topic, qos)
        publisher = self._kept[kind, topic]
        until(publisher.get_subscription_count, f"a subscriber of {topic}")
        return publisher

    def say(self, topic: str, text: str) -> None:
        self.talk(String, topic).publish(String(data=text))

    def call(self, kind: Any, service: str, request: Any) -> Any:
        if (kind, service) not in self._kept:
            self._kept[kind, service] = self.node.create_client(kind, service)
        client = self._kept[kind, service]
        assert client.wait_for_service(PATIENCE), f"{service} is not there"
        future = client.call_async(request)
        until(future.done, f"an answer of {service}")
        return future.result()

    def ask(self, name: str = "xsam_node") -> Any:
        return self.call(Trigger, f"/{name}/ask", Trigger.Request())

    def status(self, name: str = "xsam_node") -> tuple[int, str, Mapping[str, str]]:
        """Level, message and values of a node's newest status; a level of 3 before the first."""
        for array in reversed(self.diagnostics):
            for status in array.status:
                if status.name.startswith(f"{name}:"):
                    return status.level[0], status.message, {item.key: item.value for item in status.values}
        return 3, "", {}

    def until_status(
        self, condition: Callable[[int, str, Mapping[str, str]], bool], what: str, name: str = "xsam_node"
    ) -> tuple[int, str, Mapping[str, str]]:
        until(lambda: condition(*self.status(name)), what)
        return self.status(name)

    def until_active(self, name: str = "xsam_node") -> None:
        self.until_status(lambda _level, _message, values: values.get("state") == "active", "an active node", name)


def node(seconds: float, *ros_arguments: str, name: str = "xsam_node") -> Process:
    """A node whose model sleeps."""
    given: Sequence[str] = ("-r", f"__node:={name}", "-p", "diagnostics_period:=0.1", "-p", "qos:=reliable")
    return Process("-m", "tests.runtime.ros.sleeping", str(seconds), "--ros-args", *given, *ros_arguments)


def camera(topic: str, *options: str) -> Process:
    """A process that publishes pictures."""
    return Process("-m", "tests.runtime.ros.camera", topic, *options)
