"""Stories of what clients ask and providers get: bodies, headers, retries, caches, errors."""

from __future__ import annotations

import json
from typing import Any, Literal

import msgspec

from fake_providers.records.evidence import Call
from fake_providers.records.transcripts import Fields
from routerspec.checks.retried import EMPTY
from routerspec.limits import CACHE_REPEAT, CANARIES, CLIENT_ERRORS, ORDINARY_BODIES, TRACE_ID
from routerspec.promises import Promises
from tests.corpus.builder import CAP, LISTS, PATHS, Start, request_of, response_of, route
from tests.corpus.registry import Story, bad, good

PLAIN, KNOWN, UNKNOWN, *_ = ORDINARY_BODIES
BIG = 9007199254740993
MESSAGES = [{"role": "system", "content": "caf\u00e9"}, {"role": "user", "content": "hello"}]
ASKED: dict[str, Any] = {
    "model": "openai/fake-chat",
    "messages": MESSAGES,
    "stream": False,
    "temperature": 0,
    "seed": BIG,
    "stream_options": {"include_usage": True},
    "x_unknown": {"deep": [1, {"none": None}]},
}
ARRIVED: dict[str, Any] = {
    **{name: ASKED[name] for name in reversed(ASKED)},
    "model": "fake-chat",
    "stream_options": {"include_usage": True, "added": 1},
    "metadata": {"router": "x"},
}
TRANSLATED: dict[str, Any] = {
    "model": "fake-chat",
    "messages": [{"role": "developer", "content": "caf\u00e9\n\nhello"}],
    "stream": False,
    "options": {"temperature": 0.0, "num_predict": 64},
}
"""In Ollama's dialect, with both messages in one."""
TRACED = Promises(cap=CAP, model_list=LISTS, trace=True)
CACHING = Promises(cap=CAP, model_list=LISTS, response_cache=True)
ROUTES = (route("openai", "chat", "stream"), route("ollama", "chat"))

Mode = Literal["chat", "stream"]


def sent_on(
    start: Start,
    number: int,
    at: float,
    *arrived: dict[str, Any] | bytes | None,
    asked: dict[str, Any] | bytes = ASKED,
    mode: Mode = "chat",
    name: str = "openai",
    providers: tuple[str, ...] = (),
    statuses: tuple[int, ...] = (),
    stream: bool | None = None,
    fields: tuple[Fields, Fields] = ((), ()),
    answer: tuple[Fields, Fields] = ((), ()),
    client: dict[str, Any] | None = None,
) -> int:
    """A client and its calls, each with the body that ``arrived``; None: an empty one.

    ``fields``: of the client's request and the calls'. ``answer``: of the calls' answers and the
    client's.
    """
    nonce = start.nonce()
    raw = asked if isinstance(asked, bytes) else json.dumps(asked).encode()
    call: Call | None = None
    for index, body in enumerate(arrived):
        provider = providers[index] if providers else name
        status = statuses[index] if statuses else 200
        begin = at + 0.1 + 0.2 * index
        empty = body is None
        call = start.call(
            *(() if empty else (nonce,)),
            read=begin,
            end=begin + 0.1,
            provider=provider,
            status=status,
            stream=mode == "stream" if stream is None else stream,
            body=EMPTY if empty else f"{index:02}",
            run="" if empty else None,
            model=body.get("model", "") if isinstance(body, dict) else "",
        )
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        start.call_transcript(
            call,
            request_of(b"" if empty else data, target=PATHS[provider], fields=fields[1]),
            response_of(b"{}", status=status, fields=answer[0]),
        )
    good = call is not None and call.finished
    how: dict[str, Any] = {} if good else {"outcome": "refused", "status": 503}
    how |= client or {}
    end = at + 0.2 + 0.2 * len(arrived)
    text = start.whole(nonce, call) if good and call else ""
    seen = start.client(nonce, number, sent=at, end=end, text=text, mode=mode, route=name, **how)
    start.transcript(
        nonce,
        number,
        request_of(raw, fields=fields[0]),
        response_of(b"{}", status=seen.status or 200, fields=answer[1]),
    )
    return nonce


def bodies(start: Start, begin: float, part: str = KNOWN) -> int:
    return start.round("request-bodies", begin, begin + 5, part=part)


# -- what is asked ------------------------------------------------------------------------------


