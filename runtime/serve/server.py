"""uvicorn around the application: connections that send nothing end, and an end that lets requests finish."""

from __future__ import annotations

import asyncio
import socket
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.serve.limits import Limits

_CONNECTIONS = 1024
_FLUSH_SECONDS = 60.0


def protocol(seconds: float) -> type[H11Protocol]:
    """uvicorn's protocol, which closes connections whose next request has no end of headers within ``seconds``."""

    class Impatient(H11Protocol):
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._wait()

        def connection_lost(self, exc: Exception | None) -> None:
            if self._timer is not None:
                self._timer.cancel()
            super().connection_lost(exc)

        def on_response_complete(self) -> None:
            self._wait()
            super().on_response_complete()

        def _wait(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self.loop.call_later(seconds, self._late)

        def _late(self) -> None:
            if self.cycle is None or self.cycle.response_complete:
                self.transport.close()
                # Closing waits for a client that reads its response, which one may never do.
                self._timer = self.loop.call_later(_FLUSH_SECONDS, self.transport.abort)

    return Impatient


class Server(uvicorn.Server):
    """A server that refuses new requests as soon as it is told to end, and then finishes those that run."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGINT and SIGTERM; a second SIGINT ends it at once."""
        app: Any = self.config.app
        app.state.service.ending = True
        super().handle_exit(sig, frame)


def make_server(app: FastAPI, host: str, port: int, limits: Limits) -> Server:
    """A server that is not started yet; its log is warnings and errors alone."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=protocol(limits.header_seconds),
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=max(1, round(limits.shutdown_seconds)),
    )
    return Server(config)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        InputError: the address is another program's, or none.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named as TCP: else asyncio leaves Nagle's algorithm on, and each answer waits 40 ms for the client's delayed ACK.
    opened = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        opened.bind((host, port))
        opened.listen(_CONNECTIONS)
    except OSError as error:
        opened.close()
        reason = error.strerror or str(error)
        message = f"cannot listen on {host} port {port} ({reason}); choose another with --host or --port"
        raise InputError(message) from None
    return opened


def run(server: Server, listening: socket.socket) -> None:
    """Serve until a signal ends it."""
    try:
        server.run(sockets=[listening])
    except KeyboardInterrupt:  # uvicorn raises its signal again once everything is done
        if not server.started:
            raise
