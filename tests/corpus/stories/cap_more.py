"""More stories of the cap and its queue: sound routers that a hasty check would accuse."""

from __future__ import annotations

from tests.corpus.builder import LIMIT, Start
from tests.corpus.registry import Story, good


def released_in_vain(start: Start, begin: float, *, held: int = LIMIT) -> int:
    """Two held calls are let go, and nobody comes in after them; the number of the round."""
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
