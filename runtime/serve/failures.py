"""Errors as a client of the server reads them: JSON in OpenAI's form, with a status of HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xsam_edge.runtime.errors import ContextLengthError, ImageError, InputError, XSamError


class RequestError(Exception):
    """A request that ends in an error.

    Args:
        status: of HTTP, 400 to 599.
        message: what was found, what was expected, what to do.
        param: the field that is at fault.
        code: a word for programs.
        headers: of the response, beside its own.
    """

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, clean(message), code
        self.param = None if param is None else clean(param)
        self.headers = dict(headers or {})

    @property
    def body(self) -> dict[str, Any]:
        """The object that is sent."""
        kind = _KINDS.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


_KINDS = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}

INTERNAL = "an error within the server; its log says more"


def clean(text: str) -> str:
    """A text without halves of characters, which JSON can hold and UTF-8 cannot."""
    return text.encode(errors="replace").decode()


def as_failure(error: BaseException) -> RequestError:
    """What a client is told of any error: what it can mend, word for word; of all others that there was one."""
    if isinstance(error, RequestError):
        return error
    if isinstance(error, ContextLengthError):
        return RequestError(400, str(error), None, "context_length_exceeded")
    if isinstance(error, ImageError):
        return RequestError(400, str(error), "image", "invalid_image")
    if isinstance(error, InputError):
        return RequestError(400, str(error), None, "invalid_value")
    if isinstance(error, MemoryError):
        return RequestError(503, "not enough memory for this picture; send a smaller one", "image", "out_of_memory")
    code = "model_error" if isinstance(error, XSamError) else "internal_error"
    return RequestError(500, INTERNAL, None, code)


def wrong_field(param: str, found: object, expected: str) -> RequestError:
    """A field whose value is not what it should be."""
    text = repr(found)
    shown = text if len(text) <= 80 else f"{text[:80]}..."
    return RequestError(400, f"{param} is {shown}; expected {expected}", param, "invalid_value")
