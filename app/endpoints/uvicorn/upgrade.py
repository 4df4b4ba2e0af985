"""Answers requests to upgrade to an unsupported protocol, such as HTTP/2 without TLS, in HTTP/1.1.

RFC 9110 (section 7.8) lets a server ignore the upgrade. httptools ends such a message after its head, so that its body
would be read as the next request.
"""

from typing import Protocol

import httptools

_FRAMING = {b"content-length", b"transfer-encoding"}


class ParserEvents(Protocol):
    """The callbacks of httptools' request parser."""

    def on_message_begin(self) -> None: ...
    def on_url(self, url: bytes) -> None: ...
    def on_header(self, name: bytes, value: bytes) -> None: ...
    def on_headers_complete(self) -> None: ...
    def on_body(self, body: bytes) -> None: ...
    def on_message_complete(self) -> None: ...


def framing_of(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the headers that declare a body; empty if there is none."""
    return [(name, value) for name, value in headers if name in _FRAMING and value.strip() != b"0"]


def parser_behind(events: ParserEvents, framing: list[tuple[bytes, bytes]]) -> httptools.HttpRequestParser:
    """Create a parser that first reads the body that ``framing`` declares, if any, and then further requests."""
    resumed = _Resumed(events)
    parser = httptools.HttpRequestParser(resumed)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    if framing:
        lines = b"".join(b"%b: %b\r\n" % header for header in framing)
        parser.feed_data(b"POST / HTTP/1.1\r\n" + lines + b"\r\n")
    resumed.is_silent = False
    return parser


class _Resumed:
    """Forwards a parser's events, except those of the artificial head that declares the body."""

    def __init__(self, events: ParserEvents) -> None:
        self.is_silent = True
        self._events = events
        self.on_body = events.on_body
        self.on_message_complete = events.on_message_complete

    def on_message_begin(self) -> None:
        if not self.is_silent:
            self._events.on_message_begin()

    def on_url(self, url: bytes) -> None:
        if not self.is_silent:
            self._events.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.is_silent:
            self._events.on_header(name, value)

    def on_headers_complete(self) -> None:
        if not self.is_silent:
            self._events.on_headers_complete()
