"""Stories of the model list."""

from __future__ import annotations

from routerspec.promises import Cap, ModelList, Promises
from tests.corpus.builder import LIMIT, TTL, Start
from tests.corpus.registry import Story, bad, good


def cold(start: Start, begin: float = 0, *, fetches: int = 1, scenario: str = "list-cold") -> None:
    """Twelve clients at once; fetches of both lists are held for half a second."""
    number = start.round(scenario, begin, begin + 0.66)
    for index in range(fetches):
        for provider in ("openai", "ollama"):
            read = begin + 0.12 + 0.01 * index
            start.fetch(read, begin + 0.6, provider=provider, held=index == 0)
    start.release(number, begin + 0.55, "lists", 2)
    start.crowd(number, begin + 0.1, begin + 0.65, epochs={"openai": 0, "ollama": 0})


def warm(start: Start, begin: float) -> int:
    number = start.round("list-warm", begin, begin + 0.5)
    start.crowd(number, begin + 0.1, begin + 0.12, clients=10)
    return number


def refresh(start: Start, begin: float) -> None:
    """The list moves on; the old one is served until the new one is there."""
    number = start.round("list-refresh", begin, begin + 8)
    start.fetch(begin + 0.11, begin + 0.12)
    start.ask_list(number, begin + 0.1, begin + 0.13)
    start.moved(number, begin + 0.2, 1)
    at = begin + 0.4
    while at < begin + 2.3:
        start.ask_list(number, at, at + 0.01)
        at += 0.2
    start.fetch(begin + 2.41, begin + 2.42, epoch=1)
    for index in range(20):
        at = begin + 2.5 + 0.2 * index
        if index == 9:
            start.fetch(at - 0.02, at - 0.01, epoch=1)
        start.ask_list(number, at, at + 0.01, epochs={"openai": 1})


def slow(start: Start, begin: float, *, again: bool = False) -> None:
    """A list that takes 0.8 TTL, and a request 0.4 TTL after it came."""
    number = start.round("list-slow", begin, begin + 3)
    start.fetch(begin + 0.1, begin + 0.1 + 0.8 * TTL, held=True)
    start.release(number, begin + 0.8 * TTL, "lists", 1)
    start.ask_list(number, begin + 0.09, begin + 0.11 + 0.8 * TTL, epochs={"openai": 1})
    asked = begin + 0.1 + 1.2 * TTL
    if again:
        start.fetch(asked + 0.01, asked + 0.02)
    start.ask_list(number, asked, asked + 0.03, epochs={"openai": 1})


@good("lists-fetched-once")
def lists_good() -> Story:
    start = Start("capped")
    cold(start)
    cold(start, 3, scenario="list-expiry")
    warm(start, 3.7)
    refresh(start, 10)
    slow(start, 30)
    uncapped = Start("uncapped", token="k4", cap=None)
    cold(uncapped)
    return (start, uncapped), {
        "selected": (
            "models/one-fetch-cold",
            "models/one-fetch-on-expiry",
            "models/one-fetch-uncapped",
            "models/cached",
            "models/refreshed",
            "models/no-going-back",
            "models/ttl-from-receipt",
        )
    }


@good("lists-served-stale")
def lists_stale() -> Story:
    """On expiry everybody gets the old list at once, and one fetch is made behind their backs."""
    start = Start()
    cold(start)
    number = start.round("list-expiry", 3, 4)
    start.crowd(number, 3.1, 3.11)
    start.fetch(3.12, 3.6, held=True)
    start.release(number, 3.55, "lists", 1)
    return (start,), {"selected": ("models/one-fetch-cold", "models/one-fetch-on-expiry")}


@good("lists-beside-a-full-house")
def lists_beside() -> Story:
    start = Start()
    _behind_story(start, "warm")
    _behind_story(start, "expired", 30)
    return (start,), {"selected": ("models/not-behind-cap",)}


