"""A connection of a client that sends requests as bytes, one after the other, in any legal form."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlsplit

import gevent
import gevent.socket

from fake_providers.records.transcripts import HttpRequest, body_of, fields_of
from routerspec.plan.head import request_head
from routerspec.records.observations import ClientTranscript
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.engine.raw_response import BrokenResponse, RawResponse
from routerspec.scenarios.engine.reading import BoundReached, Intake, Memory, SecretSearch
from routerspec.scenarios.engine.waiting import wait_until

WITHIN_S: Final = 5.0
"""How long a request may take to the end of its response."""
_POLL_S: Final = 0.002
_LATE_S: Final = 0.01
"""After the end of a response: what belongs to no response comes with it, or at once."""

Fields = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RawRequest:
    """A request as it is sent."""

    method: str
    target: str
    version: str = "1.1"
    fields: Fields
    body: bytes = b""
    chunks: Sequence[bytes] = ()
    """The body in chunks; empty: by its length."""
    nonce: int = 0
    withheld_s: float = 0.0
    """The body is sent when an interim response came, or after so long; 0: with the head."""

    @classmethod
    def of(cls, exchange: Exchange) -> RawRequest:
        """The request that this exchange would make."""
        head = request_head(
            exchange.method, exchange.host, exchange.path, exchange.headers, len(exchange.body)
        )
        _, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
        fields = tuple(
            (name, value.strip()) for name, _, value in (x.partition(":") for x in lines)
        )
        return cls(
            method=exchange.method,
            target=exchange.path,
            fields=fields,
            body=exchange.body,
            nonce=0 if exchange.mode == "list" else exchange.nonce,
        )

    def with_fields(self, **fields: str | None) -> RawRequest:
        """The same with these fields in place of any of their name; None leaves a field out.

        An underscore in a name is a hyphen.
        """
        named = {name.replace("_", "-").lower(): value for name, value in fields.items()}
        kept = [(name, value) for name, value in self.fields if name.lower() not in named]
        added = [(name.title(), value) for name, value in named.items() if value is not None]
        return replace(self, fields=(*kept, *added))

    def with_body(self, body: bytes) -> RawRequest:
        """The same with another body and its length."""
        return replace(self.with_fields(content_length=str(len(body))), body=body)

    def in_chunks(self, *chunks: bytes) -> RawRequest:
        """The same with its body in these chunks."""
        fields = self.with_fields(content_length=None, transfer_encoding="chunked")
        return replace(fields, chunks=chunks)

    @property
    def head(self) -> bytes:
        """Its head, to the blank line."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in self.fields)
        return f"{self.method} {self.target} HTTP/{self.version}\r\n{lines}\r\n".encode("latin-1")

    @property
    def content(self) -> bytes:
        """Its body with its framing."""
        if not self.chunks:
            return self.body
        return b"".join(b"%x\r\n%b\r\n" % (len(c), c) for c in self.chunks if c) + b"0\r\n\r\n"


class RawConnection:
    """One connection. ``log`` gets the transcript of each request."""

    def __init__(
        self,
        host: str,
        *,
        number: int,
        round_number: int,
        hidden: Callable[[bytes], bytes],
        log: Callable[[ClientTranscript], None],
    ) -> None:
        """``hidden``: the same bytes without the values of secrets."""
        parts = urlsplit(host)
        self._address = (parts.hostname, parts.port or 80)
        self._number, self._round = number, round_number
        self._hidden, self._log = hidden, log
        self._sock: gevent.socket.socket | None = None
        self._left = bytearray()
        """What was received after the end of the last response."""
        self.is_open = True
        """Another request may be sent on it."""

    def ask(
        self, request: RawRequest, *, part: str, within_s: float = WITHIN_S
    ) -> ClientTranscript:
        """Send a request and read its response to the end, or as far as it comes."""
        sock = self._connected()
        response = RawResponse(Intake(sock, SecretSearch({}), Memory()), request.method, self._left)
        reading = gevent.spawn(_read, response)
        sent_ns, withheld_ns = self._send(sock, request, response, reading)
        reading.join(timeout=within_s)
        in_time = reading.ready()
        reading.kill()
        fault: str = reading.value if in_time and isinstance(reading.value, str) else ""
        closed = response.ended == "framed" and not response.surplus and _closes(sock, response)
        lost = fault == _CLOSED
        transcript = ClientTranscript(
            nonce=request.nonce,
            round=self._round,
            part=part,
            connection=self._number,
            request=self._sent(request),
            response=response.record(self._hidden),
            informational=tuple(response.informational),
            framing=response.framing,
            ended=response.ended,
            fault="" if lost else fault or response.fault,
            surplus=response.surplus,
            arrivals=tuple(response.arrivals),
            sent_ns=sent_ns,
            end_ns=time.monotonic_ns(),
            withheld_ns=withheld_ns,
            lost=lost,
        )
        self._left = response.buffer
        self.is_open = in_time and not fault and not response.closes and not closed
        self._log(transcript)
        return transcript

    def close(self) -> None:
        """Close it."""
        self.is_open = False
        if self._sock is not None:
            self._sock.close()

    def _connected(self) -> gevent.socket.socket:
        if self._sock is None:
            self._sock = gevent.socket.create_connection(self._address)
            self._sock.setsockopt(gevent.socket.IPPROTO_TCP, gevent.socket.TCP_NODELAY, 1)
        return self._sock

    def _send(
        self,
        sock: gevent.socket.socket,
        request: RawRequest,
        response: RawResponse,
        reading: gevent.Greenlet,
    ) -> tuple[int, int | None]:
        """(when the last byte was written, how long the body was held back)."""
        withheld_ns = None
        with suppress(OSError):  # A router may answer and close before it has read all.
            if not request.withheld_s:
                sock.sendall(request.head + request.content)
            else:
                sock.sendall(request.head)
                held_ns = time.monotonic_ns()
                wait_until(
                    lambda: bool(response.informational or response.framing or reading.ready()),
                    request.withheld_s,
                    _POLL_S,
                )
                withheld_ns = time.monotonic_ns() - held_ns
                sock.sendall(request.content)
        return time.monotonic_ns(), withheld_ns

    def _sent(self, request: RawRequest) -> HttpRequest:
        pairs = ((name.encode(), value.encode("latin-1")) for name, value in request.fields)
        return HttpRequest(
            method=request.method,
            target=request.target,
            version=request.version,
            fields=fields_of((name, self._hidden(value)) for name, value in pairs),
            body=body_of(self._hidden(request.body)),
        )


_CLOSED: Final = "closed before an answer"


def _read(response: RawResponse) -> str:
    """Read the response to its end; what breaks it, or empty."""
    try:
        response.read_head()
        for _ in response.pieces():
            pass
    except BrokenResponse as broken:
        return str(broken)
    except BoundReached:
        return ""
    except OSError:
        return (
            _CLOSED if not response.framing and not response.informational else "closed by a reset"
        )
    return ""


def _closes(sock: gevent.socket.socket, response: RawResponse) -> bool:
    """Add what comes just after the end; whether that is the close of the connection."""
    sock.settimeout(_LATE_S)
    try:
        late = sock.recv(64 * 1024)
    except TimeoutError:
        return False
    except OSError:
        return True
    finally:
        sock.settimeout(None)
    response.buffer += late
    return not late
