"""A stand-in for the Hugging Face hub: what its client asks of one repository, on this machine."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LFS_BYTES = 1000  # files from this size on lie in LFS, whose bytes come from another host


@dataclass
class Hub:
    """The repository, and what was asked for. ``breaks`` are bytes after which the next transfers end."""

    repository: str
    files: dict[str, bytes]
    commit: str = "c" * 40
    ranges: bool = True
    breaks: list[int] = field(default_factory=list)
    address: str = ""
    sent: list[tuple[str, int, int]] = field(default_factory=list)  # path, first byte, bytes

    @property
    def transferred(self) -> dict[str, int]:
        """Bytes that were sent of each large file."""
        totals: dict[str, int] = {}
        for path, _, count in self.sent:
            totals[path] = totals.get(path, 0) + count
        return totals

    def info(self) -> dict[str, Any]:
        siblings = [
            {"rfilename": path, "size": len(content), "blobId": _git(content), "lfs": _lfs(content, "sha256")}
            for path, content in self.files.items()
        ]
        return {"id": self.repository, "sha": self.commit, "siblings": siblings, "tags": []}

    def tree(self) -> list[dict[str, Any]]:
        return [
            {"type": "file", "path": path, "size": len(content), "oid": _git(content)}
            | ({"lfs": lfs} if (lfs := _lfs(content, "oid")) else {})
            for path, content in self.files.items()
        ]


def _git(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _lfs(content: bytes, key: str) -> dict[str, Any] | None:
    if len(content) < LFS_BYTES:
        return None
    return {key: hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        path, hub = self.path.partition("?")[0], self.hub
        api = f"/api/models/{hub.repository}"
        if path in (api, f"{api}/revision/main"):
            return self._send(json.dumps(hub.info()).encode(), with_body)
        if path == f"{api}/tree/{hub.commit}":
            return self._send(json.dumps(hub.tree()).encode(), with_body)
        name = re.sub(rf"^/(cdn|{hub.repository}/resolve/(main|{hub.commit}))/", "", path)
        content = hub.files.get(name)
        if name == path or content is None:
            return self._send(
                b"", with_body, 404, {"X-Error-Code": "EntryNotFound" if name != path else "RepoNotFound"}
            )
        lfs = _lfs(content, "sha256")
        facts = {"X-Repo-Commit": hub.commit, "ETag": f'"{_git(content)}"'}
        if path.startswith("/cdn/"):
            return self._transfer(name, content)
        if lfs is None:
            return self._send(content, with_body, 200, facts)
        port = self.server.server_port
        facts |= {"X-Linked-Etag": f'"{lfs["sha256"]}"', "X-Linked-Size": str(lfs["size"])}
        return self._send(b"", with_body, 302, facts | {"Location": f"http://localhost:{port}/cdn/{name}"})

    def _transfer(self, name: str, content: bytes) -> None:
        first, hub = 0, self.hub
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if asked and hub.ranges:
            first = int(asked[1])
        left = content[first:]
        self.send_response(206 if asked and hub.ranges else 200)
        self.send_header("Content-Length", str(len(left)))
        self.end_headers()
        count = hub.breaks.pop(0) if hub.breaks else len(left)
        self.wfile.write(left[:count])
        self.wfile.flush()
        hub.sent.append((name, first, min(count, len(left))))
        if count < len(left):
            self.close_connection = True

    def _send(self, body: bytes, with_body: bool, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serve on a free port; ``hub.address`` says where."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
