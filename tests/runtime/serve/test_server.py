"""How a server ends: what was taken is answered, what comes later is refused."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.runtime.loaded import load

pytest.importorskip("fastapi")

from tests.runtime.serve.served import Client, picture, until
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.serve.access import Access
from xsam_edge.runtime.serve.app import make_app
from xsam_edge.runtime.serve.limits import Limits
from xsam_edge.runtime.serve.server import listen, make_server

PHRASE = ("prompt", "the blue circle")


@pytest.mark.parametrize("seconds", [60.0, 1.0])
def test_what_was_taken_is_answered_within_a_limit(shapes_bundle: Path, seconds: float) -> None:
    model, limits = load(shapes_bundle), Limits(shutdown_seconds=seconds)
    app, listening = make_app(model, "shapes", Access(), limits), listen("127.0.0.1", 0)
    server = make_server(app, "127.0.0.1", 0, limits)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    until(lambda: server.started)
    client = Client(listening.getsockname()[1], app.state.service)
    with ThreadPoolExecutor(1) as pool:
        with model.pipeline.turn():
            asked = pool.submit(client.segment, ("image", picture()), PHRASE)
            until(lambda: client.service.busy == 1)
            server.handle_exit(signal.SIGTERM, None)
            assert not client.service.ready
            if seconds == 1.0:  # too long for it: the server leaves, and its model's thread is left alone
                until(lambda: client.service.busy == 0)
        if seconds == 60.0:
            assert asked.result().status == 200
        else:
            assert asked.exception() is not None or asked.result().status >= 500
    thread.join(90)
    assert not thread.is_alive() and not client.service.worker.alive
    with pytest.raises(ConnectionRefusedError):
        client.ask("/healthz")


def test_answers_do_not_wait_for_a_delayed_acknowledgement() -> None:
    async def option() -> int:
        found: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            found.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        with listen("127.0.0.1", 0) as listening:
            async with await asyncio.start_server(connected, sock=listening):
                _, writer = await asyncio.open_connection(*listening.getsockname())
                result = await found
                writer.close()
        return result

    assert asyncio.run(option())


def test_a_port_that_is_taken() -> None:
    with listen("127.0.0.1", 0) as first, pytest.raises(InputError, match="choose another"):
        listen("127.0.0.1", first.getsockname()[1])
