"""Stories of the model list under failures, disconnects, and requests for one model."""

from __future__ import annotations

from routerspec.promises import Cap, ModelList, Promises
from tests.corpus.builder import LIMIT, TTL, Start
from tests.corpus.registry import Story, bad, good

PARTIAL = Promises(
    cap=Cap(limit=LIMIT),
    model_list=ModelList(ttl_s=TTL, partial=True, partial_within_s=1.0, by_id=True),
)
BOTH = {"openai": 0, "ollama": 0}


def both_fetched(start: Start, begin: float) -> None:
    for provider in ("openai", "ollama"):
        start.fetch(begin, begin + 0.01, provider=provider)


def by_id(start: Start, begin: float, *, again: bool = False) -> int:
    """One request for the list, and then ten for one model of it."""
    number = start.round("list-by-id", begin, begin + 0.9, part="ask")
    both_fetched(start, begin + 0.02)
    start.ask_list(number, begin + 0.01, begin + 0.04, epochs=BOTH)
    for index in range(10):
        sent = begin + 0.1 + 0.05 * index
        if again:
            start.fetch(sent + 0.002, sent + 0.004)
        start.ask_list(number, sent, sent + 0.01, epochs={}, model="openai/fake-chat")
    return number


def left(start: Start, begin: float = 0, *, without: int = 0) -> None:
    """One asks, ten join its fetch, it leaves; its fetch goes on, or takes ``without`` along."""
    number = start.round("list-left", begin, begin + 1)
    start.ask_list(
        number,
        begin + 0.1,
        begin + 0.401,
        epochs={},
        outcome="hung_up",
        status=None,
        hang_up=begin + 0.4,
    )
    gone = bool(without)
    for provider in ("openai", "ollama"):
        start.fetch(
            begin + 0.12,
            begin + (0.41 if gone else 0.7),
            provider=provider,
            held=True,
            answered=not gone,
            status=None if gone else 200,
            peer_closed=begin + 0.41 if gone else None,
        )
    if gone:
        both_fetched(start, begin + 0.5)
    for index in range(10):
        if index < without:
            start.ask_list(
                number, begin + 0.2, begin + 0.42, epochs={}, outcome="refused", status=500
            )
        else:
            start.ask_list(number, begin + 0.2, begin + 0.72, epochs=BOTH)
    start.release(number, begin + 0.69, "lists", 2)


def well(start: Start, begin: float, *, fetched: bool = True) -> None:
    number = start.round("list-dead", begin, begin + 0.2, part="well")
    if fetched:
        both_fetched(start, begin + 0.02)
    start.ask_list(number, begin + 0.01, begin + 0.05, epochs=BOTH)


def dead(
    start: Start,
    begin: float,
    how: str,
    *,
    took: float = 0.02,
    shown: bool = True,
    status: int = 200,
) -> None:
    """openai is dead; two clients are shown what ollama has, or not."""
    number = start.round("list-dead", begin, begin + took + 0.2, part=f"openai {how}")
    answers = {"down": 503, "hang": None}.get(how, 200)
    start.fetch(
        begin + 0.02,
        begin + 0.02 + took,
        held=how == "hang",
        answered=how != "hang",
        status=answers,
        peer_closed=begin + 0.02 + took if how == "hang" else None,
    )
    for _ in range(2):
        start.ask_list(
            number,
            begin + 0.01,
            begin + 0.03 + took,
            epochs={"ollama": 0} if shown else {},
            status=status,
            outcome="answered" if status == 200 else "refused",
        )


def deaths(start: Start, begin: float) -> None:
    """openai dies in every way, and ollama's models come all the same."""
    well(start, begin)
    for index, how in enumerate(("down", "text", "shape")):
        dead(start, begin + 1 + index, how)
    dead(start, begin + 4, "hang", took=0.8)


def failing(start: Start, begin: float, *, kept: float = 0.0) -> None:
    """Both fail once and are well again; the first client after ``kept`` seconds makes them ask."""
    number = start.round("list-failing", begin, begin + 0.1, part="failing")
    for provider in ("openai", "ollama"):
        start.fetch(begin + 0.02, begin + 0.03, provider=provider, status=500)
    for _ in range(2):
        start.ask_list(
            number,
            begin + 0.01,
            begin + 0.04,
            epochs={},
            outcome="answered" if kept else "refused",
            status=200 if kept else 500,
        )
    number = start.round("list-failing", begin + 0.2, begin + 3, part="well again")
    at = begin + 0.21
    while at < begin + 0.2 + kept:
        start.ask_list(number, at, at + 0.01, epochs={})
        at += 0.1
    both_fetched(start, at + 0.005)
    start.ask_list(number, at, at + 0.03, epochs=BOTH)


