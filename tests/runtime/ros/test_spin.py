"""The node's process: how it begins, ends, and comes back."""

from __future__ import annotations

import signal
import time

import pytest
from sensor_msgs.msg import Image

from tests.runtime.ros.camera import picture
from tests.runtime.ros.network import Listener, Process, camera, node, until

pytestmark = pytest.mark.ros


@pytest.mark.parametrize(("seconds", "number"), [(0.05, signal.SIGINT), (0.05, signal.SIGTERM), (4.0, signal.SIGINT)])
def test_shutdown_within_a_second(listener: Listener, seconds: float, number: int) -> None:
    """Also while a frame is at work that takes longer. What else is busy may slow down some of the attempts."""
    camera("/xsam_node/image", "--size", "64x48")
    took: list[float] = []
    while len(took) < 3 and min(took, default=9) >= 1:
        process = node(seconds, "-p", "prompt:=a cup")
        listener.diagnostics.clear()
        listener.until_status(lambda _level, _message, values: int(values.get("received", 0)) > 10, "images")
        start = time.monotonic()
        assert process.end(number) == 0
        took.append(time.monotonic() - start)
        assert not [line for line in process.lines if "Traceback" in line or "terminate" in line], process.lines
    print(f"{min(took):.2f} s")
    assert min(took) < 1


def test_a_camera_and_a_node_that_are_killed(listener: Listener) -> None:
    masks = listener.listen(Image, "/xsam_node/mask")
    process = node(0.01, "-p", "prompt:=a cup", "-p", "silent_after:=0.5")
    source = camera("/xsam_node/image", "--size", "64x48")
    until(lambda: masks, "masks")
    source.end(signal.SIGKILL)
    listener.until_status(lambda level, message, _: level == 1 and "no image came for" in message, "a warning")
    source = camera("/xsam_node/image", "--size", "64x48")
    listener.until_status(lambda level, message, _: level == 0 and "frames per second" in message, "the camera again")
    process.end(signal.SIGKILL)
    time.sleep(1.0)
    masks.clear()
    listener.diagnostics.clear()
    process = node(0.01, "-p", "prompt:=a cup")
    until(lambda: masks, "masks of the new node")
    listener.until_active()
    process.end()
    source.end()


def test_it_runs_without_vision_msgs(listener: Listener) -> None:
    program = "import sys; sys.modules['vision_msgs'] = None; from tests.runtime.ros.sleeping import SleepingModel; "
    program += "from pathlib import Path; from xsam_edge.runtime.ros.spin import run; "
    program += "run(Path('stand-in'), sys.argv[1:], load=lambda _: SleepingModel(0.0))"
    process = Process("-c", program, "--ros-args", "-p", "prompt:=a cup", "-p", "diagnostics_period:=0.1")
    masks = listener.listen(Image, "/xsam_node/mask")
    listener.until_active()
    images = listener.talk(Image, "/xsam_node/image", 1)

    def mask() -> bool:
        images.publish(picture(64, 48, "rgb8", 5))
        return bool(masks)

    until(mask, "a mask")
    assert len([line for line in process.lines if "vision_msgs is not installed" in line]) == 1
    # Nodes that were killed before are known for a while.
    until(lambda: not listener.node.get_publishers_info_by_topic("/xsam_node/detections"), "no detections")
    process.end()


def test_two_nodes_by_name(listener: Listener) -> None:
    processes = [node(0.0, "-p", f"prompt:={name}", name=name) for name in ("left", "right")]
    for name in ("left", "right"):
        listener.until_active(name)
        assert listener.status(name)[2]["prompt"] == name
    for process in processes:
        process.end()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["/nowhere"], "/nowhere is not a bundle"),
        ([], "no bundle was given"),
        (["/nowhere", "--ros-args", "-p", "qos:=best"], "qos is 'best'; choose"),
        (["/nowhere", "--ros-args", "-p", "deadline:=-1.0"], "deadline is -1.0; expected milliseconds from 0"),
        (["/nowhere", "--ros-args", "-p"], "the arguments of ROS cannot be read"),
    ],
)
def test_a_wrong_start_is_one_line(ros: None, arguments: list[str], said: str) -> None:
    process = Process("-c", "import sys; from xsam_edge.runtime.cli.node import main; sys.exit(main())", *arguments)
    until(lambda: not process.alive, "its end")
    assert process.end() == 2
    time.sleep(0.1)
    (line,) = [line for line in process.lines if "xsam-node: error:" in line]
    assert said in line


def test_a_bundle_that_is_not_there_when_it_is_configured(listener: Listener) -> None:
    """The node lives, says so once, and can be configured again."""
    program = (
        "import sys; from xsam_edge.runtime.ros.spin import run; from xsam_edge.runtime.ros.model import load_bundle; "
    )
    program += "run(None, sys.argv[1:], load=lambda parameters: load_bundle(parameters))"
    process = Process(
        "-c", program, "--ros-args", "-p", "bundle:=/nowhere", "-p", "prompt:=a cup", "-p", "diagnostics_period:=0.1"
    )
    _, message, values = listener.until_status(lambda level, _message, _: level == 2, "the fault")
    assert message.startswith("bundle: /nowhere is not a bundle") and values["state"] == "unconfigured"
    assert "the node is unconfigured" in listener.ask().message
    time.sleep(0.5)
    assert len([line for line in process.lines if "/nowhere is not a bundle" in line]) == 1
    assert process.alive
    process.end()
