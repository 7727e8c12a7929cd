"""Stories of routers that drain, reload their configuration, or wait for silent providers."""

from __future__ import annotations

from typing import Any

import msgspec

from fake_providers.records.evidence import Call
from routerspec.promises import Cap, Drain, Promises, Reload, Silence
from tests.corpus.builder import LIMIT, Start, ns, request_of, response_of, route
from tests.corpus.registry import Story, bad, good

CAP = Cap(limit=LIMIT)
ROUTES = (route("openai", "chat", "stream"),)

DRAIN = Promises(cap=CAP, drain=Drain(within_s=3.0))
DRAINING = ("drain/whole", "drain/refuses", "drain/exit", "drain/permits")
SIGNAL, RELEASE, EXIT = 1.0, 2.3, 3.3
"""When the signal was sent, the held call released, and the router gone."""

RELOAD = Promises(cap=CAP, reload=Reload(signal="HUP", within_s=1.0))
RELOADING = ("reload/serves", "reload/whole", "reload/one-cap")
GROWN = LIMIT + 2

SILENCE = Promises(cap=CAP, silence=Silence(keepalive_s=1.0, stream_max_s=4.0, idle_timeout_s=2.0))
SILENT = ("silence/keep-alive", "silence/long-stream", "silence/gives-up")


# -- drain --------------------------------------------------------------------------------------


def drain(
    start: Start,
    *,
    cut: float = 0.0,
    begun: bool = False,
    exited: float = EXIT,
    status: int | None = 0,
    queue_let_in: bool = False,
    left_open: bool = False,
    silent_cut: bool = False,
) -> None:
    """One call is held and one stream flows; the signal, the release, the exit.

    ``cut``: when the held call was cut off; 0: it is answered. ``begun``: late requests reach a
    provider. ``queue_let_in``: so do those that were queued at the signal. ``left_open``: the
    stream goes on after the exit. ``silent_cut``: it is ended as if it were whole.
    """
    number = start.round("drain", 0, exited + 1.5)
    held, lasting = start.nonce(), start.nonce()
    if cut:
        call = start.call(held, read=0.1, end=cut, held=True, ended_by="peer", peer_closed=cut,
                          status=None, headless=True)  # fmt: skip
        start.client(held, number, sent=0.09, end=cut + 0.01, outcome="failed", status=None,
                     error="ConnectionResetError: reset")  # fmt: skip
    else:
        call = start.call(held, read=0.1, end=RELEASE + 0.01, held=True)
        start.client(held, number, sent=0.09, end=RELEASE + 0.02, text=start.whole(held, call))
    _lasting(start, number, lasting, exited, left_open=left_open, silent_cut=silent_cut)
    inside = [call]
    queued = [start.nonce() for _ in range(3)]
    for index, nonce in enumerate(queued):
        end = RELEASE + 0.03 + 0.001 * index
        if queue_let_in:
            its = start.call(nonce, read=SIGNAL + 0.02, end=end, held=True)
            inside.append(its)
            start.client(nonce, number, sent=0.3, end=end + 0.1, text=start.whole(nonce, its))
        else:
            start.client(nonce, number, sent=0.3, end=end + 0.1, outcome="refused", status=503)
    waiting = [held, lasting, *queued]
    if not cut:
        start.snapshot(number, 0.9, inside[:1], waiting, settled=False)
        start.snapshot(number, SIGNAL + 0.2, inside, waiting, settled=False)
        start.snapshot(number, SIGNAL + 0.5, inside, waiting, settled=False)
    start.signal(number, SIGNAL, "drain")
    start.release(number, RELEASE, "gate", 1)
    for sent in (SIGNAL + 0.1, SIGNAL + 1.7):
        nonce = start.nonce()
        if begun:
            its = start.call(nonce, read=sent + 0.01, end=sent + 0.05)
            start.client(nonce, number, sent=sent, end=sent + 0.06, text=start.whole(nonce, its))
        else:
            start.client(nonce, number, sent=sent, end=sent + 0.01, outcome="refused", status=503)
    start.exited(number, exited, status)


