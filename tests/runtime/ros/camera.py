"""A camera in a process of its own: publishes pictures at a rate, with stamps of its clock or a counter's.

python -m tests.runtime.ros.camera TOPIC --rate 30 --encoding rgb8 --size 640x480 --count 300
"""

from __future__ import annotations

import argparse
import time
from array import array

import rclpy
from sensor_msgs.msg import Image

# Encoding -> bytes of a pixel, and rows of bytes for each of the picture, of what is not one.
SAMPLES = {"mono16": 2, "16UC1": 2, "rgb8": 3, "bgr8": 3, "8UC3": 3, "rgba8": 4, "bgra8": 4, "rgb16": 6, "bgr16": 6}
SAMPLES |= {"uyvy": 2, "yuv422": 2, "yuyv": 2, "yuv422_yuy2": 2}
SAMPLES |= {f"bayer_{pattern}16": 2 for pattern in ("rggb", "bggr", "gbrg", "grbg")}


def picture(width: int, height: int, encoding: str, stamp_ns: int) -> Image:
    """A grey picture, whose frame of coordinates is named after the encoding."""
    message = Image(height=height, width=width, encoding=encoding, step=SAMPLES.get(encoding, 1) * width)
    message.header.frame_id = f"camera_{encoding}"
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 10**9)
    rows = height * 3 // 2 if encoding in ("nv12", "nv21") else height
    message.data = array("B", bytes([128]) * (message.step * rows))
    return message


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("topic")
    options.add_argument("--rate", type=float, default=30.0)
    options.add_argument("--encoding", default="rgb8")
    options.add_argument("--size", default="640x480")
    options.add_argument("--count", type=int, default=1 << 30)
    options.add_argument("--behind", type=float, default=0.0, help="seconds that stamps lie in the past")
    given = options.parse_args()
    width, height = map(int, given.size.split("x"))
    rclpy.init()
    node = rclpy.create_node("camera")
    publisher = node.create_publisher(Image, given.topic, 1)
    message = picture(width, height, given.encoding, 0)
    start = time.monotonic()
    for number in range(given.count):
        time.sleep(max(0.0, start + number / given.rate - time.monotonic()))
        stamp_ns = time.time_ns() - int(given.behind * 1e9)
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 10**9)
        publisher.publish(message)


if __name__ == "__main__":
    main()
