"""``/v1/chat/completions``: a request in OpenAI's form as a question, and its answer in theirs."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.language import prompts
from xsam_edge.runtime.language.answer import MAX_NEW_TOKENS
from xsam_edge.runtime.language.generate import LanguageModel
from xsam_edge.runtime.postprocess.readers import checked_threshold
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.serve.failures import RequestError, wrong_field
from xsam_edge.runtime.serve.fields import check_text
from xsam_edge.runtime.serve.limits import Limits
from xsam_edge.runtime.serve.pictures import from_text
from xsam_edge.runtime.serve.questions import TALK, Question
from xsam_edge.runtime.serve.replies import FORMATS

# What changes nothing here, since decoding is greedy and nothing is stored.
_WITHOUT_EFFECT = ("temperature", "top_p", "seed", "user", "store", "metadata", "safety_identifier", "prompt_cache_key")
_FIELDS = (
    "model",
    "messages",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "n",
    "scene",
    "task",
    "threshold",
    "mask_format",
)
_ONE_MESSAGE = "expected a list of one message of the role user: each question is answered by itself"


@dataclass(frozen=True, eq=False)
class Chat:
    """A request: as :class:`~xsam_edge.runtime.serve.fields.Segmentation`, and how it is answered.

    ``mask_format`` is None where no masks are wanted.
    """

    picture: bytes | None
    scene: str | None
    question: Question
    mask_format: str | None
    model: str | None
    stream: bool
    usage: bool
    max_tokens: int


def read_chat(body: bytes, limits: Limits, prefixes: Sequence[str]) -> Chat:
    """Read a request.

    Raises:
        RequestError: no JSON, an unknown field, or one that cannot be read or that nothing here does.
    """
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        raise RequestError(400, "the body is no JSON", None, "invalid_json") from None
    if not isinstance(given, dict):
        raise RequestError(400, "the body is no object of JSON", None, "invalid_json")
    given = {name: value for name, value in given.items() if value is not None}
    for name in given:
        if name not in (*_FIELDS, *_WITHOUT_EFFECT):
            known = ", ".join(_FIELDS)
            raise RequestError(400, f"{name[:80]!r} is not supported; known are {known}", name[:80], "unknown_field")
    if given.get("n", 1) != 1:
        raise wrong_field("n", given["n"], "1: decoding is greedy, and every answer would be the same")
    task = given.get("task", "chat")
    if task not in TALK:
        raise wrong_field("task", task, " or ".join(TALK))
    text, url = _message(given.get("messages"))
    picture, scene = _picture(url, given.get("scene"), limits, prefixes)
    if task == "chat" and not text.strip():
        raise RequestError(
            400, "the message has no text; ask something, or for a caption with task", "messages", "no_text"
        )
    check_text("messages", text, limits)
    max_tokens = _max_tokens(given, limits)
    options: dict[str, Any] = {"max_new_tokens": max_tokens}
    if task == "caption":
        options |= _threshold(given)
    elif (wrong := next((name for name in ("threshold", "mask_format") if name in given), None)) is not None:
        raise RequestError(400, f"{wrong} is of captions; leave it out", wrong, "wrong_field")
    mask_format = given.get("mask_format")
    if mask_format is not None and mask_format not in FORMATS:
        raise wrong_field("mask_format", mask_format, " or ".join(FORMATS))
    model = _of_type(given, "model", str)
    stream, wants = _of_type(given, "stream", bool) or False, _of_type(given, "stream_options", dict) or {}
    usage = wants.get("include_usage", False) is True
    question = Question(task, (text,) if task == "chat" else (), options)
    return Chat(picture, scene, question, mask_format, model, stream, usage, max_tokens)


def completion_id() -> str:
    """The id of a new answer."""
    return f"chatcmpl-{secrets.token_hex(12)}"


def content_of(result: Result) -> str:
    """What an answer says."""
    return result.caption if result.task == "gcgseg" else result.text


def usage_of(language: LanguageModel, question: Question, result: Result) -> dict[str, int]:
    """Tokens of a prompt, the image's among them, and of its answer."""
    form = language.settings.prompt
    asked = prompts.describe(form)
    if question.task == "chat":
        asked = prompts.chat(question.texts[0], form, language.tokenizer.reserved)
    prompt = len(language.layout(language.tokenizer.encode_prompt(asked.text)))
    said = len(result.token_ids)
    return {"prompt_tokens": prompt, "completion_tokens": said, "total_tokens": prompt + said}


