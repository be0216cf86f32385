"""Who may ask: whoever has the token, or where none is needed, whoever is on this machine and is no page of a site."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.serve.failures import RequestError

SHORTEST = 16
_LOCAL = ("localhost", "127.0.0.1", "::1")
_OPEN = ("/healthz", "/readyz")


@dataclass(frozen=True)
class Access:
    """The rules.

    ``token`` is None where none is needed. ``hosts`` are the names by which the server may be addressed, without
    ports; none given, any. ``origins`` are other sites whose pages may ask.
    """

    token: str | None = None
    hosts: tuple[str, ...] = _LOCAL
    origins: tuple[str, ...] = ()

    def check_host(self, host: str | None) -> None:
        """Refuse a request for another name. A page of a site whose name was made to lead here sends its own name.

        Raises:
            RequestError: 421.
        """
        if self.hosts and host_name(host or "") not in self.hosts:
            raise RequestError(
                421,
                f"this server is not {(host or '')[:80]!r}; address it as {self.hosts[0]}, or start it "
                "with --allow-host",
                None,
                "wrong_host",
            )

    def check_origin(self, origin: str | None, host: str | None) -> None:
        """Refuse a question of another site's page, where no token keeps it from asking.

        Raises:
            RequestError: 403.
        """
        if origin is None or self.token is not None or origin in self.origins:
            return
        if urlsplit(origin).netloc.lower() != (host or "").lower():
            message = f"pages of {origin[:80]!r} may not ask this server; start it with --cors-origin to let them"
            raise RequestError(403, message, None, "wrong_origin")

    def check_token(self, path: str, authorization: str | None) -> None:
        """Refuse a request without the token, compared in a time that tells nothing of it.

        Raises:
            RequestError: 401.
        """
        if self.token is None or path in _OPEN or not is_protected(path):
            return
        kind, _, given = (authorization or "").partition(" ")
        known, told = (hashlib.sha256(text.encode(errors="surrogateescape")).digest() for text in (self.token, given))
        if not hmac.compare_digest(known, told) or kind.lower() != "bearer":
            fault = "is not the server's" if authorization else "is missing"
            raise RequestError(
                401,
                f"the token {fault}; send the header Authorization: Bearer TOKEN",
                None,
                "wrong_token",
                {"WWW-Authenticate": "Bearer"},
            )


def is_protected(path: str) -> bool:
    """Whether a path needs the token: all but the page's own files and the probes, which tell nothing."""
    return path.startswith("/v1/") or path in ("/v1", "/metrics", "/openapi.json")


def host_name(host: str) -> str:
    """The name in a Host header, without its port and in lower case."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host


def is_loopback(host: str) -> bool:
    """Whether an address to listen on can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def make_access(host: str, token_file: Path | None, hosts: Sequence[str], origins: Sequence[str]) -> Access:
    """The rules for a server that listens on ``host``.

    Raises:
        InputError: no token where one is needed, one that is too short, or an origin that is none.
        OSError: the file cannot be read.
    """
    local = is_loopback(host)
    if not local and token_file is None:
        raise InputError(
            f"--host {host} can be reached from other machines, which then need a token; write one of {SHORTEST} "
            "characters or more into a file and give it with --token-file"
        )
    token = None if token_file is None else _token(token_file)
    for origin in origins:
        parts = urlsplit(origin)
        if parts.scheme not in ("http", "https") or origin != f"{parts.scheme}://{parts.netloc}" or not parts.netloc:
            raise InputError(f"--cors-origin is {origin!r}; expected a scheme and a host, such as https://example.org")
    named = tuple(map(host_name, hosts))
    return Access(token, (*_LOCAL, host, *named) if local else named, tuple(origins))


def _token(path: Path) -> str:
    try:
        token = path.read_text(encoding="ascii").strip()
    except UnicodeDecodeError:
        token = ""
    if len(token) < SHORTEST or not token.isprintable() or " " in token:
        raise InputError(
            f"{path} holds no token of {SHORTEST} or more characters of ASCII without blanks; write one, such as "
            "that of `openssl rand -hex 32`"
        )
    return token
