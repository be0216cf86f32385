"""Requests that came together: who shares an image, a batch, and an error."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from xsam_edge.runtime.errors import ContextLengthError, ImageError
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.triton.answers import answer_all
from xsam_edge.runtime.triton.requests import Ask, Picture
from xsam_edge.runtime.triton.scenes import Scenes

ONE, OTHER, DAMAGED = Picture(b"one"), Picture(b"other"), Picture(b"damaged")


class Stub:
    """A scene that says what it is asked, and cannot answer some."""

    def __init__(self, picture: Picture, calls: list[tuple[Any, ...]]) -> None:
        if picture is DAMAGED:
            raise ImageError("the image is damaged")
        self.name = picture.content.decode() if isinstance(picture.content, bytes) else "pixels"
        self.calls = calls
        calls.append(("look", self.name))

    def result(self, text: str) -> Result:
        if text == "too long":
            raise ContextLengthError("too many tokens")
        if text == "a bug":
            raise ZeroDivisionError("division by zero")
        return Result("refer", (), (1, 1), text=f"{self.name}: {text}", timings={"image_encoder": 1.0, "llm": 2.0})

    def refer(self, phrases: tuple[str, ...], **options: Any) -> list[Result]:
        self.calls.append(("refer", self.name, phrases, options))
        return [self.result(phrase) for phrase in phrases]

    reason = refer

    def chat(self, question: str, **options: Any) -> Result:
        self.calls.append(("chat", self.name, question, options))
        return self.result(question)

    def categories(self, things: tuple[str, ...], stuff: tuple[str, ...], **options: Any) -> Result:
        self.calls.append(("categories", self.name, things, stuff, options))
        return self.result("categories")

    def close(self) -> None:
        self.calls.append(("close", self.name))


@pytest.fixture
def calls() -> list[tuple[Any, ...]]:
    return []


@pytest.fixture
def scenes(calls: list[tuple[Any, ...]]) -> Scenes:
    return Scenes(lambda picture: Stub(picture, calls), 2)  # type: ignore[arg-type, return-value]


def said(answer: Any) -> list[str] | str:
    return str(answer) if isinstance(answer, Exception) else [result.text for result in answer]


def test_phrases_on_one_image_are_one_batch(scenes: Scenes, calls: list[tuple[Any, ...]]) -> None:
    asks = [Ask("refer", ONE, ("a",)), Ask("refer", OTHER, ("b",)), Ask("refer", ONE, ("c", "d"))]
    assert list(map(said, answer_all(asks, scenes))) == [["one: a"], ["other: b"], ["one: c", "one: d"]]
    refer = [call for call in calls if call[0] == "refer"]
    assert refer == [("refer", "one", ("a", "c", "d"), {}), ("refer", "other", ("b",), {})]


def test_what_differs_is_asked_apart(scenes: Scenes, calls: list[tuple[Any, ...]]) -> None:
    asks = [
        Ask("refer", ONE, ("a",)),
        Ask("refer", ONE, ("b",), options={"threshold": 0.5}),
        Ask("chat", ONE, ("c", "d")),
    ]
    asks += [Ask("panoptic", ONE, things=("e",)), Ask("semantic", ONE, stuff=("f",)), Ask("reason", ONE, ("g",))]
    answers = list(map(said, answer_all(asks, scenes)))
    assert answers[:3] == [["one: a"], ["one: b"], ["one: c", "one: d"]]
    assert calls.count(("look", "one")) == 1
    assert ("refer", "one", ("b",), {"threshold": 0.5}) in calls
    assert ("categories", "one", ("e",), (), {"instances": False, "semantic": False}) in calls
    assert ("categories", "one", (), ("f",), {"instances": False, "semantic": True}) in calls
    assert len([call for call in calls if call[0] == "refer"]) == 3


@pytest.mark.parametrize("fault", ["too long", "a bug"])
def test_one_of_a_batch_that_fails_leaves_the_others_alone(scenes: Scenes, fault: str) -> None:
    asks = [Ask("refer", ONE, ("a",)), Ask("refer", ONE, ("b", fault)), Ask("refer", ONE, ("c",))]
    answers = answer_all(asks, scenes)
    assert [said(answers[0]), said(answers[2])] == [["one: a"], ["one: c"]]
    assert isinstance(answers[1], ContextLengthError if fault == "too long" else ZeroDivisionError)


def test_an_image_that_is_none_fails_for_those_who_asked_about_it(scenes: Scenes) -> None:
    asks = [Ask("refer", DAMAGED, ("a",)), Ask("refer", ONE, ("b",)), Ask("chat", DAMAGED, ("c",))]
    answers = answer_all(asks, scenes)
    assert list(map(said, answers)) == ["the image is damaged", ["one: b"], "the image is damaged"]
    assert len(scenes) == 1


def test_who_did_not_look_has_no_time_of_it(scenes: Scenes) -> None:
    asks = [Ask("refer", ONE, ("too long",)), Ask("refer", ONE, ("a",)), Ask("refer", ONE, ("b",))]
    first, second, third = answer_all(asks, scenes)
    (fourth,) = answer_all(asks[1:2], scenes)
    assert isinstance(first, ContextLengthError)
    stages = [set(answer[0].timings) for answer in (second, third, fourth) if isinstance(answer, list)]
    assert stages == [{"image_encoder", "llm"}, {"llm"}, {"llm"}]


def test_nothing(scenes: Scenes) -> None:
    assert answer_all([], scenes) == []


def test_pixels(scenes: Scenes) -> None:
    (answer,) = answer_all([Ask("refer", Picture(np.zeros((1, 1, 3), np.uint8)), ("a",))], scenes)
    assert said(answer) == ["pixels: a"]
