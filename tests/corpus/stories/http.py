"""Stories of HTTP itself: forms of requests, the next request on a connection, slow streams."""

from __future__ import annotations

from typing import Any

from fake_providers.records.evidence import Call
from routerspec.records.run import Settings
from tests.corpus.builder import (
    LIMIT,
    TTL,
    Start,
    ns,
    request_of,
    response_of,
    route,
)
from tests.corpus.registry import Story, bad, good
from tests.corpus.stories.faulty_providers import STREAMING, changed

CHAT = b'{"choices":[{"message":{"content":"%d@openai-%d#0 "},"finish_reason":"stop"}]}'
EVENTS = b'data: {"choices":[]}\n\ndata: [DONE]\n\n'
LENGTH: tuple[tuple[str, str], ...] = (("Content-Length", "80"),)


class Wire:
    """A round whose requests are recorded with their bytes."""

    def __init__(
        self, start: Start, scenario: str, at: float, *, part: str = "", mode: str = "chat"
    ) -> None:
        self.start, self.at, self._mode = start, at, mode
        route = "" if part else "openai"
        self.number = start.round(
            scenario, at, at + 20, route=route, mode="" if part else mode, part=part
        )

    def ask(
        self,
        part: str,
        *,
        status: int | None = 200,
        body: bytes | None = None,
        called: bool = True,
        took: float = 0.01,
        fields: tuple[tuple[str, str], ...] = (),
        request: dict[str, Any] | None = None,
        **transcript: Any,
    ) -> int:
        """A request and its response; the nonce."""
        nonce, begin = self.start.nonce(), self.at
        self.at += took + 0.01
        call: Call | None = None
        if called:
            call = self.start.call(
                nonce, read=begin + 0.002, end=begin + 0.005, stream=self._mode == "stream"
            )
        stream = self._mode == "stream"
        if body is None:
            body = EVENTS if stream else CHAT % (nonce, call.call if call else 1)
        if status is not None and status >= 400:
            body = b'{"error":{"message":"no"}}'
        kind = response_of(body, status=status or 0, stream=stream, fields=fields)
        defaults: dict[str, Any] = {"framing": "length", "ended": "framed"}
        if status is None:
            defaults = {"framing": "", "ended": ""}
        self.start.transcript(
            nonce,
            self.number,
            request_of(b"{}", **request or {}),
            None if status is None else kind,
            part=part,
            sent_ns=ns(begin),
            end_ns=ns(begin + took),
            **defaults | transcript,
        )
        return nonce


def forms(start: Start, at: float = 0.0, *, mode: str = "chat") -> Wire:
    """The usual form, answered."""
    wire = Wire(start, "wire-http", at, mode=mode)
    wire.ask("plain", connection=1)
    return wire


@good("http-of-a-sparse-server")
def sparse() -> Story:
    """What a server may lack is refused in the right way, and an answer may end with a close."""
    start = Start()
    wire = forms(start)
    wire.ask("HTTP/1.0", framing="close", ended="closed", request={"version": "1.0"})
    wire.ask("HTTP/1.0", framing="chunked", request={"version": "1.0"})
    wire.ask("Connection: close", framing="close", ended="closed")
    for _ in range(3):
        wire.ask("chunked", status=411, called=False)
        wire.ask("100-continue", status=417, called=False, withheld_ns=1_000_000)
        wire.ask("query", status=404, called=False)
        wire.ask("slash", status=404, called=False)
        wire.ask("identity", status=503, called=False)
        wire.ask("gzip", status=None, called=False, lost=True)
    forms(start, 30, mode="stream")
    return (start,), {"selected": ("wire/http",), "routes": STREAMING}


@bad("wire/http")
def both_lengths() -> Story:
    """An answer with a length and in chunks."""
    start = Start()
    wire = forms(start)
    wire.ask(
        "Connection: close",
        framing="chunked",
        fault="both Content-Length and Transfer-Encoding",
        fields=(*LENGTH, ("Transfer-Encoding", "chunked")),
    )
    return (start,), {}


