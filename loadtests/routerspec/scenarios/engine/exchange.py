"""One request of a client and its response, on a connection of its own or a kept one, with
timestamps.

Decides when a timestamp is taken and what a broken exchange is called. Refuses to know why it is
made. Whatever a router answers becomes an observation, and every exchange comes to an end. Reads
line by line with geventhttpclient's parser: its block reads, and Locust's ``iter_lines``, deliver
the first piece of a slow stream only at its end.
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
from geventhttpclient.response import HTTPParseError

from fake_providers.records.transcripts import HttpRequest, body_of, fields_of
from routerspec.plan.head import request_head
from routerspec.records.observations import (
    PARSE_ERRORS,
    ClientTranscript,
    ListObservation,
    Observation,
    Outcome,
)
from routerspec.scenarios.engine.content import Content
from routerspec.scenarios.engine.dialects import EVENT_PATHS
from routerspec.scenarios.engine.json_values import decoded, encodable
from routerspec.scenarios.engine.kept import KeptConnections
from routerspec.scenarios.engine.model_lists import list_contents, model_ids, names_model
from routerspec.scenarios.engine.raw_response import BrokenResponse, RawResponse
from routerspec.scenarios.engine.reading import (
    MAX_TEXT,
    BoundReached,
    Intake,
    Memory,
    Response,
    SecretSearch,
)
from routerspec.scrub import SECRETS

_KEPT = 300
"""Characters that are kept of an error."""
_REDIRECTION = 300
_REQUEST_TIMEOUT = 408
_KEPT_TEXT = 64 * 1024
"""Characters that are kept of a text that was cut at its bound."""

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
    end_within_s: float | None = None
    """How long the end may take once the head was read, of a stream its last event; None: no
    matter."""
    stream: bool = False
    run: str = ""
    nonce: int = 0
    round: int = 0
    replica: int = 1
    """The replica of the router at ``host``, from 1."""
    route: str = ""
    mode: str = "chat"
    listed_model: str = ""
    """The one model that a list request asks for; empty: the whole list."""
    spelling: str = ""
    """That model as it stands in the path."""
    looked_for: tuple[str, ...] = ()
    """Ids that a request for the whole list is to find in it."""
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
    memory: Memory = field(default_factory=Memory)
    """What this exchange and those beside it hold together."""
    transcribed: bool = False
    """Its bytes are recorded as well (``transcript``)."""
    kept: KeptConnections | None = None
    """Where its connection comes from and goes to; None: it has one of its own."""
    expected_failure: bool = False
    """The scenario makes it fail: Locust's statistics do not count it as an error."""
    due_ns: int | None = None
    """In open loop: when it should have been sent. None: when it was sent."""
    keeps_body: bool = False
    """What was received is read by the scenario afterwards."""
    last_byte: gevent.event.Event | None = None
    """The last byte of the request is sent when this is set: the requests of a burst complete at
    one instant."""

    poised: bool = False
    """All but the last byte was sent, which waits for its moment."""
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
    gave_up: str = ""
    """Why its client no longer waits, in the place of its timeout."""
    reused: bool = False
    """Its connection had carried an earlier request."""
    lost: bool = False
    """The router closed its kept connection before any byte of an answer: see ``_is_lost``."""
    killed: bool = False
    """Locust stopped the user that was making it."""
    raw: bytes = b""
    content: Content = field(default_factory=lambda: Content(run="", path=""))
    over: gevent.event.Event = field(default_factory=gevent.event.Event)
    _head: bytes = b""
    _response: RawResponse | None = None
    _intake: Intake | None = None
    _text_search: SecretSearch = field(default_factory=lambda: SecretSearch({}))
    _sock: gevent.socket.socket | None = None
    _reusable: bool = False
    _deadline: gevent.Timeout = field(default_factory=gevent.Timeout)

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

    def give_up(self, reason: str) -> None:
        """End it as its timeout would, for this reason; nothing where it is over."""
        if self._sock is None or self.outcome is not None or self.hang_up_ns is not None:
            return
        self.gave_up = self.gave_up or reason
        with suppress(OSError):
            self._sock.shutdown(gevent.socket.SHUT_RDWR)
        if self.unread is not None:
            self.unread.set()

    @property
    def received(self) -> bytes:
        """The body so far, where its bytes are recorded."""
        return bytes(self._response.body) if self._response else b""

    def waited_s(self, now: float) -> float:
        """How long its client has waited at ``now`` (``time.monotonic``); 0: it does not wait."""
        return now - self.sent_ns / 1e9 if self.waiting and self.sent_ns is not None else 0.0

    @property
    def breaks_http(self) -> bool:
        """Its client received a good status, and then no HTTP, or no end of the answer."""
        if self.status is None or not 200 <= self.status < _REDIRECTION:
            return False
        if self.outcome == "failed":
            return self.error.startswith(PARSE_ERRORS)
        ended = self.content.done or self.content.finish is not None
        return self.outcome == "timed_out" and (ended or not self.stream)

    @property
    def waiting(self) -> bool:
        """Its request was sent in full, and its client still waits."""
        return self.sent_ns is not None and self.outcome is None

    def run_to_end(self) -> None:
        """Make the exchange and set ``outcome``. Raises nothing, not even when killed."""
        events = self.stream and self.path.endswith(EVENT_PATHS)
        tools = self.mode == "tools"
        self.content = Content(run=self.run, path=self.path, events_only=events, tools=tools)
        self._text_search = SecretSearch(self.secrets, self.seen_secrets)
        self.started_ns = time.monotonic_ns()
        outcome: Outcome = "timed_out"
        self._deadline = gevent.Timeout(self.timeout_s)
        self._deadline.start()
        try:
            self._sock = self._connect()
            self._send(self._sock)
            self._receive(self._sock)
            outcome = "refused" if (self.status or 0) >= 400 else "answered"
        except _Disconnect:
            self.hang_up_ns = time.monotonic_ns()
        except gevent.GreenletExit:
            # Locust stops its users wherever they are: the router sees a disconnect.
            self.hang_up_ns, self.killed = time.monotonic_ns(), True
        except gevent.Timeout as timeout:
            if timeout is not self._deadline:
                raise
            self.error = f"no end after {timeout.seconds:g} s"
        except BoundReached as bound:
            self.error = str(bound)
            self.raw = self.raw[:_KEPT]
            self.content.parts = [self.content.text[:_KEPT_TEXT]]
        except (OSError, HTTPParseError, BrokenResponse) as error:
            if self.status is None and self._intake is not None:
                self.status = self._intake.status  # The head was broken after its first line.
            outcome, self.error = "failed", _text_of(error)[:_KEPT]
        except Exception as error:  # Ours: it proves nothing, and ends no client.
            self.error = f"internal error: {type(error).__name__}: {error}"[:_KEPT]
        finally:
            self._deadline.cancel()
            if self._sock is not None:
                self._leave(self._sock)
            self.end_ns = time.monotonic_ns()
            if self.gave_up:
                outcome, self.error = "timed_out", self.gave_up
            if self.hang_up_ns is not None:
                outcome, self.error = "hung_up", ""
            self.outcome = outcome
            self.lost = self.reused and self._is_lost()
            self.over.set()

    def _is_lost(self) -> bool:
        """Whether both sides may have used the idle connection at once, one of them to close it.

        The client of an SDK sends such a request again. Nobody can tell whether the router had read
        it, so it proves nothing. A 408 is how some servers close an idle connection (RFC 9110,
        15.5.9). HAProxy closes a kept connection without a byte where its server did the same, and
        leaves it to the client to send again.
        """
        if self.outcome == "refused":
            return self.status == _REQUEST_TIMEOUT
        return self.outcome == "failed" and (self._intake is None or self._intake.taken == 0)

    def forget(self) -> None:
        """Drop what was read, once it is recorded; scenarios read a list of a usual size."""
        if self.mode != "list" or len(self.raw) > MAX_TEXT:
            self.raw = b""
        self.content.parts.clear()
        if not self.keeps_body:
            self._response = None
        if self._intake is not None:
            self._intake.forget()

    def _leave(self, sock: gevent.socket.socket) -> None:
        if self.kept is not None and self._reusable and self.hang_up_ns is None:
            self.kept.give(self.host, sock)
        else:
            sock.close()

    def _connect(self) -> gevent.socket.socket:
        if self.kept is not None and (idle := self.kept.take(self.host)) is not None:
            self.reused = True
            return idle
        parts = urlsplit(self.host)
        sock = gevent.socket.create_connection((parts.hostname, parts.port or 80))
        sock.setsockopt(gevent.socket.IPPROTO_TCP, gevent.socket.TCP_NODELAY, 1)
        return sock

    def _send(self, sock: gevent.socket.socket) -> None:
        self._head = request_head(self.method, self.host, self.path, self.headers, len(self.body))
        request = self._head + self.body
        if self.last_byte is None:
            sock.sendall(request)
        else:
            sock.sendall(request[:-1])
            self.poised = True
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
        search = SecretSearch(self.secrets, self.seen_secrets)
        self._intake = Intake(sock, search, self.memory)
        if self.transcribed:
            self._read_raw(self._intake)
            return
        response = Response(self._intake, self.method)
        self.head_ns = time.monotonic_ns()
        self.status = response.status_code
        self.retry_after = encodable(response.field("retry-after"))
        if self.stream and self.status < 400:
            self._read_stream(response)
            self._reusable = not response.should_close()
            return
        self._expect_end()
        self.raw = response.read()
        self._reusable = not response.should_close()
        self._take_whole()

    def _expect_end(self) -> None:
        if self.end_within_s is not None:
            self._deadline.cancel()
            self._deadline, self.end_within_s = gevent.Timeout(self.end_within_s), None
            self._deadline.start()

    def _take_whole(self) -> None:
        if (self.status or 0) >= 400:
            # Hidden before it is cut: half a key would be found by nobody.
            text = SECRETS.hide(self.raw[: 4 * _KEPT].decode(errors="replace"))
            self.error = encodable(text[:_KEPT])
        elif self.run and self.content.add_json(self.raw):
            self.first_ns = time.monotonic_ns()
            self._look_at_text()

    def _read_raw(self, intake: Intake) -> None:
        """Read the response as bytes, and its content as any client does."""
        response = self._response = RawResponse(intake, self.method)
        response.read_head()
        self.head_ns = time.monotonic_ns()
        self.status = response.status
        self.retry_after = encodable(response.field("retry-after"))
        if not (self.stream and self.status < 400):
            for _ in response.pieces():
                pass
            self.raw = bytes(response.body)
            self._take_whole()
        else:
            rest = b""
            for piece in response.pieces():
                *lines, rest = (rest + piece).splitlines(keepends=True)
                if rest.endswith(b"\n"):
                    lines, rest = [*lines, rest], b""
                for line in lines:
                    self._take_line(line)
            self._take_line(rest)
            self._take_line(b"")  # The end of the last event.
        if response.fault:
            raise BrokenResponse(response.fault)

    def _read_stream(self, response: Response) -> None:
        while lines := response.readline(b"\n") or response.read():
            for line in lines.splitlines():
                self._take_line(line)
            if self.content.done:
                self._expect_end()
        self._take_line(b"")  # The end of the last event.

    def _take_line(self, line: bytes) -> None:
        if self.content.add_stream_line(line):
            if self.first_ns is None:
                self.first_ns = time.monotonic_ns()
            if self.stamp_pieces:
                self.piece_ns.append(time.monotonic_ns())
            self._look_at_text()
        last = self.disconnect_after_pieces
        if last is not None and self.content.pieces >= last:
            raise _Disconnect

    def _look_at_text(self) -> None:
        """Search the newest content, in which a key may stand over several pieces; bound it all."""
        self._text_search.add(self.content.parts[-1].encode())
        if self.content.length > MAX_TEXT:
            raise BoundReached(
                f"no end after {self.content.length} characters: cut at the client's bound"
            )

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
            unframed_error=self.content.unframed_error,
            json_error=self.outcome == "refused" and _is_json_error(self.raw),
        )

    def transcript(self) -> ClientTranscript:
        """The bytes of a generation request that is over, without its secrets."""
        raw = self._response
        return ClientTranscript(
            nonce=self.nonce,
            round=self.round,
            request=self._sent_request(),
            response=raw.record(self._hidden) if raw else None,
            informational=tuple(raw.informational) if raw else (),
            framing=raw.framing if raw else "",
            ended=raw.ended if raw else "",
            fault=self.error if raw and self.outcome == "failed" else "",
            surplus=raw.surplus if raw else 0,
            arrivals=tuple(raw.arrivals) if raw else (),
        )

    def _sent_request(self) -> HttpRequest:
        line, *fields = self._head.removesuffix(b"\r\n\r\n").split(b"\r\n")
        method, target, version = line.decode("latin-1").split(" ")
        pairs = (field.partition(b":") for field in fields)
        return HttpRequest(
            method=method,
            target=target,
            version=version.removeprefix("HTTP/"),
            fields=fields_of((name, self._hidden(value.strip())) for name, _, value in pairs),
            body=body_of(self._hidden(self.body)),
        )

    def _hidden(self, data: bytes) -> bytes:
        for name, secret in self.secrets.items():
            data = data.replace(secret.encode(), b"{%b}" % name.encode())
        return data

    def list_observation(self) -> ListObservation:
        """The record of a model-list request that is over."""
        epochs: dict[str, int] = {}
        models = 0
        named: tuple[str, ...] = ()
        error = self.error
        if self.outcome == "answered":
            try:
                if self.listed_model:
                    models = int(names_model(self.raw, self.listed_model))
                else:
                    epochs, models = list_contents(self.raw)
                    ids = model_ids(self.raw) if self.looked_for else []
                    named = tuple(each for each in self.looked_for if each in ids)
            except ValueError as fault:
                error = str(fault)
        return self._record(
            ListObservation,
            request=self.nonce,
            model=self.listed_model,
            path=self.other_list,
            epochs=epochs,
            models=models,
            named=named,
            error=error,
        )

    def _record(self, kind: type[_R], **read: Any) -> _R:
        """A record of what was ``read``; its other fields are this exchange's, by their names."""
        assert self.outcome is not None
        read["secrets"] = tuple(sorted(self.seen_secrets))
        same = {name: getattr(self, name) for name in kind.__struct_fields__ if name not in read}
        return kind(**same, **read)


def _text_of(error: Exception) -> str:
    """What broke; of a parser's error the text without its number."""
    of_parser = isinstance(error, HTTPParseError) and error.args
    return f"{type(error).__name__}: {error.args[0] if of_parser else error}"


def _is_json_error(raw: bytes) -> bool:
    try:
        body = decoded(raw)
    except ValueError:
        return False
    return isinstance(body, dict) and bool(body.get("error"))
