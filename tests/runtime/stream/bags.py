"""Bags to read, as ROS 2 and others write them. Needs rosbags."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from xsam_edge.runtime.ros_messages import fill
from xsam_edge.runtime.ros_messages.header import Header
from xsam_edge.runtime.ros_messages.store import store, types

IMAGE, COMPRESSED, STRING = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage", "std_msgs/msg/String"
START = 1_764_342_671_000_000_001  # nanoseconds, more than a float holds
STEP = 33_333_333
LATER = 1_234_567  # from a header's stamp to when it is recorded

Message = tuple[str, str, int, bytes]  # topic, type, nanoseconds, content


def pixels(number: int, size: tuple[int, int] = (6, 8)) -> np.ndarray:
    """Noise, so that a compressed chunk is not much smaller."""
    return np.random.default_rng(number).integers(0, 256, (*size, 3), np.uint8)


def header(number: int) -> Header:
    return Header.at(START + number * STEP, "camera")


def images(
    topic: str = "/camera/image", count: int = 4, size: tuple[int, int] = (6, 8), first: int = 0
) -> Iterator[Message]:
    for number in range(first, first + count):
        message = fill.image_message(types(), header(number), pixels(number, size))
        yield topic, IMAGE, header(number).stamp_ns + LATER, bytes(store().serialize_cdr(message, IMAGE))


def compressed(topic: str = "/camera/compressed", count: int = 4) -> Iterator[Message]:
    kind = store().types[COMPRESSED]
    for number in range(count):
        file = io.BytesIO()
        Image.fromarray(pixels(number)).save(file, "PNG")
        data = np.frombuffer(file.getvalue(), np.uint8)
        message = kind(fill.header_message(types(), header(number)), "rgb8; png compressed bgr8", data)
        yield topic, COMPRESSED, header(number).stamp_ns + LATER, bytes(store().serialize_cdr(message, COMPRESSED))


def strings(topic: str = "/chatter", count: int = 4) -> Iterator[Message]:
    for number in range(count):
        content = bytes(store().serialize_cdr(fill.text_message(types(), "word"), STRING))
        yield topic, STRING, header(number).stamp_ns + LATER + 1, content


def folder(path: Path, messages: Sequence[Message], plugin: str = "MCAP", compression: str = "NONE") -> Path:
    """A folder with its description, as rosbags writes it."""
    from rosbags import rosbag2

    writer = rosbag2.Writer(path, version=9, storage_plugin=rosbag2.StoragePlugin[plugin])
    writer.set_compression(rosbag2.CompressionMode[compression], rosbag2.CompressionFormat.ZSTD)
    with writer:
        connections: dict[str, Any] = {}
        for topic, kind, time, content in messages:
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=store())
            writer.write(connections[topic], time, content)
    return path


def mcap(path: Path, messages: Sequence[Message], **options: Any) -> Path:
    """A file of the package mcap, whose ``Writer`` takes ``options``."""
    from mcap.writer import Writer

    with path.open("wb") as file:
        writer = Writer(file, **options)
        writer.start(profile="ros2")
        channels: dict[str, int] = {}
        for topic, kind, time, content in messages:
            if topic not in channels:
                definition, _ = store().generate_msgdef(kind, ros_version=2)
                schema = writer.register_schema(kind, "ros2msg", definition.encode())
                channels[topic] = writer.register_channel(topic, "cdr", schema)
            writer.add_message(channels[topic], time, content, time)
        writer.finish()
    return path