@good("requests-arrive-as-they-were-sent")
def arrive() -> Story:
    """A relay that adds members, a translation that merges messages, and an agent."""
    start = Start()
    plain = {"model": "agent/fake-chat", "messages": [{"role": "user", "content": "hello"}]}
    more = {**plain, "messages": [{"role": "system", "content": "Think."}, *plain["messages"]]}
    number = bodies(start, 0, PLAIN)
    sent_on(start, number, 1, more, asked=plain, name="agent", providers=("openai",))
    number = bodies(start, 10)
    sent_on(start, number, 11, ARRIVED)
    sent_on(start, number, 12, ARRIVED, mode="stream")
    limited = {**ASKED, "max_tokens": 64}
    sent_on(start, number, 13, TRANSLATED, asked=limited, name="ollama")
    sent_on(start, number, 14, {**more, "tools": []}, name="agent", providers=("openai",))
    sent_on(start, bodies(start, 20, UNKNOWN), 21, client={"status": 400})
    sent_on(start, bodies(start, 30, "a body of 1.5 MB"), 31, ARRIVED)
    routes = (*ROUTES, route("agent"))
    return (start,), {"selected": ("request/body", "request/stream-flag"), "routes": routes}


@bad("request/body")
def rounded() -> Story:
    """A number has gone through a double."""
    start = Start()
    sent_on(start, bodies(start, 0), 1, {**ARRIVED, "seed": BIG - 1})
    return (start,), {}


@bad("request/stream-flag")
def streams_for_nobody() -> Story:
    """The provider streams for a client that wants a whole answer."""
    start = Start()
    sent_on(start, bodies(start, 0), 1, ARRIVED, stream=True)
    return (start,), {}


# -- headers ------------------------------------------------------------------------------------

CLIENTS: Fields = (
    ("Cookie", f"a={CANARIES['cookie']}"),
    ("X-Forwarded-For", CANARIES["x-forwarded-for"]),
    ("Connection", "X-Routerspec-Hop"),
    ("X-Routerspec-Hop", "rs-hop-5f1c"),
    ("traceparent", f"00-{TRACE_ID}-00f067aa0ba902b7-01"),
)
OWN: Fields = (
    ("x-forwarded-for", "127.0.0.1"),
    ("connection", "keep-alive"),
    ("traceparent", f"00-{TRACE_ID}-1111111111111111-01"),
)


@good("headers-of-the-routers-own")
def own_headers() -> Story:
    """The router's own X-Forwarded-For, a span of its own in the client's trace, gzip decoded."""
    start = Start()
    number = bodies(start, 0, "headers")
    coded: Fields = (("content-encoding", "gzip"),)
    host: tuple[Fields, Fields] = ((("Host", "127.0.0.1:1"), *CLIENTS), (("host", "h:2"), *OWN))
    nonce = sent_on(start, number, 1, ARRIVED, fields=host, answer=(coded, ()))
    _without_host(start, nonce, b"plain")
    return (start,), {"selected": ("request/headers",), "promises": TRACED}


@bad("request/headers")
def cookies() -> Story:
    start = Start()
    number = bodies(start, 0, "headers")
    nonce = sent_on(start, number, 1, ARRIVED, fields=(CLIENTS, (*OWN, CLIENTS[0])))
    _without_host(start, nonce, b"{}")
    return (start,), {}


def _without_host(start: Start, nonce: int, read: bytes) -> None:
    """Take out the Host, which the requests of all stories share; the client ``read`` this body."""
    for lines in (start.evidence, start.observations):
        for place, line in enumerate(lines):
            if getattr(line, "request", None) is None:
                continue
            kept = tuple(f for f in line.request.fields if f != ("Host", "127.0.0.1"))
            request = msgspec.structs.replace(line.request, fields=kept)
            lines[place] = msgspec.structs.replace(line, request=request)
            if getattr(line, "nonce", 0) == nonce:
                lines[place] = msgspec.structs.replace(lines[place], response=response_of(read))


# -- tried again --------------------------------------------------------------------------------

FAILED = (503, 200)


@good("retries-of-the-whole-request")
def whole_again() -> Story:
    """A retry at the same provider, and a fallback to another in its dialect."""
    start = Start()
    number = start.round("request-retries", 0, 9, part="a refusal")
    sent_on(start, number, 1, ARRIVED, {**ARRIVED, "metadata": {"attempt": 2}}, statuses=FAILED)
    limited = {**ASKED, "max_tokens": 64}
    sent_on(start, number, 3, {**ARRIVED, "max_tokens": 64}, TRANSLATED, asked=limited,
            providers=("openai", "ollama"), statuses=FAILED)  # fmt: skip
    sent_on(start, number, 5, ARRIVED)
    return (start,), {"selected": ("request/retry",)}


@bad("request/retry")
def nothing_left() -> Story:
    """Twice the retry has no body."""
    start = Start()
    number = start.round("request-retries", 0, 9, part="a refusal")
    for at in (1, 3):
        sent_on(start, number, at, ARRIVED, None, statuses=(503, 400))
    return (start,), {}


# -- cached -------------------------------------------------------------------------------------


