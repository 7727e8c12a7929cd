"""Stories of limiters over time: windows, failures, retries, hang-ups, replicas, the queue."""

from __future__ import annotations

from routerspec.promises import Cap, Promises
from tests.corpus.builder import LIMIT, Start
from tests.corpus.registry import Story, bad, good
from tests.corpus.stories.slots import ended

WORKERS = Promises(cap=Cap(limit=LIMIT), workers=2)


def tried_again(start: Start, begin: float, *, held: int) -> None:
    """Every first call failed, and N second ones are held."""
    _, calls, nonces = start.held_round("attempts", begin, held=held)
    for nonce in nonces:
        start.call(nonce, read=begin + 0.101, end=begin + 0.105, status=500)
    for call in calls:
        start.changed(call, attempt=2)


def left(start: Start, begin: float, *, closed: bool) -> None:
    """Clients leave cap held calls, and cap new ones are held beside them or in their place."""
    number = start.round("hang-ups", begin, begin + 6, route="openai", mode="chat")
    calls = []
    nonces = []
    for index in range(LIMIT):
        nonce = start.nonce()
        end = begin + (0.45 if closed else 3) + 0.001 * index
        calls.append(
            start.call(
                nonce, read=begin + 0.11, end=end, held=True,
                ended_by="peer" if closed else "fake", peer_closed=end if closed else None,
            )
        )  # fmt: skip
        start.client(
            nonce, number, sent=begin + 0.1, end=begin + 0.41, outcome="hung_up",
            hang_up=begin + 0.4, status=None,
        )  # fmt: skip
    if closed:
        calls = []
    for index in range(LIMIT):
        nonce = start.nonce()
        nonces.append(nonce)
        end = begin + 3.1 + 0.001 * index
        calls.append(start.call(nonce, read=begin + 0.6, end=end, held=True))
        text = start.whole(nonce, calls[-1])
        start.client(nonce, number, sent=begin + 0.5, end=begin + 3.3, text=text)
    start.snapshot(number, begin + 1.2, calls, nonces)
    start.snapshot(number, begin + 2.4, calls, nonces, settled=False)
    start.release(number, begin + 2.9, "gate", len(calls))


def passed_on(start: Start, begin: float, *, arrives: bool = True) -> None:
    """All slots occupied, and a queue; one is released, and the next client gets it, or none."""
    number = start.round("handover", begin, begin + 14, route="openai", mode="chat")
    nonces = [start.nonce() for _ in range(LIMIT + 1)]
    reads = [begin + 0.11, begin + 0.12, begin + (1.05 if arrives else 10.5)]
    ends = [begin + 1.0, begin + 11, begin + 11.1]
    for nonce, read, end in zip(nonces, reads, ends, strict=True):
        call = start.call(nonce, read=read, end=end, held=True)
        text = start.whole(nonce, call)
        start.client(nonce, number, sent=begin + 0.1, end=end + 0.1, text=text)
    start.release(number, begin + 10, "gate", 2)


def alone(start: Start, begin: float, *, stuck: bool = False) -> None:
    """One request by itself under a cap of one."""
    number = start.round("one-each", begin, begin + 6, route="openai", mode="chat")
    if stuck:
        nonce = start.nonce()
        start.client(
            nonce, number, sent=begin + 0.1, end=begin + 5.1, outcome="timed_out", status=None
        )
    else:
        start.exchange(number, sent=begin + 0.1, end=begin + 0.3)


@good("limits-of-a-semaphore")
def semaphore() -> Story:
    start = Start()
    start.held_round("hold-long", 0, stay=2.5)
    start.held_round("after-error", 10, part="before")
    ended(start, "error", 20)
    start.held_round("after-error", 30, part="probe")
    tried_again(start, 40, held=LIMIT)
    left(start, 50, closed=True)
    passed_on(start, 60)
    number = start.round("hung-provider", 80, 84, route="ollama", mode="chat")
    start.exchange(number, sent=80.1, end=80.5, provider="ollama")
    start.release(number, 82, "gate", 0)
    one = Start("one-permit", token="k4", cap=1)
    alone(one, 0)
    return (start, one), {
        "selected": (
            "cap/over-time",
            "cap/after-failures",
            "cap/attempts",
            "cap/hang-ups",
            "slots/handover",
            "slots/order",
            "slots/cap-of-one",
            "isolation/hung-provider",
        )
    }


