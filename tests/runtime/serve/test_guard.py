"""Too many, too much, too slow: each has its status, and nothing is left behind."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from xsam_edge.runtime.model import XSam

pytest.importorskip("fastapi")

from tests.runtime.serve.served import FORM, Client, form, picture, served, until
from xsam_edge.runtime.serve.access import Access
from xsam_edge.runtime.serve.limits import Limits

PHRASE = ("prompt", "the blue circle")
TOKEN = "a-token-of-32-characters-or-more"


@pytest.fixture(scope="module")
def client(model: XSam) -> Iterator[Client]:
    with served(model, limits=Limits(body_bytes=200_000, requests=3)) as client:
        yield client


@pytest.fixture(scope="module")
def hasty(model: XSam) -> Iterator[Client]:
    """A server that waits for nothing long."""
    with served(model, limits=Limits(body_seconds=0.3, header_seconds=0.3, seconds=0.3)) as client:
        yield client


@pytest.fixture(autouse=True)
def nothing_is_left(client: Client) -> Iterator[None]:
    yield
    until(lambda: client.service.busy == 0 and client.service.worker.waiting == 0)
    assert client.segment(("image", picture()), PHRASE).status == 200


def head(length: int, more: str = "") -> bytes:
    return (
        f"POST /v1/images/segmentations HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM}\r\n"
        f"Content-Length: {length}\r\n{more}\r\n"
    ).encode()


def test_a_body_that_is_too_large_is_refused_but_read(client: Client) -> None:
    answer = client.segment(("image", b"\x89PNG\r\n\x1a\n" + bytes(400_000)), PHRASE)
    assert (answer.status, answer.error["code"]) == (413, "too_large")
    assert "200000" in answer.error["message"]


def test_a_body_of_unknown_length_that_is_too_large(client: Client) -> None:
    block = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    request = head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    answer = client.raw(request + 6 * block + b"0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413")


def test_more_than_is_read_to_its_end_is_refused_by_its_head(client: Client) -> None:
    answer = client.raw(head(999_999_999_999))
    assert answer.startswith(b"HTTP/1.1 413")


def test_a_hundred_megabytes_are_refused_before_they_come(client: Client) -> None:
    answer = client.raw(head(100 << 20, "Expect: 100-continue\r\n"))  # as curl asks before it sends them
    assert answer.startswith(b"HTTP/1.1 413") and b"too_large" in answer


def test_a_slow_body(hasty: Client) -> None:
    assert hasty.raw(head(1000) + b"--x").startswith(b"HTTP/1.1 408")


def test_a_slow_head(hasty: Client) -> None:
    assert hasty.raw(b"POST /v1/images/segmentations HTTP/1.1\r\nHost: loc") == b""


def test_a_client_that_leaves_takes_its_question_back(client: Client, model: XSam) -> None:
    body = form([("image", picture()), PHRASE])
    with model.pipeline.turn():
        with socket.create_connection(("127.0.0.1", client.port)) as connection:
            connection.sendall(head(len(body)) + body)
            until(lambda: client.service.busy == 1 and client.service.worker._thread.is_alive())
        until(lambda: client.service.busy == 0)


def test_a_body_that_ends_early(client: Client) -> None:
    with socket.create_connection(("127.0.0.1", client.port)) as connection:
        connection.sendall(head(1000) + b"--x")
    until(lambda: client.service.busy == 0)


def test_what_waits_too_long_is_answered_with_504(hasty: Client, model: XSam) -> None:
    body = form([("image", picture()), PHRASE])
    with model.pipeline.turn():
        answer = hasty.raw(head(len(body)) + body)
    assert answer.startswith(b"HTTP/1.1 504") and b'"code":"timeout"' in answer


def test_one_request_too_many(client: Client, model: XSam) -> None:
    with ThreadPoolExecutor(3) as pool:
        with model.pipeline.turn():
            asked = [pool.submit(client.segment, ("image", picture()), PHRASE) for _ in range(3)]
            until(lambda: client.service.busy == 3)
            refused = client.segment(("image", picture()), PHRASE)
            assert client.ask("/healthz").status == 200
        assert {answer.result().status for answer in asked} == {200}
    assert (refused.status, refused.error["type"]) == (429, "rate_limit_error")
    assert int(refused.headers["retry-after"]) >= 1


def test_another_name_is_refused(client: Client) -> None:
    for path, body in (("/", None), ("/v1/images/segmentations", form([PHRASE]))):
        answer = client.ask(path, body, {"Host": "rebound.example", "Content-Type": FORM})
        assert (answer.status, answer.error["code"]) == (421, "wrong_host")
    assert client.ask("/", headers={"Host": f"LOCALHOST:{client.port}"}).status == 200
    assert client.ask("/", headers={"Host": f"[::1]:{client.port}"}).status == 200


def test_pages_of_other_sites_are_refused(client: Client) -> None:
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1"):
        answer = client.segment(("image", picture()), PHRASE, headers={"Origin": origin})
        assert (answer.status, answer.error["code"]) == (403, "wrong_origin")
    own = {"Origin": f"http://127.0.0.1:{client.port}"}
    answer = client.segment(("image", picture()), PHRASE, headers=own)
    assert answer.status == 200 and "access-control-allow-origin" not in answer.headers


def test_a_token(model: XSam) -> None:
    with served(model, Access(token=TOKEN)) as client:
        for given in (None, "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \xe9"):
            headers = {} if given is None else {"Authorization": given}
            answer = client.segment(("image", picture()), PHRASE, headers=headers)
            assert (answer.status, answer.error["code"]) == (401, "wrong_token")
            assert answer.headers["www-authenticate"] == "Bearer" and TOKEN not in answer.body.decode()
        for path in ("/metrics", "/openapi.json", "/v1/models"):
            assert client.ask(path).status == 401
            assert client.ask(path, headers={"Authorization": f"Bearer {TOKEN}"}).status == 200
        for path in ("/", "/healthz", "/readyz"):
            assert client.ask(path).status == 200
        answer = client.segment(("image", picture()), PHRASE, headers={"Authorization": f"bearer {TOKEN}"})
        assert answer.status == 200


def test_a_site_that_may_ask(model: XSam) -> None:
    site = "https://friend.example"
    with served(model, Access(token=TOKEN, origins=(site,))) as client:
        asked = {"Origin": site, "Access-Control-Request-Method": "POST"}
        asked["Access-Control-Request-Headers"] = "authorization"
        preflight = client.ask("/v1/images/segmentations", method="OPTIONS", headers=asked)
        assert preflight.status == 200 and preflight.headers["access-control-allow-origin"] == site
        refused = client.segment(("image", picture()), PHRASE, headers={"Origin": site})
        assert refused.status == 401 and refused.headers["access-control-allow-origin"] == site
        other = {"Origin": "https://evil.example", "Authorization": f"Bearer {TOKEN}"}
        assert "access-control-allow-origin" not in client.segment(("image", picture()), PHRASE, headers=other).headers


def test_no_trace_of_an_error_within(model: XSam, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a secret within")

    with served(model) as client:
        monkeypatch.setattr("xsam_edge.runtime.serve.worker._ask", broken)
        answer = client.segment(("image", picture()), PHRASE)
        assert (answer.status, answer.error["code"]) == (500, "internal_error")
        assert "secret" not in answer.body.decode()
        monkeypatch.undo()
        monkeypatch.setattr("xsam_edge.runtime.serve.app.render", broken)
        assert client.segment(("image", picture()), PHRASE).status == 500
        monkeypatch.undo()
        assert client.segment(("image", picture()), PHRASE).status == 200