def twice(
    start: Start,
    at: float,
    part: str,
    *,
    calls: int,
    status: int = 200,
    mode: Mode = "chat",
    then: Mode | None = None,
    events: bool = False,
    cut: bool = False,
    **second: Any,
) -> None:
    """Two requests of one body; the second is answered, with a call of its own if there are two."""
    number = start.round("cache-probes", at, at + 4, route="openai", mode=mode, part=part)
    first, other = start.nonce(), start.nonce()
    body = json.dumps(ASKED).encode()
    good = status == 200
    for index in range(calls):
        begin = at + 0.1 + index
        call = start.call(
            first, read=begin, end=begin + 0.1, status=status, stream=mode == "stream"
        )
        start.changed(call, finished=good and not cut)
    start.client(first, number, sent=at, end=at + 0.4, mode=mode,
                 outcome="answered" if good else "refused", status=status)  # fmt: skip
    start.client(other, number, sent=at + 1, end=at + 1.4, mode=then or mode, **second)
    for nonce in (first, other):
        start.transcript(nonce, number, request_of(body), response_of(b"{}", stream=events))


@good("a-cache-of-whole-good-answers")
def cached() -> Story:
    """The same request is shown the answer again; every other one makes a call of its own."""
    start = Start()
    twice(start, 0, CACHE_REPEAT, calls=1)
    for index, part in enumerate(("max_tokens", "temperature", "seed", "system", "key"), 1):
        twice(start, 5.0 * index, part, calls=2)
    twice(start, 45, "then a stream", calls=2, then="stream")
    return (start,), {"selected": ("cache/answers",), "promises": CACHING}


@bad("cache/answers")
def error_kept() -> Story:
    start = Start()
    twice(start, 0, CACHE_REPEAT, calls=1)
    twice(start, 5, "an error", calls=1, status=500)
    return (start,), {}


# -- errors -------------------------------------------------------------------------------------


def bad_clients(
    start: Start, begin: float, *, after: tuple[int, ...], errors: int = CLIENT_ERRORS
) -> None:
    """A good request, errors of clients, and requests that the router answers with ``after``."""
    fields: dict[str, Any] = {"route": "openai", "mode": "chat"}
    number = start.round("client-errors", begin, begin + 1, part="before", **fields)
    start.exchange(number, sent=begin + 0.1, end=begin + 0.4)
    number = start.round("client-errors", begin + 1, begin + 9, part="errors", **fields)
    for index in range(errors):
        at = begin + 1.1 + 0.2 * index
        nonce = start.nonce()
        start.call(nonce, read=at, end=at + 0.05, status=400, pieces=0)
        start.client(nonce, number, sent=at - 0.05, end=at + 0.1, outcome="refused", status=400,
                     error="{}")  # fmt: skip
    for index, status in enumerate(after):
        at = begin + 10 + index
        number = start.round("client-errors", at, at + 1, part="after", **fields)
        if status == 200:
            start.exchange(number, sent=at + 0.1, end=at + 0.4)
        else:
            start.client(start.nonce(), number, sent=at + 0.1, end=at + 0.2, outcome="refused",
                         status=status, error='{"error": "circuit open"}')  # fmt: skip


@good("errors-of-clients-close-nothing")
def clients_own_fault() -> Story:
    start = Start()
    bad_clients(start, 0, after=(200, 200, 200))
    return (start,), {"selected": ("errors/client-errors",)}


@bad("errors/client-errors")
def breaker_of_clients() -> Story:
    start = Start()
    bad_clients(start, 0, after=(503, 503, 503))
    return (start,), {}


def busy(start: Start, number: int, at: float, told: str, **client: Any) -> None:
    """A provider that is busy for two seconds, and what its client was told."""
    nonce = sent_on(start, number, at, ARRIVED, statuses=(429,),
                    answer=((("retry-after", "2"),), ()),
                    client={"outcome": "refused", "status": 429} | client)  # fmt: skip
    place = next(
        index
        for index, line in enumerate(start.observations)
        if getattr(line, "nonce", 0) == nonce and hasattr(line, "retry_after")
    )
    start.observations[place] = msgspec.structs.replace(start.observations[place], retry_after=told)


@good("a-busy-provider-says-for-how-long")
def told_how_long() -> Story:
    start = Start()
    number = start.round("provider-busy", 0, 20)
    for at, told in enumerate(("2", "1.5", "30", "Wed, 21 Oct 2026 07:28:00 GMT"), 1):
        busy(start, number, at, told)
    busy(start, number, 6, "", status=400)
    return (start,), {"selected": ("errors/retry-after",)}


@bad("errors/retry-after")
def not_told() -> Story:
    start = Start()
    busy(start, start.round("provider-busy", 0, 20), 1, "")
    return (start,), {}
