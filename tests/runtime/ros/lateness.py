"""How late a timer of 10 ms is in the executor that a node runs in, as JSON: idle, and with a camera's images answered.

    python -m tests.runtime.ros.lateness (--bundle FOLDER | --seconds 0.08) [--executor multi] [--each 10]

A camera must publish on /xsam_node/image meanwhile. It needs rclpy of Kilted or newer, whose timers tell when they
were due.
"""

import argparse
import json
import sys
import threading
import time
from contextlib import suppress
from typing import Any

import rclpy
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor, SingleThreadedExecutor
from rclpy.timer import TimerInfo

from tests.runtime.ros.sleeping import SleepingModel
from xsam_edge.runtime.ros.model import load_bundle
from xsam_edge.runtime.ros.node import XSamNode
from xsam_edge.runtime.ros.spin import be_fair
from xsam_edge.runtime.ros.statistics import quantile

PERIOD = 0.01


class Timer:
    """Notes how late each call is, in milliseconds, by the timer's own schedule."""

    def __init__(self, node: Any) -> None:
        self.late: list[float] = []
        self._clock = node.get_clock()
        node.create_timer(PERIOD, self._call)

    def _call(self, info: TimerInfo) -> None:  # rclpy looks at the annotation, which must not be text
        self.late.append(1e-6 * (self._clock.now().nanoseconds - info.expected_call_time.nanoseconds))

    def measure(self, seconds: float) -> dict[str, float | None]:
        self.late.clear()
        time.sleep(seconds)
        ordered = sorted(self.late)
        return {"p50": quantile(ordered, 0.5), "p99": quantile(ordered, 0.99), "most": ordered[-1], "n": len(ordered)}


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--bundle")
    options.add_argument("--seconds", type=float, default=0.08)
    options.add_argument("--executor", choices=("single", "multi"), default="single")
    options.add_argument("--each", type=float, default=10.0)
    options.add_argument("--prompt", default="a cup")
    given = options.parse_args()
    be_fair()
    rclpy.init()
    parameters = {"bundle": given.bundle or "stand-in", "prompt": given.prompt, "qos": "reliable", "threads": 1}
    node = XSamNode(load=load_bundle if given.bundle else lambda _: SleepingModel(given.seconds), defaults=parameters)
    timed = rclpy.create_node("timed")
    timer = Timer(timed)
    executor = MultiThreadedExecutor(4) if given.executor == "multi" else SingleThreadedExecutor()
    executor.add_node(node)
    executor.add_node(timed)

    def spin() -> None:
        with suppress(ExternalShutdownException):
            executor.spin()

    spinning = threading.Thread(target=spin, daemon=True)
    spinning.start()
    node.trigger_configure()
    idle = [timer.measure(given.each)]
    node.trigger_activate()
    while node.statistics.report(time.monotonic()).answered < 5:
        time.sleep(0.05)
    busy = [timer.measure(given.each)]
    report = node.statistics.report(time.monotonic())
    node.trigger_deactivate()
    time.sleep(0.5)
    idle.append(timer.measure(given.each))  # images come all the while, and are subscribed to by nobody
    told = {"idle": idle, "busy": busy, "rate": report.rate, "input_rate": report.input_rate, "latency": report.p50}
    print(json.dumps(told), file=sys.stderr, flush=True)
    node.end(5.0)
    rclpy.try_shutdown()
    executor.shutdown(1.0)
    spinning.join()


if __name__ == "__main__":
    main()
