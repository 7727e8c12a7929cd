"""Stories of a router's overhead: pairs of requests, through it and direct to its provider."""

from __future__ import annotations

import msgspec

from tests.corpus.builder import Start, ns
from tests.corpus.registry import Story, good
from tests.corpus.stories.models import cold, warm

ADDED_S = 0.002
GAP_S = 0.003


def pairs(
    start: Start,
    begin: float,
    *,
    mode: str = "chat",
    count: int = 20,
    added: float = ADDED_S,
    part: str = "in turn",
) -> None:
    """``count`` requests by each route, in turn; ``added`` is the router's extra latency."""
    end = begin + 0.1 * count
    rounds = [
        start.round("overhead", begin, end, route="openai", mode=mode, part=f"{part} {way}")
        for way in ("router", "direct")
    ]
    for index in range(count):
        for way, (number, more) in enumerate(zip(rounds, (added, 0.0), strict=True)):
            at = begin + 0.1 * index + 0.05 * way
            _request(start, number, at, mode, more)


def _request(start: Start, number: int, at: float, mode: str, more: float) -> None:
    nonce = start.nonce()
    stream = mode == "stream"
    lasts = 0.02
    call = start.call(
        nonce,
        read=at + 0.001 + more / 2,
        end=at + 0.001 + more / 2 + lasts,
        stream=stream,
        first=at + 0.002 + more / 2 if stream else None,
    )
    client = start.client(
        nonce,
        number,
        sent=at + 0.001,
        end=at + 0.002 + more + lasts,
        text=start.whole(nonce, call),
        mode="stream" if stream else "chat",
    )
    if stream:
        stamps = [at + 0.003 + more + (GAP_S + 0.0005 * (more > 0)) * piece for piece in range(4)]
        start.observations[-1] = msgspec.structs.replace(
            client, first_ns=ns(stamps[0]), piece_ns=tuple(map(ns, stamps))
        )


def many(start: Start, begin: float, connections: int, way: str, *, took: float) -> None:
    """A third of a second in which each client's requests take ``took`` seconds."""
    part = f"{connections} {way}"
    number = start.round("overhead", begin, begin + 1, route="openai", mode="chat", part=part)
    for client in range(connections):
        at = begin + 0.0001 * client
        while at < begin + 0.35:
            nonce = start.nonce()
            call = start.call(nonce, read=at + 0.002, end=at + took - 0.001)
            text = start.whole(nonce, call)
            start.client(nonce, number, sent=at + 0.001, end=at + took, text=text)
            at += took


def held_streams(start: Start, begin: float, *, held: int, offered: int = 64) -> None:
    """``held`` of ``offered`` streams are let through at once, with no cap set."""
    number = start.round("hidden-cap", begin, begin + 5, route="openai", mode="stream")
    nonces = [start.nonce() for _ in range(offered)]
    calls = []
    for index, nonce in enumerate(nonces):
        early = index < held
        read, end = (begin + 0.1, begin + 1.5) if early else (begin + 1.6, begin + 1.7)
        call = start.call(nonce, read=read, end=end, held=early, stream=True, first=read + 0.001)
        calls.append(call)
        start.client(
            nonce,
            number,
            sent=begin + 0.05,
            end=end + 0.1,
            text=start.whole(nonce, call),
            mode="stream",
        )
    start.snapshot(number, begin + 1, calls[:held], nonces)
    start.release(number, begin + 1.4, "gate", held)


@good("what-a-router-adds")
def costs() -> Story:
    """Measured beside lists that are kept as promised: what is only observed holds nothing."""
    start = Start("overhead", cap=None)
    cold(start)
    warm(start, 0.8)
    pairs(start, 2)
    pairs(start, 10, mode="stream")
    for index, connections in enumerate((1, 8, 32)):
        many(start, 20 + 4 * index, connections, "router", took=0.02)
        many(start, 22 + 4 * index, connections, "direct", took=0.01)
    held_streams(start, 40, held=10)
    return (start,), {
        "selected": (
            "models/cached",
            "overhead/latency",
            "overhead/first-token",
            "overhead/gaps",
            "overhead/hidden-cap",
            "overhead/throughput",
        )
    }
