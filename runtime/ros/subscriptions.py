"""Subscriptions to images, and what keeps a topic's publishers from reaching them. It needs rclpy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks


def subscribed(node: Any, kind: Any, topic: str, callback: Callable[[Any], None]) -> Any:
    """A subscription to the newest image of a topic, of the reliability that the node's parameter says.

    An executor of several threads may be waiting for what is destroyed, and would end with an error. So it has no
    handlers of events, whose work :func:`fault_of` does, and is in the node's own callback group, which holds the
    lifecycle's services as well: no image is taken while a transition destroys it. Its callback is called by one thread
    at a time.
    """
    reliable = node.parameters.qos == "reliable"
    profile = QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=1,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.VOLATILE,
    )
    events = SubscriptionEventCallbacks(use_default_callbacks=False)
    return node.create_subscription(kind, topic, callback, profile, event_callbacks=events)


def fault_of(node: Any, images: Any) -> str | None:
    """Why what somebody publishes on a subscription's topic does not arrive, if so."""
    module = images.msg_type.__module__.partition(".")[0]
    expected = f"{module}/msg/{images.msg_type.__name__}"
    reliable = images.qos_profile.reliability == ReliabilityPolicy.RELIABLE
    for found in node.get_publishers_info_by_topic(images.topic_name):
        if found.topic_type != expected:
            return f"is published as {found.topic_type}; expected {expected}: remap ~/image to another topic"
        if reliable and found.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT:
            return f"is published as best effort by {found.node_name}; set the parameter qos to sensor_data"
    return None
