"""Stories of limiters over time: windows, failures, retries, hang-ups, replicas, the queue."""

from __future__ import annotations

from typing import Any

from fake_providers.records.evidence import Call
from routerspec.limits import LEFT_STREAM, LEFT_WHOLE
from routerspec.promises import Cap, Promises
from tests.corpus.builder import LIMIT, Start, maybe_ns, route
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


SENT = {
    "before-head": (None, None, None),
    "after-head": (0.12, None, 0.12),
    "after-piece-1": (0.12, 0.13, 0.13),
    "after-piece-n": (0.12, 0.13, 0.2),
    "while-streaming": (0.12, 0.13, None),
    "unread": (0.12, 0.13, 0.2),
}
"""Phase -> when its calls had sent their head and first piece, and were held."""


def left_in(
    start: Start,
    begin: float,
    phase: str,
    *,
    mode: Any = "stream",
    closed: bool = True,
    leave: int = LIMIT,
    leave_at: float = 0.8,
    fill: int = LIMIT,
    stream: bool = True,
) -> None:
    """``leave`` clients of one phase disconnect; their calls are closed, or run on and are held.

    Then ``fill`` of the clients that follow are held, and one waits.
    """
    number = start.round("hang-ups", begin, begin + 6, route="openai", mode=mode, part=phase)
    calls: list[Call] = []
    waiting: list[int] = []
    if phase == "queued":
        calls, waiting = _held_beside(start, number, begin + 0.1, mode, (LIMIT, 0))
        start.snapshot(number, begin + 0.5, calls, waiting)
        for _ in range(leave):
            _leaves(start, number, begin, mode, leave_at)
        fill -= LIMIT
    else:
        for _ in range(leave):
            nonce = _leaves(start, number, begin, mode, leave_at)
            call = _left_call(start, nonce, begin, phase, closed=closed, stream=stream)
            calls += [] if closed else [call]
    more, nonces = _held_beside(start, number, begin + 0.9, mode, (fill, 1))
    calls, waiting = [*calls, *more], [*waiting, *nonces]
    start.snapshot(number, begin + 1.6, calls, waiting)
    start.snapshot(number, begin + 2.8, calls, waiting)
    start.release(number, begin + 2.9, "gate", len(calls))


def _leaves(start: Start, number: int, begin: float, mode: Any, leave_at: float) -> int:
    nonce = start.nonce()
    start.client(
        nonce, number, sent=begin + 0.1, end=begin + leave_at + 0.01, mode=mode,
        outcome="hung_up", hang_up=begin + leave_at, status=None,
    )  # fmt: skip
    return nonce


def _left_call(
    start: Start, nonce: int, begin: float, phase: str, *, closed: bool, stream: bool
) -> Call:
    end = begin + (0.85 if closed else 3) + 0.001 * nonce
    call = start.call(
        nonce, read=begin + 0.11, end=end, held=True, stream=stream,
        ended_by="peer" if closed else "fake", peer_closed=end if closed else None,
    )  # fmt: skip
    names = ("head_ns", "first_ns", "held_ns")
    sent = {
        name: maybe_ns(None if at is None else begin + at)
        for name, at in zip(names, SENT[phase], strict=True)
    }
    return start.changed(call, **sent)


def _held_beside(
    start: Start, number: int, sent: float, mode: Any, counts: tuple[int, int]
) -> tuple[list[Call], list[int]]:
    """``counts``: clients whose calls are held, and clients that are served afterwards."""
    count, waiting = counts
    calls, nonces = [], []
    for index in range(count + waiting):
        nonce = start.nonce()
        late = 4 if index >= count else 0
        read, end = sent + 0.1 + late, sent + 3.5 + late / 4 + 0.001 * nonce
        call = start.call(nonce, read=read, end=end, held=not late, stream=mode == "stream")
        text = start.whole(nonce, call)
        start.client(nonce, number, sent=sent, end=end + 0.1, text=text, mode=mode)
        calls += [] if late else [call]
        nonces.append(nonce)
    return calls, nonces


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


@good("clients-that-leave-in-every-phase")
def left_in_every_phase() -> Story:
    """Half of the phases by a router that closes the calls, half by one that keeps their slots."""
    start = Start()
    rounds = [("chat", phase) for phase in LEFT_WHOLE] + [("stream", p) for p in LEFT_STREAM]
    for number, (mode, phase) in enumerate(rounds):
        closed = bool(number % 2)
        fill = LIMIT if closed or phase == "queued" else 0
        left_in(start, 10 * number, phase, mode=mode, closed=closed, fill=fill)
    routes = (route("openai", "chat", "stream"),)
    return (start,), {"selected": ("cap/hang-ups",), "routes": routes}


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
    """Only after the first piece of a stream; in every other phase the calls are closed."""
    start = Start()
    for number, phase in enumerate(LEFT_STREAM):
        left_in(start, 10 * number, phase, closed=phase != "after-piece-1")
    return (start,), {"routes": (route("openai", "stream"),)}


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
