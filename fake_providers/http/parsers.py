"""The parser of requests: httptools, or h11 behind the same few words where that is not installed.

Decides which one it is, and what either of them raises. Refuses to know what is parsed for.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

import h11

try:
    import httptools
except ImportError:
    httptools = None  # type: ignore[assignment]


class Reader(Protocol):
    """Who is told of a request while it is read."""

    def on_message_begin(self) -> None:
        """The first byte of a request."""

    def on_url(self, url: bytes) -> None:
        """A part of its target."""

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""

    def on_headers_complete(self) -> None:
        """Its head is whole."""

    def on_body(self, body: bytes) -> None:
        """A part of its body."""

    def on_message_complete(self) -> None:
        """Its last byte."""


class NotHttp(Exception):  # noqa: N818 - it names what is wrong
    """The bytes are no request."""


class SlowParser:
    """h11 with the face of httptools' parser.

    h11 wants to be told of answers too, before it reads on: it is told of empty ones.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._connection = h11.Connection(h11.SERVER)
        self._request: Any = None
        self._begun = False

    def feed_data(self, data: bytes) -> None:
        """Read on. Raises NotHttp."""
        if data and not self._begun:
            self._begin()
        try:
            self._connection.receive_data(data)
            while self._read():
                pass
        except h11.RemoteProtocolError as error:
            raise NotHttp from error

    def get_method(self) -> bytes:
        """Of the request whose head was read last."""
        method: bytes = self._request.method
        return method

    def get_http_version(self) -> str:
        """Of the same request."""
        version: bytes = self._request.http_version
        return version.decode()

    def should_keep_alive(self) -> bool:
        """Whether another request may follow."""
        said = [value.lower() for name, value in self._request.headers if name == b"connection"]
        return self.get_http_version() == "1.1" and not any(b"close" in value for value in said)

    def _begin(self) -> None:
        self._begun = True
        self._reader.on_message_begin()

    def _read(self) -> bool:
        """Pass one event on. False: there is nothing to be read now."""
        event = self._connection.next_event()
        if isinstance(event, h11.Request):
            self._request = event
            self._reader.on_url(event.target)
            for name, value in event.headers:
                self._reader.on_header(name, value)
            self._reader.on_headers_complete()
        elif isinstance(event, h11.Data):
            self._reader.on_body(bytes(event.data))
        elif isinstance(event, h11.EndOfMessage):
            self._begun = False
            self._reader.on_message_complete()
            return self._again()
        else:
            return False
        return True

    def _again(self) -> bool:
        """Be ready for the next request, as far as it has come. False: there is none to come."""
        told = h11.Response(status_code=200, headers=[(b"content-length", b"0")])
        if self._connection.send(told) is None or not self.should_keep_alive():
            return False
        self._connection.send(h11.EndOfMessage())
        if self._connection.their_state is not h11.DONE:
            return False
        self._connection.start_next_cycle()
        if self._connection.trailing_data[0]:
            self._begin()
        return True


if httptools is None:
    UPGRADES: Final[tuple[type[Exception], ...]] = ()
    FAULTS: Final[tuple[type[Exception], ...]] = (NotHttp,)
    Parser: Final[Any] = SlowParser
else:
    UPGRADES = (httptools.HttpParserUpgrade,)  # type: ignore[misc]
    FAULTS = (httptools.HttpParserError,)  # type: ignore[misc]
    Parser = httptools.HttpRequestParser  # type: ignore[misc]
