"""One request of a client, on a connection of its own, with every moment of it stamped.

Decides when a stamp is taken and how an exchange that breaks is called. Refuses to know why it
is made. Reads with geventhttpclient's parser line by line: its own block reads, and Locust's
``iter_lines``, deliver the first piece of a slow stream at its end.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

import gevent
import gevent.event
import gevent.socket
import msgspec
from geventhttpclient.response import HTTPParseError, HTTPSocketResponse

from routerspec.records.observations import ListObservation, Observation, Outcome
from routerspec.scenarios.engine.dialects import Content, list_contents, names_model

MAX_BODY = 8 * 1024 * 1024


class _HangUp(BaseException):
    """Raised inside an exchange whose client was told to leave."""


@dataclass(slots=True, kw_only=True)
class Exchange:
    """A request that is about to be, being, or has been made."""

    host: str
    """Base URL of the router."""
    method: Literal["GET", "POST"]
    path: str
    headers: dict[str, str]
    body: bytes
    patience_s: float
    """How long the client waits in all."""
    stream: bool = False
    run: str = ""
    nonce: int = 0
    round: int = 0
    route: str = ""
    mode: str = "chat"
    listed_model: str = ""
    """Of the model list, this one alone is asked for."""
    hang_up_after_s: float | None = None
    """Leave so long after the request was written, whatever came."""
    hang_up_after_pieces: int | None = None
    clock_pieces: bool = False
    """Keep the moment of every piece, not just of the first."""
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Name -> what no client may see in an answer."""
    provoked: bool = False
    """The provider was told to fail it: what the client sees of that is no error of the load."""
    due_ns: int | None = None
    """In open loop: when it should have been made, whoever was free to. None: when it was made."""
    go: gevent.event.Event | None = None
    """The last byte of the request waits for this: bursts leave at one instant."""

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
    """The user that made it was stopped meanwhile."""
    raw: bytes = b""
    content: Content = field(default_factory=lambda: Content(run=""))
    over: gevent.event.Event = field(default_factory=gevent.event.Event)
    _sock: gevent.socket.socket | None = None

    def leave(self) -> bool:
        """Hang up now, from outside; False when it was over, or not yet begun."""
        if self._sock is None or self.outcome is not None or self.hang_up_ns is not None:
            return False
        self.hang_up_ns = time.monotonic_ns()
        with suppress(OSError):
            self._sock.shutdown(gevent.socket.SHUT_RDWR)
        return True

    @property
    def waiting(self) -> bool:
        """Its request was written whole and its client still waits."""
        return self.sent_ns is not None and self.outcome is None

    def run_to_end(self) -> None:
        """Make the exchange. Never raises but for a kill; tells how it went in ``outcome``."""
        self.content = Content(run=self.run)
        self.started_ns = time.monotonic_ns()
        sock: gevent.socket.socket | None = None
        patience = gevent.Timeout(self.patience_s)
        patience.start()
        try:
            sock = self._sock = self._connect()
            self._send(sock)
            self._receive(sock)
            outcome: Outcome = "refused" if (self.status or 0) >= 400 else "answered"
        except _HangUp:
            self.hang_up_ns = time.monotonic_ns()
            outcome = "hung_up"
        except gevent.GreenletExit:
            # Locust stops its users wherever they are: to the router that is a hang-up.
            self.hang_up_ns, self.killed = time.monotonic_ns(), True
            outcome = "hung_up"
        except gevent.Timeout as timeout:
            if timeout is not patience:
                raise
            outcome, self.error = "timed_out", f"no end after {self.patience_s:g} s"
        except (OSError, HTTPParseError) as error:
            outcome, self.error = "failed", f"{type(error).__name__}: {error}"[:300]
        finally:
            patience.cancel()
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
        if self.go is None:
            sock.sendall(request)
        else:
            sock.sendall(request[:-1])
            self.go.wait()
            sock.sendall(request[-1:])
        self.sent_ns = time.monotonic_ns()

    def _receive(self, sock: gevent.socket.socket) -> None:
        if self.hang_up_after_s is None:
            self._read_answer(sock)
            return
        leave = gevent.Timeout(self.hang_up_after_s, _HangUp)
        leave.start()
        try:
            self._read_answer(sock)
        finally:
            leave.cancel()

    def _read_answer(self, sock: gevent.socket.socket) -> None:
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
            if self.clock_pieces:
                self.piece_ns.append(time.monotonic_ns())
        leave_at = self.hang_up_after_pieces
        if leave_at is not None and self.content.pieces >= leave_at:
            raise _HangUp

    def _look_for_secrets(self, seen: bytes) -> None:
        for name, secret in self.secrets.items():
            if secret.encode() in seen:
                self.seen_secrets.add(name)

    def observation(self) -> Observation:
        """The record of this exchange as a generation request; only once it is over."""
        assert self.outcome is not None
        return Observation(
            nonce=self.nonce,
            round=self.round,
            route=self.route,
            mode=self.mode,  # type: ignore[arg-type]
            started_ns=self.started_ns,
            sent_ns=self.sent_ns,
            head_ns=self.head_ns,
            first_ns=self.first_ns,
            end_ns=self.end_ns,
            hang_up_ns=self.hang_up_ns,
            outcome=self.outcome,
            status=self.status,
            pieces=self.content.pieces,
            text=self.content.text,
            finish=self.content.finish,
            done=self.content.done,
            error=self.error or self.content.error,
            piece_ns=tuple(self.piece_ns),
            retry_after=self.retry_after,
            json_error=self.outcome == "refused" and _is_json_error(self.raw),
            secrets=tuple(sorted(self.seen_secrets)),
        )

    def list_observation(self) -> ListObservation:
        """The record of this exchange as a request for the model list; only once it is over."""
        assert self.outcome is not None
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
        return ListObservation(
            request=self.nonce,
            round=self.round,
            started_ns=self.started_ns,
            sent_ns=self.sent_ns,
            end_ns=self.end_ns,
            outcome=self.outcome,
            status=self.status,
            epochs=epochs,
            models=models,
            error=error,
            model=self.listed_model,
            hang_up_ns=self.hang_up_ns,
            secrets=tuple(sorted(self.seen_secrets)),
        )


def _is_json_error(raw: bytes) -> bool:
    try:
        body = msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return False
    return isinstance(body, dict) and bool(body.get("error"))


def _read_whole(response: Any) -> bytes:
    whole: bytes = response.read()
    if len(whole) > MAX_BODY:
        raise HTTPParseError(f"an answer of {len(whole)} bytes")
    return whole
