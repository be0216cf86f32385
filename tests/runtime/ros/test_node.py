"""A node in a process of its own, over DDS, with a model that sleeps."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from lifecycle_msgs.srv import ChangeState, GetState
from PIL import Image as Pillow
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String
from vision_msgs.msg import Detection2DArray, LabelInfo

from tests.runtime.ros.camera import picture
from tests.runtime.ros.network import Listener, Process, node, until
from xsam_edge.runtime.ros_messages.images import ENCODINGS

pytestmark = pytest.mark.ros
STAMP = 1_795_879_842_651_526_323
LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@pytest.fixture(scope="module")
def running(ros: None) -> Iterator[Process]:
    """A node that answers at once; its prompt is what the last test left."""
    process = node(0.0, "-p", "prompt:=a cup")
    yield process
    process.end()


@pytest.fixture(scope="module")
def talking(running: Process) -> Iterator[Talk]:
    listener = Listener()
    listener.until_active()
    yield Talk(listener)
    listener.close()


@pytest.fixture
def talk(talking: Talk, running: Process) -> Iterator[Talk]:
    talking.listener.say("/xsam_node/prompt", "a cup")
    talking.until_prompt("a cup")
    yield talking
    assert running.alive


class Talk:
    """Pictures to the node, and what it says of them."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.masks = listener.listen(Image, "/xsam_node/mask")
        self.labels = listener.listen(LabelInfo, "/xsam_node/label_info", LATCHED)
        self.detections = listener.listen(Detection2DArray, "/xsam_node/detections")
        self.answers = listener.listen(String, "/xsam_node/answer")
        self.captions = listener.listen(String, "/xsam_node/caption")
        self.images = listener.talk(Image, "/xsam_node/image", 1)
        until(lambda: listener.node.count_publishers("/xsam_node/mask"), "the mask's publisher")

    def until_prompt(self, text: str) -> None:
        self.listener.until_status(lambda _level, _message, values: values["prompt"] == text, "the prompt")

    def send(self, message: Any) -> None:
        self.images.publish(message)

    def mask_of(self, message: Any) -> Any:
        """The mask of a message; it is sent again while the two sides still find each other."""
        stamp = message.header.stamp
        end = time.monotonic() + 30
        while time.monotonic() < end:
            self.send(message)
            for _ in range(50):
                for mask in self.masks:
                    if mask.header.stamp == stamp and mask.header.frame_id == message.header.frame_id:
                        return mask
                time.sleep(0.01)
        raise AssertionError(f"no mask of {message.encoding}: {self.listener.status()}")

    def labels_of(self, message: Any) -> dict[int, str]:
        """Id -> name, as it was told with the stamp of a message."""

        def told() -> Any:
            return next((info for info in self.labels if info.header.stamp == message.header.stamp), None)

        return {item.class_id: item.class_name for item in until(told, "the labels").class_map}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding(talk: Talk, encoding: str) -> None:
    message = picture(64, 48, encoding, STAMP + ENCODINGS.index(encoding))
    mask = talk.mask_of(message)
    assert mask.header == message.header, "to the nanosecond"
    assert (mask.width, mask.height, mask.encoding, mask.step) == (64, 48, "mono8", 64)
    pixels = np.frombuffer(mask.data, np.uint8).reshape(48, 64)
    assert set(np.unique(pixels)) == {0, 1} and pixels[20, 20] == 1 and pixels[20, 40] == 0
    assert talk.labels_of(message) == {1: "a cup"}


def test_detections(talk: Talk) -> None:
    message = picture(64, 48, "rgb8", STAMP + 100)
    talk.mask_of(message)
    found = until(lambda: [each for each in talk.detections if each.header == message.header], "the detections")[-1]
    (detection,) = found.detections
    assert (detection.id, detection.results[0].hypothesis.class_id) == ("1", "a cup")
    assert (detection.bbox.center.position.x, detection.bbox.center.position.y) == (24.0, 18.0)
    assert (detection.bbox.size_x, detection.bbox.size_y) == (16.0, 12.0)