def _lasting(
    start: Start, number: int, nonce: int, exited: float, *, left_open: bool, silent_cut: bool
) -> None:
    """A stream that goes on for longer than the router has time."""
    closed = exited + 1.4 if left_open else exited - 0.1
    start.call(nonce, read=0.12, end=closed, first=0.13, stream=True, ended_by="peer",
               peer_closed=closed, pieces=14)  # fmt: skip
    client = start.client(
        nonce, number, sent=0.11, end=exited - 0.05, mode="stream", text=f"{nonce}@openai-2#0 ",
        finish=None, error="" if silent_cut else "the router is shutting down",
    )  # fmt: skip
    start.observations[-1] = msgspec.structs.replace(client, done=False)
    body = b"data: {}\n\n" if silent_cut else b'data: {"error":{"message":"shutting down"}}\n\n'
    start.transcript(nonce, number, request_of(b"{}"), response_of(body, stream=True))


def drains(**each: Any) -> tuple[Start, ...]:
    starts = tuple(
        Start(name, token=f"k{index}")
        for index, name in enumerate(("drain", "drain-2", "drain-3"), 1)
    )
    for start in starts:
        drain(start, **each)
    return starts


def _draining(*starts: Start) -> Story:
    return starts, {"routes": ROUTES, "promises": DRAIN}


@good("routers-that-drain")
def draining() -> Story:
    starts, info = _draining(*drains())
    return starts, {"selected": DRAINING, **info}


@bad("drain/whole")
def cut_at_signal() -> Story:
    return _draining(*drains(cut=SIGNAL + 0.05))


@bad("drain/refuses")
def begun_to_the_end() -> Story:
    return _draining(*drains(begun=True))


@bad("drain/exit")
def never_ends() -> Story:
    return _draining(*drains(exited=5.5, status=None))


@bad("drain/permits")
def queue_let_in_at_once() -> Story:
    return _draining(*drains(queue_let_in=True))


# -- reload -------------------------------------------------------------------------------------


def reload(
    start: Start,
    begin: float,
    *,
    let_in: int = GROWN,
    cut_after: float | None = None,
    exit_: int | None = None,
) -> None:
    """The cap is held, the router reloaded with a larger one, as many again are offered.

    ``let_in``: calls that are held in the end. ``cut_after``: those from before are cut off, so
    many seconds after the reload.
    """
    number = start.round("reload", begin, begin + 5, part="held")
    at, release = begin + 1.0, begin + 3.2
    nonces = [start.nonce() for _ in range(2 * LIMIT + GROWN)]
    calls: list[Call] = []
    for index, nonce in enumerate(nonces):
        mode: Any = "stream" if index % 2 else "chat"
        before, inside = index < LIMIT, index < let_in
        late = 1.2 if index >= LIMIT + GROWN else 0.05  # two once it must have been served
        sent = begin + 0.1 if before else at + late
        read = sent + 0.01 if inside else release + 0.05
        end = release + 0.02 if inside else release + 0.1
        common: dict[str, Any] = {"held": inside, "stream": mode == "stream"}
        if cut_after is not None and before:
            gone = at + cut_after
            start.call(nonce, read=read, end=gone, ended_by="peer", peer_closed=gone,
                       status=None, **common)  # fmt: skip
            start.client(nonce, number, sent=sent, end=gone + 0.01, mode=mode, outcome="failed",
                         status=None, error="ConnectionResetError: reset")  # fmt: skip
            continue
        call = start.call(nonce, read=read, end=end, first=read + 0.01, **common)
        calls += [call] if inside else []
        start.client(nonce, number, sent=sent, end=end + 0.1, mode=mode,
                     text=start.whole(nonce, call))  # fmt: skip
    start.signal(number, at, "reload", cap=GROWN)
    if cut_after is None:
        start.snapshot(number, begin + 0.6, calls[:LIMIT], nonces[:LIMIT], settled=False)
    for moment in (at + 1.6, at + 2.0):
        start.snapshot(
            number, moment, calls, nonces[LIMIT if cut_after is not None else 0 :], settled=False
        )
    start.exited(number, release - 0.1, exit_)
    start.release(number, release, "gate", len(calls))


def _reloading(start: Start) -> Story:
    return (start,), {"routes": ROUTES, "promises": RELOAD}


@good("a-reload-with-calls-held")
def reloading() -> Story:
    start = Start()
    reload(start, 0)
    starts, info = _reloading(start)
    return starts, {"selected": RELOADING, **info}


@bad("reload/serves")
def ignored() -> Story:
    start = Start()
    for turn in range(3):
        reload(start, 10 * turn, let_in=LIMIT)
    return _reloading(start)


@bad("reload/whole")
def cut_by_reload() -> Story:
    start = Start()
    reload(start, 0, cut_after=0.02)
    return _reloading(start)


@bad("reload/one-cap")
def a_second_limiter() -> Story:
    start = Start()
    reload(start, 0, let_in=LIMIT + GROWN)
    return _reloading(start)


