"""What the node tells on ``/diagnostics``, gathered by a thread of its own. It needs rclpy."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from xsam_edge.runtime.bundle.manifest import MANIFEST_FILE
from xsam_edge.runtime.doctor.host import Host
from xsam_edge.runtime.doctor.readings import gpu_temperature, memory, temperatures
from xsam_edge.runtime.ros.diagnostics import Status, status
from xsam_edge.runtime.ros.subscriptions import fault_of

_LONGEST = 200  # characters of a value
_LEVELS = tuple(bytes([level]) for level in range(4))  # what rclpy has a byte of a message as


class Health:
    """Publishes a status each ``diagnostics_period`` of ``node``, from ``start`` to ``stop``."""

    def __init__(self, node: Any) -> None:
        self._node = node
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 1)
        self._host = Host()
        self._stopped = threading.Event()
        self._gpu: Callable[[], float] | None = None
        self._thread = threading.Thread(target=self._run, daemon=True, name="xsam-health")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; returns once nothing is published any more."""
        self._stopped.set()
        self._thread.join(1.0)

    def _run(self) -> None:
        self._gpu = gpu_temperature()
        while not self._stopped.is_set():
            try:
                self._look()
                self._publisher.publish(self._message(self._status()))
            except Exception as error:  # the context is shut down, or a sensor's file is not what it should be
                if not self._node.context.ok():
                    return
                self._node.faults.tell(time.monotonic(), "diagnostics", error, error=False, lasts=10)
            self._stopped.wait(self._node.parameters.diagnostics_period)

    def _look(self) -> None:
        """Find what no callback tells: topics that do not fit, a bundle that is gone."""
        node, now = self._node, time.monotonic()
        for images in node.images:
            kind = f"topic {images.topic_name}"
            if (fault := fault_of(node, images)) is not None:
                node.faults.tell(now, kind, fault)
            else:
                node.faults.over(kind)
        if node.model is not None and "bundle" in node.model.facts:
            if (Path(node.model.facts["bundle"]) / MANIFEST_FILE).is_file():
                node.faults.over("bundle")
            else:
                gone = f"{node.model.facts['bundle']} is gone; what is loaded runs on, and cannot be configured again"
                node.faults.tell(now, "bundle", gone, error=False)

    def _status(self) -> Status:
        node, now = self._node, time.monotonic()
        model = node.model
        degrees = temperatures(self._host)
        if self._gpu is not None:
            degrees["GPU"] = self._gpu()
        facts = {"prompt": node.prompt.text if node.prompt else "none"} | dict(model.facts if model else {})
        return status(
            node.state,
            node.statistics.report(now),
            node.faults.now(now),
            silent_after=node.parameters.silent_after,
            memory=memory(self._host, model.backend if model else None),
            temperatures=degrees,
            facts=facts,
        )

    def _message(self, told: Status) -> Any:
        message = DiagnosticArray()
        message.header.stamp = self._node.get_clock().now().to_msg()
        model = self._node.model
        message.status = [
            DiagnosticStatus(
                level=_LEVELS[told.level],
                name=f"{self._node.get_fully_qualified_name().lstrip('/')}: segmentation",
                message=told.message,
                hardware_id=model.facts.get("backend", "") if model else "",
                values=[KeyValue(key=key, value=value[:_LONGEST]) for key, value in told.values],
            )
        ]
        return message
