from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from tests.runtime.loaded import load
from xsam_edge.runtime.errors import ContextLengthError, InputError
from xsam_edge.runtime.ros.prompts import LONGEST, parse


def asked(prompt: object) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    """The method of a scene that a prompt calls, and with what."""
    scene = MagicMock()
    parse(prompt if isinstance(prompt, str) else json.dumps(prompt)).ask(scene)
    ((name, args, options),) = scene.method_calls
    return name, args, options


def test_plain_text_is_a_phrase() -> None:
    assert asked(" the red cup ") == ("refer", (["the red cup"],), {})
    assert parse("the red cup").task == "refer" and parse("the red cup").names == ("the red cup",)
    assert asked('["a list"]') == ("refer", (['["a list"]'],), {}), "only an object is JSON here"


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ({"refer": "a cup"}, ("refer", (["a cup"],), {})),
        (
            {"refer": ["a", "b"], "threshold": 0.5, "several": True},
            ("refer", (["a", "b"],), {"threshold": 0.5, "several": True}),
        ),
        ({"reason": "What?", "threshold": "official"}, ("reason", (["What?"],), {"threshold": "official"})),
        ({"things": ["person", "car"], "stuff": ["road"]}, ("categories", (["person", "car"], ["road"]), {})),
        (
            {"stuff": ["road"], "form": "panoptic"},
            ("categories", ([], ["road"]), {"instances": False, "semantic": False}),
        ),
        (
            {"things": ["car"], "form": "semantic"},
            ("categories", (["car"], []), {"instances": False, "semantic": True}),
        ),
        (
            {"boxes": [[1, 2, 3, 4]], "points": [[5, 6.5]]},
            ("regions", (), {"boxes": [[1, 2, 3, 4]], "points": [[5, 6.5]]}),
        ),
        ({"points": [[5, 6]], "similar": True}, ("regions", (), {"boxes": [], "points": [[5, 6]], "similar": True})),
        ({"describe": True, "max_new_tokens": 9}, ("describe", (), {"max_new_tokens": 9})),
        ({"chat": "Is it?"}, ("chat", ("Is it?",), {})),
    ],
)
def test_objects(prompt: dict[str, Any], expected: tuple[str, tuple[Any, ...], dict[str, Any]]) -> None:
    assert asked(prompt) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the prompt is empty"),
        (" \n", "the prompt is empty"),
        ("x" * (LONGEST + 1), f"has {LONGEST + 1} characters"),
        ("{", "begins with a brace and is no JSON"),
        ("{}", "has no task"),
        ('{"refer": "a"} b', "no JSON"),
        ('{"find": "a"}', "has the key 'find'"),
        ('{"refer": "a", "chat": "b"}', "asks for refer and chat at once"),
        ('{"refer": "a", "refer": "b"}', "'refer' twice"),
        ('{"refer": ""}', "refer is empty"),
        ('{"refer": []}', "refer is []"),
        ('{"refer": 5}', "refer is 5; expected a phrase"),
        ('{"refer": [5]}', "expected text"),
        ('{"refer": "a", "form": "panoptic"}', "form does not apply to refer"),
        ('{"things": []}', "no category"),
        ('{"things": "person"}', "expected a list of names"),
        ('{"things": ["a"], "form": "best"}', "form is 'best'"),
        ('{"things": ["a"], "threshold": 2}', "threshold"),
        ('{"boxes": [[1, 2, 3]]}', "expected [x0, y0, x1, y1]"),
        ('{"points": [[1, NaN]]}', "expected [x, y]"),
        ('{"points": [[1, 1e999]]}', "expected [x, y]"),
        ('{"boxes": []}', "no region"),
        ('{"points": [[1, 2], [3, 4]], "similar": false}', "2 regions"),
        ('{"describe": false}', "describe is false"),
        ('{"describe": true, "max_new_tokens": 0}', "max_new_tokens is 0"),
        ('{"chat": ["a"]}', "expected text"),
        ('{"chat": "a", "threshold": 0.5}', "threshold does not apply to chat"),
        ("{" + '"a":{' * 5000, "the prompt"),
        ('{"points": [[' + "9" * 5000 + ", 1]]}", "the prompt"),
    ],
)
def test_what_cannot_be_asked(text: str, said: str) -> None:
    with pytest.raises(InputError) as error:
        parse(text)
    assert said in str(error.value)
    assert len(str(error.value)) < 700


def test_only_text_is_a_prompt() -> None:
    with pytest.raises(InputError, match="expected text"):
        parse(5)


def test_prompts_of_the_same_text_are_equal() -> None:
    assert parse("a cup") == parse("a cup") != parse("a mug")


@pytest.mark.parametrize(
    "text",
    [
        "a car",
        '{"reason": "What can one drive?"}',
        '{"things": ["car"], "stuff": ["road"]}',
        '{"points": [[5, 6]]}',
        '{"points": [[5, 6], [7, 8]]}',
        '{"describe": true}',
        '{"chat": "What?"}',
    ],
)
def test_a_model_is_asked_before_frames_are(text: str, phi3_bundle: Path) -> None:
    model = load(phi3_bundle)
    parse(text).check(model.language, model.pipeline.cache.capacity)
    with pytest.raises(ContextLengthError, match="and the context 8; give a shorter one"):
        parse(text).check(model.language, 8)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a <SEG> b", "which controls the model"),
        ('{"things": ["wall", "wall-other-merged"]}', "both read"),
        ('{"chat": "<image>"}', "which controls the model"),
    ],
)
def test_what_a_model_may_not_be_asked(text: str, said: str, phi3_bundle: Path) -> None:
    model = load(phi3_bundle)
    with pytest.raises(InputError, match=said):
        parse(text).check(model.language, model.pipeline.cache.capacity)
