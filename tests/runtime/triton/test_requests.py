"""Tensors of a request as an image and a question, or a reason why not."""

from __future__ import annotations

import numpy as np
import pytest

from tests.runtime.triton.client import Array, numbers, texts
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.triton.requests import MOST, Picture, read_request
from xsam_edge.runtime.triton.signature import INPUTS, TASKS

PIXELS = np.zeros((1, 4, 5, 3), np.uint8)
IMAGE = {"IMAGE": texts(b"content")}


def test_a_file_and_phrases() -> None:
    tensors = {"TASK": texts("refer"), **IMAGE, "PROMPTS": texts("a café", "b")}
    ask = read_request({**tensors, "THRESHOLD": numbers(0.25), "SEVERAL": np.array([[True]])})
    assert (ask.task, ask.prompts, ask.answers) == ("refer", ("a café", "b"), 2)
    assert ask.picture.content == b"content"
    assert ask.options == {"threshold": 0.25, "several": True}


def test_pixels_and_regions() -> None:
    tensors = {"TASK": texts("regions"), "PIXELS": PIXELS, "BOXES": numbers((0, 1, 2, 3)), "POINTS": numbers((4, 0))}
    ask = read_request(tensors)
    assert (ask.boxes, ask.points, ask.answers) == (((0, 1, 2, 3),), ((4, 0),), 1)
    assert isinstance(ask.picture.content, np.ndarray) and ask.picture.content.shape == (4, 5, 3)


def test_categories() -> None:
    tensors = {"TASK": texts("panoptic"), **IMAGE, "THINGS": texts("cup", "a, b"), "OVERLAP_THRESHOLD": numbers(0.5)}
    ask = read_request(tensors)
    assert (ask.things, ask.stuff, ask.options) == (("cup", "a, b"), (), {"overlap_threshold": 0.5})


def test_one_image_has_one_key() -> None:
    pixels = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    assert Picture(pixels).key == Picture(pixels.copy()).key == Picture(np.asfortranarray(pixels)).key
    others = [Picture(pixels.reshape(5, 4, 3)), Picture(pixels.tobytes()), Picture(pixels + 1), Picture(b"")]
    assert len({Picture(pixels).key, *(other.key for other in others)}) == 5


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({}, "TASK is missing; give one of refer, reason, panoptic"),
        ({"TASK": texts("refer", "chat")}, "TASK is BYTES [1, 2]; expected BYTES [1, 1], of one image a request"),
        ({"TASK": texts(b"\xff")}, "TASK holds what is no text in UTF-8"),
        ({"TASK": np.array([[3]], np.object_)}, "TASK is 3; expected text"),
        ({"TASK": texts("Refer")}, "TASK is 'Refer'; choose 'refer' or"),
        ({"TASKS": texts("refer")}, "'TASKS' is no input of this model; it takes TASK, IMAGE"),
        ({"TASK": texts("refer")}, "PROMPTS are missing; refer takes at least one text"),
        ({"TASK": texts("chat"), "PROMPTS": texts()}, "PROMPTS are missing; chat takes"),
        ({"TASK": texts("describe")}, "no image was given; give IMAGE"),
        ({"TASK": texts("describe"), **IMAGE, "PIXELS": PIXELS}, "IMAGE and PIXELS were given together"),
        ({"TASK": texts("describe"), "IMAGE": texts("text")}, None),
        ({"TASK": texts("describe"), "IMAGE": np.array([["text"]], np.object_)}, "IMAGE is 'text'; expected the bytes"),
        ({"TASK": texts("describe"), "PIXELS": PIXELS.astype(np.float32)}, "PIXELS is FP32 [1, 4, 5, 3]; expected"),
        (
            {"TASK": texts("describe"), "PIXELS": PIXELS[0]},
            "PIXELS is UINT8 [4, 5, 3]; expected UINT8 [1, any, any, 3]",
        ),
        ({"TASK": texts("describe"), "PIXELS": np.concatenate([PIXELS] * 2)}, "PIXELS is UINT8 [2, 4, 5, 3]"),
        ({"TASK": texts("describe"), "PROMPTS": texts("a")}, "PROMPTS does not apply to describe, only to refer"),
        ({"TASK": texts("chat"), "THRESHOLD": numbers(0.5)}, "THRESHOLD does not apply to chat"),
        ({"TASK": texts("refer"), "PROMPTS": texts(*["a"] * (MOST + 1))}, f"PROMPTS are {MOST + 1}; one request takes"),
        ({"TASK": texts("regions"), "POINTS": np.zeros((1, MOST + 1, 2), np.float32)}, "BOXES and POINTS are 65"),
        ({"TASK": texts("regions"), "BOXES": numbers((0, 0, np.inf, 1))}, "BOXES holds [0.0, 0.0, inf, 1.0]"),
        ({"TASK": texts("regions"), "BOXES": np.zeros((1, 2, 3), np.float32)}, "BOXES is FP32 [1, 2, 3]; expected"),
        ({"TASK": texts("describe"), **IMAGE, "THRESHOLD": numbers(np.nan)}, "THRESHOLD is nan; expected a number"),
        (
            {"TASK": texts("describe"), **IMAGE, "THRESHOLD": np.ones((1, 1))},
            "THRESHOLD is float64 [1, 1]; expected FP32",
        ),
        ({"TASK": texts("describe"), **IMAGE, "MAX_NEW_TOKENS": np.array([[0]], np.int32)}, "MAX_NEW_TOKENS is 0;"),
        (
            {"TASK": texts("panoptic"), **IMAGE, "ANSWER": texts("beam")},
            "ANSWER is 'beam'; choose 'greedy' or 'append'",
        ),
    ],
)
def test_what_cannot_be_read_is_told(tensors: dict[str, Array], message: str | None) -> None:
    if message is None:
        read_request(tensors)
        return
    with pytest.raises(InputError) as caught:
        read_request(tensors)
    assert message in str(caught.value)


@pytest.mark.parametrize("task", TASKS)
def test_every_option_of_a_task_is_taken(task: str) -> None:
    values = {"BYTES": texts("greedy"), "FP32": numbers(0.5), "BOOL": np.array([[True]])}
    given = {"TASK": texts(task), **IMAGE, "MAX_NEW_TOKENS": np.array([[9]], np.int32)}
    given |= {"BOXES": numbers((0, 0, 1, 1)), "POINTS": numbers((0, 0))}
    tensors = {
        tensor.name: given[tensor.name] if tensor.name in given else values[tensor.dtype]
        for tensor in INPUTS
        if task in tensor.tasks and tensor.name != "PIXELS"
    }
    options = {name for tensor in INPUTS if task in tensor.tasks and (name := tensor.name.lower()) in ALL_OPTIONS}
    assert set(read_request(tensors).options) == options


ALL_OPTIONS = {"threshold", "overlap_threshold", "several", "similar", "max_new_tokens", "answer"}
