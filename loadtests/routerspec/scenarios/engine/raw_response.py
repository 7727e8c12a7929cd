"""A response as its bytes are: read by RFC 9112, with what is wrong about it kept beside it.

Unlike a client's parser it goes on where the message can still be read, since what a router sends
is the evidence; ``fault`` says what a client would raise at.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from fake_providers.records.transcripts import HttpResponse, body_of, fields_of
from routerspec.records.observations import Ended, Framing
from routerspec.scenarios.engine.reading import Intake

MAX_HEAD: Final = 64 * 1024
_BLOCK: Final = 64 * 1024
_WITHOUT_BODY: Final = frozenset({204, 304})
_LARGEST_SIZE: Final = 16
"""Hex digits of a chunk's size."""


class BrokenResponse(Exception):  # noqa: N818 - it names what it is
    """The rest of the response cannot be read."""


@dataclass(slots=True)
class RawResponse:
    """One response of a connection. ``read_head`` first, then ``pieces`` to their end."""

    intake: Intake
    method: str
    """Of the request: HEAD has no body."""
    buffer: bytearray = field(default_factory=bytearray)
    """Bytes that were received and belong to nothing yet; of the next response, after the end."""
    version: str = ""
    status: int = 0
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    informational: list[int] = field(default_factory=list)
    framing: Framing = ""
    fault: str = ""
    """The first thing that is wrong about its framing."""
    body: bytearray = field(default_factory=bytearray)
    arrivals: list[tuple[int, int]] = field(default_factory=list)
    """(bytes of body by then, when they were read)."""
    ended: Ended = ""
    _closed: bool = False

    def read_head(self) -> None:
        """Read the head; interim ones before it are noted and passed over.

        Raises BrokenResponse for what is no head, ConnectionError where the peer closes before it.
        """
        while True:
            lines = self._head_lines()
            self._start_line(lines[0])
            self.fields = [self._field(line) for line in lines[1:]]
            if self.status // 100 != 1 or self.status == 101:
                self.framing = self._framed_by()
                return
            self.informational.append(self.status)

    def values(self, name: bytes) -> list[bytes]:
        """The values of a field, in order. ``name`` in lower case."""
        return [value for key, value in self.fields if key.lower() == name]

    def field(self, name: str) -> str:
        """The first value of a field; empty where there is none."""
        values = self.values(name.encode())
        return values[0].decode("latin-1") if values else ""

    @property
    def closes(self) -> bool:
        """No other request may be sent on this connection."""
        tokens = b",".join(self.values(b"connection")).lower()
        kept = self.version == "1.1" or b"keep-alive" in tokens
        return not kept or b"close" in tokens or self.ended != "framed" or bool(self.fault)

    def pieces(self) -> Iterator[bytes]:
        """The body as it comes in, without framing.

        Raises BrokenResponse where the framing cannot be followed, and for a close in the middle.
        """
        match self.framing:
            case "chunked":
                yield from self._chunks()
            case "length":
                yield from self._exactly(self._length)
            case "close":
                while True:
                    if self.buffer:
                        yield self._take(len(self.buffer))
                    if not self._receive():
                        self.ended = "closed"
                        return
        self.ended = "framed"

    @property
    def surplus(self) -> int:
        """Bytes that came after the end, as far as they were received with it."""
        return len(self.buffer) if self.ended == "framed" else 0

    def record(self, hidden: Callable[[bytes], bytes]) -> HttpResponse | None:
        """What has come of it, without secrets; None: no head."""
        if not self.framing:
            return None
        return HttpResponse(
            status=self.status,
            version=self.version,
            fields=fields_of((name, hidden(value)) for name, value in self.fields),
            body=body_of(hidden(bytes(self.body))),
        )

    # -- the head ----------------------------------------------------------------------------

    def _head_lines(self) -> list[bytes]:
        while b"\r\n\r\n" not in self.buffer and b"\n\n" not in self.buffer:
            if len(self.buffer) > MAX_HEAD:
                raise BrokenResponse(f"a head of more than {MAX_HEAD} bytes")
            if not self._receive():
                if self.buffer:
                    raise BrokenResponse("closed within the head")
                raise ConnectionResetError("closed before an answer")
        ends = [
            at + len(end) for end in (b"\r\n\r\n", b"\n\n") if (at := self.buffer.find(end)) >= 0
        ]
        head = bytes(self.buffer[: min(ends)])
        del self.buffer[: min(ends)]
        return head.strip(b"\r\n").replace(b"\r\n", b"\n").split(b"\n")

    def _start_line(self, line: bytes) -> None:
        version, _, rest = line.partition(b" ")
        status = rest[:3]
        if not version.startswith(b"HTTP/") or not status.isdigit():
            raise BrokenResponse(f"not HTTP: {line[:80].decode('latin-1')!r}")
        self.version, self.status = version[5:].decode("latin-1"), int(status)

    def _field(self, line: bytes) -> tuple[bytes, bytes]:
        name, colon, value = line.partition(b":")
        if not colon or name != name.strip():
            self._wrong(f"a malformed field: {line[:80].decode('latin-1')!r}")
        return name.strip(), value.strip()

    def _framed_by(self) -> Framing:
        """RFC 9112, 6.3."""
        if self.method == "HEAD" or self.status in _WITHOUT_BODY:
            return "none"
        codings = b",".join(self.values(b"transfer-encoding")).lower()
        lengths = {part.strip() for v in self.values(b"content-length") for part in v.split(b",")}
        if codings and lengths:
            self._wrong("both Content-Length and Transfer-Encoding")
        if codings:
            return "chunked" if codings.rpartition(b",")[2].strip() == b"chunked" else "close"
        if len(lengths) > 1 or any(not length.isdigit() for length in lengths):
            raise BrokenResponse(f"an invalid Content-Length: {b', '.join(sorted(lengths))!r}")
        return "length" if lengths else "close"

    @property
    def _length(self) -> int:
        return int(self.values(b"content-length")[0].split(b",")[0])

    # -- the body ----------------------------------------------------------------------------

    def _chunks(self) -> Iterator[bytes]:
        while True:
            line = self._line()
            size = line.partition(b";")[0].strip()
            if not size or len(size) > _LARGEST_SIZE or size.strip(b"0123456789abcdefABCDEF"):
                raise BrokenResponse(f"no size of a chunk: {line[:40].decode('latin-1')!r}")
            left = int(size, 16)
            if not left:
                break
            yield from self._exactly(left)
            if self._line():
                raise BrokenResponse("a chunk is longer than its size")
        while self._line():
            pass  # Trailers.

    def _exactly(self, left: int) -> Iterator[bytes]:
        while left:
            if not self.buffer and not self._receive():
                raise BrokenResponse(f"closed with {left} bytes of its length to come")
            piece = self._take(min(left, len(self.buffer)))
            left -= len(piece)
            yield piece

    def _line(self) -> bytes:
        while (at := self.buffer.find(b"\n")) < 0:
            if len(self.buffer) > MAX_HEAD:
                raise BrokenResponse("no line where a chunk must begin")
            if not self._receive():
                raise BrokenResponse("closed within a chunked body")
        line = bytes(self.buffer[:at]).removesuffix(b"\r")
        del self.buffer[: at + 1]
        return line

    def _take(self, count: int) -> bytes:
        piece = bytes(self.buffer[:count])
        del self.buffer[:count]
        self.body += piece
        self.arrivals.append((len(self.body), time.monotonic_ns()))
        return piece

    def _receive(self) -> bool:
        """Wait for more bytes; False where the peer has closed."""
        if not self._closed:
            received = self.intake.recv(_BLOCK)
            self.buffer += received
            self._closed = not received
        return not self._closed

    def _wrong(self, what: str) -> None:
        self.fault = self.fault or what