def _behind_story(start: Start, part: str, begin: float = 0, *, blocked: bool = False) -> None:
    number = start.round(
        "list-behind-cap", begin, begin + 6, route="openai", mode="chat", part=part
    )
    nonces = [start.nonce() for _ in range(4)]
    calls = []
    for index, nonce in enumerate(nonces):
        early = index < LIMIT
        read = begin + 0.11 + 0.001 * index if early else begin + 4.1 + 0.1 * index
        end = begin + 4.01 + 0.001 * index if early else read + 0.05
        call = start.call(nonce, read=read, end=end, held=early)
        calls.append(call)
        start.client(nonce, number, sent=begin + 0.1, end=end + 0.02, text=start.whole(nonce, call))
    start.snapshot(number, begin + 0.5, calls[:LIMIT], nonces, settled=False)
    if part == "expired" and not blocked:
        start.fetch(begin + 0.62, begin + 0.63)
    for index in range(3):
        sent = begin + 0.6 + 0.3 * index
        start.ask_list(number, sent, begin + 4.2 if blocked else sent + 0.05)
    if part == "expired" and blocked:
        start.fetch(begin + 4.12, begin + 4.13)
    start.snapshot(number, begin + 3.5, calls[:LIMIT], nonces, settled=False)
    start.release(number, begin + 4, "gate", LIMIT)


@bad("models/not-behind-cap")
def lists_behind() -> Story:
    """The request semaphore is the cache's lock: an expired list waits for a slot."""
    start = Start()
    _behind_story(start, "warm")
    _behind_story(start, "expired", 30, blocked=True)
    return (start,), {}


@bad("models/one-fetch-cold")
def stampede_cold() -> Story:
    start = Start()
    cold(start, fetches=3)
    return (start,), {}


@bad("models/one-fetch-on-expiry")
def stampede_expiry() -> Story:
    start = Start()
    cold(start)
    cold(start, 3, scenario="list-expiry", fetches=12)
    return (start,), {}


@bad("models/one-fetch-uncapped")
def stampede_uncapped() -> Story:
    start = Start()
    cold(start)
    uncapped = Start("uncapped", token="k4", cap=None)
    cold(uncapped, fetches=4)
    return (start, uncapped), {}


@bad("models/cached")
def not_cached() -> Story:
    start = Start()
    cold(start)
    warm(start, 0.8)
    start.fetch(0.91, 0.915)
    return (start,), {}


@bad("models/refreshed")
def never_refreshed() -> Story:
    """The list is fetched once, and then never again."""
    start = Start()
    cold(start)
    number = start.round("list-refresh", 3, 12)
    start.moved(number, 3.1, 1)
    for index in range(40):
        start.ask_list(number, 3.2 + 0.2 * index, 3.21 + 0.2 * index)
    return (start,), {}


@bad("models/no-going-back")
def went_back() -> Story:
    """A slow old fetch comes after a newer one, and overwrites it."""
    start = Start()
    number = start.round("list-refresh", 0, 8)
    start.fetch(0.11, 1.0, held=True)
    start.moved(number, 0.2, 1)
    start.fetch(0.31, 0.32, epoch=1)
    start.ask_list(number, 0.3, 0.33, epochs={"openai": 1})
    start.ask_list(number, 0.1, 1.01)
    start.ask_list(number, 1.1, 1.11)
    return (start,), {}


@bad("models/ttl-from-receipt")
def half_expired() -> Story:
    start = Start()
    slow(start, 0, again=True)
    return (start,), {}


@good("ttl-counted-from-the-request")
def from_request() -> Story:
    """As an HTTP cache counts: promised so, and cached so."""
    start = Start()
    cold(start)
    warm(start, 0.7)
    return (start,), {
        "selected": ("models/one-fetch-cold", "models/cached"),
        "promises": Promises(
            cap=Cap(limit=LIMIT), model_list=ModelList(ttl_s=TTL, ttl_from="request")
        ),
    }
