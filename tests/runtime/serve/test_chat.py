from __future__ import annotations

import json
from typing import Any

import pytest

pytest.importorskip("python_multipart")

from xsam_edge.runtime.serve.chat import Chat, read_chat
from xsam_edge.runtime.serve.failures import RequestError
from xsam_edge.runtime.serve.limits import Limits

LIMITS = Limits(text=20, new_tokens=9)
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk=", "detail": "high"}}


def user(*content: Any, role: str = "user") -> list[dict[str, Any]]:
    return [{"role": role, "content": list(content)}]


def text(value: str) -> dict[str, str]:
    return {"type": "text", "text": value}


def read(**given: Any) -> Chat:
    given.setdefault("messages", user(text("a?"), IMAGE))
    given.setdefault("max_tokens", 9)
    return read_chat(json.dumps(given).encode(), LIMITS, ())


def test_a_request() -> None:
    asked = read(messages=user(text("a"), IMAGE, text("b?")), temperature=0.3, user="me", stream=True, model=None)
    assert (asked.picture, asked.scene, asked.question.texts) == (b"hi", None, ("a\nb?",))
    assert asked.stream and not asked.usage and asked.model is None
    assert asked.question.options == {"max_new_tokens": 9}
    assert read(max_completion_tokens=3).question.options == {"max_new_tokens": 3}
    caption = read(messages=user(IMAGE), task="caption", threshold="official", mask_format="rle")
    assert caption.question.options == {"max_new_tokens": 9, "threshold": "official"}
    assert read(messages=[{"role": "user", "content": "a?"}], scene="x").scene == "x"
    assert read(stream=True, stream_options={"include_usage": True}).usage


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"tools": []}, "tools"),
        ({"n": 2}, "n"),
        ({"messages": []}, "messages"),
        ({"messages": "a"}, "messages"),
        ({"messages": [1]}, "messages"),
        ({"messages": [*user(text("a"), IMAGE), *user(text("a"), IMAGE)]}, "messages"),
        ({"messages": user(text("a"), IMAGE, role="system")}, "messages"),
        ({"messages": user(IMAGE)}, "messages"),
        ({"messages": user(text("a"))}, "messages"),
        ({"messages": user(text("a"), IMAGE, IMAGE)}, "messages"),
        ({"messages": user(text("a"), {"type": "input_audio"})}, "messages"),
        ({"messages": user(text("a" * 21), IMAGE)}, "messages"),
        ({"messages": [{"role": "user", "content": {"a": 1}}]}, "messages"),
        ({"scene": "x"}, "messages"),
        ({"messages": user(text("a")), "scene": 5}, "scene"),
        ({"max_tokens": 10}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": "5"}, "max_tokens"),
        ({"task": "refer"}, "task"),
        ({"task": []}, "task"),
        ({"threshold": 0.5}, "threshold"),
        ({"task": "caption", "threshold": 2}, "threshold"),
        ({"task": "caption", "threshold": {}}, "threshold"),
        ({"task": "caption", "mask_format": "bmp"}, "mask_format"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": 1}, "stream_options"),
        ({"model": 1}, "model"),
        ({"messages": user(text("a"), {"type": "image_url", "image_url": {"url": "/etc/passwd"}})}, "image_url"),
    ],
)
def test_what_is_wrong_is_named(given: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as caught:
        read(**given)
    assert (caught.value.status, caught.value.param) == (400, param)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"1", b"\xff", b"[" * 100_000, b'{"a": 1' + b"0" * 5000])
def test_no_json(body: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        read_chat(body, LIMITS, ())
    assert caught.value.code == "invalid_json"