def pairs(start: Start, at: float = 0.0) -> Wire:
    """Two requests on one connection, each with its answer."""
    wire = Wire(start, "wire-keep-alive", at)
    pair(wire, 1, "an answer")
    return wire


def pair(wire: Wire, connection: int, part: str, **after: Any) -> None:
    """A request that gets this, and the next one on its connection."""
    refused = part.startswith("a refusal")
    wire.ask(part, connection=connection, status=401 if refused else 200, called=not refused)
    wire.ask(f"the next after {part}", connection=connection, **after)


def idle(
    start: Start, at: float = 25.0, *, failing: int = 0, after: float = 0.3, status: int = 502
) -> None:
    """Requests after the provider has closed its idle connections; the last ones fail."""
    wire = Wire(start, "wire-keep-alive", at, part="idle connections of providers")
    for index in range(4):
        wire.ask("openai", connection=50 + index)
        wire.at += after
    for index in range(failing):
        wire.ask("openai", connection=60 + 2 * index, status=status, called=False)
        wire.ask("openai", connection=61 + 2 * index)
        wire.at += after


@good("next-requests-get-their-own-answers")
def kept() -> Story:
    """Or the connection is closed, announced or not; one provider connection crosses its close."""
    start = Start()
    wire = pairs(start)
    pair(wire, 2, "a refusal without a key", status=None, called=False, lost=True)
    pair(wire, 3, "an error of the provider", status=503, called=False)
    wire.ask("a large body", connection=4, status=413, called=False,
             fields=(("Connection", "close"),))  # fmt: skip
    idle(start, failing=1)
    return (start,), {"selected": ("wire/keep-alive",)}


@bad("wire/keep-alive")
def unread_body() -> Story:
    """The body of a refused request is read as the next request."""
    start = Start()
    wire = pairs(start)
    for connection in (2, 3):
        pair(wire, connection, "a refusal without a key", status=400, called=False)
    idle(start)
    return (start,), {}


def short_timeout() -> Start:
    """A start whose router waits for 3 s."""
    start = Start()
    start.settings = Settings(cap=LIMIT, models_ttl_s=TTL, timeout_s=3.0)
    return start


def slow_stream(start: Start, at: float, *, cut_at: float | None = None) -> None:
    """A stream of 4 s; ``cut_at``: after so long the router ends it on both sides."""
    number = start.round("idle-timeout", at, at + 5, mode="stream")
    nonce = start.nonce()
    lasts = 4.1 if cut_at is None else cut_at
    cut: dict[str, Any] = {"ended_by": "peer", "peer_closed": at + lasts} if cut_at else {}
    call = start.call(
        nonce, read=at + 0.01, end=at + lasts + 0.01, first=at + 0.02, stream=True, pieces=8, **cut
    )
    if cut_at is None:
        start.client(nonce, number, sent=at, end=at + lasts + 0.05, mode="stream",
                     text=start.whole(nonce, call))  # fmt: skip
        return
    changed(start, call, finished=False)
    client = start.client(nonce, number, sent=at, end=at + lasts, mode="stream", outcome="failed",
                          text=f"{nonce}@openai-{call.call}#0 ", error="closed")  # fmt: skip
    changed(start, client, done=False)


@good("slow-streams-whole")
def streams_whole() -> Story:
    """One is cut off at the timeout, and the next one of its route is not."""
    start = short_timeout()
    slow_stream(start, 0, cut_at=3.0)
    slow_stream(start, 10)
    routes = (route("openai", "stream"),)
    return (start,), {"selected": ("answers/slow-stream",), "routes": routes}


@bad("answers/slow-stream")
def total_timeout() -> Story:
    """The timeout bounds the whole stream."""
    start = short_timeout()
    for at in (0, 10, 20):
        slow_stream(start, at, cut_at=3.0)
    return (start,), {}
