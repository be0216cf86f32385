"""What is a picture, what is none, and where pictures may come from."""

from __future__ import annotations

import base64
import http.server
import struct
import threading
import zlib
from collections.abc import Iterator

import pytest

from xsam_edge.runtime.errors import ImageError, InputError
from xsam_edge.runtime.serve.failures import RequestError
from xsam_edge.runtime.serve.limits import Limits
from xsam_edge.runtime.serve.pictures import decode_mask, decode_picture, from_text, is_below

LIMITS = Limits(body_bytes=1000, pixels=10_000)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(width: int = 50_000, height: int = 50_000) -> bytes:
    """A PNG of a few hundred bytes whose header promises gigabytes."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(10_000))) + chunk(b"IEND", b"")


def test_a_bomb_is_told_by_its_header() -> None:
    for decode in (decode_picture, decode_mask):
        with pytest.raises(InputError, match="50000 x 50000 pixels, more than the limit of 10000"):
            decode(bomb(), LIMITS)


@pytest.mark.parametrize("content", [b"", b"hello", b"%!PS-Adobe-3.0", b"RIFF1234WAVE", b"<svg/>", b"BLP2" * 9])
def test_what_is_no_picture(content: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        decode_picture(content, LIMITS)
    assert (caught.value.status, caught.value.code) == (400, "invalid_image")


def test_what_is_damaged() -> None:
    for content in (b"\xff\xd8\xff", bomb(90, 90), b"BM" + bytes(60), b"GIF89a" + bytes(9)):
        with pytest.raises(InputError):
            decode_picture(content, LIMITS)
    with pytest.raises(ImageError):
        decode_picture(b"\x89PNG\r\n\x1a\n" + bytes(30), LIMITS)


def test_data_uris() -> None:
    content = b"\x89PNG any"
    text = base64.b64encode(content).decode()
    for head in ("data:image/png;base64,", "DATA:;base64,", "data:image/png;charset=utf-8;base64,"):
        assert from_text(head + text, "image", LIMITS, ()) == content
    for wrong in ("data:image/png," + text, "data:image/png;base64,***", "data:", "data:" + "x" * 10_000):
        with pytest.raises(RequestError):
            from_text(wrong, "image", LIMITS, ())


@pytest.mark.parametrize(
    "text", ["/etc/passwd", "file:///etc/passwd", "../a.png", "C:\\a.png", "ftp://host/a.png", "gopher://x", "", "\0"]
)
def test_paths_are_never_read(text: str) -> None:
    with pytest.raises(RequestError, match="Paths are not read on the server"):
        from_text(text, "image", LIMITS, ("http://host/",))


def test_urls_are_off() -> None:
    for url in ("http://169.254.169.254/latest/meta-data", "https://example.org/a.png"):
        with pytest.raises(RequestError) as caught:
            from_text(url, "image", LIMITS, ())
        assert caught.value.code == "url_not_allowed" and "--allow-url-prefix" in caught.value.message


PREFIX = "http://cdn.example:8080/pictures/"


@pytest.mark.parametrize(
    ("url", "is_allowed"),
    [
        ("http://cdn.example:8080/pictures/a.png", True),
        ("http://CDN.example:8080/pictures/a/b.png?size=1", True),
        ("https://cdn.example:8080/pictures/a.png", False),
        ("http://cdn.example/pictures/a.png", False),
        ("http://cdn.example:8080/other/a.png", False),
        ("http://cdn.example:8080/pictures-of-others/a.png", False),
        ("http://cdn.example:8080/pictures/../secret", False),
        ("http://cdn.example:8080/pictures/%2e%2e/secret", False),
        ("http://cdn.example:8080@evil.example/pictures/a.png", False),
        ("http://user@cdn.example:8080/pictures/a.png", False),
        ("http://cdn.example:8080.evil.example/pictures/a.png", False),
        ("http://cdn.example:8080\\@evil.example/pictures/a.png", False),
        ("http://[::1/pictures/a.png", False),
        ("http://cdn.example:8080/pictures/a\r\nHost: b", False),
    ],
)
def test_what_is_below_a_prefix(url: str, is_allowed: bool) -> None:
    assert is_below(url, PREFIX) is is_allowed


@pytest.fixture
def site() -> Iterator[str]:
    class Pages(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status = {"/a/moved": 302, "/a/none": 404}.get(self.path, 200)
            self.send_response(status)
            self.send_header("Location", "/secret")
            self.end_headers()
            self.wfile.write(b"x" * (2000 if self.path == "/a/large" else 10))

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Pages)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
    yield f"http://127.0.0.1:{server.server_port}/a/"
    server.shutdown()
    server.server_close()


def test_urls_below_a_prefix_are_fetched_and_lead_nowhere_else(site: str) -> None:
    assert from_text(f"{site}small", "image", LIMITS, (site,)) == b"x" * 10
    for name, status in (("moved", 400), ("none", 400), ("large", 413)):
        with pytest.raises(RequestError) as caught:
            from_text(site + name, "image", LIMITS, (site,))
        assert caught.value.status == status
    with pytest.raises(RequestError, match="cannot be fetched"):
        from_text("http://127.0.0.1:1/", "image", LIMITS, ("http://127.0.0.1:1/",))
