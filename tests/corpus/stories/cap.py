"""Stories of the cap and its slots."""

from __future__ import annotations

from routerspec.promises import Cap, Promises
from tests.corpus.builder import LIMIT, Start, route
from tests.corpus.registry import Story, bad, good

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
