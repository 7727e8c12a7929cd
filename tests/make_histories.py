"""Makes the committed histories: ``python -m tests.make_histories`` from the repository's root.

    tests/histories/good/NAME         every selected check holds
    tests/histories/bad/GROUP--CHECK  exactly that check is violated, of all there are

The folder is the oracle; ``tests/test_corpus.py`` judges them all.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from routerspec.checks import REGISTRY
from routerspec.promises import Cap, ModelList, Promises
from tests.history_builder import LIMIT, TTL, Start, route, write_run

HISTORIES = Path(__file__).parent / "histories"

Story = tuple[tuple[Start, ...], dict[str, Any]]
GOOD: dict[str, Callable[[], Story]] = {}
BAD: dict[str, Callable[[], Story]] = {}


def good(name: str) -> Callable[[Callable[[], Story]], Callable[[], Story]]:
    def keep(tell: Callable[[], Story]) -> Callable[[], Story]:
        GOOD[name] = tell
        return tell

    return keep


def bad(check: str) -> Callable[[Callable[[], Story]], Callable[[], Story]]:
    def keep(tell: Callable[[], Story]) -> Callable[[], Story]:
        BAD[check] = tell
        return tell

    return keep


# The cap, by holding


@good("cap-held-on-every-route")
def cap_held() -> Story:
    start = Start()
    start.held_round("hold-head", 0)
    start.held_round("hold-head", 10, mode="stream")
    start.held_round("hold-head", 20, route="ollama")
    start.held_round("hold-first", 30, mode="stream")
    start.held_round("hold-across", 40, routes=("openai", "openai", "ollama", "ollama"), offered=4)
    start.held_round(
        "hold-across", 50, route="ollama", routes=("ollama", "ollama", "openai"), offered=3
    )
    for number in range(5):
        start.held_round("burst", 60 + 10 * number, route="", offered=4)
    return (start,), {
        "selected": (
            "cap/each-route",
            "cap/across-routes",
            "cap/streams",
            "cap/burst",
            "slots/reached",
        ),
        "routes": (route("openai", "chat", "stream"), route("ollama")),
    }


@good("cap-held-by-a-rejecting-router")
def cap_rejecting() -> Story:
    start = Start()
    number, calls, nonces = start.held_round("hold-head", 0, offered=LIMIT)
    for at in (0.2, 0.4, 0.6):
        start.client(start.nonce(), number, sent=at, end=at + 0.01, outcome="refused", status=429)
    assert len(calls) == len(nonces)
    return (start,), {
        "selected": ("cap/each-route", "slots/reached"),
        "promises": Promises(cap=Cap(limit=LIMIT, overload="reject")),
    }


@good("cap-per-provider")
def cap_per_provider() -> Story:
    """Two on each provider at once: within a cap of two per provider."""
    start = Start()
    start.held_round("hold-head", 0)
    start.held_round("hold-head", 10, route="ollama")
    start.held_round("burst", 20, route="", held=4, offered=6, routes=("openai", "ollama") * 3)
    for number in range(5):
        start.held_round("burst", 30 + 10 * number, route="", offered=4)
    return (start,), {
        "selected": ("cap/each-route", "cap/burst"),
        "routes": (route("openai"), route("ollama")),
        "promises": Promises(cap=Cap(limit=LIMIT, scope="provider")),
    }


@bad("cap/each-route")
def each_route_broken() -> Story:
    start = Start()
    start.held_round("hold-head", 0, held=4, settled=False)
    return (start,), {}


@bad("cap/streams")
def streams_broken() -> Story:
    start = Start()
    start.held_round("hold-first", 0, mode="stream", held=5, settled=False)
    return (start,), {"routes": (route("openai", "stream"),)}


@bad("cap/across-routes")
def across_broken() -> Story:
    """Each route has a limiter of its own: two and two."""
    start = Start()
    start.held_round(
        "hold-across", 0, held=4, routes=("openai", "openai", "ollama", "ollama", "ollama")
    )
    return (start,), {"routes": (route("openai"), route("ollama"))}


@bad("cap/burst")
def burst_broken() -> Story:
    """One round of six lets a third in."""
    start = Start()
    for number in range(6):
        start.held_round("burst", 10 * number, offered=4, held=3 if number == 4 else LIMIT)
    return (start,), {}


@bad("slots/reached")
def slots_lost() -> Story:
    start = Start()
    start.held_round("hold-head", 0, held=1)
    start.held_round("hold-head", 10, held=1, part="again")
    return (start,), {}


# The cap, under load


def load(start: Start, *, rounds: int = 24, early: float = 0.0) -> None:
    """Two slots, three users: each end lets the next one in, ``early`` seconds too soon.

    Every fourth client hangs up, every fifth call answers an error, one is cut.
    """
    number = start.round("load", 0, rounds + 10)
    ends = [0.0, 0.5]
    for index in range(rounds):
        slot = index % 2
        read = max(0.0, ends[slot] + 0.004 - early) + 0.1 * (index < 2)
        end = max(read, ends[slot]) + 1
        ends[slot] = end
        _one_of_the_load(start, number, index, read, end)


def _one_of_the_load(start: Start, number: int, index: int, read: float, end: float) -> None:
    nonce = start.nonce()
    sent = max(0.001, read - 0.7)
    if index % 4 == 3:
        start.call(nonce, read=read, end=end, inner_end=end - 0.001, ended_by="peer",
                   peer_closed=end, status=None)  # fmt: skip
        start.client(nonce, number, sent=sent, end=end - 0.01, outcome="hung_up", status=None,
                     hang_up=end - 0.02)  # fmt: skip
    elif index % 5 == 4:
        start.call(nonce, read=read, end=end, status=500, pieces=0)
        start.client(nonce, number, sent=sent, end=end + 0.01, outcome="refused", status=502)
    elif index == 6:
        start.call(nonce, read=read, end=end, ended_by="cut", pieces=1)
        start.client(nonce, number, sent=sent, end=end + 0.01, outcome="failed", error="reset")
    else:
        call = start.call(nonce, read=read, end=end)
        start.client(nonce, number, sent=sent, end=end + 0.01, text=start.whole(nonce, call))


@good("cap-held-under-load")
def load_held() -> Story:
    start = Start()
    load(start, rounds=60)
    return (start,), {"selected": ("cap/under-load", "answers/own", "answers/whole")}


@bad("cap/under-load")
def load_broken() -> Story:
    """Each call is let in 30 ms before the one whose slot it takes was answered."""
    start = Start()
    load(start, early=0.03)
    return (start,), {}


# The model list


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
    start.look(number, begin + 0.5, calls[:LIMIT], nonces, settled=False)
    if part == "expired" and not blocked:
        start.fetch(begin + 0.62, begin + 0.63)
    for index in range(3):
        sent = begin + 0.6 + 0.3 * index
        start.ask_list(number, sent, begin + 4.2 if blocked else sent + 0.05)
    if part == "expired" and blocked:
        start.fetch(begin + 4.12, begin + 4.13)
    start.look(number, begin + 3.5, calls[:LIMIT], nonces, settled=False)
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


# The answers


def answers(start: Start, count: int = 20) -> int:
    number = start.round("load", 0, 60)
    for index in range(count):
        start.exchange(number, sent=1.0 * index, end=1.0 * index + 0.5)
    return number


@good("answers-own-and-whole")
def answers_good() -> Story:
    """With an embedding, an agent that shows two of its calls, and a client that left."""
    start = Start()
    number = answers(start)
    nonce = start.nonce()
    start.call(nonce, read=30, end=30.1, family="embeddings")
    start.client(nonce, number, sent=30, end=30.2, text=f"embedding:{nonce}", mode="embeddings")
    nonce = start.nonce()
    first = start.call(nonce, read=31, end=31.1, body="01")
    second = start.call(nonce, read=31.2, end=31.3, body="02")
    text = f"Plan: {start.whole(nonce, first)}\nDone: {start.whole(nonce, second)}\n"
    start.client(nonce, number, sent=31, end=31.4, text=text, route="agent")
    nonce = start.nonce()
    start.call(nonce, read=32, end=32.1)
    start.client(nonce, number, sent=32, end=32.05, outcome="hung_up", hang_up=32.04, status=None,
                 text=f"{nonce}@openai-23#0 ")  # fmt: skip
    return (start,), {"selected": ("answers/own", "answers/whole")}


@bad("answers/own")
def answers_mixed() -> Story:
    """A client that left had been sent the beginning of another's answer."""
    start = Start()
    number = answers(start)
    nonce = start.nonce()
    start.call(nonce, read=30, end=30.1, ended_by="peer", peer_closed=30.1)
    start.client(nonce, number, sent=30, end=30.05, outcome="hung_up", hang_up=30.04, status=None,
                 text="3@openai-3#0 3@openai-3#1 ")  # fmt: skip
    return (start,), {}


@bad("answers/whole")
def answers_short() -> Story:
    """A piece is missing in the middle, and the answer says it is finished."""
    start = Start()
    number = answers(start)
    nonce = start.nonce()
    call = start.call(nonce, read=30, end=30.1)
    text = start.whole(nonce, call).replace(f"{nonce}@openai-{call.call}#2 ", "")
    start.client(nonce, number, sent=30, end=30.2, text=text)
    return (start,), {}


def make(folder: Path) -> None:
    """Write all histories below ``folder``."""
    for name, tell in GOOD.items():
        starts, info = tell()
        write_run(folder / "good" / name, *starts, **info)
    for check, tell in BAD.items():
        starts, info = tell()
        name = check.replace("/", "--")
        write_run(folder / "bad" / name, *starts, **{"selected": tuple(REGISTRY)} | info)


if __name__ == "__main__":
    shutil.rmtree(HISTORIES, ignore_errors=True)
    make(HISTORIES)