# -- silence ------------------------------------------------------------------------------------


def paused(start: Start, begin: float, *, reads: tuple[float, ...]) -> None:
    """A stream whose provider pauses for 3.5 s; ``reads``: when its client read something, after
    its first piece."""
    number = start.round("silent-stream", begin, begin + 4, mode="stream")
    nonce = start.nonce()
    end = begin + 3.6
    call = start.call(nonce, read=begin + 0.05, end=end, first=begin + 0.1, held=True, stream=True)
    client = start.client(nonce, number, sent=begin + 0.04, end=end + 0.01, mode="stream",
                          text=start.whole(nonce, call))  # fmt: skip
    early = msgspec.structs.replace(client, head_ns=ns(begin + 0.1))
    start.observations[start.observations.index(client)] = early
    body = b"data: {}\n\n"
    arrivals = [(len(body), ns(begin + 0.11 + at)) for at in (0.0, *reads, 3.5)]
    start.transcript(
        nonce, number, request_of(b"{}"), response_of(body, stream=True), arrivals=tuple(arrivals)
    )


def long_stream(start: Start, begin: float, *, cut: float = 0.0) -> None:
    """A stream of 3.6 s; ``cut``: seconds after which its client's connection was cut off."""
    lasted = cut or 3.6
    number = start.round("long-stream", begin, begin + 4, mode="stream")
    nonce = start.nonce()
    ended: dict[str, Any] = {"ended_by": "peer", "peer_closed": begin + lasted} if cut else {}
    call = start.call(nonce, read=begin + 0.01, end=begin + lasted, first=begin + 0.02,
                      stream=True, pieces=9, **ended)  # fmt: skip
    text = f"{nonce}@openai-{call.call}#0 " if cut else start.whole(nonce, call)
    start.client(nonce, number, sent=begin, end=begin + lasted + 0.01, mode="stream", text=text,
                 outcome="failed" if cut else "answered",
                 error="HTTPParseError: connection closed" if cut else "")  # fmt: skip


def stalled(start: Start, begin: float, *, gave_up: float = 2.1, slots: int = LIMIT) -> None:
    """A probe, two calls whose provider is silent, a request that is answered, and two probes.

    ``gave_up``: seconds after which the calls were closed. ``slots``: in use afterwards.
    """
    probe(start, begin, "before", LIMIT)
    number = start.round("stalled-provider", begin + 3, begin + 7.5, part="stall")
    for mode in ("chat", "stream"):
        nonce, sent = start.nonce(), begin + 3.1
        first = sent + 0.02 if mode == "stream" else None
        closed = sent + 0.02 + gave_up
        start.call(nonce, read=sent + 0.01, end=closed, first=first, held=True, status=None,
                   stream=mode == "stream", ended_by="peer", peer_closed=closed)  # fmt: skip
        start.client(nonce, number, sent=sent, end=closed + 0.01, outcome="refused", status=504,
                     mode="stream" if mode == "stream" else "chat")  # fmt: skip
    warm = start.round("stalled-provider", begin + 8, begin + 8.2, part="warm")
    start.exchange(warm, sent=begin + 8.05, end=begin + 8.15)
    for turn in range(1 if slots == LIMIT else 2):
        probe(start, begin + 9 + 4 * turn, "probe", slots)


def probe(start: Start, begin: float, part: str, held: int) -> None:
    """Six requests, of which so many are let in at once."""
    start.held_round("stalled-provider", begin, held=held, offered=6, part=part)


def _silent(start: Start) -> Story:
    return (start,), {"routes": ROUTES, "promises": SILENCE}


@good("silent-providers")
def silent() -> Story:
    start = Start()
    paused(start, 0, reads=(0.9, 1.9, 2.9))
    long_stream(start, 10)
    stalled(start, 20)
    starts, info = _silent(start)
    return starts, {"selected": SILENT, **info}


@bad("silence/keep-alive")
def nothing_to_read() -> Story:
    start = Start()
    for turn in range(3):
        paused(start, 10 * turn, reads=())
    return _silent(start)


@bad("silence/long-stream")
def cut_by_a_total_timeout() -> Story:
    start = Start()
    for turn in range(3):
        long_stream(start, 10 * turn, cut=2.0)
    return _silent(start)


@bad("silence/gives-up")
def never_given_up() -> Story:
    start = Start()
    for turn in range(3):
        stalled(start, 20 * turn, gave_up=4.2)
    return _silent(start)