def test_a_compressed_image(talk: Talk) -> None:
    listener = talk.listener
    compressed = listener.talk(CompressedImage, "/xsam_node/image/compressed", 1)
    file = io.BytesIO()
    Pillow.new("RGB", (80, 60), (90, 90, 90)).save(file, "JPEG")
    message = CompressedImage(format="jpeg", data=file.getvalue())
    message.header.stamp.sec, message.header.frame_id = 7, "lens"

    def mask() -> Any:
        compressed.publish(message)
        return next((mask for mask in talk.masks if mask.header == message.header), None)

    found = until(mask, "a mask")
    assert (found.height, found.width) == (60, 80)


def test_the_overlay_is_drawn_for_those_who_look(talk: Talk) -> None:
    overlays = talk.listener.listen(CompressedImage, "/xsam_node/overlay/compressed")
    message = picture(64, 48, "rgb8", STAMP + 200)

    def overlay() -> Any:
        talk.send(message)
        return [each for each in overlays if each.header == message.header]

    (first, *_) = until(overlay, "an overlay")
    assert first.format == "jpeg" and bytes(first.data[:2]) == b"\xff\xd8"


PROMPTS = {
    '{"refer": ["a mug", "a plate"]}': {1: "a mug", 2: "a plate"},
    '{"things": ["person"], "stuff": ["road", "sky"]}': {1: "person", 2: "road", 3: "sky"},
    '{"points": [[5, 6]], "boxes": [[1, 2, 30, 40]]}': {1: "region", 2: "region"},
    '{"describe": true}': {1: "a box"},
}


@pytest.mark.parametrize("prompt", PROMPTS)
def test_prompts_change_without_a_restart(talk: Talk, prompt: str) -> None:
    talk.listener.say("/xsam_node/prompt", prompt)
    talk.until_prompt(prompt)
    message = picture(64, 48, "rgb8", STAMP + 300 + len(prompt))
    mask = talk.mask_of(message)
    assert talk.labels_of(message) == PROMPTS[prompt]
    assert set(np.unique(np.frombuffer(mask.data, np.uint8))) == {0, *PROMPTS[prompt]}
    assert "describe" not in prompt or talk.captions[-1].data == "A box in the middle."


def test_chat_has_words_alone(talk: Talk) -> None:
    talk.mask_of(picture(64, 48, "rgb8", STAMP + 400))
    talk.listener.say("/xsam_node/prompt", '{"chat": "Is it red?"}')
    talk.until_prompt('{"chat": "Is it red?"}')
    talk.answers.clear()

    def answer() -> Any:
        talk.send(picture(64, 48, "rgb8", STAMP + 401))
        return talk.answers

    assert until(answer, "an answer")[0].data == "You asked: Is it red?"
    assert not [mask for mask in talk.masks if mask.header.stamp.nanosec == (STAMP + 401) % 10**9]


@pytest.mark.parametrize(
    ("prompt", "said"), [("", "is empty"), ("x" * 20000, "has 20000 characters"), ("{", "no JSON")]
)
def test_a_bad_prompt_keeps_the_former(talk: Talk, running: Process, prompt: str, said: str) -> None:
    lines = len(running.lines)
    talk.listener.say("/xsam_node/prompt", prompt)
    level, message, values = talk.listener.until_status(lambda _level, message, _: said in message, "the fault")
    assert level == 2 and message.startswith("prompt: ") and values["prompt"] == "a cup"
    message = picture(64, 48, "rgb8", STAMP + 500)
    talk.mask_of(message)
    assert len([line for line in running.lines[lines:] if said in line]) == 1
    assert talk.labels_of(message) == {1: "a cup"}


def test_parameters(talk: Talk) -> None:
    def set_text(name: str, text: str) -> Any:
        value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=text)
        request = SetParameters.Request(parameters=[Parameter(name=name, value=value)])
        return talk.listener.call(SetParameters, "/xsam_node/set_parameters", request).results[0]

    assert set_text("prompt", "a mug").successful
    message = picture(64, 48, "rgb8", STAMP + 600)
    talk.mask_of(message)
    assert talk.labels_of(message) == {1: "a mug"}
    for name, text, said in (
        ("prompt", "a <SEG>", "controls the model"),
        ("ask_prompt", "{", "no JSON"),
        ("qos", "best", "choose 'sensor_data'"),
        ("deadline", "soon", "expected milliseconds"),
    ):
        result = set_text(name, text)
        assert not result.successful and said in result.reason