def finish_reason(language: LanguageModel, result: Result) -> str:
    """Why an answer ended: "stop", or "length" where there was no room for more."""
    return "stop" if result.token_ids and language.stops(list(result.token_ids)) else "length"


def completion(id: str, model: str, content: str, reason: str, usage: Mapping[str, int]) -> dict[str, Any]:
    """An answer as a whole."""
    message = {"role": "assistant", "content": content, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
    return _head(id, model, "chat.completion") | {"choices": [choice], "usage": dict(usage)}


def chunk(id: str, model: str, delta: Mapping[str, Any], reason: str | None = None) -> dict[str, Any]:
    """A part of an answer."""
    choice = {"index": 0, "delta": dict(delta), "logprobs": None, "finish_reason": reason}
    return _head(id, model, "chat.completion.chunk") | {"choices": [choice]}


def usage_chunk(id: str, model: str, usage: Mapping[str, int]) -> dict[str, Any]:
    """The last part, which tells tokens and nothing else."""
    return _head(id, model, "chat.completion.chunk") | {"choices": [], "usage": dict(usage)}


def event(value: object) -> bytes:
    """An event of server-sent events."""
    return b"data: " + json.dumps(value, allow_nan=False, separators=(",", ":")).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


def _head(id: str, model: str, kind: str) -> dict[str, Any]:
    return {"id": id, "object": kind, "created": int(time.time()), "model": model}


def _message(messages: object) -> tuple[str, str | None]:
    """The text of the one message, and the URL of its picture."""
    if not isinstance(messages, list) or len(messages) != 1 or not isinstance(messages[0], dict):
        found = f"{len(messages)} messages" if isinstance(messages, list) else "no list"
        raise RequestError(400, f"messages has {found}; {_ONE_MESSAGE}", "messages", "wrong_messages")
    if messages[0].get("role") != "user":
        raise RequestError(400, f"the message has another role; {_ONE_MESSAGE}", "messages", "wrong_messages")
    content = messages[0].get("content")
    if isinstance(content, str):
        return content, None
    texts, urls = [], []
    for part in content if isinstance(content, list) else [content]:
        match part:
            case {"type": "text", "text": str(text)}:
                texts.append(text)
            case {"type": "image_url", "image_url": {"url": str(url)}}:
                urls.append(url)
            case _:
                expected = "a text, or parts of the types text and image_url"
                raise RequestError(400, f"the content of the message is not {expected}", "messages", "wrong_messages")
    if len(urls) > 1:
        raise RequestError(400, f"{len(urls)} pictures were sent; send one", "messages", "too_many_images")
    return "\n".join(texts), urls[0] if urls else None


def _picture(
    url: str | None, scene: object, limits: Limits, prefixes: Sequence[str]
) -> tuple[bytes | None, str | None]:
    if (url is None) == (scene is None):
        fault = "both were given" if url else "neither was given"
        raise RequestError(400, f"a request has an image_url or a scene, and {fault}", "messages", "missing_image")
    if url is not None:
        return from_text(url, "image_url", limits, prefixes), None
    if not isinstance(scene, str):
        raise wrong_field("scene", scene, "the id of a scene, as replies have it")
    return None, scene


def _max_tokens(given: Mapping[str, Any], limits: Limits) -> int:
    name = "max_completion_tokens" if "max_completion_tokens" in given else "max_tokens"
    value = given.get(name, min(MAX_NEW_TOKENS, limits.new_tokens))
    if type(value) is not int or not 1 <= value <= limits.new_tokens:
        raise wrong_field(name, value, f"a whole number from 1 to {limits.new_tokens}")
    return value


def _threshold(given: Mapping[str, Any]) -> dict[str, Any]:
    if "threshold" not in given:
        return {}
    try:
        return {"threshold": checked_threshold(given["threshold"])}
    except InputError as error:
        raise RequestError(400, str(error), "threshold", "invalid_value") from None


def _of_type(given: Mapping[str, Any], name: str, kind: type[Any]) -> Any:
    value = given.get(name)
    if value is not None and type(value) is not kind:
        raise wrong_field(name, value, {str: "text", bool: "true or false", dict: "an object"}[kind])
    return value
