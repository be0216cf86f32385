"""What stands before every request: who asks, how many do, how much they send, and headers of every response."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from contextlib import suppress
from typing import Any, TypeVar

from fastapi import Request
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers

from xsam_edge.runtime.serve.access import Access
from xsam_edge.runtime.serve.failures import RequestError, as_failure
from xsam_edge.runtime.serve.service import Service

_log = logging.getLogger(__name__)

T = TypeVar("T")
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

# A body that is refused is read all the same for so long and thrown away: many clients read no response before.
_LINGER_SECONDS = 5.0
_GONE = 499  # counted, never sent: the client is not there any more

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"permissions-policy", b"camera=(self), microphone=(), geolocation=()"),
    (b"cross-origin-opener-policy", b"same-origin"),
]


def failure_response(failure: RequestError) -> JSONResponse:
    """A failure as it is sent."""
    return JSONResponse(failure.body, failure.status, failure.headers)


class Hosts:
    """The outermost layer: refuses other names and sites, counts responses and gives them their headers."""

    def __init__(self, app: App, service: Service, access: Access) -> None:
        self._app, self._service, self._access = app, service, access

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Handle a request, as ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers, status = Headers(scope=scope), _GONE

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), *_HEADERS]
            if message.get("more_body"):  # which waits for the client to read what was sent before
                await asyncio.wait_for(send(message), self._service.limits.seconds)
            else:
                await send(message)

        try:
            self._access.check_host(headers.get("host"))
            if scope["method"] not in ("GET", "HEAD", "OPTIONS"):
                self._access.check_origin(headers.get("origin"), headers.get("host"))
            await self._app(scope, receive, send_with_headers)
        except asyncio.CancelledError:  # the time of the shutdown is over
            if self._service.ready:
                raise
            if status == _GONE:
                with suppress(Exception):
                    await failure_response(_ending())(scope, receive, send_with_headers)
        except Exception as error:
            failure = as_failure(error)
            if failure.status == 500:
                _log.error("a request failed", exc_info=error)
            if status == _GONE:  # nothing was sent yet
                await failure_response(failure)(scope, receive, send_with_headers)
        finally:
            path = getattr(scope.get("route"), "path", "other")
            self._service.metrics.requests.add(path, str(status))


class Guard:
    """The inner layer: asks for the token, and refuses questions where there are too many or they are too long."""

    def __init__(self, app: App, service: Service, access: Access) -> None:
        self._app, self._service, self._access = app, service, access

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Handle a request, as ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers, service = Headers(scope=scope), self._service
        try:
            self._access.check_token(scope["path"], headers.get("authorization"))
            if scope["method"] != "POST":
                await self._app(scope, receive, send)
                return
            self._check_room(headers)
        except RequestError as failure:
            most = 4 * service.limits.body_bytes
            # Who asks first has not sent anything yet, and who has more than that to send is not waited for.
            if headers.get("expect", "").lower() != "100-continue" and _declared(headers) <= most:
                await _drain(receive, most)
            await failure_response(failure)(scope, receive, send)
            return
        service.busy += 1
        try:
            await self._app(scope, receive, send)
        finally:
            service.busy -= 1

    def _check_room(self, headers: Headers) -> None:
        service, limits = self._service, self._service.limits
        if not service.ready:
            raise _ending()
        if service.busy >= limits.requests:
            seconds = service.retry_after()
            message = f"{service.busy} requests are in progress, as many as are taken; ask again in {seconds} s"
            raise RequestError(429, message, None, "too_many_requests", {"Retry-After": str(seconds)})
        if (length := _declared(headers)) > limits.body_bytes:
            raise _too_large(limits.body_bytes, f"{length} bytes")


def _declared(headers: Headers) -> int:
    """How long a request says that its body is, 0 where it does not."""
    length = headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdecimal() else 0


def _ending() -> RequestError:
    return RequestError(503, "the server is ending; ask another one", None, "ending", {"Connection": "close"})


async def read_body(request: Request, service: Service) -> bytes:
    """The whole body of a request.

    Raises:
        RequestError: it is too large (413), takes too long (408), or the client went away.
    """
    limits = service.limits
    body = bytearray()

    async def read() -> None:
        more = True
        while more:
            message = await request.receive()
            if message["type"] == "http.disconnect":
                raise RequestError(400, "the connection ended before the body did", None, "disconnected")
            body.extend(message.get("body", b""))
            more = message.get("more_body", False)
            if len(body) > limits.body_bytes:
                if more:
                    await _drain(request.receive, 4 * limits.body_bytes)
                raise _too_large(limits.body_bytes, "more")

    try:
        await asyncio.wait_for(read(), limits.body_seconds)
    except asyncio.TimeoutError:  # of Python 3.10, where it is another one than TimeoutError
        message = f"the body did not end within {limits.body_seconds:g} s; {len(body)} bytes came"
        raise RequestError(408, message, None, "body_timeout", {"Connection": "close"}) from None
    return bytes(body)


async def while_connected(request: Request, work: Coroutine[Any, Any, T], seconds: float) -> T:
    """The outcome of ``work``, which is cancelled after ``seconds`` or when the client goes away.

    Raises:
        RequestError: one of these (504, 499); and what ``work`` raises.
    """
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if gone.done():
            raise RequestError(_GONE, "the client went away", None, "disconnected")
        message = f"there was no answer within {seconds:g} s; ask again, or for less"
        raise RequestError(504, message, None, "timeout")
    finally:
        for one in (task, gone):
            if not one.done():
                one.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await one


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _drain(receive: Receive, most: int) -> None:
    async def read() -> None:
        left = most
        while left > 0:
            message = await receive()
            left -= len(message.get("body", b""))
            if message["type"] == "http.disconnect" or not message.get("more_body"):
                return

    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(read(), _LINGER_SECONDS)


def _too_large(limit: int, found: str) -> RequestError:
    message = f"the body has {found}; at most {limit} bytes are taken: scale the picture down, or save it as JPEG"
    return RequestError(413, message, None, "too_large", {"Connection": "close"})
