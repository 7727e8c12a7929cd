"""Stories of slots that come back, or do not, after requests that ended badly."""

from __future__ import annotations

from typing import Any

import msgspec

from routerspec.checks.slots.endings import KINDS
from routerspec.promises import Cap, Promises
from tests.corpus.builder import LIMIT, Start
from tests.corpus.registry import Story, bad, good

STREAMS = {"cut", "hang-up-before-head", "hang-up-mid-stream"}


def ended(start: Start, kind: str, at: float) -> int:
    """The one request that ends in this way; its nonce."""
    mode: Any = "stream" if kind in STREAMS else "chat"
    number = start.round(f"after-{kind}", at, at + 2, mode=mode, part="cause")
    nonce = start.nonce()
    fields: dict[str, Any] = {"sent": at + 0.1, "end": at + 0.5, "mode": mode}
    closed: dict[str, Any] = {"end": at + 0.45, "ended_by": "peer", "peer_closed": at + 0.45}
    if kind == "hang-up-queued":
        start.client(nonce, number, outcome="hung_up", hang_up=at + 0.4, status=None, **fields)
        return nonce
    if kind.startswith("hang-up"):
        first = at + 0.2 if kind == "hang-up-mid-stream" else None
        start.call(nonce, read=at + 0.11, first=first, stream=mode == "stream", **closed)
        start.client(nonce, number, outcome="hung_up", hang_up=at + 0.4, status=None, **fields)
        return nonce
    if kind == "timeout":
        start.call(nonce, read=at + 0.11, **closed)
    elif kind == "error":
        start.call(nonce, read=at + 0.11, end=at + 0.2, status=500)
    elif kind == "malformed":
        broken = start.call(nonce, read=at + 0.11, end=at + 0.2)
        start.evidence[-1] = msgspec.structs.replace(broken, finished=False)
    else:
        start.call(nonce, read=at + 0.11, end=at + 0.2, ended_by="cut", headless=kind == "reset")
    start.client(nonce, number, outcome="refused", status=502, **fields)
    return nonce


def warmed(start: Start, kind: str, at: float, *, succeeds: bool = True) -> None:
    """A single request after it; ``succeeds`` False: it is refused."""
    number = start.round(f"after-{kind}", at, at + 1, route="openai", mode="chat", part="warm")
    if succeeds:
        start.exchange(number, sent=at + 0.1, end=at + 0.3)
    else:
        refused: Any = {"outcome": "refused", "status": 503}
        start.client(start.nonce(), number, sent=at + 0.1, end=at + 0.2, **refused)


def probed(kind: str, *counts: int, before: int = LIMIT, warm: bool = True) -> Start:
    """A router with N slots in use, the ending, and probes that admit N clients."""
    start = Start()
    start.held_round(f"after-{kind}", 0, held=before, part="before")
    ended(start, kind, 10)
    warmed(start, kind, 15, succeeds=warm)
    for turn, count in enumerate(counts):
        start.held_round(f"after-{kind}", 20 + 10 * turn, held=count, part="probe")
    return start


def _tell(kind: str) -> None:
    @good(f"slots-return-after-{kind}")
    def returned() -> Story:
        return (probed(kind, LIMIT - 1, LIMIT),), {"selected": (f"slots/return-after-{kind}",)}

    @bad(f"slots/return-after-{kind}")
    def lost() -> Story:
        return (probed(kind, LIMIT - 1, LIMIT - 1),), {}


for _kind in KINDS:
    _tell(_kind)


@good("slots-return-after-ghosts-in-the-queue")
def ghosts() -> Story:
    """A router that misses disconnects in the queue: it calls for them, and loses nothing."""
    start, kind = Start(), "hang-up-queued"
    start.held_round(f"after-{kind}", 0, part="before")
    nonce = ended(start, kind, 10)
    start.call(nonce, read=10.6, end=10.9)
    warmed(start, kind, 15)
    start.held_round(f"after-{kind}", 20, part="probe")
    return (start,), {"selected": (f"slots/return-after-{kind}",)}


@good("slots-return-after-two-rounds")
def twice() -> Story:
    """More routes than slots: a second round of endings, and a probe after each."""
    start = probed("cut", LIMIT)
    ended(start, "cut", 40)
    warmed(start, "cut", 45)
    start.held_round("after-cut", 50, part="probe")
    return (start,), {"selected": ("slots/return-after-cut",)}


@good("slots-return-after-an-upstream-that-lingers")
def lingers() -> Story:
    """A call that its client has left is open for longer, and so is its slot: in use, not lost."""
    start, kind = Start(), "hang-up-non-streaming"
    start.held_round(f"after-{kind}", 0, part="before")
    number = start.round(f"after-{kind}", 10, 12, mode="chat", part="cause")
    nonce = start.nonce()
    start.call(nonce, read=10.11, end=30)
    left: Any = {"outcome": "hung_up", "hang_up": 10.4, "status": None}
    start.client(nonce, number, sent=10.1, end=10.5, **left)
    warmed(start, kind, 15)
    probe, calls, nonces = start.held_round(f"after-{kind}", 20, held=LIMIT - 1, part="probe")
    start.observations = [
        r for r in start.observations if getattr(r, "settled", None) is None or r.round != probe
    ]
    start.snapshot(probe, 20.8, calls, nonces, open_=LIMIT)
    return (start,), {"selected": (f"slots/return-after-{kind}",)}


@good("slots-return-after-refusals")
def refusals() -> Story:
    """A router that refuses requests beyond its cap, and serves clients that retry."""
    start = probed("error", LIMIT)
    number = start.round("after-error", 30, 33, route="openai", mode="chat", part="probe")
    for turn in range(4):
        fields: Any = {"outcome": "refused", "status": 429}
        start.client(start.nonce(), number, sent=30.2 + turn / 10, end=30.21 + turn / 10, **fields)
    rejecting = Promises(cap=Cap(limit=LIMIT, overload="reject"))
    return (start,), {"selected": ("slots/return-after-error",), "promises": rejecting}