def test_asking_once(talk: Talk) -> None:
    message = picture(64, 48, "rgb8", STAMP + 700)
    talk.mask_of(message)
    answer = talk.listener.ask()
    assert answer.success
    told = json.loads(answer.message)
    assert told["header"] == {"sec": STAMP // 10**9, "nanosec": (STAMP + 700) % 10**9, "frame_id": "camera_rgb8"}
    assert told["prompt"] == "a cup" and told["results"][0]["segments"][0]["label"] == "a cup"
    value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value='{"chat": "Is it red?"}')
    request = SetParameters.Request(parameters=[Parameter(name="ask_prompt", value=value)])
    assert talk.listener.call(SetParameters, "/xsam_node/set_parameters", request).results[0].successful
    assert json.loads(talk.listener.ask().message)["results"][0]["text"] == "You asked: Is it red?"
    again = picture(64, 48, "rgb8", STAMP + 701)
    talk.mask_of(again)
    assert talk.labels_of(again) == {1: "a cup"}, "frames are asked the prompt all the while"


@pytest.mark.parametrize("fault", ["encoding", "step", "data"])
def test_bad_images_are_one_line(talk: Talk, running: Process, fault: str) -> None:
    message = picture(64, 48, "rgb8", STAMP + 800)
    if fault == "encoding":
        message.encoding = "xyz8"
    elif fault == "step":
        message.step = 10
    else:
        message.data = message.data[:100]
    # What was told half a minute ago is not told again.
    talk.listener.until_status(
        lambda _level, _message, values: "error: image" not in values, "the end of the last fault"
    )
    lines = len(running.lines)
    for _ in range(30):
        talk.send(message)
        time.sleep(1 / 60)
    level, _, values = talk.listener.until_status(
        lambda _level, _message, values: "error: image" in values, "the fault"
    )
    assert level == 2
    assert {"encoding": "'xyz8'", "step": "step of 10", "data": "100 bytes"}[fault] in values["error: image"]
    assert len([line for line in running.lines[lines:] if "image:" in line]) <= 1
    talk.mask_of(picture(64, 48, "rgb8", STAMP + 801))


def test_a_topic_of_another_type(talk: Talk, running: Process) -> None:
    program = "import rclpy; rclpy.init(); node = rclpy.create_node('other'); from std_msgs.msg import String; "
    other = Process("-c", f"{program}node.create_publisher(String, '/xsam_node/image', 1); rclpy.spin(node)")
    _, message, _ = talk.listener.until_status(lambda _level, message, _: "topic" in message, "the fault")
    assert "is published as std_msgs/msg/String; expected sensor_msgs/msg/Image" in message
    time.sleep(0.5)
    assert len([line for line in running.lines if "std_msgs/msg/String" in line and "topic" in line]) == 1
    other.end()
    talk.listener.until_status(lambda level, _message, _: level < 2, "the end of the fault")


def test_a_late_joiner_gets_the_labels(talk: Talk) -> None:
    message = picture(64, 48, "rgb8", STAMP + 900)
    talk.mask_of(message)
    late = Listener()
    labels = late.listen(LabelInfo, "/xsam_node/label_info", LATCHED)
    (info,) = until(lambda: labels, "the labels")
    assert info.header.stamp == message.header.stamp and info.class_map[0].class_name == "a cup"
    late.close()


def test_the_lifecycle(talk: Talk) -> None:
    def change(label: str) -> bool:
        request = ChangeState.Request()
        request.transition.label = label
        return bool(talk.listener.call(ChangeState, "/xsam_node/change_state", request).success)

    def state() -> str:
        found = talk.listener.call(GetState, "/xsam_node/get_state", GetState.Request())
        return str(found.current_state.label)

    assert state() == "active"
    assert change("deactivate") and state() == "inactive"
    assert "inactive" in talk.listener.ask().message
    masks = len(talk.masks)
    talk.send(picture(64, 48, "rgb8", STAMP + 1000))
    time.sleep(0.5)
    assert len(talk.masks) == masks
    assert change("cleanup") and state() == "unconfigured"
    assert change("configure") and change("activate") and state() == "active"
    talk.mask_of(picture(64, 48, "rgb8", STAMP + 1001))
