"""Answers in words, whole or as they come."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from xsam_edge.runtime.serve import chat
from xsam_edge.runtime.serve.chat import Chat
from xsam_edge.runtime.serve.failures import RequestError, as_failure
from xsam_edge.runtime.serve.guard import while_connected
from xsam_edge.runtime.serve.replies import phrase_spans, segment_entry
from xsam_edge.runtime.serve.scenes import Kept
from xsam_edge.runtime.serve.service import Service
from xsam_edge.runtime.serve.worker import Answered

_STREAM = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


async def talk(service: Service, asked: Chat, request: Request, began: float) -> Response:
    """Answer a question in words. Raises RequestError, and what asking the scene does."""
    if asked.stream:
        talking = _Talking(service, asked, began)
        # A fault before the first word has a status of its own.
        first = await while_connected(request, talking.first(), service.limits.seconds)
        return StreamingResponse(talking.rest(first), media_type="text/event-stream", headers=_STREAM)
    return await while_connected(request, _whole(service, asked, began), service.limits.seconds)


async def _whole(service: Service, asked: Chat, began: float) -> Response:
    async with service.picture(asked.picture, asked.scene) as kept:
        answered = await service.answer(kept, asked.question)
        timings = service.timings(answered, began)
        body = await service.in_thread(lambda: _rendered(service, asked, kept, answered, timings))
        service.count(timings)
        return Response(body, media_type="application/json")


def _rendered(service: Service, asked: Chat, kept: Kept, answered: Answered, timings: dict[str, float]) -> bytes:
    (result,) = answered.results
    language = service.model.language
    usage, reason = chat.usage_of(language, asked.question, result), chat.finish_reason(language, result)
    reply = chat.completion(chat.completion_id(), service.name, chat.content_of(result), reason, usage)
    reply |= _beside(asked, kept, answered, timings)
    return json.dumps(reply, allow_nan=False, separators=(",", ":")).encode()


def _beside(asked: Chat, kept: Kept, answered: Answered, timings: dict[str, float]) -> dict[str, Any]:
    """What OpenAI's form does not have: the scene, timings, and masks of a caption's phrases where they are wanted."""
    told: dict[str, Any] = {"scene": kept.id, "cached": not answered.encoded, "timings_ms": timings}
    if asked.mask_format is not None:
        (result,) = answered.results
        spans = phrase_spans(result)
        told["data"] = [
            segment_entry(segment, asked.mask_format) | ({"caption_span": list(spans[place])} if place in spans else {})
            for place, segment in enumerate(result.segments)
        ]
    return told


class _Talking:
    """An answer that is sent as it comes: the model's thread tells the text so far, the event loop sends what is new.

    What might still change is held back: the last word, a mark that is cut in two, blanks at the end.
    """

    def __init__(self, service: Service, asked: Chat, began: float) -> None:
        self._service, self._asked, self._began = service, asked, began
        self._texts: asyncio.Queue[str | None] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._sent = ""
        self._id = chat.completion_id()
        self._task = asyncio.ensure_future(self._answer())
        self._task.add_done_callback(lambda _: self._texts.put_nowait(None))

    async def first(self) -> str | None:
        """The first text, or None where the answer is there already. Raises what asking does."""
        try:
            text = await self._texts.get()
        except asyncio.CancelledError:
            await self._stop()
            raise
        if text is None:
            self._task.result()
        return text

    async def rest(self, text: str | None) -> AsyncIterator[bytes]:
        """The events of the answer, of which ``text`` is the first."""
        service, name = self._service, self._service.name
        try:
            yield chat.event(chat.chunk(self._id, name, {"role": "assistant", "content": ""}))
            end = self._loop.time() + service.limits.seconds
            while text is not None:
                if delta := self._new(text):
                    yield chat.event(chat.chunk(self._id, name, {"content": delta}))
                text = await asyncio.wait_for(self._texts.get(), max(0.0, end - self._loop.time()))
            for part in await self._end():
                yield part
        except asyncio.TimeoutError:  # of Python 3.10, where it is another one than TimeoutError
            message = f"the answer did not end within {service.limits.seconds:g} s; ask for fewer tokens"
            yield chat.event(RequestError(504, message, None, "timeout").body)
        except Exception as error:
            yield chat.event(as_failure(error).body)
        finally:
            await self._stop()

    async def _answer(self) -> tuple[Kept, Answered]:
        service, asked = self._service, self._asked
        async with service.picture(asked.picture, asked.scene) as kept:
            return kept, await service.answer(kept, asked.question, self._tell)

    def _tell(self, text: str) -> None:
        self._loop.call_soon_threadsafe(self._texts.put_nowait, text)

    def _new(self, text: str) -> str:
        steady = text[: text.rfind(" ")] if " " in text else ""
        if len(steady) <= len(self._sent) or not steady.startswith(self._sent):
            return ""
        delta, self._sent = steady[len(self._sent) :], steady
        return delta

    async def _end(self) -> list[bytes]:
        service, name, asked = self._service, self._service.name, self._asked
        kept, answered = self._task.result()
        (result,) = answered.results
        content, language = chat.content_of(result), service.model.language
        left = content[len(self._sent) :] if content.startswith(self._sent) else ""
        timings = service.timings(answered, self._began)
        service.count(timings)
        beside = await service.in_thread(lambda: _beside(asked, kept, answered, timings))
        parts = [chat.chunk(self._id, name, {"content": left})] if left else []
        parts.append(chat.chunk(self._id, name, {}, chat.finish_reason(language, result)) | beside)
        if asked.usage:
            parts.append(chat.usage_chunk(self._id, name, chat.usage_of(language, asked.question, result)))
        return [*map(chat.event, parts), chat.DONE]

    async def _stop(self) -> None:
        """Take the question back where it is not answered."""
        if not self._task.done():
            self._task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await self._task
