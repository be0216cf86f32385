"""Pictures that a client sends: the bytes of a file, a data URI, or a URL where that is allowed."""

from __future__ import annotations

import base64
import binascii
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException
from typing import IO

from PIL import Image

from xsam_edge.runtime.image.load import decoded_image, load_image
from xsam_edge.runtime.serve.failures import RequestError
from xsam_edge.runtime.serve.limits import Limits

# What is decoded at all, by how a file begins: fewer decoders than Pillow has are within a stranger's reach.
_SIGNATURES = (
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"GIF87a",
    b"GIF89a",
    b"BM",
    b"II*\x00",
    b"MM\x00*",
)
KINDS = "PNG, JPEG, WebP, GIF, BMP or TIFF"
_DATA = re.compile(r"data:([\w.+-]+/[\w.+-]+)?(;[\w.+=-]+)*;base64,", re.IGNORECASE)
_FETCH_SECONDS = 10.0
_BLOCK = 1 << 16


def check_kind(content: bytes | bytearray, param: str) -> None:
    """Refuse what does not begin as a file of ``KINDS``. Raises RequestError (400)."""
    webp = content[:4] == b"RIFF" and content[8:12] == b"WEBP"
    if not content:
        raise RequestError(400, f"{param} is empty (0 bytes); expected a picture: {KINDS}", param, "invalid_image")
    if not webp and not bytes(content[:8]).startswith(_SIGNATURES):
        raise RequestError(400, f"{param} is not a picture of a kind that is taken: {KINDS}", param, "invalid_image")


def decode_picture(content: bytes, limits: Limits) -> Image.Image:
    """A picture in RGB, upright. Raises RequestError, or InputError where it is damaged or has too many pixels."""
    check_kind(content, "image")
    return load_image(content, max_pixels=limits.pixels)


def decode_mask(content: bytes, limits: Limits) -> Image.Image:
    """A mask as it is, upright. Raises as :func:`decode_picture` does."""
    check_kind(content, "masks")
    return decoded_image(content, limits.pixels)[0]


def from_text(text: str, param: str, limits: Limits, prefixes: Sequence[str]) -> bytes:
    """The content of the picture that a data URI holds, or a URL that begins with one of ``prefixes`` leads to.

    Raises:
        RequestError: neither, damaged, too large, or a URL that gives no picture.
    """
    if text[:5].lower() == "data:":
        return _from_data(text, param)
    if not text[:8].lower().startswith(("http://", "https://")):
        raise RequestError(
            400,
            f"{param} is text that is no picture ({text[:40]!r}); send the file itself (curl -F image=@street.jpg) or "
            "a data URI (data:image/png;base64,...). Paths are not read on the server",
            param,
            "invalid_image",
        )
    if not any(is_below(text, prefix) for prefix in prefixes):
        raise RequestError(
            400,
            f"{param} is a URL that is not fetched; send a data URI (data:image/png;base64,...), or have the server "
            "started with --allow-url-prefix",
            param,
            "url_not_allowed",
        )
    return _fetch(text, param, limits)


def is_below(url: str, prefix: str) -> bool:
    """Whether a URL has the scheme, host and port of a prefix and a path below its path, by no way around.

    >>> is_below("https://cdn.example/pictures/a.png", "https://cdn.example/pictures/")
    True
    >>> is_below("https://cdn.example.evil/pictures/a.png", "https://cdn.example")
    False
    """
    try:
        given, allowed = urllib.parse.urlsplit(url), urllib.parse.urlsplit(prefix)
        same = (given.scheme, given.hostname, given.port) == (allowed.scheme, allowed.hostname, allowed.port)
    except ValueError:
        return False
    path = urllib.parse.unquote(given.path)
    around = "@" in given.netloc or "\\" in url or "//" in path or ".." in path or not url.isprintable()
    folder = allowed.path if allowed.path.endswith("/") else f"{allowed.path}/"
    return same and not around and f"{path}/".startswith(folder)


def _from_data(text: str, param: str) -> bytes:
    if not (head := _DATA.match(text[:200])):
        raise RequestError(400, f"{param} is no data URI in base64: data:image/png;base64,...", param, "invalid_image")
    try:
        return base64.b64decode(text[head.end() :], validate=True)
    except (binascii.Error, ValueError):
        raise RequestError(400, f"{param} is a data URI whose base64 is damaged", param, "invalid_image") from None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object, **__: object) -> None:
        """None: what is allowed may not lead elsewhere."""


def _fetch(url: str, param: str, limits: Limits) -> bytes:
    # Without the proxies of the environment, too: those would be asked in the server's name.
    opener = urllib.request.build_opener(_NoRedirects, urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=_FETCH_SECONDS) as answer:
            return _read(answer, param, limits)
    except urllib.error.HTTPError as error:
        error.close()
        raise RequestError(400, f"{param} cannot be fetched: status {error.code}", param, "url_failed") from None
    except (OSError, HTTPException, ValueError):
        raise RequestError(400, f"{param} cannot be fetched", param, "url_failed") from None


def _read(answer: IO[bytes], param: str, limits: Limits) -> bytes:
    content = bytearray()
    while block := answer.read(_BLOCK):
        content += block
        if len(content) > limits.body_bytes:
            raise RequestError(413, f"{param} is larger than {limits.body_bytes} bytes", param, "too_large")
    return bytes(content)
