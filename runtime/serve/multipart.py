"""The parts of a form, out of a body that was read whole."""

from __future__ import annotations

from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from xsam_edge.runtime.serve.failures import RequestError

MAX_PARTS = 1024


@dataclass
class Part:
    """A field of a form: ``name``, and the bytes that were sent. A file has a ``filename``, which may be empty."""

    name: str
    filename: str | None
    data: bytearray = field(default_factory=bytearray)

    @property
    def is_file(self) -> bool:
        """Whether it was sent as a file."""
        return self.filename is not None

    @property
    def text(self) -> str:
        """Its text. Raises RequestError for a file, and for what is no UTF-8."""
        if self.is_file:
            raise RequestError(400, f"{self.name} is a file; expected text", self.name, "invalid_value")
        try:
            return self.data.decode()
        except UnicodeDecodeError:
            raise RequestError(400, f"{self.name} is not text in UTF-8", self.name, "invalid_value") from None


def parse_form(body: bytes, content_type: str) -> list[Part]:
    """The parts of a multipart body, in their order.

    Raises:
        RequestError: another content type (415), or a body that is no whole form (400).
    """
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        raise RequestError(
            415,
            f"the content type is {content_type[:80]!r}; expected multipart/form-data, as curl -F sends it",
            None,
            "wrong_content_type",
        )
    boundary = options.get(b"boundary", b"")
    if not 1 <= len(boundary) <= 70:
        raise RequestError(400, "the content type has no boundary of 1 to 70 characters", None, "invalid_form")
    form = _Form()
    try:
        parser = MultipartParser(boundary, form.callbacks())  # type: ignore[arg-type]
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise RequestError(400, f"the form cannot be read ({error}); is it damaged?", None, "invalid_form") from None
    if not form.ended:
        raise RequestError(
            400, f"the form ends in the middle, after {len(body)} bytes; send it whole", None, "invalid_form"
        )
    return form.parts


class _Form:
    """What the parser calls."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.ended = False
        self._header = bytearray()
        self._value = bytearray()
        self._disposition = b""

    def callbacks(self) -> dict[str, object]:
        """By the parser's names."""
        return {
            "on_part_begin": self._begin,
            "on_part_data": self._data,
            "on_header_field": self._field,
            "on_header_value": self._add_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._named,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._disposition = b""
        if len(self.parts) >= MAX_PARTS:
            raise RequestError(400, f"the form has more than {MAX_PARTS} parts", None, "too_many_parts")

    def _field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if bytes(self._header).lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _named(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"name" not in options:
            raise RequestError(400, "a part of the form has no name", None, "invalid_form")
        file = options.get(b"filename")
        name = options[b"name"].decode(errors="replace")
        self.parts.append(Part(name, None if file is None else file.decode(errors="replace")))

    def _data(self, data: bytes, start: int, end: int) -> None:
        self.parts[-1].data += memoryview(data)[start:end]

    def _end(self) -> None:
        self.ended = True
