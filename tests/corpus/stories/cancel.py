"""Stories of disconnects: whether the provider sees them, and which calls they end."""

from __future__ import annotations

from typing import Any, Literal

from routerspec.promises import Cancel, Cap, Promises
from tests.corpus.builder import LIMIT, Start, route
from tests.corpus.registry import Story, bad, good

PROMISES = Promises(cap=Cap(limit=LIMIT), cancel=Cancel(within_s=1.0))
BESIDE = ("cancel/reaches-provider", "cancel/spares-others")


def control(start: Start, begin: float, *, age: float = 1.0) -> None:
    """A call that is held for a while, without a disconnect."""
    number = start.round("hang-up", begin, begin + age + 0.2, route="openai", mode="chat",
                         part="control")  # fmt: skip
    nonce = start.nonce()
    end = begin + 0.01 + age
    call = start.call(nonce, read=begin + 0.01, end=end, held=True)
    start.client(nonce, number, sent=begin, end=end + 0.01, text=start.whole(nonce, call))
    start.release(number, end - 0.004, "gate", 1)


def hang_up(
    start: Start,
    begin: float,
    part: str = "non-streaming",
    *,
    took: float | None = 0.002,
    neighbour_ends: bool = False,
    name: str = "openai",
    age: float = 0.1,
) -> None:
    """One client leaves a held call after ``age`` seconds, a neighbour is held beside it.

    ``took``: until the provider sees it; None: the call is released at last, 1.2 s later.
    """
    mode: Literal["chat", "stream"] = "chat" if part == "non-streaming" else "stream"
    provider = "ollama" if name == "ollama" else "openai"
    left = begin + age
    release = left + (1.2 if took is None else max(took + 0.1, 0.1))
    number = start.round("hang-up", begin, release + 0.2, route=name, mode=mode, part=part)
    staying, leaving = start.nonce(), start.nonce()
    common: dict[str, Any] = {"held": True, "stream": mode == "stream", "provider": provider}
    if neighbour_ends:
        call = start.call(staying, read=begin + 0.01, end=left + 0.03, ended_by="peer",
                          peer_closed=left + 0.03, status=None, **common)  # fmt: skip
        start.client(staying, number, sent=begin, end=left + 0.04, route=name, mode=mode,
                     outcome="failed", status=None, error="reset")  # fmt: skip
    else:
        call = start.call(staying, read=begin + 0.01, end=release + 0.005, **common)
        start.client(staying, number, sent=begin, end=release + 0.01, route=name, mode=mode,
                     text=start.whole(staying, call))  # fmt: skip
    if took is None:
        start.call(leaving, read=begin + 0.02, end=release + 0.005, **common)
    else:
        start.call(leaving, read=begin + 0.02, end=left + took, ended_by="peer",
                   peer_closed=left + took, status=None, **common)  # fmt: skip
    start.client(leaving, number, sent=begin, end=left + 0.001, route=name, mode=mode,
                 outcome="hung_up", hang_up=left, status=None)  # fmt: skip
    start.release(number, release, "gate", 1)


def queue(
    start: Start, begin: float, *, ran: int = 0, disconnects: int = 4, waited: float = 1.2
) -> None:
    """Two are held, ``leavers`` queue up and leave, one more comes, and all are released.

    ``ran`` of those that left reach the provider after the release.
    """
    left = begin + 0.7
    release = left + waited
    number = start.round("hang-up-queued", begin, release + 2)
    inside = [start.nonce() for _ in range(LIMIT)]
    calls = [
        start.call(nonce, read=begin + 0.01, end=release + 0.01, held=True) for nonce in inside
    ]
    for nonce, call in zip(inside, calls, strict=True):
        start.client(nonce, number, sent=begin, end=release + 0.02, text=start.whole(nonce, call))
    gone = [start.nonce() for _ in range(disconnects)]
    for index, nonce in enumerate(gone):
        start.client(nonce, number, sent=begin + 0.1, end=left + 0.001, outcome="hung_up",
                     hang_up=left, status=None)  # fmt: skip
        if index < ran:
            at = release + 0.02 + 0.1 * index
            start.call(nonce, read=at, end=at + 0.09)
    later = start.nonce()
    at = release + 0.02 + 0.1 * ran
    call = start.call(later, read=at, end=at + 0.05)
    start.client(later, number, sent=release - 0.1, end=at + 0.06, text=start.whole(later, call))
    start.snapshot(number, left - 0.1, calls, [*inside, *gone])
    start.snapshot(number, release - 0.02, calls, [*inside, later])
    start.release(number, release, "gate", LIMIT)


@good("hang-ups-that-come-through")
def come_through() -> Story:
    start = Start()
    control(start, 0)
    for index, part in enumerate(("non-streaming", "before-head", "between-pieces")):
        hang_up(start, 2 + index, part, took=0.002 + 0.3 * index)
    queue(start, 10)
    return (start,), {
        "selected": (*BESIDE, "cancel/queued-stays-home"),
        "routes": (route("openai", "chat", "stream"),),
        "promises": PROMISES,
    }


@good("hang-ups-at-a-rejecting-router-without-a-deadline")
def no_deadline() -> Story:
    """It promises no time for a hang-up, and is held to nothing but sparing the others."""
    start = Start()
    control(start, 0)
    hang_up(start, 2, took=None)
    hang_up(start, 5, "before-head", took=None)
    return (start,), {
        "selected": ("cancel/spares-others",),
        "routes": (route("openai", "chat", "stream"),),
        "promises": Promises(cap=Cap(limit=LIMIT, overload="reject")),
    }


@bad("cancel/reaches-provider")
def not_passed_on() -> Story:
    start = Start()
    control(start, 0)
    hang_up(start, 2)
    for index in range(3):
        hang_up(start, 5 + 3 * index, "between-pieces", took=None)
    return (start,), {"routes": (route("openai", "chat", "stream"),), "promises": PROMISES}


@bad("cancel/queued-stays-home")
def departed_run() -> Story:
    start = Start()
    queue(start, 0, ran=4)
    return (start,), {"promises": PROMISES}


@bad("cancel/spares-others")
def neighbours_ended() -> Story:
    start = Start()
    control(start, 0)
    for index in range(2):
        hang_up(start, 2 + index, neighbour_ends=True)
    return (start,), {"promises": PROMISES}
