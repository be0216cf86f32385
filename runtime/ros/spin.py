"""The node as a process: start, spin, and end within a second. It needs rclpy."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn

from xsam_edge.runtime.bundle.manifest import read_manifest
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.ros.model import Load, load_bundle
from xsam_edge.runtime.ros.node import XSamNode

_SWITCH = 1e-3  # seconds after which a thread that computes in Python lets another one run; Python's own are 5e-3
_PATIENCE = 0.5  # seconds that a shutdown waits for the frame that is at work


def be_fair() -> None:
    """Let a callback's thread run soon where another one computes in Python; of the whole process."""
    sys.setswitchinterval(_SWITCH)


def run(bundle: Path | None, ros_arguments: Sequence[str], load: Load = load_bundle) -> int:
    """Run the node until it is shut down; returns 0.

    Raises:
        InputError: a parameter that makes no sense, or no bundle at all.
        BundleError: where the node starts by itself, a folder that holds none.
    """
    be_fair()
    logging.getLogger("xsam_edge.runtime.stream").setLevel(logging.ERROR)  # of each bad frame; the node says it once
    try:
        rclpy.init(args=["xsam-node", *ros_arguments])
    except Exception as error:  # rclpy has a class of its own for each
        raise InputError(f"the arguments of ROS cannot be read ({error}); see `ros2 run --help`") from None
    ended = True
    try:
        node = XSamNode(load=load, defaults={} if bundle is None else {"bundle": str(bundle)})
        if not node.parameters.bundle:
            raise InputError("no bundle was given; give its folder, or the parameter bundle")
        if node.parameters.autostart and load is load_bundle:
            read_manifest(Path(node.parameters.bundle))  # a wrong path is told at once
        ended = _spin(node)
    finally:
        rclpy.try_shutdown()
    if not ended:  # a graph that runs cannot be interrupted, and a library whose thread runs may crash at exit
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    return 0


def _spin(node: XSamNode) -> bool:
    """Spin until shutdown; whether all threads ended."""
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    starting = threading.Thread(target=_start, args=(node,), daemon=True, name="xsam-start")
    if node.parameters.autostart:
        starting.start()  # so that diagnostics and parameters answer while a bundle is loaded
    with suppress(KeyboardInterrupt, ExternalShutdownException):
        executor.spin()
    ended = node.end(_PATIENCE) and not starting.is_alive()
    if ended:
        with suppress(Exception):  # the context is down, and what it freed cannot be freed again
            executor.shutdown(timeout_sec=0.1)
            node.destroy_node()
    return ended


def _start(node: XSamNode) -> None:
    start = time.monotonic()
    if node.trigger_configure() != TransitionCallbackReturn.SUCCESS:
        return
    node.get_logger().info(f"the bundle was loaded in {time.monotonic() - start:.1f} s")
    node.trigger_activate()