@good("one-cap-over-two-workers")
def workers() -> Story:
    start = Start()
    for number in range(2):
        start.held_round("spread", 10 * number)
    return (start,), {"selected": ("cap/replicas",), "promises": WORKERS}


@bad("cap/over-time")
def window() -> Story:
    start = Start()
    start.held_round("hold-long", 0, held=LIMIT + 1, stay=2.5)
    return (start,), {}


@bad("cap/after-failures")
def released_twice() -> Story:
    start = Start()
    start.held_round("after-error", 0, part="before")
    ended(start, "error", 10)
    start.held_round("after-error", 20, held=LIMIT + 1, part="probe")
    return (start,), {}


@bad("cap/attempts")
def uncounted_retries() -> Story:
    start = Start()
    tried_again(start, 0, held=LIMIT + 1)
    return (start,), {}


@bad("cap/hang-ups")
def freed_with_the_client() -> Story:
    start = Start()
    left(start, 0, closed=False)
    return (start,), {}


@bad("cap/replicas")
def cap_times_workers() -> Story:
    start = Start()
    start.held_round("spread", 0, held=LIMIT + 1)
    return (start,), {"promises": WORKERS}


@bad("slots/handover")
def lost_wakeup() -> Story:
    start = Start()
    passed_on(start, 0, arrives=False)
    return (start,), {}


@bad("slots/cap-of-one")
def waits_for_itself() -> Story:
    one = Start("one-permit", token="k4", cap=1)
    alone(one, 0, stuck=True)
    alone(one, 10, stuck=True)
    return (one,), {}


def released_in_vain(start: Start, begin: float, *, held: int = LIMIT) -> int:
    """Two held calls are released, and no client follows; returns the number of the round."""
    number = start.round("handover", begin, begin + 14, route="openai", mode="chat")
    for index in range(held):
        nonce = start.nonce()
        end = begin + 1 + index if index < 2 else begin + 11
        call = start.call(nonce, read=begin + 0.11 + 0.01 * index, end=end, held=True)
        text = start.whole(nonce, call)
        start.client(nonce, number, sent=begin + 0.1, end=end + 0.1, text=text)
    start.release(number, begin + 10, "gate", max(0, held - 2))
    return number


def turned_away(start: Start, number: int, at: float, *, clients: int = 3) -> None:
    """Clients that found the queue full."""
    for _ in range(clients):
        start.client(start.nonce(), number, sent=at, end=at + 0.1, outcome="refused", status=429)


@good("a-queue-passes-on-by-its-second-slot")
def passes_on_late() -> Story:
    """One released slot took seconds to be passed on: a single arrival excuses it all."""
    start = Start()
    number = start.round("handover", 0, 14, route="openai", mode="chat")
    for read, end in ((0.11, 1.0), (0.12, 4.0), (4.02, 11.0), (10.5, 11.1)):
        nonce = start.nonce()
        call = start.call(nonce, read=read, end=end, held=True)
        text = start.whole(nonce, call)
        start.client(nonce, number, sent=0.1, end=end + 0.1, text=text)
    start.release(number, 10, "gate", 1)
    return (start,), {"selected": ("slots/handover", "slots/order")}


@good("failures-and-a-retry-under-one-permit")
def retry_keeps_its_permit() -> Story:
    """A call fails and is tried again while its first attempt's permit is kept: two calls, one
    after the other, and never more than the cap beside each other."""
    start = Start()
    _, calls, nonces = start.held_round("attempts", 0)
    for nonce in nonces[:LIMIT]:
        start.call(nonce, read=0.101, end=0.105, status=500)
    for call in calls:
        start.changed(call, attempt=2)
    return (start,), {"selected": ("cap/attempts",)}