def one_by_one(start: Start, begin: float, *, fetches: int) -> None:
    """Twenty clients one after another; the first ``fetches`` of them cause a fetch from openai."""
    number = start.round("list-failing", begin, begin + 1, part="one by one")
    for index in range(20):
        sent = begin + 0.02 + 0.02 * index
        if index < fetches:
            start.fetch(sent + 0.002, sent + 0.004, status=500)
        start.ask_list(number, sent, sent + 0.01, epochs={}, outcome="refused", status=500)


@good("lists-when-something-fails")
def lists_in_trouble() -> Story:
    start = Start()
    left(start)
    by_id(start, 5)
    deaths(start, 10)
    failing(start, 20)
    one_by_one(start, 30, fetches=5)
    return (start,), {
        "promises": PARTIAL,
        "selected": (
            "models/by-id",
            "models/dead-provider",
            "models/failure-not-cached",
            "models/failing-throttled",
            "models/leader-hang-up",
        ),
    }


@good("lists-served-stale-past-failures")
def lists_stale_past_failures() -> Story:
    """An old list is served past every failure, and a fetch that lost its client is made anew."""
    start = Start()
    left(start)
    started = start.round("list-failing", 20, 20.1, part="failing")
    for provider in ("openai", "ollama"):
        start.fetch(20.02, 20.03, provider=provider, status=500)
    start.crowd(started, 20.01, 20.04, clients=2, epochs=BOTH)
    number = start.round("list-failing", 20.2, 21, part="well again")
    start.ask_list(number, 20.21, 20.22, epochs=BOTH)
    one_by_one(start, 30, fetches=1)
    return (start,), {
        "promises": PARTIAL,
        "selected": (
            "models/failure-not-cached",
            "models/failing-throttled",
            "models/leader-hang-up",
        ),
    }


@good("lists-fail-with-a-short-rest")
def lists_rest() -> Story:
    """A failing provider is not fetched for a moment: no list has its models, then all do."""
    start = Start()
    failing(start, 20, kept=0.5)
    return (start,), {"promises": PARTIAL, "selected": ("models/failure-not-cached",)}


@good("a-list-fetched-anew-when-its-client-left")
def fetched_anew() -> Story:
    """The router ends the fetch with the client that left, and makes another for the rest."""
    start = Start()
    number = start.round("list-left", 0, 1)
    start.ask_list(number, 0.1, 0.401, epochs={}, outcome="hung_up", status=None, hang_up=0.4)
    start.fetch(0.12, 0.41, held=True, answered=False, status=None, peer_closed=0.41)
    start.fetch(0.42, 0.43)
    start.crowd(number, 0.2, 0.45, clients=10)
    start.release(number, 0.69, "lists", 0)
    return (start,), {"promises": PARTIAL, "selected": ("models/leader-hang-up",)}


@bad("models/by-id")
def by_id_uncached() -> Story:
    start = Start()
    by_id(start, 0, again=True)
    return (start,), {"promises": PARTIAL}


@bad("models/leader-hang-up")
def all_leave() -> Story:
    start = Start()
    number = start.round("smoke", 5, 6, part="list")
    start.ask_list(number, 5.1, 5.2, epochs=BOTH)
    left(start, without=10)
    return (start,), {"promises": PARTIAL}


@bad("models/dead-provider")
def all_or_nothing() -> Story:
    start = Start()
    well(start, 0)
    dead(start, 3, "down", shown=False, status=503)
    return (start,), {"promises": PARTIAL}


@bad("models/failure-not-cached")
def error_kept() -> Story:
    start = Start()
    number = start.round("smoke", 0, 1, part="list")
    both_fetched(start, 0.11)
    start.ask_list(number, 0.1, 0.2, epochs=BOTH)
    failing(start, 10, kept=1.5)
    return (start,), {"promises": PARTIAL}


@bad("models/failing-throttled")
def asked_by_all() -> Story:
    start = Start()
    one_by_one(start, 0, fetches=20)
    return (start,), {"promises": PARTIAL}
