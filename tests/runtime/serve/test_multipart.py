from __future__ import annotations

import pytest

pytest.importorskip("python_multipart")
pytest.importorskip("fastapi")

from tests.runtime.serve.served import BOUNDARY, FORM, form
from xsam_edge.runtime.serve.failures import RequestError
from xsam_edge.runtime.serve.multipart import MAX_PARTS, parse_form


def test_parts() -> None:
    data = bytes(range(256)) * 3
    first, second, third = parse_form(form([("prompt", "a ü"), ("image", data), ("prompt", "")]), FORM)
    assert (first.name, first.text, first.is_file) == ("prompt", "a ü", False)
    assert (second.name, bytes(second.data), second.is_file) == ("image", data, True)
    assert third.text == ""
    with pytest.raises(RequestError, match="image is a file; expected text"):
        second.text  # noqa: B018


def test_a_form_that_ends_in_the_middle() -> None:
    body = form([("prompt", "a"), ("image", b"x" * 100)])
    for end in (len(body) - 5, len(body) // 2, 10):
        with pytest.raises(RequestError, match=r"ends in the middle|cannot be read") as caught:
            parse_form(body[:end], FORM)
        assert caught.value.status == 400


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("", 415),
        ("application/json", 415),
        ("multipart/mixed; boundary=x", 415),
        ("multipart/form-data", 400),
        ("multipart/form-data; boundary=", 400),
        (f"multipart/form-data; boundary={'x' * 71}", 400),
    ],
)
def test_another_content_type(kind: str, status: int) -> None:
    with pytest.raises(RequestError) as caught:
        parse_form(form([("prompt", "a")]), kind)
    assert caught.value.status == status


@pytest.mark.parametrize(
    "part",
    [
        b"\r\n\r\nx\r\n",
        b"\r\nContent-Disposition: form-data\r\n\r\nx\r\n",
        b"\r\nContent-Disposition\r\n\r\nx\r\n",
        b"\r\nContent-Type: text/plain\r\n\r\nx\r\n",
    ],
)
def test_a_part_without_a_name(part: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        parse_form(f"--{BOUNDARY}".encode() + part + f"--{BOUNDARY}--\r\n".encode(), FORM)
    assert caught.value.status == 400


def test_too_many_parts() -> None:
    with pytest.raises(RequestError, match=f"more than {MAX_PARTS} parts"):
        parse_form(form([("prompt", "a")] * (MAX_PARTS + 1)), FORM)


def test_text_that_is_none() -> None:
    body = form([("prompt", "a")]).replace(b"\r\na\r\n", b"\r\n\xff\r\n")
    (part,) = parse_form(body, FORM)
    with pytest.raises(RequestError, match="not text in UTF-8"):
        part.text  # noqa: B018
