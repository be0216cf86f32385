"""A server on a port of its own, and a client that sends what it is told to, right or wrong."""

from __future__ import annotations

import http.client
import io
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from PIL import Image

from xsam_edge.calibration.shapes.composition import compose
from xsam_edge.calibration.shapes.draw import draw
from xsam_edge.runtime.model import XSam
from xsam_edge.runtime.serve.access import Access
from xsam_edge.runtime.serve.app import make_app
from xsam_edge.runtime.serve.limits import Limits
from xsam_edge.runtime.serve.server import listen, make_server
from xsam_edge.runtime.serve.service import Service

BOUNDARY = "xsam-test-boundary"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
Fields = Sequence[tuple[str, str | bytes]]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error, which has OpenAI's form and nothing else."""
        assert self.json.keys() == {"error"}
        error: dict[str, Any] = self.json["error"]
        assert error.keys() == {"message", "type", "param", "code"}
        assert "Traceback" not in error["message"] and ".py" not in error["message"]
        return error


@dataclass(frozen=True)
class Client:
    """Requests to a server, each on a connection of its own."""

    port: int
    service: Service

    def ask(
        self,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        method: str | None = None,
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=90)
        try:
            connection.request(method or ("GET" if body is None else "POST"), path, body, dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def segment(self, *fields: tuple[str, str | bytes], headers: Mapping[str, str] | None = None) -> Answer:
        kind = {"Content-Type": FORM, **(headers or {})}
        return self.ask("/v1/images/segmentations", form(fields), kind)

    def chat(self, **given: Any) -> Answer:
        kind = {"Content-Type": "application/json"}
        return self.ask("/v1/chat/completions", json.dumps(given).encode(), kind)

    def raw(self, content: bytes) -> bytes:
        """What comes back for some bytes, until the server closes the connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=90) as connection:
            connection.sendall(content)
            parts = []
            while part := connection.recv(1 << 16):
                parts.append(part)
            return b"".join(parts)


def form(fields: Fields) -> bytes:
    """A body of fields; bytes are a file's."""
    body = b""
    for name, value in fields:
        file = '; filename="file"' if isinstance(value, bytes) else ""
        body += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode()
        body += (value if isinstance(value, bytes) else value.encode()) + b"\r\n"
    return body + f"--{BOUNDARY}--\r\n".encode()


@contextmanager
def served(
    model: XSam, access: Access | None = None, limits: Limits | None = None, prefixes: Sequence[str] = ()
) -> Iterator[Client]:
    """A server of a model within a block."""
    limits = limits or Limits()
    app = make_app(model, "shapes", access or Access(), limits, prefixes)
    listening = listen("127.0.0.1", 0)
    server = make_server(app, "127.0.0.1", 0, limits)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        until(lambda: server.started)
        yield Client(listening.getsockname()[1], app.state.service)
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


def until(happened: Any, seconds: float = 60) -> None:
    """Wait for something that will be so."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.005)


@cache
def picture(index: int = 83, size: int = 160, kind: str = "PNG") -> bytes:
    """The file of a drawn scene that the demo model knows."""
    file = io.BytesIO()
    Image.fromarray(draw(compose(index), size).pixels).save(file, kind)
    return file.getvalue()


def png(width: int, height: int, mode: str = "L", color: int = 255) -> bytes:
    """A picture of one colour."""
    file = io.BytesIO()
    Image.new(mode, (width, height), color).save(file, "PNG")
    return file.getvalue()
