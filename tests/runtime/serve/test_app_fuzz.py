"""Whatever is sent, the answer is an error of the client's, in the one form, and the server goes on."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.loaded import load

pytest.importorskip("fastapi")

from tests.runtime.serve.served import FORM, Client, form, picture, png, served
from xsam_edge.runtime.serve.fields import FIELDS
from xsam_edge.runtime.serve.limits import Limits

ROUNDS = 150
VALUES = (
    "",
    "a",
    "0",
    "-1",
    "1e400",
    "nan",
    "[]",
    "{}",
    "[[]]",
    "null",
    '"',
    "true",
    "\0",
    "\ud7ff",
    "🙂" * 50,
    "[1,2]",
)
VALUES += ("[[0,0,1e9,1e9]]", "[[1,1,2,2]]", "[[-5,5]]", "a,b", "refer", "caption", "regions")
VALUES += (
    "categories",
    "<p>x</p>",
    "<SEG>",
    "<image>",
    "<region>",
    "data:image/png;base64,AAAA",
    "http://127.0.0.1/",
    "/etc/passwd",
    "x" * 3000,
)
JSON: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1.5,
    10**400,
    "",
    "a",
    [],
    {},
    [[]],
    {"a": []},
    "<image>",
    "\u0000",
    "\ud800",
)
FILES = (b"", b"x", png(1, 1), png(8, 3, "RGB", 7), picture(), picture()[:400], picture(83, 160, "JPEG")[:900])


@pytest.fixture(scope="module")
def client(shapes_bundle: Path) -> Iterator[Client]:
    with served(load(shapes_bundle), limits=Limits(new_tokens=20)) as client:
        yield client


def check(status: int, body: bytes) -> None:
    assert status < 500, body
    if status >= 400:
        error = json.loads(body)["error"]
        assert error.keys() == {"message", "type", "param", "code"} and len(error["message"]) < 2000


def test_forms(client: Client) -> None:
    dice = random.Random(1)
    names = [*FIELDS, "image", "image", "prompt", "things", "boxes", "nothing", "", "\xe9"]
    for _ in range(ROUNDS):
        fields = [(dice.choice(names), dice.choice((*VALUES, *FILES))) for _ in range(dice.randint(0, 4))]
        fields += [("image", picture())] * dice.randint(0, 1)
        body = form(fields)
        if dice.random() < 0.3:  # cut, doubled or with other bytes in it
            at, end = sorted(dice.choices(range(len(body)), k=2))
            body = body[:at] + dice.choice((b"", body[at:end] * 2, b"\r\n--", bytes(9))) + body[end:]
        kind = FORM if dice.random() < 0.95 else dice.choice(("", "text/plain", "multipart/form-data", FORM[:-3]))
        answer = client.ask("/v1/images/segmentations", body, {"Content-Type": kind})
        check(answer.status, answer.body)
    assert client.segment(("image", picture()), ("prompt", "the sand")).status == 200


def test_chats(client: Client) -> None:
    dice = random.Random(2)
    message = {"role": "user", "content": "What is there?"}
    known = client.segment(("image", picture()), ("prompt", "the sand")).json["scene"]
    names = (
        "messages",
        "\ud800",
        "model",
        "stream",
        "stream_options",
        "max_tokens",
        "n",
        "scene",
        "task",
        "threshold",
        "tools",
    )
    for _ in range(ROUNDS):
        given: dict[str, Any] = {"messages": [message], "scene": known}
        for _ in range(dice.randint(0, 3)):
            given[dice.choice(names)] = dice.choice(JSON)
        if dice.random() < 0.3:
            given["messages"] = [{**message, dice.choice(("role", "content", "name")): dice.choice(JSON)}]
        body = json.dumps(given).encode()
        if dice.random() < 0.2:
            body = body[: dice.randrange(len(body))]
        answer = client.ask("/v1/chat/completions", body, {"Content-Type": "application/json"})
        if not answer.headers["content-type"].startswith("text/event-stream"):
            check(answer.status, answer.body)
    assert client.chat(messages=[message], scene=known).status == 200


def test_requests(client: Client) -> None:
    dice = random.Random(3)
    paths = ("/", "/v1/scenes/x", "/v1/scenes/%00", "/v1/images/segmentations", "/metrics", "/%ff", "/page/..%2fapp.py")
    for _ in range(60):
        method = dice.choice(("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "BREW"))
        headers = {
            dice.choice(("Content-Type", "Authorization", "Origin", "Range")): dice.choice(VALUES[:9]).strip("\0")
        }
        answer = client.ask(dice.choice(paths), b"x" * dice.randint(0, 9), headers, method)
        assert answer.status < 500
    for content in (
        b"GET\r\n\r\n",
        b"\x16\x03\x01" + bytes(50),
        b"GET / HTTP/9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\n",
    ):
        assert b" 500 " not in client.raw(content)[:40]
    assert client.ask("/readyz").status == 200
