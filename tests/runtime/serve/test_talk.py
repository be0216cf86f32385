"""Answers in words, whole and as they come, in OpenAI's form."""

from __future__ import annotations

import base64
import http.client
import json
from typing import Any

import pytest

from xsam_edge.runtime.model import XSam
from xsam_edge.runtime.scene import Scene

pytest.importorskip("fastapi")

from tests.runtime.serve.served import Client, picture, served, until
from xsam_edge.runtime.results import rle
from xsam_edge.runtime.serve.limits import Limits

QUESTION = "Is there a star?"
URI = "data:image/png;base64," + base64.b64encode(picture()).decode()
IMAGE = {"type": "image_url", "image_url": {"url": URI}}


def asked(text: str = QUESTION) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "text", "text": text}, IMAGE]}]


def events(body: bytes) -> list[Any]:
    lines = body.decode().split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]


def test_a_question(client: Client, scene: Scene) -> None:
    told = client.chat(messages=asked(), temperature=0.7, model="shapes").json
    expected = scene.chat(QUESTION)
    (choice,) = told["choices"]
    assert choice["message"] == {"role": "assistant", "content": expected.text, "refusal": None}
    assert choice["finish_reason"] == "stop" and told["object"] == "chat.completion"
    usage = told["usage"]
    assert usage["completion_tokens"] == len(expected.token_ids)
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_tokens"] > scene._settings.model.image_tokens
    again = client.chat(messages=[{"role": "user", "content": QUESTION}], scene=told["scene"]).json
    assert again["choices"] == told["choices"] and again["cached"]


def test_an_answer_that_is_cut_off(client: Client) -> None:
    told = client.chat(messages=asked(), max_tokens=1).json
    assert told["choices"][0]["finish_reason"] == "length" and told["usage"]["completion_tokens"] == 1


def test_a_stream(client: Client, scene: Scene) -> None:
    answer = client.chat(messages=asked(), stream=True, stream_options={"include_usage": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    first, *rest, last, usage = events(answer.body)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    said = "".join(part["choices"][0]["delta"]["content"] for part in rest)
    assert said == scene.chat(QUESTION).text
    assert last["choices"][0]["finish_reason"] == "stop" and last["scene"] and last["timings_ms"]["total"] > 0
    assert usage["choices"] == [] and usage["usage"]["completion_tokens"] > 0
    assert {part["object"] for part in (first, *rest, last, usage)} == {"chat.completion.chunk"}


def test_a_stream_of_a_caption_comes_in_parts(client: Client, scene: Scene) -> None:
    answer = client.chat(messages=asked(""), task="caption", stream=True, mask_format="rle")
    parts = events(answer.body)
    said = [part["choices"][0]["delta"].get("content", "") for part in parts]
    expected = scene.describe()
    assert "".join(said) == expected.caption and sum(map(bool, said)) > 5
    data = parts[-1]["data"]
    assert [entry["label"] for entry in data] == expected.labels
    assert (rle.decode(**data[0]["mask"]) == expected[0].mask).all()


def test_a_caption_as_a_whole(client: Client, scene: Scene) -> None:
    told = client.chat(messages=asked(""), task="caption", threshold=0.5).json
    assert told["choices"][0]["message"]["content"] == scene.describe().caption and "data" not in told


def test_a_fault_before_the_first_word_has_a_status(client: Client) -> None:
    answer = client.chat(messages=asked("long " * 300), stream=True)
    assert answer.status in (200, 400)
    answer = client.chat(messages=[{"role": "user", "content": "What?"}], scene="none", stream=True)
    assert (answer.status, answer.error["code"]) == (404, "scene_not_found")


def test_a_client_that_leaves_ends_the_answer(model: XSam, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model stops at its next step, long before the answer would be over."""
    monkeypatch.setattr(type(model.language), "stops", lambda *_: False)
    with served(model, limits=Limits(new_tokens=4000)) as client:
        body = json.dumps({"messages": asked(), "stream": True, "max_tokens": 3000}).encode()
        connection = http.client.HTTPConnection("127.0.0.1", client.port)
        connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        assert response.read(10)
        response.close()
        connection.close()
        until(lambda: client.service.busy == 0)
        monkeypatch.undo()
        assert client.chat(messages=asked()).status == 200


def test_an_answer_that_takes_too_long_ends_with_an_error(model: XSam, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(model.language), "stops", lambda *_: False)
    with served(model, limits=Limits(new_tokens=4000, seconds=0.4)) as client:
        streamed = client.chat(messages=asked(), stream=True, max_tokens=3000)
        whole = client.chat(messages=asked(), max_tokens=3000)
        until(lambda: client.service.busy == 0)
    last = json.loads(streamed.body.decode().strip().rpartition("data: ")[2])
    assert last["error"]["code"] == "timeout" and b"[DONE]" not in streamed.body
    assert (whole.status, whole.error["code"]) == (504, "timeout")
