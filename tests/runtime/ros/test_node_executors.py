"""The node in this process, in either executor, beside other work."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import rclpy
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor, SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from sensor_msgs.msg import Image

from tests.runtime.ros.camera import picture
from tests.runtime.ros.network import Listener, until
from tests.runtime.ros.sleeping import SleepingModel
from xsam_edge.runtime.ros.node import XSamNode
from xsam_edge.runtime.ros.parameters import Parameters

pytestmark = pytest.mark.ros
EXECUTORS = {"single": SingleThreadedExecutor, "multi": lambda: MultiThreadedExecutor(4)}


class Loaded:
    """What the node loads; the models that it had."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.models: list[SleepingModel] = []

    def __call__(self, parameters: Parameters) -> SleepingModel:
        self.models.append(SleepingModel(self.seconds))
        return self.models[-1]


@contextmanager
def spinning(executor: Any, *nodes: Any) -> Iterator[threading.Thread]:
    for node in nodes:
        executor.add_node(node)

    def spin() -> None:
        with suppress(ExternalShutdownException):
            executor.spin()

    thread = threading.Thread(target=spin, daemon=True)
    thread.start()
    yield thread
    executor.shutdown(5.0)
    thread.join(10)
    for node in nodes:
        node.destroy_node()


def node_of(load: Any, **parameters: Any) -> XSamNode:
    given = {"prompt": "a cup", "qos": "reliable", "diagnostics_period": 0.1, **parameters}
    return XSamNode(load=load, defaults=given, node_name="inner")


@pytest.mark.parametrize("kind", EXECUTORS)
def test_transitions_while_images_come(listener: Listener, kind: str) -> None:
    loaded = Loaded()
    node = node_of(loaded)
    masks = listener.listen(Image, "/inner/mask")
    done = threading.Event()

    def film() -> None:
        images = listener.node.create_publisher(Image, "/inner/image", 1)
        while not done.wait(0.005):
            images.publish(picture(64, 48, "rgb8", time.time_ns()))

    camera = threading.Thread(target=film, daemon=True)
    with spinning(EXECUTORS[kind](), node) as thread:
        assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
        camera.start()
        for _ in range(15):
            assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
            time.sleep(0.02)
            assert node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
            assert thread.is_alive()
        assert node.trigger_cleanup() == TransitionCallbackReturn.SUCCESS
        assert [model.closed for model in loaded.models] == [True]
        node.trigger_configure()
        node.trigger_activate()
        masks.clear()
        until(lambda: masks, "masks")
        done.set()
        camera.join()
        assert node.end(5.0)


@pytest.mark.parametrize("kind", EXECUTORS)
def test_a_question_does_not_hold_the_executor(listener: Listener, kind: str) -> None:
    node, other = node_of(Loaded(seconds=0.5)), rclpy.create_node("other")
    ticks: list[float] = []
    other.create_timer(0.01, lambda: ticks.append(time.monotonic()))
    with spinning(EXECUTORS[kind](), node, other):
        node.trigger_configure()
        node.trigger_activate()
        images = listener.talk(Image, "/inner/image", 1)
        images.publish(picture(64, 48, "rgb8", 1))
        until(lambda: node.statistics.report(time.monotonic()).answered, "an answer")
        before, start = len(ticks), time.monotonic()
        assert listener.ask("inner").success
        took = time.monotonic() - start
        assert took >= 0.5
        assert len(ticks) - before > 0.6 * took / 0.01
        assert node.end(5.0)


def test_a_load_that_fails_is_told(listener: Listener) -> None:
    def load(parameters: Parameters) -> SleepingModel:
        raise ZeroDivisionError("a bug")

    node = node_of(load)
    with spinning(SingleThreadedExecutor(), node):
        assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
        _, message, values = listener.until_status(lambda level, _message, _: level == 2, "the fault", "inner")
        assert message == "bundle: ZeroDivisionError: a bug" and values["state"] == "unconfigured"
        assert node.end(1.0)
