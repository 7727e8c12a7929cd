"""One request of a client and its response, on a connection of its own, with timestamps.

Decides when a timestamp is taken and what a broken exchange is called. Refuses to know why it is
made. Reads line by line with geventhttpclient's parser: its block reads, and Locust's
``iter_lines``, deliver the first piece of a slow stream only at its end.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

import gevent
import gevent.event
import gevent.socket
import msgspec
from geventhttpclient.response import HTTPParseError, HTTPSocketResponse

from routerspec.records.observations import ListObservation, Observation, Outcome
from routerspec.scenarios.engine.dialects import Content, list_contents, names_model

MAX_BODY = 8 * 1024 * 1024

_R = TypeVar("_R", Observation, ListObservation)


class _Disconnect(BaseException):
    """Raised inside an exchange whose client is to disconnect."""


@dataclass(slots=True, kw_only=True)
class Exchange:
    """A request to make, and what came of it."""

    host: str
    """Base URL of the router."""
    method: Literal["GET", "POST"]
    path: str
    headers: dict[str, str]
    body: bytes
    timeout_s: float
    """For the whole exchange."""
    stream: bool = False
    run: str = ""
    nonce: int = 0
    round: int = 0
    route: str = ""
    mode: str = "chat"
    listed_model: str = ""
    """The one model that a list request asks for; empty: the whole list."""
    other_list: str = ""
    """The path of a list request for another list than the judged one."""
    disconnect_after_s: float | None = None
    """Disconnect this long after the request was sent, whatever has come by then."""
    disconnect_after_pieces: int | None = None
    unread: gevent.event.Event | None = None
    """Nothing of the response is read until this is set; ``disconnect`` sets it."""
    stamp_pieces: bool = False
    """Record when each piece was read, not just the first."""
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Name -> value that must appear in no response."""
    expected_failure: bool = False
    """The scenario makes it fail: Locust's statistics do not count it as an error."""
    due_ns: int | None = None
    """In open loop: when it should have been sent. None: when it was sent."""
    last_byte: gevent.event.Event | None = None
    """The last byte of the request is sent when this is set: the requests of a burst complete at
    one instant."""

    started_ns: int = 0
    sent_ns: int | None = None
    head_ns: int | None = None
    first_ns: int | None = None
    end_ns: int = 0
    hang_up_ns: int | None = None
    status: int | None = None
    outcome: Outcome | None = None
    error: str = ""
    piece_ns: list[int] = field(default_factory=list)
    retry_after: str = ""
    seen_secrets: set[str] = field(default_factory=set)
    killed: bool = False
    """Locust stopped the user that was making it."""
    raw: bytes = b""
    content: Content = field(default_factory=lambda: Content(run=""))
    over: gevent.event.Event = field(default_factory=gevent.event.Event)
    _sock: gevent.socket.socket | None = None

    def disconnect(self) -> bool:
        """Close the client's connection now; False when it was over, or had not begun."""
        if self._sock is None or self.outcome is not None or self.hang_up_ns is not None:
            return False
        self.hang_up_ns = time.monotonic_ns()
        with suppress(OSError):
            self._sock.shutdown(gevent.socket.SHUT_RDWR)
        if self.unread is not None:
            self.unread.set()
        return True

    @property
    def waiting(self) -> bool:
        """Its request was sent in full, and its client still waits."""
        return self.sent_ns is not None and self.outcome is None

    def run_to_end(self) -> None:
        """Make the exchange and set ``outcome``. Raises nothing, not even when killed."""
        self.content = Content(run=self.run)
        self.started_ns = time.monotonic_ns()
        sock: gevent.socket.socket | None = None
        deadline = gevent.Timeout(self.timeout_s)
        deadline.start()
        try:
            sock = self._sock = self._connect()
            self._send(sock)
            self._receive(sock)
            outcome: Outcome = "refused" if (self.status or 0) >= 400 else "answered"
        except _Disconnect:
            self.hang_up_ns = time.monotonic_ns()
            outcome = "hung_up"
        except gevent.GreenletExit:
            # Locust stops its users wherever they are: the router sees a disconnect.
            self.hang_up_ns, self.killed = time.monotonic_ns(), True
            outcome = "hung_up"
        except gevent.Timeout as timeout:
            if timeout is not deadline:
                raise
            outcome, self.error = "timed_out", f"no end after {self.timeout_s:g} s"
        except (OSError, HTTPParseError) as error:
            outcome, self.error = "failed", f"{type(error).__name__}: {error}"[:300]
        finally:
            deadline.cancel()
            if sock is not None:
                sock.close()
            self.end_ns = time.monotonic_ns()
        if self.hang_up_ns is not None:
            outcome, self.error = "hung_up", ""
        self.outcome = outcome
        self.over.set()

    def _connect(self) -> gevent.socket.socket:
        parts = urlsplit(self.host)
        sock = gevent.socket.create_connection((parts.hostname, parts.port or 80))
        sock.setsockopt(gevent.socket.IPPROTO_TCP, gevent.socket.TCP_NODELAY, 1)
        return sock

    def _send(self, sock: gevent.socket.socket) -> None:
        head = {"Host": urlsplit(self.host).netloc, "Accept": "*/*", **self.headers}
        if self.body:
            head |= {"Content-Type": "application/json", "Content-Length": str(len(self.body))}
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        request = f"{self.method} {self.path} HTTP/1.1\r\n{lines}\r\n".encode() + self.body
        if self.last_byte is None:
            sock.sendall(request)
        else:
            sock.sendall(request[:-1])
            self.last_byte.wait()
            sock.sendall(request[-1:])
        self.sent_ns = time.monotonic_ns()

    def _receive(self, sock: gevent.socket.socket) -> None:
        if self.unread is not None:
            self.unread.wait()
        if self.disconnect_after_s is None:
            self._read_response(sock)
            return
        disconnect = gevent.Timeout(self.disconnect_after_s, _Disconnect)
        disconnect.start()
        try:
            self._read_response(sock)
        finally:
            disconnect.cancel()

    def _read_response(self, sock: gevent.socket.socket) -> None:
        response = HTTPSocketResponse(sock, method=self.method)
        self.head_ns = time.monotonic_ns()
        self.status = response.status_code
        self.retry_after = response.get("retry-after", "")
        self._look_for_secrets(str(response.headers).encode())
        if self.stream and self.status < 400:
            self._read_stream(response)
        else:
            self.raw = _read_whole(response)
            self._look_for_secrets(self.raw)
            if self.status >= 400:
                self.error = self.raw[:300].decode(errors="replace")
            elif self.run and self.content.add_json(self.raw):
                self.first_ns = time.monotonic_ns()

    def _read_stream(self, response: Any) -> None:
        while line := response.readline(b"\n"):
            self._take_line(line)
        if rest := response.read():
            self._take_line(rest)

    def _take_line(self, line: bytes) -> None:
        self._look_for_secrets(line)
        if self.content.add_stream_line(line):
            if self.first_ns is None:
                self.first_ns = time.monotonic_ns()
            if self.stamp_pieces:
                self.piece_ns.append(time.monotonic_ns())
        last = self.disconnect_after_pieces
        if last is not None and self.content.pieces >= last:
            raise _Disconnect

    def _look_for_secrets(self, received: bytes) -> None:
        for name, secret in self.secrets.items():
            if secret.encode() in received:
                self.seen_secrets.add(name)

    def observation(self) -> Observation:
        """The record of a generation request that is over."""
        return self._record(
            Observation,
            pieces=self.content.pieces,
            text=self.content.text,
            finish=self.content.finish,
            done=self.content.done,
            error=self.error or self.content.error,
            piece_ns=tuple(self.piece_ns),
            json_error=self.outcome == "refused" and _is_json_error(self.raw),
        )

    def list_observation(self) -> ListObservation:
        """The record of a model-list request that is over."""
        epochs: dict[str, int] = {}
        models = 0
        error = self.error
        if self.outcome == "answered":
            try:
                if self.listed_model:
                    models = int(names_model(self.raw, self.listed_model))
                else:
                    epochs, models = list_contents(self.raw)
            except ValueError as fault:
                error = str(fault)
        return self._record(
            ListObservation,
            request=self.nonce,
            model=self.listed_model,
            path=self.other_list,
            epochs=epochs,
            models=models,
            error=error,
        )

    def _record(self, kind: type[_R], **read: Any) -> _R:
        """A record of what was ``read``; its other fields are this exchange's, by their names."""
        assert self.outcome is not None
        read["secrets"] = tuple(sorted(self.seen_secrets))
        same = {name: getattr(self, name) for name in kind.__struct_fields__ if name not in read}
        return kind(**same, **read)


def _is_json_error(raw: bytes) -> bool:
    try:
        body = msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return False
    return isinstance(body, dict) and bool(body.get("error"))


def _read_whole(response: Any) -> bytes:
    whole: bytes = response.read()
    if len(whole) > MAX_BODY:
        raise HTTPParseError(f"a response of {len(whole)} bytes")
    return whole
