"""Stories of slots that come back, or do not, after requests that ended badly."""

from __future__ import annotations

from typing import Any

from routerspec.checks.slots_return import KINDS
from tests.history_builder import LIMIT, Start
from tests.stories import Story, bad, good

STREAMS = {"cut", "hang-up-before-head", "hang-up-mid-stream"}


def ended(start: Start, kind: str, at: float) -> None:
    """The one request that ends in this way."""
    mode: Any = "stream" if kind in STREAMS else "chat"
    number = start.round(f"after-{kind}", at, at + 2, mode=mode, part="cause")
    nonce = start.nonce()
    told: dict[str, Any] = {"sent": at + 0.1, "end": at + 0.5, "mode": mode}
    if kind == "hang-up-queued":
        start.client(nonce, number, outcome="hung_up", hang_up=at + 0.4, status=None, **told)
        return
    if kind.startswith("hang-up"):
        start.call(nonce, read=at + 0.11, end=at + 0.45, ended_by="peer", peer_closed=at + 0.45)
        start.client(nonce, number, outcome="hung_up", hang_up=at + 0.4, status=None, **told)
        return
    if kind == "timeout":
        start.call(nonce, read=at + 0.11, end=at + 0.45, ended_by="peer", peer_closed=at + 0.45)
    elif kind == "error":
        start.call(nonce, read=at + 0.11, end=at + 0.2, status=500)
    elif kind == "malformed":
        start.call(nonce, read=at + 0.11, end=at + 0.2)
    else:
        start.call(nonce, read=at + 0.11, end=at + 0.2, ended_by="cut", headless=kind == "reset")
    start.client(nonce, number, outcome="refused", status=502, **told)


def probed(kind: str, *counts: int) -> Start:
    """A full house, the ending, and probes that let in so many."""
    start = Start()
    start.held_round(f"after-{kind}", 0, part="before")
    ended(start, kind, 10)
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
